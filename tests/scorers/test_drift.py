"""Frozen bins, p-values that hold for the actual sizes, effects without the bias of small samples, control over columns."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.scorers import drift, tails
from tandem.scorers.answers import refuses
from tandem.scorers.family import holm
from tandem.scorers.twosample import Rate, amounts, difference, fisher, ratio, welch

DRAWS = 399


def normal(seed: int, n: int, shift: float = 0.0) -> drift.Floats:
    return np.random.default_rng(seed).normal(shift, 1, size=n)


# --- bins


def test_quantile_bins_hold_the_reference_and_two_tails_of_a_percent() -> None:
    bins = drift.freeze("x", np.arange(1000.0))
    assert bins.kind == "quantiles"
    assert len(bins.counts) == len(bins.marks) + 1 == 12
    assert sum(bins.counts) == bins.n == 1000
    assert bins.counts[0] == bins.counts[-1] == 10
    assert (bins.labels[0][0], bins.labels[-1][0]) == ("≤", ">")


def test_few_values_have_a_bin_each_and_one_for_all_others() -> None:
    bins = drift.freeze("x", np.array([0.0, 1.0, 1.0, math.nan]))
    assert (bins.kind, bins.counts, bins.missing) == ("values", (1, 2, 0), 1)
    assert drift.count(bins, np.array([0.0, 0.5, 7.0, 1.0, math.nan])).tolist() == [1, 1, 2]
    assert drift.tally(bins, np.array([-1.0, 0.5, 7.0, math.nan])).outside == 2
    assert drift.histogram(bins, np.array([1, 1, 2]), 3).now == (1, 1, 2, 3)


def test_a_column_without_values_is_no_reference() -> None:
    with pytest.raises(Invalid):
        drift.freeze("x", np.array([math.nan]))


def test_counts_over_other_bins_are_not_compared() -> None:
    for now in ([1, 2], [0, 0, 0]):
        with pytest.raises(Invalid):
            drift.compare([1, 2, 3], now, seed=1)


def test_a_column_of_one_value_has_not_moved() -> None:
    assert drift.compare([50, 0], [20, 0], seed=1).p == 1.0


@given(st.lists(st.integers(0, 40), min_size=2, max_size=12), st.lists(st.integers(0, 40), min_size=12, max_size=12))
def test_figures_stay_in_their_bounds(reference: list[int], now: list[int]) -> None:
    now = now[: len(reference)]
    if not sum(reference) or not sum(now):
        return
    found = drift.compare(reference, now, seed=1, draws=99)
    assert 0 < found.p <= 1
    assert 0 <= found.effect.low <= found.effect.value <= found.effect.high
    assert 0 <= found.variation <= 1


# --- p-values and effects


@pytest.mark.parametrize(("reference", "window"), [(5000, 100), (1000, 1000), (300, 100)])
def test_p_values_hold_for_the_actual_sizes(reference: int, window: int) -> None:
    """Of windows without a change, a share of q has p below q: here 400 windows, each with a reference of its own."""
    below = 0
    for seed in range(400):
        bins = drift.freeze("x", normal(seed, reference))
        counts = drift.count(bins, normal(seed + 10_000, window))
        below += drift.significance(bins.counts, counts, seed=seed, draws=199) <= 0.1
    assert 20 <= below <= 62  # 40 expected; outside with a chance of one in a thousand


def test_the_closed_tail_of_pearsons_statistic_is_the_chi_squared_where_counts_are_large() -> None:
    bins = drift.freeze("x", normal(1, 20_000))
    for shift in (0.1, 0.15, 0.2):
        then, new = np.asarray(bins.counts), drift.count(bins, normal(2, 2000, shift))
        statistic = float(drift._pearson(then, new))
        expected = tails.gamma_above((len(then) - 1) / 2, statistic / 2)
        assert abs(math.log10(drift._pearson_tail(then + new, 2000, statistic)) - math.log10(expected)) < 0.5


def test_the_closed_forms_have_the_moments_of_the_permutations() -> None:
    then, new = np.array([3, 5, 10, 52, 30, 2]), np.array([0, 2, 9, 10, 8, 1])
    pooled, n = then + new, 30
    drawn = np.random.default_rng(1).multivariate_hypergeometric(pooled, n, size=40_000)
    statistics = drift._pearson(pooled - drawn, drawn)
    middle = float(np.quantile(statistics, 0.95))
    assert drift._pearson_tail(pooled, n, middle) == pytest.approx(0.05, abs=0.015)
    assert float(drift._ranks(pooled, n, drawn).mean()) == pytest.approx(1.0, abs=0.03)
    drawn_noise = np.mean([drift._stability(pooled - row, row) for row in drawn[:4000]])
    assert drift._noise(then, new) == pytest.approx(float(drawn_noise), rel=0.04)


def test_a_shift_is_seen_sooner_than_by_a_test_of_shape_alone() -> None:
    """A fifth of a standard deviation in a thousand rows: the ranks' p-value is smaller than Pearson's most of the time."""
    bins = drift.freeze("x", normal(1, 10_000))
    then = np.asarray(bins.counts)
    sooner = 0
    for seed in range(40):
        new = drift.count(bins, normal(seed + 50, 1000, 0.2))
        ranks = drift._ranks_tail(then + new, 1000, new)
        sooner += ranks < drift._pearson_tail(then + new, 1000, float(drift._pearson(then, new)))
    assert sooner >= 32


@given(st.lists(st.floats(-9, 9) | st.just(math.nan), max_size=40), st.lists(st.floats(-9, 9), max_size=40))
def test_tallies_of_parts_add_up_to_the_tally_of_the_whole(some: list[float], more: list[float]) -> None:
    for bins in (drift.freeze("x", normal(1, 500)), drift.freeze("x", np.array([-1.0, 0.0, 2.0]))):
        whole = drift.tally(bins, np.array([*some, *more]))
        parts = drift.tally(bins, np.array(some)) + drift.tally(bins, np.array(more))
        assert (whole.counts.tolist(), whole.missing, whole.outside) == (parts.counts.tolist(), parts.missing, parts.outside)
        assert whole.n == len(some) + len(more)


def test_intervals_of_the_effect_hold_what_was_planted() -> None:
    """The index of a large sample lies in nineteen of twenty intervals of small ones."""
    bins = drift.freeze("x", normal(1, 50_000))
    planted = drift._stability(np.asarray(bins.counts), drift.count(bins, normal(2, 400_000, 0.4)))
    held = 0
    for seed in range(300):
        effect = drift.compare(bins.counts, drift.count(bins, normal(seed + 9, 400, 0.4)), seed=1, draws=DRAWS).effect
        held += effect.low <= planted <= effect.high
    assert 270 <= held <= 297


def test_the_bias_of_small_samples_is_taken_off_the_effect() -> None:
    """The plain index of a hundred unchanged rows passes 0.1 about every second time; ours stays near zero."""
    plain, ours = [], []
    for seed in range(60):
        bins = drift.freeze("x", normal(seed, 2000))
        counts = drift.count(bins, normal(seed + 900, 100))
        plain.append(drift._stability(np.asarray(bins.counts), counts))
        ours.append(drift.compare(bins.counts, counts, seed=seed, draws=DRAWS).effect.value)
    assert np.mean(np.array(plain) > 0.1) > 0.4
    assert np.mean(np.array(ours) > 0.1) < 0.15
    assert np.mean(ours) < 0.04


def test_a_large_sample_makes_a_meaningless_shift_certain_and_leaves_it_small() -> None:
    bins = drift.freeze("x", normal(1, 200_000))
    found = drift.compare(bins.counts, drift.count(bins, normal(2, 200_000, 0.03)), seed=1, draws=DRAWS)
    assert found.p < 1e-6
    assert found.effect.high < 0.02


def test_a_change_of_shape_alone_is_found() -> None:
    bins = drift.freeze("x", normal(1, 5000))
    found = drift.compare(bins.counts, drift.count(bins, 2 * normal(2, 300)), seed=1, draws=DRAWS)
    assert found.p < 1e-6
    assert found.effect.low > 0.1


def test_the_same_counts_give_the_same_figures() -> None:
    once = drift.compare([50, 60, 7], [20, 9, 11], seed=4)
    assert once == drift.compare([50, 60, 7], [20, 9, 11], seed=4)
    assert once.p == drift.significance([50, 60, 7], [20, 9, 11], seed=4)


# --- many tests


def test_adjusted_values_match_the_published_procedure() -> None:
    """Of the fifteen p-values of Benjamini and Hochberg 1995, section 4.1, Holm's procedure rejects three at 0.05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(value <= 0.05 for value in holm(p)) == 3
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusting_keeps_the_order_and_never_lowers(p: list[float]) -> None:
    found = holm(p)
    assert all(p[place] <= value <= 1 for place, value in enumerate(found))
    order = sorted(range(len(p)), key=lambda place: p[place])
    assert [found[place] for place in order] == sorted(found)


