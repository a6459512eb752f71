"""The witness shares no code with the witnessed."""

from __future__ import annotations

import ast
from pathlib import Path

import tandem.mock

SOURCES = sorted(Path(tandem.mock.__file__).parent.glob("*.py"))
ALLOWED = ("tandem.core.clock", "tandem.core.errors", "tandem.core.secret", "tandem.mock")


def imported(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add(str(node.module))
        elif isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
    return names


def test_it_imports_nothing_of_ours_that_counts_or_prices() -> None:
    assert len(SOURCES) > 10
    ours = {name for source in SOURCES for name in imported(source) if name.split(".")[0] == "tandem"}
    assert {name for name in ours if not name.startswith(ALLOWED)} == set()
    assert {name for name in ours if name.startswith("tandem.core")} <= set(ALLOWED)
