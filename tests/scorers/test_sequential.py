"""Tests that may be asked again and again: their error over all looks, and what they find."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from bench import gate as bench
from tandem.scorers.sequential import ALPHA, Differences, Paired, Rate, Rates, capital, stretch
from tandem.scorers.spending import boundaries, spent

COUNTS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 300))
RUNS, LOOKS, ROWS = 2000, 20, 2000
MANY = 8000
"""For what spends all of its 5 %, so that chance alone does not lift the upper limit above 6 %."""


def paired(counts: tuple[int, int, int]) -> Paired:
    won, lost, tied = counts
    return Paired(won=won, lost=lost, n=won + lost + tied)


@settings(max_examples=60, deadline=None)
@given(COUNTS, COUNTS)
def test_states_add_up_in_any_order(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    assert paired(one) + paired(other) == paired(other) + paired(one)
    together = (paired(one) + paired(other)).interval()
    assert -1 <= together.low <= together.value <= together.high <= 1


@settings(max_examples=60, deadline=None)
@given(COUNTS)
def test_the_interval_is_what_the_capital_does_not_refute_and_mirrors(counts: tuple[int, int, int]) -> None:
    state = paired(counts)
    turned = Paired(won=state.lost, lost=state.won, n=state.n).interval()
    found = state.interval()
    assert (found.low, found.high) == pytest.approx((-turned.high, -turned.low), abs=1e-9)
    if not state.n:
        return
    for difference in (-0.3, 0.0, 0.2):
        assert state.above(difference) == (found.low >= difference) or math.isclose(found.low, difference, abs_tol=1e-9)


def test_the_capital_is_a_fair_game() -> None:
    """Its expectation after three pairs is one where the mean is true, whatever the share of ties."""
    for discordant, difference in ((0.5, 0.0), (0.3, 0.1), (0.9, -0.4)):
        won, lost = (discordant + difference) / 2, (discordant - difference) / 2
        shares = (won, 1 - won - lost, lost)
        total = 0.0
        for first in range(4):
            for second in range(4 - first):
                counts = (first, second, 3 - first - second)
                ways = math.factorial(3) / math.prod(math.factorial(each) for each in counts)
                chance = ways * math.prod(share**each for share, each in zip(shares, counts, strict=True))
                total += chance * math.exp(capital(counts, (1.0, 0.5, 0.0), (difference + 1) / 2))
        assert total == pytest.approx(1.0)


def test_batches_are_counted() -> None:
    state = Paired().with_batch([True, True, False], [True, False, True]).with_batch([False], [False])
    assert state == Paired(won=1, lost=1, n=4)
    assert Rate().with_latencies([1.0, 5.0, 9.0], limit=5.0) == Rate(hits=1, n=3)
    assert Rate(hits=1, n=2) + Rate(hits=2, n=5) == Rate(hits=3, n=7)
    assert Rates(candidate=Rate(hits=1, n=2)) + Rates(champion=Rate(hits=2, n=5)) == Rates(
        candidate=Rate(hits=1, n=2), champion=Rate(hits=2, n=5)
    )
    with pytest.raises(ValueError, match="shorter"):
        Paired().with_batch([True, False], [True])


@pytest.mark.parametrize(
    ("state", "margin", "outcome"),
    [
        (Paired(won=9, lost=0, n=29), 0.02, "not-enough-data"),
        (Paired(won=150, lost=50, n=1000), 0.02, "improved"),
        (Paired(won=20, lost=20, n=2000), 0.05, "non-inferior"),
        (Paired(won=50, lost=150, n=1000), 0.02, "regressed"),
        (Paired(won=20, lost=20, n=100), 0.02, "inconclusive"),
        (Paired(won=20, lost=20, n=100), 1.0, "non-inferior"),
    ],
)
def test_the_verdict(state: Paired, margin: float, outcome: str) -> None:
    assert state.verdict(margin) == outcome


def test_differences_that_are_whole_wins_and_losses_are_nearly_the_paired_ones() -> None:
    gaps = [1.0] * 60 + [-1.0] * 30 + [0.0] * 410
    one = Differences().with_batch(gaps[:200]) + Differences().with_batch(gaps[200:])
    assert one == Differences().with_batch(gaps)
    fine, whole = one.interval(), Paired(won=60, lost=30, n=500).interval()
    assert fine.value == whole.value
    assert whole.low - 0.002 <= fine.low <= whole.low
    assert whole.high <= fine.high <= whole.high + 0.002
    with pytest.raises(ValueError, match="lie in"):
        Differences().with_batch([1.5])


def test_a_better_mean_score_is_found_and_an_equal_one_is_not() -> None:
    draw = np.random.default_rng(2)
    ahead = Differences().with_batch(draw.normal(0.05, 0.2, 800).clip(-1, 1))
    level = Differences().with_batch(draw.normal(0.0, 0.2, 800).clip(-1, 1))
    behind = Differences().with_batch(draw.normal(-0.1, 0.2, 800).clip(-1, 1))
    assert [each.verdict(0.05) for each in (ahead, level, behind)] == ["improved", "non-inferior", "regressed"]
    assert Differences().verdict(0.5) == "not-enough-data"


def test_rates_of_two_streams() -> None:
    worse = Rates(candidate=Rate(hits=90, n=600), champion=Rate(hits=30, n=600))
    assert (worse.verdict(0.01), worse.interval().value) == ("regressed", pytest.approx(-0.1))
    assert Rates(candidate=Rate(hits=30, n=600), champion=Rate(hits=90, n=600)).verdict(0.01) == "improved"
    same = Rates(candidate=Rate(hits=10, n=5000), champion=Rate(hits=10, n=5000))
    assert (same.verdict(0.02), same.verdict(0.0)) == ("non-inferior", "inconclusive")
    assert Rates().verdict(0.5) == "not-enough-data"
    assert Rates(candidate=Rate(hits=1, n=20), champion=Rate(hits=1, n=500)).verdict(0.5) == "not-enough-data"


def test_a_rate_keeps_its_level_over_fifty_looks() -> None:
    """The slow share of a stream, looked at after every twentieth call: the truth is left out in at most 5 % of streams."""
    draw = np.random.default_rng(3)
    truth, left = 0.05, 0
    needed = math.log(2 / ALPHA)
    for hits in (draw.random((200, 1000)) < truth).cumsum(axis=1):
        for n in range(20, 1001, 20):
            counts = (int(hits[n - 1]), n - int(hits[n - 1]))
            above = capital(counts, (1.0, 0.0), truth) >= needed
            if above or capital(counts, (0.0, 1.0), 1 - truth) >= needed:
                left += 1
                break
    assert left <= 19  # 5 % of 200, and three standard errors


@pytest.fixture(scope="module")
def asked() -> dict[str, bench.Says]:
    return bench.methods(LOOKS, ROWS)


def share(says: bench.Says, discordant: float, gain: float, wanted: Callable[[int], bool], runs: int = RUNS) -> float:
    seen = bench.streams(np.random.default_rng(11), runs, LOOKS, ROWS // LOOKS, discordant, gain)
    said, _ = bench.decided(says, seen, ROWS // LOOKS)
    return float(np.mean([wanted(int(each)) for each in said]))


@pytest.mark.parametrize(
    ("method", "runs"), [("planned", MANY), ("confidence sequence", RUNS), ("first look", RUNS), ("asymptotic", RUNS)]
)
def test_equal_models_are_rarely_told_apart_in_twenty_looks(asked: dict[str, bench.Says], method: str, runs: int) -> None:
    """Runs without a difference: the upper 95 % limit of the share of wrong verdicts is at most 6 %."""
    (says,) = [found for name, found in asked.items() if name.startswith(method)]
    wrong = share(says, 0.10, 0.0, lambda said: said != 0, runs)
    assert wrong + norm.ppf(0.975) * math.sqrt(wrong * (1 - wrong) / runs) <= 0.06


def test_asking_a_plain_test_again_and_again_errs_in_every_fifth_run(asked: dict[str, bench.Says]) -> None:
    assert share(asked["naive: McNemar at 5 % each time"], 0.10, 0.0, lambda said: said != 0) > 0.2


@pytest.mark.parametrize(("method", "discordant"), [("planned", 0.095), ("planned", 0.06), ("confidence sequence", 0.055)])
def test_a_gain_of_two_points_is_found_in_four_of_five_runs(asked: dict[str, bench.Says], method: str, discordant: float) -> None:
    (says,) = [found for name, found in asked.items() if name.startswith(method)]
    assert share(says, discordant, 0.02, lambda said: said > 0) >= 0.8


def test_nothing_finds_more_than_one_look_at_the_end(asked: dict[str, bench.Says]) -> None:
    assert bench.bound(0.10, 0.02, 2000) == pytest.approx(0.808, abs=0.002)
    fixed = share(asked["fixed: McNemar once at the end"], 0.10, 0.02, lambda said: said > 0)
    assert fixed == pytest.approx(bench.bound(0.10, 0.02, 2000), abs=0.03)


def test_spending_against_known_boundaries() -> None:
    """One look is the plain test; two even ones with all error at the second are, too."""
    assert boundaries([1.0], 0.05) == pytest.approx([1.95996], abs=1e-3)
    first, second = boundaries([0.5, 1.0], 0.05)
    assert first == pytest.approx(norm.isf(spent(0.5, 0.05) / 2), abs=5e-3)
    assert second == pytest.approx(1.96, abs=5e-3)
    assert boundaries([0.5, 1.7], 0.05) == pytest.approx([first, second])


def test_spending_keeps_its_level_at_uneven_looks() -> None:
    shares = [0.3, 0.35, 0.8, 0.9, 0.95, 1.0]
    limits = boundaries(shares, 0.2)
    steps = np.sqrt(np.diff([0, *shares]))
    walk = (np.random.default_rng(1).normal(size=(200_000, 6)) * steps).cumsum(axis=1) / np.sqrt(shares)
    assert float((np.abs(walk) > limits).any(axis=1).mean()) == pytest.approx(0.2, abs=0.004)


def test_the_asymptotic_sequence_is_wider_than_one_look_and_narrows_with_alpha() -> None:
    assert 1.96 < stretch(500, 0.05) < stretch(500, 0.025)
    assert stretch(20_000, 0.05) < 4
