"""What a step's code is: the function, and everything of its file that it uses, however far away. Pure; it runs nothing.

Comments, layout and the decorator itself do not count. What a file does while it is imported, beyond giving names to things,
counts for every step of it; so does the whole file for a function that looks names up by itself (`globals`, `eval` …).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator

from tandem.core.errors import Invalid

BLIND = frozenset({"globals", "vars", "eval", "exec", "modules", "__import__", "import_module"})
"""Names that reach others without naming them."""


class Code:
    """A source, taken apart."""

    def __init__(self, source: str) -> None:
        """
        Raises:
            Invalid: it is no Python.
        """
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = getattr(error, "lineno", None)
            where = f" (line {line})" if line else ""
            raise Invalid(f"The source is no Python: {error.args[0]}{where}.", field="source") from None
        self._whole = ast.dump(tree)
        self._binds: dict[str, list[ast.AST]] = {}
        self._always: list[ast.AST] = []
        for statement in tree.body:
            parts = dict(_bound(statement))
            for name, part in parts.items():
                self._binds.setdefault(name, []).append(part)
            if not parts and not _says(statement):
                self._always.append(statement)

    def digest(self, name: str) -> str:
        """`sha256:…` of the code of the function `name`, which stands at the top of the file."""
        found: dict[str, str] = {}
        waiting = [name, *(used for part in self._always for used in _used(part))]
        while waiting:
            each = waiting.pop()
            if each in BLIND and each not in self._binds:
                return _digest(name, self._whole)
            if each in found or each not in self._binds:
                continue
            found[each] = "\n".join(ast.dump(part) for part in self._binds[each])
            waiting += [used for part in self._binds[each] for used in _used(part)]
        parts = [f"{each}\n{text}" for each, text in sorted(found.items())]
        return _digest(name, *parts, *map(ast.dump, self._always))


def _bound(statement: ast.stmt) -> Iterator[tuple[str, ast.AST]]:
    """The names that a statement at the top of a file gives to things, each with the part that does so."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield statement.name, _undecorated(statement)
        case ast.ClassDef():
            yield statement.name, statement
        case ast.Import():
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], ast.Import([alias])
        case ast.ImportFrom():
            for alias in statement.names:
                if alias.name != "*":
                    yield alias.asname or alias.name, ast.ImportFrom(statement.module, [alias], statement.level)
        case _:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id, statement
                elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    yield node.name, statement
                elif isinstance(node, ast.alias):
                    yield node.asname or node.name.partition(".")[0], statement


def _undecorated(function: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
    """A function without the decorator that makes it a step."""
    kept = [each for each in function.decorator_list if not _is_step(each)]
    fields = {name: value for name, value in ast.iter_fields(function) if name != "decorator_list"}
    return type(function)(**fields, decorator_list=kept)


def _used(part: ast.AST) -> Iterator[str]:
    for node in ast.walk(part):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and node.attr in BLIND:
            yield node.attr


def _says(statement: ast.stmt) -> bool:
    """Whether a statement does nothing: a text in the place of one, or `pass`."""
    text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return text or isinstance(statement, ast.Pass)


def _is_step(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return ast.unparse(called).rpartition(".")[2] == "step"


def _digest(*parts: str) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(len(part).to_bytes(8, "little") + part.encode(errors="surrogatepass"))
    return f"sha256:{state.hexdigest()}"
