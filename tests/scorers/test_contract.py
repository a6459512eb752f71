"""What every scorer keeps, over all members of the table."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.scorers.base import SCORERS, load
from tandem.scorers.sample import Sample

every = pytest.mark.parametrize("name", SCORERS)


def some(seed: int, n: int = 200, threshold: float = 0.5) -> Sample:
    draw = np.random.default_rng(seed)
    labels = draw.random(n) < 0.4
    labels[:2] = (True, False)
    odds = draw.normal(size=n) + 1.5 * labels
    return Sample.of(labels, np.round(1 / (1 + np.exp(-odds)), 2), threshold=threshold)


@every
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 80))
def test_bounds_hold_and_the_interval_contains_the_value(name: str, seed: int, n: int) -> None:
    got = load(name).score(some(seed, n))
    assert 0 <= got.low <= got.value <= got.high
    if name != "log_loss":
        assert got.high <= 1
    assert 0 <= got.n <= n
    assert got.level == 0.95


@every
def test_the_order_of_rows_does_not_matter(name: str) -> None:
    sample = some(3)
    order = np.random.default_rng(9).permutation(sample.n)
    shuffled = Sample.of(sample.labels[order], sample.probabilities[order])
    one, other = load(name).score(sample), load(name).score(shuffled)
    assert [one.value, one.low, one.high, one.n] == pytest.approx([other.value, other.low, other.high, other.n], abs=1e-12)


@every
def test_the_same_sample_gives_the_same_interval(name: str) -> None:
    assert load(name).score(some(4)) == load(name).score(some(4))


@every
def test_perfect_predictions(name: str) -> None:
    scorer = load(name)
    labels = np.arange(100) % 2
    got = scorer.score(Sample.of(labels, labels.astype(float)))
    assert got.value == pytest.approx(1 if scorer.more_is_better else 0, abs=1e-9)
    worst = scorer.score(Sample.of(labels, 1.0 - labels))
    assert (worst.value < got.value) is scorer.more_is_better


@every
def test_constant_predictions_are_scored(name: str) -> None:
    got = load(name).score(Sample.of([0, 1, 0, 0], [0.25] * 4))
    expected = {
        "accuracy": 0.75,
        "precision": 0,
        "recall": 0,
        "f1": 0,
        "roc_auc": 0.5,
        "log_loss": 0.5623351446188083,
        "brier": 0.1875,
        "calibration_error": 0,
    }
    assert got.value == pytest.approx(expected[name])


@every
def test_more_rows_narrow_the_interval(name: str) -> None:
    few, many = load(name).score(some(5, 100)), load(name).score(some(5, 10_000))
    assert many.high - many.low < few.high - few.low


@every
def test_name_and_table_agree(name: str) -> None:
    assert load(name).name == name


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(Invalid, match="There is no metric 'auc'") as caught:
        load("auc")
    assert "roc_auc" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3], "only the positive class"),
        ([0, 0], [0.1, 0.2], "only the negative class"),
        ([], [], "no rows"),
        ([0, 1], [0.1], "2 labels"),
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, 1.2], "between 0 and 1"),
        ([0, 1], [0.1, float("nan")], "between 0 and 1"),
    ],
)
def test_a_sample_that_cannot_be_scored_is_refused(labels: list[int], probabilities: list[float], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        Sample.of(labels, probabilities)
