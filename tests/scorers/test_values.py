"""Values against scikit-learn, intervals against their coverage and against published formulas."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tandem.scorers.auc import midranks, placements
from tandem.scorers.base import load
from tandem.scorers.proportions import wilson
from tandem.scorers.sample import Floats, Sample, Truths


def draw(seed: int, n: int) -> tuple[Truths, Floats]:
    random = np.random.default_rng(seed)
    labels = random.random(n) < 0.5
    labels[:2] = (True, False)
    return labels, np.round(random.random(n), 1)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 60))
def test_values_are_those_of_scikit_learn(seed: int, n: int) -> None:
    labels, chance = draw(seed, n)
    sample = Sample.of(labels, chance)
    predicted = chance >= 0.5
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "precision": metrics.precision_score(labels, predicted, zero_division=0),
        "recall": metrics.recall_score(labels, predicted),
        "f1": metrics.f1_score(labels, predicted, zero_division=0),
        "roc_auc": metrics.roc_auc_score(labels, chance),
        "log_loss": metrics.log_loss(labels, chance),
        "brier": metrics.brier_score_loss(labels, chance),
    }
    assert {name: load(name).score(sample).value for name in expected} == pytest.approx(expected)


def test_the_threshold_belongs_to_the_positive_side() -> None:
    assert load("recall").score(Sample.of([1, 0], [0.5, 0.2], threshold=0.5)).value == 1
    assert load("recall").score(Sample.of([1, 0], [0.5, 0.2], threshold=0.51)).value == 0


def test_calibration_error_by_hand() -> None:
    # Bin [0.2, 0.3): two rows, mean label 0.5, mean probability 0.25; bin [0.9, 1]: two rows, 1 against 0.95.
    sample = Sample.of([0, 1, 1, 1], [0.22, 0.28, 0.9, 1.0])
    assert load("calibration_error").score(sample).value == pytest.approx(0.5 * 0.25 + 0.5 * 0.05)


def test_wilson_has_the_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263, 0 of 20, 29 of 29."""
    found = [(round(got.low, 4), round(got.high, 4)) for got in (wilson(81, 263), wilson(0, 20), wilson(29, 29))]
    assert found == [(0.2553, 0.3662), (0.0, 0.1611), (0.8830, 1.0)]


def test_midranks_and_placements_by_brute_force() -> None:
    labels, chance = draw(7, 50)
    positive, negative = chance[labels], chance[~labels]
    pairs = (positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :])
    above, below = placements(Sample.of(labels, chance))
    assert above == pytest.approx(pairs.mean(axis=1))
    assert below == pytest.approx(pairs.mean(axis=0))
    assert list(midranks(np.array([3.0, 1.0, 3.0]))) == [2.5, 1, 2.5]


@pytest.mark.parametrize("name", ["roc_auc", "brier", "f1", "accuracy"])
def test_intervals_cover_the_truth(name: str) -> None:
    """A known population, 300 samples of 250 rows: about 95 % of the intervals hold the population's value.

    Below 91 % or above 99 % has a probability under 0.2 % when coverage is 95 % (binomial).
    """
    random = np.random.default_rng(11)

    def population(n: int) -> Sample:
        labels = random.random(n) < 0.4
        odds = random.normal(size=n) + 1.2 * labels - 0.4
        return Sample.of(labels, 1 / (1 + np.exp(-odds)))

    scorer = load(name)
    big = population(400_000)
    truth = scorer.of(scorer.terms(big).sum(axis=0)) if hasattr(scorer, "terms") else scorer.score(big).value
    inside = [got.low <= truth <= got.high for got in (scorer.score(population(250)) for _ in range(300))]
    assert 0.91 <= np.mean(inside) <= 0.99


def test_listing_scorers_needs_no_numpy() -> None:
    code = "import sys, tandem.scorers.base; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
