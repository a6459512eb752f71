"""The retrieval benchmark on a corpus of three lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import retrieval


def test_it_counts_what_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contexts, questions, figures = tmp_path / "c.jsonl", tmp_path / "q.jsonl", tmp_path / "f.json"
    texts = ["Trains leave at noon.", "Hotels are paid by the guest.", "Vacation is thirty days."]
    contexts.write_text("".join(json.dumps({"id": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    asked = [("When do trains leave?", "0"), ("Who pays hotels?", "1"), ("Who pays hotels?", "2")]
    questions.write_text("".join(json.dumps({"question": text, "context_id": wanted}) + "\n" for text, wanted in asked))
    given = retrieval.parser().parse_args([str(contexts), str(questions), "--copies", "6", "--json", str(figures)])
    assert retrieval.main(given) == 0
    told = json.loads(figures.read_text())
    assert [row["hit1"] for row in told] == [pytest.approx(2 / 3)] * 3
    assert "3 chunks, 3 questions" in capsys.readouterr().out
