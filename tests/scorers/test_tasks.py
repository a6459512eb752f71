"""Metrics of numbers and of more than two classes: against scikit-learn, and what every one keeps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tandem.core.errors import Invalid
from tandem.scorers.base import METRICS, judged, load
from tandem.scorers.intervals import measured
from tandem.scorers.sample import Classes, Values

CASES = [(task, name) for task in ("regression", "multiclass") for name in METRICS[task]]  # type: ignore[index]
every = pytest.mark.parametrize(("task", "name"), CASES)


def some(task: str, seed: int, n: int = 120) -> Values | Classes:
    draw = np.random.default_rng(seed)
    if task == "regression":
        truth = draw.normal(size=n) * 10
        return Values.of(truth, np.round(truth + draw.normal(size=n) * 3, 1))
    labels = draw.integers(0, 4, size=n)
    labels[:4] = range(4)
    odds = draw.normal(size=(n, 4)) + 1.5 * np.eye(4)[labels]
    shares = np.round(np.exp(odds), 1) + 0.1
    return Classes.of(labels, shares / shares.sum(axis=1, keepdims=True), classes=4)


def expected(name: str, sample: Values | Classes) -> float:
    if isinstance(sample, Values):
        known = {
            "mae": reference.mean_absolute_error,
            "rmse": reference.root_mean_squared_error,
            "r2": reference.r2_score,
            "median_absolute_error": reference.median_absolute_error,
        }
        return float(known[name](sample.truth, sample.predictions))
    match name:
        case "roc_auc":
            return float(reference.roc_auc_score(sample.labels, sample.probabilities, multi_class="ovr"))
        case "log_loss":
            return float(reference.log_loss(sample.labels, sample.probabilities))
        case "macro_f1":
            return float(reference.f1_score(sample.labels, sample.predicted, average="macro"))
    return float((sample.labels == sample.predicted).mean())


@every
@pytest.mark.parametrize("n", [60, 61])
def test_rows_that_count_more_than_once_or_not_at_all(task: str, name: str, n: int) -> None:
    sample, order = some(task, 1, n), np.random.default_rng(2).permutation(n)
    times = np.random.default_rng(3).integers(0, 4, size=n)
    rows = np.repeat(order, times)
    if isinstance(sample, Values):
        drawn: Values | Classes = Values.of(sample.truth[rows], sample.predictions[rows])
    else:
        drawn = Classes.of(sample.labels[rows], sample.probabilities[rows], classes=4)
    measure = measured(load(name, task), sample, order)  # type: ignore[arg-type]
    assert measure(times.astype(np.float64)[None, :])[0] == pytest.approx(expected(name, drawn))


@every
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(10, 60))
def test_values_are_scikit_learns_and_lie_in_their_interval(task: str, name: str, seed: int, n: int) -> None:
    sample = some(task, seed, n)
    got = load(name, task).score(sample)  # type: ignore[arg-type]
    assert got.value == pytest.approx(expected(name, sample))
    assert got.low <= got.value <= got.high
    assert got.n == n


@every
def test_the_order_of_rows_does_not_matter(task: str, name: str) -> None:
    sample = some(task, 3)
    order = np.random.default_rng(9).permutation(sample.n)
    shuffled = (
        Values.of(sample.truth[order], sample.predictions[order])
        if isinstance(sample, Values)
        else Classes.of(sample.labels[order], sample.probabilities[order], classes=4)
    )
    one, other = (load(name, task).score(each) for each in (sample, shuffled))  # type: ignore[arg-type]
    assert [one.value, one.low, one.high] == pytest.approx([other.value, other.low, other.high], abs=1e-9)


@every
def test_intervals_cover_what_a_large_sample_shows(task: str, name: str) -> None:
    truth = load(name, task).score(some(task, 0, 20_000)).value if name == "accuracy" else expected(name, some(task, 0, 20_000))  # type: ignore[arg-type]
    held = [load(name, task).score(some(task, seed, 150)) for seed in range(1, 31)]  # type: ignore[arg-type]
    assert sum(each.low <= truth <= each.high for each in held) >= 25


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        ([1.0, 2.0], [1.0], "2 targets for 1 predictions"),
        ([1.0, 1.0], [1.0, 2.0], "one value in all rows"),
        ([1.0, float("nan")], [1.0, 2.0], "finite"),
    ],
)
def test_numbers_that_cannot_be_scored(labels: list[float], outputs: list[float], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        judged("regression", labels, outputs)


@pytest.mark.parametrize(
    ("labels", "outputs", "message"),
    [
        ([0, 1], [0.5, 0.3, 0.2], "2 labels and 3 probabilities"),
        ([0, 3], [0.5, 0.3, 0.2] * 2, "from 0 to 2"),
        ([0, 1], [0.5, 0.3, 0.9] * 2, "sum to 1"),
        ([1, 1], [0.5, 0.3, 0.2] * 2, "has one class"),
    ],
)
def test_classes_that_cannot_be_scored(labels: list[float], outputs: list[float], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        judged("multiclass", labels, outputs, classes=3)


def test_a_metric_of_another_task_is_named() -> None:
    with pytest.raises(Invalid, match="no metric 'f1' of a regression model"):
        load("f1", "regression")