def test_weights_move_the_budget_and_add_none() -> None:
    """Half of two tests' weight is Bonferroni's share; equal weights are no weights."""
    assert holm([0.01, 0.5], [3, 1])[0] == pytest.approx(0.01 * 4 / 3)
    assert holm([0.01, 0.02, 0.7], [2, 2, 2]) == holm([0.01, 0.02, 0.7])
    draw = np.random.default_rng(5)
    weights = [8.0, 1.0, 1.0, 0.1]
    false = sum(min(holm(draw.random(4).tolist(), weights)) <= 0.1 for _ in range(4000))
    assert 330 <= false <= 470  # at most 400 expected; outside with a chance of one in a thousand


# --- tails, rates, amounts


def test_tails_match_known_values() -> None:
    assert tails.gamma_above(5.5, 19.675 / 2) == pytest.approx(0.05, abs=1e-4)  # chi-squared, 11 degrees of freedom
    assert tails.gamma_above(2.0, 0.1) == pytest.approx(math.exp(-0.1) * 1.1)
    assert tails.gamma_above(2.0, 0.0) == 1.0
    assert tails.student_beyond(2.228, 10) == pytest.approx(0.05, abs=1e-4)
    assert tails.student_beyond(0.0, 10) == pytest.approx(1.0)
    assert tails.binomial_at_least(0, 5, 0.5) == 1.0
    assert tails.binomial_at_least(5, 5, 0.5) == pytest.approx(1 / 32)
    assert tails.binomial_at_least(8, 100, 0.05) == pytest.approx(0.1280, abs=1e-4)


