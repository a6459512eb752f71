"""Rows that come in units: intervals are those of units, whoever orders or repeats their rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tandem.core.score import Estimate
from tandem.scorers.base import METRICS, TaskName, judged, load

TASKS: tuple[TaskName, ...] = ("classification", "multiclass", "regression")
EVERY = [(task, metric) for task in TASKS for metric in METRICS[task]]
UNITS = 40


def score(task: TaskName, metric: str, order: Sequence[int], groups: Sequence[str]) -> Estimate:
    """Of `UNITS` made-up rows, those in that order."""
    draw = np.random.default_rng(2)
    labels = draw.integers(0, 3 if task == "multiclass" else 2, UNITS).astype(float)
    if task == "multiclass":
        told = 0.8 * draw.dirichlet((1, 1, 1), UNITS) + 0.2 * np.eye(3)[labels.astype(int)]
    elif task == "regression":
        labels = labels + draw.normal(size=UNITS)
        told = labels[:, None] + draw.normal(size=(UNITS, 1))
    else:
        told = np.clip(labels * 0.3 + draw.uniform(0, 0.7, UNITS), 0, 1)[:, None]
    place = list(order)
    sample = judged(task, labels[place].tolist(), told[place].ravel().tolist(), classes=told.shape[1], groups=groups)
    return load(metric, task).score(sample)


@pytest.mark.parametrize(("task", "metric"), EVERY)
def test_rows_that_are_repeated_in_their_unit_tell_nothing_more(task: TaskName, metric: str) -> None:
    once = score(task, metric, range(UNITS), [str(unit) for unit in range(UNITS)])
    often = [row for row in range(UNITS) for _ in range(7)]
    again = score(task, metric, often, [str(row) for row in often])
    assert (once.n, again.n) == (UNITS, UNITS)
    if metric != "median_absolute_error":  # whose middle two rows are then one
        assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high))
    assert again.high - again.low > 0.8 * (once.high - once.low) > 0


@pytest.mark.parametrize(("task", "metric"), EVERY)
def test_neither_the_order_of_rows_nor_the_names_of_units_matter(task: TaskName, metric: str) -> None:
    shuffled = np.random.default_rng(3).permutation(UNITS).tolist()
    one = score(task, metric, range(UNITS), [str(row // 4) for row in range(UNITS)])
    two = score(task, metric, shuffled, [f"unit {99 - row // 4}" for row in shuffled])
    assert one.n == UNITS // 4
    assert (two.value, two.low, two.high) == pytest.approx((one.value, one.low, one.high))


def test_what_never_went_wrong_is_not_promised_for_good() -> None:
    sample = judged("classification", [0, 1] * 20, [0.1, 0.9] * 20, groups=[str(row // 4) for row in range(40)])
    for metric in ("accuracy", "recall", "precision", "roc_auc"):
        found = load(metric).score(sample)
        assert (found.value, found.high, found.n) == (1.0, 1.0, 10)
        assert found.low == pytest.approx(0.7225, abs=1e-3)
