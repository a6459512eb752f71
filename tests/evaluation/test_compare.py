from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import binomtest, norm

from tandem.core.errors import Invalid
from tandem.core.score import Estimate
from tandem.evaluation import delong, matched, resampled, tango
from tandem.evaluation.compare import compare, outcome
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.looks import ONCE
from tandem.scorers.base import SCORERS, load
from tandem.scorers.sample import Sample

Numbers = NDArray[np.float64]


def folds(labels: Numbers, chance: Numbers, **other: object) -> OutOfFold:
    made = OutOfFold(
        dataset="dataset/made@1",
        digest="sha256:1",
        target="y",
        positive="1",
        rows=tuple(f"r{i}" for i in range(len(labels))),
        labels=tuple(int(label) for label in labels),
        probabilities=tuple(float(p) for p in chance),
        seed=0,
        folds=5,
    )
    return replace(made, **other)  # type: ignore[arg-type]


def two(seed: int, n: int = 200, shift: float = 1.5, noise: float = 0.5) -> tuple[OutOfFold, OutOfFold]:
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.4).astype(float)
    odds = random.normal(size=n) + shift * labels
    one = 1 / (1 + np.exp(-odds))
    other = 1 / (1 + np.exp(-(odds + noise * random.normal(size=n))))
    return folds(labels, one), folds(labels, other)


@pytest.mark.parametrize("metric", SCORERS)
def test_value_orientation_and_antisymmetry(metric: str) -> None:
    one, other = two(1)
    there, back = compare(metric, one, other, margin=0.02), compare(metric, other, one, margin=0.02)
    scorer = load(metric)
    assert there.difference is not None
    assert back.difference is not None
    sign = 1 if scorer.more_is_better else -1
    assert there.champion is not None
    assert there.difference.value == pytest.approx(sign * (there.candidate.value - there.champion.value))
    assert there.difference.low <= there.difference.value <= there.difference.high
    assert there.difference.value == pytest.approx(-back.difference.value)
    assert [there.difference.low, there.difference.high] == pytest.approx([-back.difference.high, -back.difference.low], abs=0.02)
    assert there.difference.n == 200
    assert there.method


@pytest.mark.parametrize("metric", SCORERS)
def test_a_model_is_non_inferior_to_itself(metric: str) -> None:
    one, _ = two(2)
    verdict = compare(metric, one, one, margin=0.05)
    assert verdict.outcome == "non-inferior"
    assert verdict.difference is not None
    assert verdict.difference.value == 0


@pytest.mark.parametrize("metric", ["roc_auc", "accuracy", "brier"])
def test_the_order_of_rows_does_not_matter(metric: str) -> None:
    one, other = two(3)
    order = np.random.default_rng(4).permutation(len(other.rows))
    shuffled = replace(
        other,
        rows=tuple(other.rows[i] for i in order),
        labels=tuple(other.labels[i] for i in order),
        probabilities=tuple(other.probabilities[i] for i in order),
    )
    assert compare(metric, one, shuffled, margin=0.1) == compare(metric, one, other, margin=0.1)


@settings(max_examples=200)
@given(low=st.floats(-1, 1), width=st.floats(0, 1), margin=st.floats(0, 0.5))
def test_outcomes_follow_the_table(low: float, width: float, margin: float) -> None:
    high = low + width
    got = outcome(Estimate(value=(low + high) / 2, low=low, high=high, n=100), margin=margin, per_class=50)
    expected = {
        "improved": low > 0,
        "non-inferior": not low > 0 and low > -margin,
        "regressed": high < 0 and low <= -margin,
        "inconclusive": not low > -margin and not high < 0 and not low > 0,
    }
    assert [name for name, holds in expected.items() if holds] == [got]


@pytest.mark.parametrize(("n", "per_class"), [(29, 14), (100, 4)])
def test_too_few_rows_give_no_verdict(n: int, per_class: int) -> None:
    labels = np.array([1.0] * per_class + [0.0] * (n - per_class))
    verdict = compare("roc_auc", folds(labels, labels), folds(labels, 1 - labels), margin=0.02)
    assert verdict.outcome == "not-enough-data"
    assert verdict.difference is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "dataset/made@2"}, "another dataset .*made@1.*made@2"),
        ({"digest": "sha256:2"}, "another content"),
        ({"target": "z"}, "another target"),
        ({"positive": "0"}, "another positive class"),
        ({"rows": tuple(f"s{i}" for i in range(200))}, "200 of the candidate's are not among"),
        ({"labels": (0,) * 200}, "different labels"),
    ],
)
def test_what_is_not_paired_is_not_compared(change: dict[str, object], message: str) -> None:
    one, other = two(5)
    with pytest.raises(Invalid, match=message):
        compare("roc_auc", one, replace(other, **change), margin=0.02)  # type: ignore[arg-type]


def test_a_subset_of_rows_is_not_compared() -> None:
    one, other = two(5)
    cut = replace(one, rows=one.rows[:150], labels=one.labels[:150], probabilities=one.probabilities[:150])
    for pair in ((cut, other), (other, cut)):
        with pytest.raises(Invalid, match="rows and the champion on"):
            compare("roc_auc", *pair, margin=0.02)


def test_a_margin_below_zero_is_refused() -> None:
    one, other = two(5)
    for margin in (-0.01, math.nan):
        with pytest.raises(Invalid, match="margin"):
            compare("roc_auc", one, other, margin=margin)


