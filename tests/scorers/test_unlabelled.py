"""Metrics to be expected of rows without labels: the curve, expected counts, an interval that holds what comes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.scorers.auc import RocAuc
from tandem.scorers.sample import Sample
from tandem.scorers.unlabelled import curve, estimate, realised


def labelled(seed: int, n: int, *, honest: bool = True) -> Sample:
    """Rows whose probabilities mean what they say, or twice the log-odds."""
    draw = np.random.default_rng(seed)
    odds = draw.normal(0, 1.5, size=n)
    labels = draw.random(n) < 1 / (1 + np.exp(-odds))
    return Sample.of(labels, 1 / (1 + np.exp(-odds if honest else -2 * odds)))


def test_the_curve_never_falls_and_keeps_the_mean() -> None:
    sample = labelled(1, 2000, honest=False)
    found = curve(sample)
    assert (np.diff(found.frequencies) >= 0).all()
    assert found.at(sample.probabilities).mean() == pytest.approx(sample.labels.mean())


def test_the_curve_is_the_isotonic_regression_of_a_known_example() -> None:
    """Pools 1, 0 and then 1, 0, 0 of six rows."""
    sample = Sample.of([0, 1, 0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert curve(sample).frequencies == (0.0, 0.5, 0.5, 0.5, 0.5, 1.0)


def test_known_labels_give_the_metrics_themselves() -> None:
    sample = labelled(3, 300)
    rounded = np.round(sample.probabilities, 1)  # with ties
    found = realised(rounded, sample.labels[None, :].astype(np.float64), 0.5)
    assert found["roc_auc"][0] == pytest.approx(RocAuc().score(Sample.of(sample.labels, rounded)).value)
    called = rounded >= 0.5
    assert found["accuracy"][0] == pytest.approx((called == sample.labels).mean())
    hits = (called & sample.labels).sum()
    assert found["f1"][0] == pytest.approx(2 * hits / (called.sum() + sample.labels.sum()))


def test_expected_area_is_the_sum_over_pairs() -> None:
    draw = np.random.default_rng(2)
    scores = np.round(draw.random(40), 1)
    chances = 0.1 + 0.8 * draw.random(40)
    above = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    weights = chances[:, None] * (1 - chances[None, :])
    np.fill_diagonal(weights, 0.0)
    expected = (weights * above).sum() / (chances.sum() * (1 - chances).sum())
    assert realised(scores, chances[None, :], 0.5)["roc_auc"][0] == pytest.approx(expected)


@pytest.mark.parametrize("honest", [True, False])
def test_intervals_hold_what_is_realised_while_the_rule_stays(honest: bool) -> None:
    """Also where the model is overconfident: the curve mends that."""
    calibrated = curve(labelled(1, 20_000, honest=honest))
    held = 0
    for seed in range(100):
        sample = labelled(seed + 10, 400, honest=honest)
        told = estimate(calibrated, sample.probabilities)["accuracy"]
        held += told.low <= float((sample.predicted == sample.labels).mean()) <= told.high
    assert held >= 87  # 95 expected; fewer with a chance of one in a thousand


def test_a_new_rule_is_not_seen() -> None:
    """The limit that the docs tell: with the labels turned round, the estimate stays as it was."""
    sample = labelled(4, 4000)
    turned = Sample.of(~sample.labels, sample.probabilities)
    told = estimate(curve(labelled(1, 20_000)), turned.probabilities)["accuracy"]
    assert told.low > float((turned.predicted == turned.labels).mean())


def test_an_area_of_one_class_is_unknown() -> None:
    found = realised(np.array([0.2, 0.8]), np.array([[1.0, 1.0]]), 0.5)
    assert math.isnan(found["roc_auc"][0])


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30))
def test_estimates_stay_in_their_bounds(rows: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in rows])
    labels = [0, 1, *(int(label) for _, label in rows)]
    calibrated = curve(Sample.of(labels, [0.1, 0.9, *scores.tolist()]))
    for told in estimate(calibrated, scores).values():
        if math.isfinite(told.value):
            assert -1e-9 <= told.low <= told.value <= told.high <= 1 + 1e-9
