"""How good is a way to choose among models? Judged on recorded outcomes, with intervals. Knows no door.

Every way has one or more settings; a setting chooses a model for each question, and so has a mean quality and a mean cost.
With w the cheapest model, s the best single one, q quality and c cost:

    share  x = (c - c_w) / (c_s - c_w)      cost between always-cheap (0) and always-strong (1)
    PGR    g = (q - q_w) / (q_s - q_w)      performance gap recovered
    APGR   the mean of g over x from 0 to 1, along the curve through the settings
    CPT(t) the least x at which the curve has g >= t

These are RouteLLM's (Ong et al. 2024, arXiv 2406.18665), whose x is the share of calls to the strong model: with
two models whose calls cost the same each, both are one. Between settings the curve is straight, since calls can be split
between two settings; it begins at always-cheap, and goes on level where a way spends no more.

Intervals are 95 % percentile bootstraps of 2,000 resamples over groups of questions, paired: all figures of all ways are
computed from the same draw. Which model is the best, and which setting is compared with it, is not drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.core.score import Estimate
from tandem.evaluation.outcomes import Outcomes, best_of, unpacked
from tandem.gateway.routing.learned import LearnedRouter
from tandem.scorers.intervals import percentiles, resample
from tandem.scorers.sample import Floats

TOLERANCES = tuple((step / 40) ** 2 for step in range(40, -1, -1))
"""Settings of a learned router, from the cheapest to the best."""
GOALS = (0.5, 0.8, 1.0)
"""Shares of the gap whose price is told."""
RATIOS = 6
"""Figures of a way before its CPTs: quality, cost, gain, saving, PGR, APGR."""
MOST_SLOPES, SLOPED_ROWS = 64, 2_000
UNDEFINED = 0.025
"""Share of resamples without a gap above which a ratio to it has no interval."""
METHOD = "paired percentile bootstrap over groups of questions, 2,000 resamples"
Picks = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """A way to choose, played on all questions."""

    name: str
    quality: Floats
    """settings × rows."""
    cost: Floats
    """settings × rows, nano-dollars; the settings in order of their cost."""
    curve: bool
    """Whether calls can be split between its settings; else it is one point."""
    tolerances: tuple[float, ...] = ()
    """Of a learned router, one for each setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio with its interval, where there is one."""

    value: float | None
    """None: not defined, or never reached."""
    low: float | None
    high: float | None
    """None: without bound, or not defined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One setting: what it costs and gives on average."""

    cost: float
    """Nano-dollars of a call."""
    quality: Estimate
    tolerance: float | None
    """Of a learned router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One way, judged. The first five figures are of its dearest setting that costs no more than the best single model."""

    name: str
    quality: Estimate
    cost: Estimate
    """Nano-dollars of a call."""
    gain: Estimate
    """Quality minus that of the best single model."""
    saving: Estimate
    """Share of the best single model's cost that is not spent."""
    recovered: Figure
    """Share of the gap: PGR."""
    apgr: Figure
    """None of a way that is one point."""
    cpt: Mapping[str, Figure]
    """`50%`, `80%`, `100%` of the gap → the least share of the cost that recovers it."""
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All ways beside each other."""

    rows: int
    groups: int
    leaked: int
    """Rows that were left out."""
    costing: str
    weak: str
    """The cheapest model."""
    strong: str
    """The best single model."""
    chosen_on: str
    """`training` or `these rows`: what said which model is the best."""
    gap: Estimate
    """Quality of the strong model minus that of the weak one."""
    ways: tuple[Standing, ...]
    beats: bool | None
    """Whether the learned router is better than the best single model at no higher cost, beyond chance; None without one."""
    method: str = METHOD


def judge(outcomes: Outcomes, router: LearnedRouter | None = None, *, means: Mapping[str, float] | None = None) -> Report:
    """Plays every way on the outcomes, without the questions that the router learned from.

    Args:
        router: the learned one, where there is one.
        means: model → mean score in training, by which the best single model is named; else the router's, else these rows'.

    Raises:
        Invalid: the outcomes have no costs, the router does not know a model, or learned from all these rows.
    """
    costing = outcomes.costing
    if costing is None:
        raise Invalid("The outcomes say nothing about costs.", field="outcomes", hint="Give --prices.")
    if router is not None and router.described.data == outcomes.digest:
        raise Invalid("The router learned from these very rows.", field="policy", hint="Score it on rows it has not seen.")
    if router is not None:
        outcomes = outcomes.unseen(unpacked(router.described.seen))
    if means is None and router is not None:
        means = dict(zip(router.models, router.described.means, strict=True))
    models = outcomes.models
    scores = np.array([row.scores for row in outcomes.rows], dtype=np.float64)
    costs = np.array([row.costs for row in outcomes.rows], dtype=np.float64)
    named = means if means is not None and set(models) <= set(means) else outcomes.means()
    strong = models.index(best_of(named, models))
    weak = min(range(len(models)), key=lambda place: (costs[:, place].mean(), -named[models[place]], models[place]))
    ways = [
        fixed("always-cheap", weak, scores, costs),
        fixed("best-single", strong, scores, costs),
        random(weak, strong, scores, costs),
        mixed(np.array([named[model] for model in models]), scores, costs),
        oracle(scores, costs),
    ]
    if router is not None:
        ways.append(learned(chances(router, outcomes), scores, costs))
    groups = _groups(outcomes)
    standings, gap = _judged(ways, groups)
    mine = next((each for each in standings if each.name == "learned"), None)
    return Report(
        rows=len(outcomes.rows),
        groups=len(np.unique(groups)),
        leaked=outcomes.leaked,
        costing=costing,
        weak=models[weak],
        strong=models[strong],
        chosen_on="training" if named is means else "these rows",
        gap=gap,
        ways=standings,
        beats=None if mine is None else bool(mine.gain.low > 0 and mine.saving.value >= 0),
    )


def chances(router: LearnedRouter, outcomes: Outcomes) -> Floats:
    """rows × models: what the router says of each question, in the order of the outcomes' models.

    Raises:
        Invalid: it does not know one of them.
    """
    lacking = [model for model in outcomes.models if model not in router.models]
    if lacking:
        raise Invalid(f"The router never learned about {', '.join(lacking)}.", field="policy", hint="Train it on these models.")
    places = [router.models.index(model) for model in outcomes.models]
    return np.array([router.look(row.question).chances for row in outcomes.rows], dtype=np.float64)[:, places]


def fixed(name: str, model: int, scores: Floats, costs: Floats) -> Way:
    """Always the same model."""
    return Way(name=name, quality=scores[None, :, model], cost=costs[None, :, model], curve=False)


def random(weak: int, strong: int, scores: Floats, costs: Floats) -> Way:
    """A coin, whatever the question: its expectation is the straight line between the two models."""
    return Way(name="random", quality=scores[:, [weak, strong]].T, cost=costs[:, [weak, strong]].T, curve=True)


def mixed(means: Floats, scores: Floats, costs: Floats) -> Way:
    """The best that can be done without looking at the question: coins between the models on the upper hull of cost and quality.

    Args:
        means: one for each model: the quality by which the hull is drawn.
    """
    mean_costs = costs.mean(axis=0)
    hull: list[int] = []
    for model in sorted(range(len(means)), key=lambda place: (mean_costs[place], -means[place], place)):
        if hull and means[model] <= means[hull[-1]]:
            continue
        while len(hull) > 1 and _below(hull[-2], hull[-1], model, mean_costs, means):
            hull.pop()
        hull.append(model)
    return Way(name="mix", quality=scores[:, hull].T, cost=costs[:, hull].T, curve=True)


def _below(left: int, middle: int, right: int, costs: Floats, means: Floats) -> bool:
    """Whether the middle model lies on or under the line between its neighbours."""
    rise = (means[middle] - means[left]) * (costs[right] - costs[left])
    return bool(rise <= (means[right] - means[left]) * (costs[middle] - costs[left]))


def oracle(scores: Floats, costs: Floats) -> Way:
    """Who knows every score beforehand: maximises score minus price x cost, for every price at which its choice changes."""
    part = slice(None, None, max(1, -(-len(scores) // SLOPED_ROWS)))
    s, c = scores[part], costs[part]
    rise, run = s[:, :, None] - s[:, None, :], c[:, :, None] - c[:, None, :]
    found = np.unique(rise[(rise > 0) & (run > 0)] / run[(rise > 0) & (run > 0)])[::-1]
    if len(found) > MOST_SLOPES:
        found = found[np.linspace(0, len(found) - 1, MOST_SLOPES).round().astype(int)]
    picks = [_cheapest(costs, scores)]
    for slope in found:
        worth = scores - slope * (1 - 1e-9) * costs
        picks.append(_cheapest(np.where(worth >= worth.max(axis=1, keepdims=True) - 1e-12, costs, np.inf), scores))
    picks.append(_cheapest(np.where(scores >= scores.max(axis=1, keepdims=True), costs, np.inf), scores))
    return _played("oracle", picks, scores, costs)


def learned(chances: Floats, scores: Floats, costs: Floats) -> Way:
    """The cheapest model whose chance is good enough, as `decide` of the gateway has it, for falling tolerances."""
    best = chances.max(axis=1, keepdims=True)
    picks = [_cheapest(np.where(chances >= best - tolerance, costs, np.inf), chances) for tolerance in TOLERANCES]
    return replace(_played("learned", picks, scores, costs), tolerances=TOLERANCES)


def _cheapest(costs: Floats, favour: Floats) -> Picks:
    """The model of the least cost in each row; of equals the favoured, then the first."""
    equal = costs == costs.min(axis=1, keepdims=True)
    return np.asarray(np.where(equal, favour, -np.inf).argmax(axis=1))


def _played(name: str, picks: Sequence[Picks], scores: Floats, costs: Floats) -> Way:
    every = np.arange(len(scores))
    quality = np.array([scores[every, pick] for pick in picks])
    return Way(name=name, quality=quality, cost=np.array([costs[every, pick] for pick in picks]), curve=True)


def _groups(outcomes: Outcomes) -> Picks:
    """The number of each row's group."""
    return np.unique([row.group for row in outcomes.rows], return_inverse=True)[1]


