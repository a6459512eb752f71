"""The table of docs/durability.md is whole: every cell says something, and names tests that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "durability.md").read_text()
FAILURES = ("kill -9", "power loss", "disk full", "lost disk", "clock jump", "network cut", "PostgreSQL gone", "Redis gone")
PARTS = ("door", "control", "ledger", "jobs")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
CONCERNED = re.compile(r"not concerned\W*$|not concerned\W*`", re.IGNORECASE)
"""Said without a reason."""


def table(page: str) -> Iterator[list[str]]:
    """The cells of the page's table, row by row, its heading first."""
    for line in page.splitlines():
        if line.startswith("|") and not line.startswith("|--"):
            yield [cell.strip() for cell in line.strip().strip("|").split("|")]


@cache
def functions(path: str) -> frozenset[str]:
    """The test functions of a file; none where there is no such file."""
    file = ROOT / path
    body = ast.parse(file.read_text()).body if file.is_file() else []
    return frozenset(node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def wrong(page: str) -> list[str]:
    """What is missing in the table, cell by cell."""
    heading, *rows = table(page)
    found = [] if tuple(heading[1:]) == PARTS else [f"the columns are {heading[1:]}"]
    if (named := tuple(row[0].strip("*`") for row in rows)) != FAILURES:
        found.append(f"the rows are {named}")
    for row in rows:
        for part, cell in zip(heading[1:], row[1:], strict=True):
            found += [f"{row[0]} × {part}: {each}" for each in _of_cell(cell)]
    return found


def _of_cell(cell: str) -> Iterator[str]:
    tests = TEST.findall(cell)
    if not TEST.sub("", cell).strip(" ."):
        yield "says nothing"
    if CONCERNED.search(cell):
        yield "is not concerned, and does not say why"
    if not tests:
        yield "names no test"
    yield from (f"there is no {path}::{name}" for path, name in tests if name not in functions(path))


def test_every_cell_says_something_and_names_tests_that_there_are() -> None:
    assert wrong(PAGE) == []


KNOWN = "`tests/journeys/test_kill.py::test_fifty_kills_lose_nothing`"


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        ("", "says nothing"),
        (KNOWN, "says nothing"),
        ("All is kept.", "names no test"),
        ("All is kept. `tests/journeys/test_kill.py`", "names no test"),
        ("All is kept. `tests/journeys/test_kill.py::test_there_is_none`", "there is no tests/journeys/test_kill.py::test_there"),
        ("All is kept. `tests/journeys/test_none.py::test_fifty_kills_lose_nothing`", "there is no tests/journeys/test_none.py"),
        (f"Not concerned. {KNOWN}", "does not say why"),
    ],
)
def test_a_cell_that_lacks_something_is_found(cell: str, what: str) -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("| **clock jump**"))
    cells = line.split(" | ")
    changed = PAGE.replace(line, " | ".join([*cells[:2], cell, *cells[3:]]))
    assert any(what in each and each.startswith("**clock jump** × control") for each in wrong(changed)), wrong(changed)


def test_no_row_may_go() -> None:
    assert wrong("\n".join(line for line in PAGE.splitlines() if "**disk full**" not in line)) != []