def test_fishers_lady_tasting_tea() -> None:
    assert fisher(Rate(hits=3, n=4), Rate(hits=1, n=4)) == pytest.approx(0.4857, abs=1e-4)
    assert fisher(Rate(hits=0, n=9), Rate(hits=0, n=9)) == 1.0


def test_the_difference_of_rates_is_newcombes() -> None:
    """Newcombe 1998, table II, row (a): 56/70 against 48/80, method 10."""
    found = difference(Rate(hits=56, n=70), Rate(hits=48, n=80))
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_amounts_are_compared_as_ratios() -> None:
    draw = np.random.default_rng(1)
    before, now = amounts(draw.lognormal(0, 0.5, 300).tolist()), amounts((2 * draw.lognormal(0, 0.5, 300)).tolist())
    found = ratio(now, before)
    assert found.low < 2 < found.high
    assert welch(now, before) < 1e-12
    assert welch(before, before) == pytest.approx(1.0)
    assert amounts([0.0, -1.0]).n == 0
    assert welch(amounts([1.0, 1.0]), amounts([1.0, 1.0])) == 1.0


@pytest.mark.parametrize(
    ("text", "declines"),
    [
        ("I'm sorry, but I can’t help with that.", True),
        ("As an AI language model, I do not have feelings.", True),
        ("We are unable to share this.", True),
        ("I cannot provide medical advice.", True),
        ("The area is 12 square centimetres.", False),
        ("You can find the form on page three.", False),
        ("", False),
        ("The report says: " + "x" * 300 + " I cannot help.", False),
    ],
)
def test_refusals_are_told_by_how_they_begin(text: str, declines: bool) -> None:
    assert refuses(text) is declines
