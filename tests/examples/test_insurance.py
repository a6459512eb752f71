"""The insurer's world is the same for the same seed, and its truth is one."""

from __future__ import annotations

import csv
import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tandem.scorers.guards.detect import find

WORLD = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "insurance" / "world.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("insurance")
    WORLD["write"](made, count=1500)
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_same_seed_makes_the_same_world(folder: Path, tmp_path: Path) -> None:
    WORLD["write"](tmp_path, count=1500)
    for path in folder.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes()
    assert list(WORLD["claims"](20, seed=8)) != list(WORLD["claims"](20, seed=7))


def rates(table: list[dict[str, Any]], young: bool) -> float:
    chosen = [row["fraud"] == "yes" for row in table if (row["policy_days"] < 120) == young]
    return float(np.mean(chosen))


def test_fraud_follows_its_rule_and_the_rule_moves() -> None:
    before, after = list(WORLD["claims"](10_000)), list(WORLD["claims"](10_000, moved=True))
    assert 0.03 < np.mean([row["fraud"] == "yes" for row in before]) < 0.25
    assert rates(before, True) > 2 * rates(before, False)
    assert rates(after, True) < 1.4 * rates(after, False)
    costs: list[Any] = [np.median([row["amount"] for row in table]) for table in (before, after)]
    assert costs[1] > 1.3 * costs[0]


def test_every_question_is_answered_by_its_clause_alone(folder: Path) -> None:
    texts = {path.name: path.read_text() for path in (folder / "policies").iterdir()}
    assert {Path(name).suffix for name in texts} == {".md", ".html", ".txt"}
    for row in rows(folder / "questions.csv"):
        assert row["answer"] in row["source"]
        assert [name for name, text in texts.items() if row["source"] in text] == [row["document"]]


def test_every_narrative_holds_what_guards_look_for(folder: Path) -> None:
    for line in (folder / "narratives.jsonl").read_text().splitlines():
        told = json.loads(line)
        found = {
            each.rule.detector: told["narrative"][each.start : each.end] for each in find(told["narrative"], ["iban", "email"])
        }
        assert found == {"iban": told["iban"], "email": told["email"]}