def _judged(ways: Sequence[Way], groups: Picks) -> tuple[tuple[Standing, ...], Estimate]:
    """Figures of all ways from the same resamples; the first way is always-cheap, the second the best single model."""
    columns = np.concatenate([np.ones((1, len(groups))), *[part for way in ways for part in (way.quality, way.cost)]])
    terms = np.zeros((int(groups.max()) + 1, len(columns)))
    np.add.at(terms, groups, columns.T)  # groups stand in the order of their names, so the draw does not hang on the rows'
    budget = ways[1].cost.mean()
    tops = [int(np.flatnonzero(way.cost.mean(axis=1) <= budget * (1 + 1e-12))[-1:].sum()) for way in ways]

    def of(sums: Floats) -> Floats:
        return _figures(np.atleast_2d(sums), ways, tops)

    values, drawn = of(terms.sum(axis=0))[0], resample(terms, of)
    standings, start = [], 0
    for way in ways:
        width = RATIOS + len(GOALS) + len(way.quality)
        standings.append(_standing(way, values[start : start + width], drawn[:, start : start + width], len(groups)))
        start += width
    return tuple(standings), _estimate(values[-1], drawn[:, -1], len(groups))


def _standing(way: Way, values: Floats, drawn: Floats, n: int) -> Standing:
    """The figures of one way, in the order of `_figures`."""
    quality, cost, gain, saving = [_estimate(values[place], drawn[:, place], n) for place in range(4)]
    recovered, apgr, *reached = [_ratio(values[place], drawn[:, place]) for place in range(4, RATIOS + len(GOALS))]
    curve = [_estimate(values[place], drawn[:, place], n) for place in range(RATIOS + len(GOALS), len(values))]
    tolerances = way.tolerances or (None,) * len(curve)
    return Standing(
        name=way.name,
        quality=quality,
        cost=cost,
        gain=gain,
        saving=saving,
        recovered=recovered,
        apgr=apgr,
        cpt={f"{goal:.0%}": figure for goal, figure in zip(GOALS, reached, strict=True)},
        points=tuple(
            Point(cost=float(cost), quality=quality, tolerance=tolerance)
            for cost, quality, tolerance in zip(way.cost.mean(axis=1), curve, tolerances, strict=True)
        ),
    )