def test_predictions_survive_json_and_are_checked() -> None:
    one, _ = two(6)
    assert OutOfFold.from_json(one.to_json()) == one
    with pytest.raises(Invalid, match="no out-of-fold predictions"):
        OutOfFold.from_json(b"{}")
    with pytest.raises(Invalid, match="199 labels"):
        replace(one, labels=one.labels[:-1])
    with pytest.raises(Invalid, match="name a row twice"):
        replace(one, rows=("r0",) * 200)


def test_the_area_interval_against_brute_force_covariance() -> None:
    one, other = two(7, n=60)
    a, b = Sample.of(one.labels, one.probabilities), Sample.of(other.labels, other.probabilities)

    def pairs(sample: Sample) -> Numbers:
        positive, negative = sample.probabilities[sample.labels], sample.probabilities[~sample.labels]
        return np.asarray((positive[:, None] > negative[None, :]) + 0.5 * (positive[:, None] == negative[None, :]))

    def spread(grid: Numbers, second: Numbers) -> float:
        rows = np.cov(grid.mean(axis=1), second.mean(axis=1))[0, 1] / grid.shape[0]
        return float(rows + np.cov(grid.mean(axis=0), second.mean(axis=0))[0, 1] / grid.shape[1])

    first, second = pairs(a), pairs(b)
    rho = spread(first, second) / math.sqrt(spread(first, first) * spread(second, second))
    new, old = load("roc_auc").score(a), load("roc_auc").score(b)
    x, y = new.value - new.low, old.high - old.value
    got = delong.difference(load("roc_auc"), a, b, ONCE)
    assert got.value == pytest.approx(first.mean() - second.mean())
    assert got.low == pytest.approx(got.value - math.sqrt(x * x + y * y - 2 * rho * x * y))


def test_tango_interval_solves_its_defining_equation() -> None:
    """The statistic is plus or minus 1.96 at the bounds, and its square is McNemar's chi-square at zero."""
    won, lost, n = 15, 6, 100
    labels = np.ones(n)
    labels[50:] = 0
    right, old = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    old[:won] = False
    right[won : won + lost] = False
    ours = Sample.of(labels.astype(int), np.where(right, labels, 1 - labels))
    theirs = Sample.of(labels.astype(int), np.where(old, labels, 1 - labels))
    got = matched.difference(load("accuracy"), ours, theirs, ONCE)
    assert got.value == pytest.approx((won - lost) / n)
    assert tango._score(won, lost, n, got.low) == pytest.approx(1.959964, abs=1e-4)
    assert tango._score(won, lost, n, got.high) == pytest.approx(-1.959964, abs=1e-4)
    assert tango._score(won, lost, n, 0.0) ** 2 == pytest.approx((won - lost) ** 2 / (won + lost))


def false_passes_allowed(trials: int) -> int:
    """The most false passes that a true rate of 2.5 % gives in `trials`, except once in a thousand."""
    return max(k for k in range(trials) if binomtest(k, trials, 0.025, alternative="greater").pvalue > 0.001)


@pytest.mark.parametrize(("better", "worse", "rows"), [(0.90, 0.85, 300), (0.98, 0.96, 300), (0.99, 0.97, 100)])
def test_a_loss_of_exactly_the_margin_in_roc_area_rarely_passes(better: float, worse: float, rows: int) -> None:
    """Two binormal models with these areas and correlated scores, 800 experiments."""
    random = np.random.default_rng(20)
    labels = np.arange(rows) < 0.4 * rows
    passes = 0
    for _ in range(800):
        shared, *own = random.normal(size=(3, rows))
        ours, theirs = (
            Sample.of(labels, expit(norm.ppf(area) * math.sqrt(2) * labels + math.sqrt(0.6) * shared + math.sqrt(0.4) * noise))
            for area, noise in zip((worse, better), own, strict=True)
        )
        passes += delong.difference(load("roc_auc"), ours, theirs, ONCE).low > worse - better
    assert passes <= false_passes_allowed(800)


def test_a_loss_of_exactly_the_margin_in_accuracy_rarely_passes() -> None:
    """3 % of rows won, 8 % lost: a true loss of 0.05, 2,000 experiments of 250 rows."""
    random = np.random.default_rng(21)
    passes = 0
    for _ in range(2_000):
        won, lost, _ = random.multinomial(250, (0.03, 0.08, 0.89))
        low = tango._bound(int(won), int(lost), 250, 1.959963984540054, -1.0, (won - lost) / 250)
        passes += low > -0.05
    assert passes <= false_passes_allowed(2_000)


def test_a_loss_of_exactly_the_margin_in_brier_score_rarely_passes() -> None:
    """The candidate adds noise to true probabilities; the margin is its exact expected loss; 250 experiments of 300 rows."""
    random = np.random.default_rng(22)

    def experiment(n: int) -> tuple[Sample, Sample]:
        chance = random.beta(2, 2, n)
        worse = np.clip(chance + random.choice((-0.2, 0.2), n), 0, 1)
        labels = random.random(n) < chance
        return Sample.of(labels, worse), Sample.of(labels, chance)

    big, truth = experiment(2_000_000)
    margin = float(((big.probabilities - big.labels) ** 2 - (truth.probabilities - truth.labels) ** 2).mean())
    passes = sum(resampled.difference(load("brier"), *experiment(300), ONCE).high < margin for _ in range(250))
    assert passes <= false_passes_allowed(250)


def test_power_a_real_gain_is_seen() -> None:
    """The simulations above would also hold for a method that never passes."""
    better, worse = two(9, n=600, noise=2.0)
    for metric in ("roc_auc", "accuracy", "log_loss", "f1"):
        assert compare(metric, better, worse, margin=0.02).outcome == "improved"
        assert compare(metric, worse, better, margin=0.02).outcome == "regressed"
