"""Means and paired differences of grades: their intervals hold what they promise, by simulation with fixed seeds."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tandem.evaluation.compare import MINIMUM_PER_CLASS, outcome
from tandem.evaluation.graded import PADDED, paired, rows_needed
from tandem.evaluation.tango import METHOD, tango
from tandem.scorers.proportions import mean, student

DRAWS = 600
MARGIN = 0.05
Draw = Callable[[random.Random], float]
GAPS: dict[str, tuple[Draw, float]] = {
    "rare whole losses": (lambda r: -1.0 * (r.random() < 0.05), -0.05),
    "rare half losses": (lambda r: -0.5 * (r.random() < 0.1), -0.05),
    "wins and losses": (lambda r: r.choice((-1.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.5)), -1 / 7),
    "small and dense": (lambda r: max(-1.0, min(1.0, r.gauss(-0.05, 0.2))), -0.05),
    "nothing": (lambda r: 0.0, 0.0),
}


@pytest.mark.parametrize("name", GAPS)
@pytest.mark.parametrize("n", [30, 100])
def test_the_interval_of_a_difference_covers_the_truth(name: str, n: int) -> None:
    draw, truth = GAPS[name]
    r = random.Random(f"{name} {n}")
    held = sum(e.low <= truth <= e.high for e in (paired([draw(r) for _ in range(n)])[0] for _ in range(DRAWS)))
    assert held / DRAWS >= 0.93  # 95 % less twice the error of the simulation


@pytest.mark.parametrize("name", ["rare whole losses", "rare half losses", "small and dense"])
@pytest.mark.parametrize("n", [60, 200])
def test_a_prompt_that_loses_just_the_margin_hardly_ever_passes(name: str, n: int) -> None:
    draw, _ = GAPS[name]
    r = random.Random(f"pass {name} {n}")
    verdicts = [outcome(paired([draw(r) for _ in range(n)])[0], margin=MARGIN, per_class=MINIMUM_PER_CLASS) for _ in range(DRAWS)]
    passed = sum(verdict in ("improved", "non-inferior") for verdict in verdicts)
    assert passed / DRAWS <= 0.025 + 0.015


def test_a_prompt_that_is_clearly_worse_never_passes() -> None:
    r = random.Random(1)
    verdicts = {
        outcome(
            paired([-1.0 * (r.random() < 0.3) + 1.0 * (r.random() < 0.05) for _ in range(100)])[0],
            margin=MARGIN,
            per_class=MINIMUM_PER_CLASS,
        )
        for _ in range(200)
    }
    assert verdicts <= {"regressed", "inconclusive"}
    assert "regressed" in verdicts


def test_equal_rows_are_no_proof_when_there_are_few_of_them() -> None:
    few, _ = paired([0.0] * 40)
    many, _ = paired([0.0] * 100)
    assert outcome(few, margin=MARGIN, per_class=MINIMUM_PER_CLASS) == "inconclusive"
    assert outcome(many, margin=MARGIN, per_class=MINIMUM_PER_CLASS) == "non-inferior"
    needed = rows_needed([0.0] * 40, MARGIN)
    assert needed is not None
    assert 73 <= needed <= 80


def test_repeats_are_no_rows() -> None:
    """Ten repeats of the same 30 rows, correlated within each, give the interval of 30 rows."""
    r = random.Random(2)
    rows = [(r.random(), r.random()) for _ in range(30)]
    once, _ = paired([a - b for a, b in rows])
    tenfold, _ = paired([sum([a] * 10) / 10 - sum([b] * 10) / 10 for a, b in rows])
    assert tenfold.n == once.n == 30
    assert tenfold.low == pytest.approx(once.low)


def test_whole_wins_and_losses_are_tangos() -> None:
    found, method = paired([0, 1, 0, 0] * 10)
    assert (found, method) == (tango(10, 0, 40), METHOD)
    assert paired([0.25] * 40)[1] == PADDED


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (lambda r: float(r.random() < 0.9), 0.9),
        (lambda r: 1 - r.random() * (r.random() < 0.05), 0.975),
        (lambda r: r.betavariate(8, 2), 0.8),
        (lambda r: 0.25 + 0.5 * (r.random() < 0.5), 0.5),
    ],
)
def test_the_interval_of_a_mean_covers_the_truth(draw: Draw, truth: float) -> None:
    r = random.Random(3)
    held = sum(e.low <= truth <= e.high for e in (mean([draw(r) for _ in range(50)]) for _ in range(DRAWS)))
    assert held / DRAWS >= 0.93


def test_student() -> None:
    """Points of the printed tables."""
    for freedom, point in ((3, 3.182), (5, 2.571), (10, 2.228), (29, 2.045), (60, 2.000), (1000, 1.962)):
        assert student(freedom) == pytest.approx(point, abs=0.004)


def test_no_number_of_rows_helps_a_prompt_that_loses_the_margin() -> None:
    assert rows_needed([-0.06] * 40, MARGIN) is None