def _figures(sums: Floats, ways: Sequence[Way], tops: Sequence[int]) -> Floats:
    """resamples × terms in; resamples × (figures of each way, one after the other, and the gap) out."""
    means = sums[:, 1:] / sums[:, :1]
    parts, start = [], 0
    for way in ways:
        settings = len(way.quality)
        parts.append((means[:, start : start + settings], means[:, start + settings : start + 2 * settings]))
        start += 2 * settings
    (weak, weak_cost), (strong, strong_cost) = parts[0], parts[1]
    gap, dearer = strong - weak, strong_cost - weak_cost
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = []
        for way, (quality, cost), top in zip(ways, parts, tops, strict=True):
            shares = np.where(dearer > 0, (cost - weak_cost) / dearer, np.nan)
            gains = np.where(gap > 0, (quality - weak) / gap, np.nan)
            saving = np.where(strong_cost > 0, 1 - cost[:, [top]] / strong_cost, 0.0)
            columns += [quality[:, [top]], cost[:, [top]], quality[:, [top]] - strong, saving, gains[:, [top]]]
            columns += [_area(shares, gains) if way.curve else np.full_like(gap, np.nan)]
            columns += [*(_reached(shares, gains, goal, curve=way.curve) for goal in GOALS), quality]
    return np.concatenate([*columns, gap], axis=1)


