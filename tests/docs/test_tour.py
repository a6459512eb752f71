"""What the README shows of a run was said by a run, and the picture shows a trace that was."""

from __future__ import annotations

import ast
import json
import runpy
from fractions import Fraction

import pytest

from tests.docs.pages import ROOT, blocks

RECORD = [line.strip() for block in blocks(ROOT / "docs" / "demo.md") for line in block.text.splitlines()]
TOUR = [
    pytest.param(line.strip(), id=line.strip()[:60])
    for block in blocks(ROOT / "README.md")
    if block.language == "text"
    for line in block.text.splitlines()
    if line.strip("… ")
]
IMAGES = ROOT / "docs" / "img"


def same(shown: str, said: str) -> bool:
    """Whether a line was said, where `…` stands for what was left out."""
    pieces = shown.split("…")
    at = 0
    for number, piece in enumerate(pieces):
        found = said.find(piece, at)
        if found < 0 or (number == 0 and found != 0):
            return False
        at = found + len(piece)
    return shown.endswith("…") or at == len(said)


@pytest.mark.parametrize("line", TOUR)
def test_every_line_of_the_tour_was_said(line: str) -> None:
    assert any(same(line, said) for said in RECORD)


def test_a_line_that_nobody_said_would_be_found() -> None:
    assert not any(same("roc_auc            0.9999 [0.9839, 0.9965] on 569 rows", said) for said in RECORD)
    assert same("roc_auc … on 569 rows", "roc_auc 0.5 [0.4, 0.6] on 569 rows")
    assert not same("roc_auc …", "brier 0.1, not roc_auc 0.5")


def test_the_tour_is_there() -> None:
    assert len(TOUR) > 20


def test_the_record_is_of_the_story_that_is_told_now() -> None:
    """Its titles and claims are those of the demo's source."""
    trees = [ast.parse((ROOT / "src" / "tandem" / "cli" / name).read_text()) for name in ("demo.py", "insurance.py")]
    called = [
        node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    titles = [call.args[0].value for call in called if call.func.attr == "title" and isinstance(call.args[0], ast.Constant)]  # type: ignore[attr-defined]
    claims = [call.args[1].value for call in called if call.func.attr == "check" and isinstance(call.args[1], ast.Constant)]  # type: ignore[attr-defined]
    assert len(titles) == 13
    assert [title for title in titles if title not in RECORD] == []
    assert [claim for claim in claims if f"ok: {claim}" not in RECORD] == []
    assert not any("FAILED" in line for line in RECORD)


def test_the_picture_is_drawn_from_the_trace() -> None:
    drawing = runpy.run_path(str(IMAGES / "draw.py"))
    trace = json.loads((IMAGES / "trace.json").read_text())
    assert drawing["draw"](trace) == (IMAGES / "trace.svg").read_text()


def test_the_trace_of_the_picture_adds_up() -> None:
    trace = json.loads((IMAGES / "trace.json").read_text())
    assert set(trace["content"]) == {call["call"] for call in trace["calls"]}
    costs = [attempt["cost"] for call in trace["calls"] for attempt in call["attempts"]]
    assert sum(costs) == trace["cost"] == Fraction(trace["cost_usd"]) * 10**9
    assert [call["kind"] for call in trace["calls"]] == ["decide", "predict", "chat"]
