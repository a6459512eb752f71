"""The routing benchmark on questions of three kinds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.routing import COSTS, KINDS, rows, written

from bench import routing


def test_it_trains_scores_and_leaves_kinds_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = {form.split()[0]: kind for kind, form in KINDS.items()}
    known = [{**row, "task": first[str(row["question"]).split()[0]]} for row in rows(240, 1)]
    train, test = written(tmp_path / "a.jsonl", known), written(tmp_path / "b.jsonl", [*rows(100, 2), *rows(240, 1)[:20]])
    prices, figures = tmp_path / "prices.json", tmp_path / "f.json"
    prices.write_text(json.dumps({model: {"input_price": cost, "output_price": cost} for model, cost in COSTS.items()}))
    given = routing.parser().parse_args([str(train), str(test), str(prices), "--kinds", "task", "--json", str(figures)])
    assert routing.main(given) == 0
    told = json.loads(figures.read_text())
    assert (told["report"]["rows"], told["report"]["leaked"], told["report"]["beats"]) == (100, 20, True)
    assert [each["kind"] for each in told["strange"]] == sorted(KINDS)
    assert sum(each["rows"] for each in told["strange"]) == 240
    assert told["speed"]["p50"] > 0
    out = capsys.readouterr().out
    assert "240 questions to learn from, 100 to be scored on, 20 left out" in out
    assert "it beats the best single model at no higher cost" in out
