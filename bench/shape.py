"""A mirror, not a fence: the largest files, functions, signatures and classes of the product.

    python -m bench.shape [FOLDER…]

Look at each and ask whether it holds two nouns. Always ends with 0.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
LINES, BODY, PARAMETERS, METHODS = 500, 80, 7, 15
"""What is shown is larger than this: lines of a file, lines of a function, parameters, public methods of a class."""
BOUND = ("self", "cls")


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """One thing that is larger than usual."""

    what: str
    size: int
    where: str


def shape(source: str, name: str) -> Iterator[Found]:
    """What is large in one file.

    Args:
        source: Python text.
        name: how the file is called in what is found.
    """
    lines = len(source.splitlines())
    if lines > LINES:
        yield Found("lines in a file", lines, name)
    for node in ast.walk(ast.parse(source)):
        where = f"{name}:{getattr(node, 'lineno', 0)} {getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > BODY:
                yield Found("lines in a function", length, where)
            count = parameters(node.args)
            if count > PARAMETERS:
                yield Found("parameters", count, where)
        elif isinstance(node, ast.ClassDef):
            public = [
                child
                for child in node.body
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_")
            ]
            if len(public) > METHODS:
                yield Found("public methods", len(public), where)


def parameters(given: ast.arguments) -> int:
    """How many a caller can give: all but `self` and `cls`."""
    plain = [*given.posonlyargs, *given.args]
    if plain and plain[0].arg in BOUND:
        plain = plain[1:]
    return len(plain) + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def table(found: Sequence[Found], files: int) -> str:
    """What was found, largest first within each kind."""
    lines = [f"{files} Python files; over {LINES} lines, {BODY} lines of a function, {PARAMETERS} parameters, {METHODS} methods:"]
    lines += [
        f"  {one.size:>5} {one.what:<20} {one.where}" for one in sorted(found, key=lambda one: (one.what, -one.size, one.where))
    ]
    return "\n".join(lines if found else [*lines, "  nothing"])


def _called(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.shape", description="Prints what is unusually large.")
    parser.add_argument("folders", nargs="*", type=Path, default=[SOURCE], help="src by default")
    files = sorted(path for folder in parser.parse_args().folders for path in folder.rglob("*.py"))
    found = [one for path in files for one in shape(path.read_text(), _called(path))]
    print(table(found, len(files)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
