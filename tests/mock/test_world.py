"""The world to practise on is the same for the same seed, and moves and is sabotaged as it says."""

from __future__ import annotations

import subprocess
import sys
from statistics import mean

from tandem.mock.world import Applicant, applicants, written


def right(rows: list[Applicant], weight: float) -> float:
    """How often a rule that leans on debt so much is right."""
    return mean(
        float((weight * (row.debt - 12) - 0.05 * (row.income - 45) - 0.08 * row.years - 0.4 > 0) == row.late) for row in rows
    )


def test_a_seed_is_a_world() -> None:
    rows = applicants(500, seed=3)
    assert rows == applicants(500, seed=3)
    assert rows != applicants(500, seed=4)
    assert [row.id for row in applicants(3, seed=3, first=500)] == [500, 501, 502]
    assert 0.2 < mean(row.late for row in rows) < 0.6


def test_the_world_moves_and_is_sabotaged() -> None:
    before, after = applicants(4_000, seed=3), applicants(4_000, seed=3, moved=True)
    assert mean(row.income for row in before) - mean(row.income for row in after) > 10
    assert right(after, 0.30) > right(after, 0.0) + 0.1  # what is to be learned anew
    wrong = applicants(4_000, seed=3, moved=True, sabotaged=True)
    assert [row.asked for row in wrong] == [row.asked for row in after]
    assert 0.75 < mean(a.late != b.late for a, b in zip(after, wrong, strict=True)) < 0.85


def test_it_writes_itself_as_csv() -> None:
    words = [sys.executable, "-m", "tandem.mock.world", "--rows", "20", "--seed", "5", "--moved"]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout == written(applicants(20, seed=5, moved=True))
