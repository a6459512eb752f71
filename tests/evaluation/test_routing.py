"""The figures of routing, against cases done by hand and what must always hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.evaluation.curve import draw
from tandem.evaluation.outcomes import Asked, Outcomes
from tandem.evaluation.routing import TOLERANCES, Report, Standing, _area, _judged, _reached, judge, learned, mixed, oracle
from tandem.gateway.routing.learned import Candidate, decide
from tandem.scorers.sample import Floats


def outcomes(scores: Sequence[Sequence[float]], costs: Sequence[int], *, groups: Sequence[str] = ()) -> Outcomes:
    """Models a, b, … at the same cost in every row."""
    rows = tuple(
        Asked(question=f"q{place}", scores=tuple(row), costs=tuple(costs), group=groups[place] if groups else f"q{place}")
        for place, row in enumerate(scores)
    )
    return Outcomes(models=tuple("abcdefgh"[: len(costs)]), rows=rows, leaked=0, costing="recorded")


def way(report: Report, name: str) -> Standing:
    return next(each for each in report.ways if each.name == name)


TWO = outcomes([[1, 1], [0, 1], [0, 1], [1, 0], [0, 0], [0, 1], [0, 1], [1, 1]], [10, 30])
"""The weak model is right in 3 of 8, the strong one in 6 of 8; one of the two in 7."""


def test_two_models_by_hand() -> None:
    report = judge(TWO)
    assert (report.weak, report.strong, report.chosen_on) == ("a", "b", "these rows")
    assert report.gap.value == pytest.approx(3 / 8)
    cheap, best = way(report, "always-cheap"), way(report, "best-single")
    assert (cheap.quality.value, cheap.cost.value, cheap.saving.value) == pytest.approx((3 / 8, 10, 2 / 3))
    assert (best.quality.value, best.cost.value, best.gain.value) == pytest.approx((6 / 8, 30, 0))
    assert (cheap.recovered.value, best.recovered.value) == pytest.approx((0, 1))
    assert cheap.apgr.value is best.apgr.value is None
    assert [figure.value for figure in cheap.cpt.values()] == [None, None, None]
    assert [figure.value for figure in best.cpt.values()] == [1, 1, 1]
    # The oracle pays for the strong model in the four rows only it answers: 4/8 of the calls recover 4 of the 3 that are lacking.
    known = way(report, "oracle")
    assert known.quality.value == pytest.approx(7 / 8)
    assert known.cost.value == pytest.approx(20)
    assert known.apgr.value == pytest.approx(0.5 * (4 / 3) / 2 + 0.5 * 4 / 3)
    assert [figure.value for figure in known.cpt.values()] == pytest.approx([0.5 * 0.5 / (4 / 3), 0.5 * 0.8 / (4 / 3), 0.375])


def test_a_coin_recovers_half() -> None:
    coin = way(judge(TWO), "random")
    assert coin.apgr.value == pytest.approx(0.5)
    assert [figure.value for figure in coin.cpt.values()] == pytest.approx([0.5, 0.8, 1.0])


def test_the_area_by_hand() -> None:
    def area(x: list[float], g: list[float]) -> float:
        return float(_area(np.array([x]), np.array([g]))[0, 0])

    assert area([0, 1], [0, 1]) == pytest.approx(0.5)
    assert area([0.5], [1]) == pytest.approx(0.25 + 0.5), "begins at always-cheap, goes on level"
    assert area([0, 0.5, 0.5, 1], [0, 0, 1, 1]) == pytest.approx(0.5), "a step"
    assert area([-0.5, 0.5, 1.5], [0, 1, 2]) == pytest.approx((0.5 + 1.5) / 2), "only what lies between 0 and 1"
    assert area([1, 0], [1, 0]) == pytest.approx(0.5), "in any order"
    assert area([0, 0.5, 1], [0, 1, 0.5]) == pytest.approx(0.25 + 0.375), "a fall counts"


def test_what_recovers_a_share_by_hand() -> None:
    def reached(x: list[float], g: list[float], goal: float, *, curve: bool = True) -> float:
        return float(_reached(np.array([x]), np.array([g]), goal, curve=curve)[0, 0])

    assert reached([0, 1], [0, 1], 0.5) == pytest.approx(0.5)
    assert reached([0.4, 1], [0.8, 0.9], 0.4) == pytest.approx(0.2)
    assert reached([0.4, 0.6, 1], [0.8, 0.1, 0.9], 0.8) == pytest.approx(0.4), "the least"
    assert reached([-0.2, 1], [0.6, 1], 0.5) == 0
    assert reached([0, 1], [0, 0.4], 0.5) == np.inf
    assert reached([0.7], [1], 0.5, curve=False) == 0.7
    assert np.isnan(reached([0, 1], [0, np.nan], 0.5))


def test_where_there_is_no_gap_there_is_no_ratio() -> None:
    report = judge(outcomes([[1, 0], [1, 1], [0, 0]] * 10, [10, 30]))
    assert report.weak == report.strong == "a"
    assert all(each.apgr.value is None for each in report.ways)
    assert all(figure.value is None for each in report.ways for figure in each.cpt.values())


def test_where_the_best_of_the_training_is_worse_there_is_no_ratio() -> None:
    report = judge(outcomes([[1, 0], [1, 1], [1, 0]] * 10, [10, 30]), means={"a": 0.1, "b": 0.9})
    assert (report.weak, report.strong) == ("a", "b")
    assert report.gap.high < 0
    assert all(each.apgr.value is None and each.recovered.value is None for each in report.ways)


def test_a_gap_that_may_be_none_gives_no_interval() -> None:
    faint = judge(outcomes([[1, 0]] * 10 + [[0, 1]] * 12 + [[1, 1]] * 10, [10, 30]))
    assert faint.gap.low < 0
    assert way(faint, "oracle").apgr.value is not None
    assert way(faint, "oracle").apgr.low is None
    sure = judge(outcomes([[0, 1]] * 40 + [[1, 1]] * 10 + [[1, 0]] * 2, [10, 30]))
    figure = way(sure, "oracle").apgr
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low <= figure.value <= figure.high


def test_the_mix_is_the_hull_of_single_models() -> None:
    scores = np.array([[0.2, 0.3, 0.8, 0.5]])
    got = mixed(scores[0], scores, np.array([[10.0, 20.0, 30.0, 40.0]]))
    assert got.cost[:, 0].tolist() == [10, 30], "the second lies under the line, the fourth costs more for less"


many = st.integers(2, 5).flatmap(
    lambda models: st.tuples(
        st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=models, max_size=models), min_size=4, max_size=30),
        st.lists(st.integers(1, 9), min_size=models, max_size=models),
        st.integers(0, 1000),
    )
)


@settings(max_examples=100, deadline=None)
@given(many)
def test_nobody_beats_the_oracle_at_any_cost(case: tuple[list[list[float]], list[int], int]) -> None:
    """The curve of who knows every score lies on or above every setting of every other way."""
    scores, price, seed = np.array(case[0]), np.array(case[1], dtype=np.float64), case[2]
    costs = np.tile(price, (len(scores), 1))
    chances = np.random.default_rng(seed).random(scores.shape)
    known, mine = oracle(scores, costs), learned(chances, scores, costs)
    x, y = known.cost.mean(axis=1), known.quality.mean(axis=1)
    assert (np.diff(x) >= -1e-9).all()
    assert (np.diff(y) >= -1e-9).all()
    for cost, quality in zip(mine.cost.mean(axis=1), mine.quality.mean(axis=1), strict=True):
        assert quality <= np.interp(cost, x, y) + 1e-9
    for model in range(len(price)):
        assert scores[:, model].mean() <= np.interp(price[model], x, y) + 1e-9


few = st.integers(2, 3).flatmap(
    lambda models: st.tuples(
        st.lists(st.lists(st.sampled_from([0.0, 0.3, 0.5, 1.0]), min_size=models, max_size=models), min_size=2, max_size=5),
        st.lists(st.integers(1, 30), min_size=models, max_size=models),
    )
)


@settings(max_examples=60, deadline=None)
@given(few)
def test_no_choice_at_all_beats_the_oracle(case: tuple[list[list[float]], list[int]]) -> None:
    scores, price = np.array(case[0]), np.array(case[1], dtype=np.float64)
    known = oracle(scores, np.tile(price, (len(scores), 1)))
    x, y = known.cost.mean(axis=1), known.quality.mean(axis=1)
    for picks in product(range(len(price)), repeat=len(scores)):
        quality = float(np.mean([scores[row, pick] for row, pick in enumerate(picks)]))
        assert quality <= np.interp(price[list(picks)].mean(), x, y) + 1e-9


@settings(max_examples=50, deadline=None)
@given(many)
def test_the_score_chooses_as_the_door_does(case: tuple[list[list[float]], list[int], int]) -> None:
    scores, price = np.array(case[0]), case[1]
    chances = np.random.default_rng(case[2]).random(scores.shape).round(2)
    played = learned(chances, scores, np.tile(np.array(price, dtype=np.float64), (len(scores), 1)))
    candidates = [Candidate(model=str(place), cost=cost) for place, cost in enumerate(price)]
    for setting in (0, 20, len(TOLERANCES) - 1):
        for row in range(len(scores)):
            told = {str(place): float(chance) for place, chance in enumerate(chances[row])}
            first = decide(told, candidates, TOLERANCES[setting])[0]
            assert played.quality[setting, row] == scores[row, int(first.candidate.model)]
            assert played.cost[setting, row] == first.candidate.cost


def test_a_lower_tolerance_never_costs_less() -> None:
    draw_ = np.random.default_rng(3)
    chances, costs = draw_.random((200, 4)), draw_.integers(1, 99, (200, 4)).astype(np.float64)
    assert (np.diff(learned(chances, chances, costs).cost, axis=0) >= 0).all()


def test_the_order_of_rows_does_not_matter() -> None:
    there, back = judge(TWO), judge(replace(TWO, rows=TWO.rows[::-1]))
    for one, other in zip(there.ways, back.ways, strict=True):
        for name in ("quality", "gain", "cost", "saving"):
            a, b = getattr(one, name), getattr(other, name)
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high))


def test_rows_of_a_group_are_drawn_together() -> None:
    """Ten copies of each question tell no more than one: the interval must not shrink."""
    scores = [[float(place % 3 == 0), float(place % 2)] for place in range(24)]
    once = judge(outcomes(scores, [10, 30]), means={"a": 0.1, "b": 0.9})
    copied = [row for row in scores for _ in range(10)]
    names = [f"q{place:02}" for place in range(24) for _ in range(10)]
    grouped = judge(outcomes(copied, [10, 30], groups=names), means={"a": 0.1, "b": 0.9})
    naive = judge(outcomes(copied, [10, 30]), means={"a": 0.1, "b": 0.9})

    def width(report: Report) -> float:
        return report.gap.high - report.gap.low

    assert grouped.groups == 24
    assert width(grouped) == pytest.approx(width(once), rel=0.1)
    assert width(naive) < 0.5 * width(once)


def test_the_interval_covers_what_it_should() -> None:
    """Of 200 samples of a known world about 95 % have the true gap in their interval."""
    dice = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        scores = np.column_stack([dice.random(80) < 0.4, dice.random(80) < 0.6]).astype(float)
        low_cost = [np.full((1, 80), 10.0), np.full((1, 80), 30.0)]
        ways = [_fixed(scores[:, place], low_cost[place]) for place in (0, 1)]
        gap = _judged(ways, np.arange(80))[1]
        hits += gap.low <= 0.2 <= gap.high
    assert 180 <= hits <= 199


def _fixed(scores: Floats, cost: Floats):  # type: ignore[no-untyped-def]
    from tandem.evaluation.routing import Way

    return Way(name="x", quality=scores[None, :], cost=cost, curve=False)


def test_the_best_model_is_named_by_the_training_where_there_is_one() -> None:
    report = judge(TWO, means={"a": 0.9, "b": 0.1})
    assert (report.strong, report.chosen_on) == ("a", "training")


def test_without_costs_there_is_no_score() -> None:
    with pytest.raises(Invalid, match="nothing about costs"):
        judge(replace(TWO, costing=None))


def test_the_picture_is_the_same_every_time_and_names_all() -> None:
    report = judge(outcomes([[1, 1], [0, 1]] * 20, [10, 30]))
    picture = draw(replace(report, weak="<small>"))
    assert picture == draw(replace(report, weak="<small>"))
    assert "&lt;small&gt;" in picture
    assert "<small>" not in picture
    assert all(f">{each.name} {each.quality.value:.3f}<" in picture for each in report.ways)
    import xml.etree.ElementTree as tree

    assert tree.fromstring(picture).tag.endswith("svg")