def _curve(shares: Floats, gains: Floats) -> tuple[Floats, Floats]:
    """The points in order of their cost, behind always-cheap."""
    order = np.argsort(shares, axis=1, kind="stable")
    x, g = np.take_along_axis(shares, order, axis=1), np.take_along_axis(gains, order, axis=1)
    begin = np.minimum(0.0, x[:, :1])
    return np.concatenate([begin, x], axis=1), np.concatenate([np.where(x[:, :1] > 0, 0.0, g[:, :1]), g], axis=1)


def _area(shares: Floats, gains: Floats) -> Floats:
    """APGR: the area under the curve between 0 and 1, by trapezoids; resamples × 1."""
    x, g = _curve(shares, gains)
    x = np.concatenate([x, np.maximum(1.0, x[:, -1:])], axis=1)
    g = np.concatenate([g, g[:, -1:]], axis=1)
    left, right = x[:, :-1], x[:, 1:]
    low, high = np.clip(left, 0, 1), np.clip(right, 0, 1)
    slope = np.where(right > left, (g[:, 1:] - g[:, :-1]) / np.where(right > left, right - left, 1), 0)
    middle = g[:, :-1] + slope * ((low + high) / 2 - left)
    return np.asarray((middle * (high - low)).sum(axis=1, keepdims=True))


def _reached(shares: Floats, gains: Floats, goal: float, *, curve: bool) -> Floats:
    """CPT: the least share of the cost at which the goal is met; infinite where it never is; resamples × 1."""
    x, g = _curve(shares, gains) if curve else (shares, gains)
    met = g >= goal - 1e-12
    at = met.argmax(axis=1)[:, None]
    before = np.maximum(at - 1, 0)
    (x0, x1), (g0, g1) = [[np.take_along_axis(values, place, axis=1) for place in (before, at)] for values in (x, g)]
    rises = (at > 0) & (g1 > g0)
    crossed = np.where(rises, x0 + (goal - g0) / np.where(rises, g1 - g0, 1) * (x1 - x0), x1)
    found = np.where(met.any(axis=1, keepdims=True), np.maximum(0.0, crossed if curve else x1), np.inf)
    return np.where(np.isnan(g).any(axis=1, keepdims=True) | np.isnan(x).any(axis=1, keepdims=True), np.nan, found)


def _estimate(value: float, drawn: Floats, n: int) -> Estimate:
    low, high = percentiles(drawn)
    return Estimate(value=float(value), low=float(min(low, value)), high=float(max(high, value)), n=n)


def _ratio(value: float, drawn: Floats) -> Figure:
    """A ratio to the gap. Where too many resamples have no gap, its interval says nothing and is left out."""
    if np.isnan(value):
        return Figure(value=None, low=None, high=None)
    known = drawn[~np.isnan(drawn)]
    if len(known) < (1 - UNDEFINED) * len(drawn):
        return Figure(value=_finite(value), low=None, high=None)
    low, high = np.quantile(known, 0.025, method="lower"), np.quantile(known, 0.975, method="higher")
    return Figure(value=_finite(value), low=_finite(min(low, value)), high=_finite(max(high, value)))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
