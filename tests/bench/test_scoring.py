"""The benchmark of scoring, with a few rows; nothing is timed."""

from __future__ import annotations

import pytest
from bench.scoring import Options, measure, parser


@pytest.mark.slow
def test_it_scores_a_tenth_and_all() -> None:
    report = measure(Options(rows=2_000, columns=3))
    assert [(one.load, one.requests) for one in report.rounds] == [("200 rows", 200), ("2,000 rows", 2_000)]
    assert [note.split(":")[0] for note in report.notes[:2]] == ["200 rows x 3 columns", "2,000 rows x 3 columns"]
    assert report.notes[2].startswith("memory for all rows")


def test_its_arguments() -> None:
    assert parser().parse_args(["--rows", "5"]).rows == 5
