"""How a model does on each group of a column's rows, and how far groups are apart. Imports no numpy.

Rates have Wilson's interval, means a normal one. The difference of two groups is had from theirs by MOVER (Zou & Donner 2008),
that of a ratio on the logarithms. What is reported is the widest difference between any two groups: the intervals of all pairs
hold at once (Bonferroni), and so does the one that is made of the largest of their lower and of their upper ends.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from statistics import NormalDist, quantiles
from typing import TypeGuard

from tandem.core.errors import Invalid
from tandem.core.policy import RATIO, Fair, Gate, Measure
from tandem.core.score import Condition, Estimate, Kept, Outcome
from tandem.evaluation.about.nouns import Fairness, Gap, Group, Part
from tandem.evaluation.compare import ALPHA, MINIMUM_PER_CLASS, MINIMUM_ROWS
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.looks import Rule
from tandem.evaluation.slices import Cells, text
from tandem.scorers.base import TaskName, load
from tandem.scorers.proportions import Z, wilson

MOST_GROUPS = 20
UNITS = "Rows that come in units go wrong together, and groups of them are not compared."
FEW = 10
"""Numbers with more different values than that are cut at their quartiles."""
MISSING = "(missing)"
LEAST = 1e-12
"""Stands in for a share of nothing where logarithms are taken."""
NORMAL = NormalDist()
METHOD = "widest of all pairs of groups, MOVER on Wilson intervals, Bonferroni over the pairs"
MEASURES: Mapping[TaskName, tuple[Measure, ...]] = {
    "classification": ("demographic_parity", RATIO, "equal_opportunity", "equalised_odds", "accuracy"),
    "multiclass": ("accuracy",),
    "regression": ("error",),
}
"""Task → what its groups can be apart in."""
RATES: Mapping[Measure, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    RATIO: ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalised_odds": ("true_positive_rate", "false_positive_rate"),
    "accuracy": ("accuracy",),
    "error": ("error",),
}
"""Measure → what of each group it compares; of two, the wider difference counts."""


@dataclass(frozen=True, slots=True)
class _Share:
    """Hits among trials."""

    hits: int
    n: int

    def estimate(self, z: float = Z) -> Estimate:
        return wilson(self.hits, self.n, z)


@dataclass(frozen=True, slots=True)
class _Mean:
    """Any numbers."""

    values: tuple[float, ...]

    @property
    def n(self) -> int:
        return len(self.values)

    def estimate(self, z: float = Z) -> Estimate:
        middle = math.fsum(self.values) / self.n
        spread = math.fsum((value - middle) ** 2 for value in self.values) / max(1, self.n - 1)
        half = z * math.sqrt(spread / self.n)
        return Estimate(value=middle, low=middle - half, high=middle + half, n=self.n)


def fairness(evidence: OutOfFold, column: str, values: Sequence[object], *, learned: bool) -> Fairness:
    """How a model treats the groups of a column, by its predictions of rows that it had not seen.

    Args:
        evidence: the predictions.
        column: whose values are the groups.
        values: of each of its rows.
        learned: whether the model reads the column.

    Raises:
        Invalid: the column has fewer than two groups, or too many.
    """
    counted = {name: _counted(evidence.at(places)) for name, places in grouped(column, values).items()}
    groups = tuple(_group(name, found) for name, found in counted.items())
    gaps = tuple(_gap(measure, counted) for measure in MEASURES.get(evidence.task, ()))
    return Fairness(column=column, learned=learned, groups=groups, gaps=gaps)


def judge_fairness(gate: Gate, candidate: OutOfFold, cells: Cells | None, rule: Rule) -> list[Condition]:
    """One condition for each measure that the gate asks for.

    Args:
        gate: names measures, columns and bounds.
        candidate: its evidence.
        cells: the columns; None where the rows cannot be read.
        rule: how wide intervals must be at this look.
    """
    return [_judged_of(each, candidate, cells, rule) for each in gate.fairness]


def _judged_of(each: Fair, candidate: OutOfFold, cells: Cells | None, rule: Rule) -> Condition:
    why = _not_judged(each, candidate.task, cells) or (UNITS if candidate.groups else "")
    if why or cells is None:
        return _condition(each, "inconclusive", why)
    try:
        groups = grouped(each.by, cells[each.by])
    except Invalid as error:
        return _condition(each, "inconclusive", error.message)
    counted = {name: _counted(candidate.at(places)) for name, places in groups.items()}
    return _judged(each, _gap(each.measure, counted), rule)


def grouped(column: str, values: Sequence[object]) -> dict[str, list[int]]:
    """Group → the places of its rows. Numbers of more than `FEW` values are cut at their quartiles.

    Raises:
        Invalid: there are fewer than two groups, or too many.

    >>> grouped("sex", ["f", "m", None, "m"])
    {'f': [0], 'm': [1, 3], '(missing)': [2]}
    """
    found: dict[str, list[int]] = {}
    for place, name in enumerate(_names(column, values)):
        found.setdefault(name, []).append(place)
    if not 2 <= len(found) <= MOST_GROUPS:
        raise Invalid(
            f"Column '{column}' has {len(found)} groups; fairness is judged between 2 to {MOST_GROUPS}.",
            field="fairness",
            hint="Name another column, or join values that belong together.",
        )
    return dict(sorted(found.items(), key=lambda pair: (pair[0] == MISSING, _first(values, pair[1]), pair[0])))


def _names(column: str, values: Sequence[object]) -> list[str]:
    """The group of each row."""
    known = {value for value in values if not _gone(value)}
    if len(known) <= FEW or not all(map(_number, known)):
        return [MISSING if _gone(value) else text(value) for value in values]
    numbers = [float(value) for value in values if _number(value)]
    cuts = sorted(set(quantiles(numbers, n=4, method="inclusive")))
    ends: list[float | None] = [None, *cuts, None]
    parts = [Part(column=column, low=low, high=high).name for low, high in pairwise(ends)]
    return [parts[bisect_right(cuts, float(value))] if _number(value) else MISSING for value in values]


def _first(values: Sequence[object], places: Sequence[int]) -> float:
    """What groups of numbers are in order by."""
    return min((float(value) for place in places if _number(value := values[place])), default=0.0)


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _gone(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@dataclass(frozen=True, slots=True)
class _Counted:
    """What is counted of the rows of a group."""

    rows: OutOfFold
    parts: Mapping[str, _Share | _Mean]


def _counted(rows: OutOfFold) -> _Counted:
    match rows.task:
        case "classification":
            parts = _of_two(rows)
        case "multiclass":
            width = rows.width
            chances = [rows.probabilities[place : place + width] for place in range(0, len(rows.probabilities), width)]
            right = [chance.index(max(chance)) == label for chance, label in zip(chances, rows.labels, strict=True)]
            parts = {"accuracy": _Share(sum(right), len(right))}
        case "regression":
            wrong = [said - true for said, true in zip(rows.probabilities, rows.labels, strict=True)]
            parts = {"error": _Mean(tuple(map(abs, wrong))), "bias": _Mean(tuple(wrong))}
        case _:
            raise Invalid(f"Groups are not compared in {rows.task}.", field="fairness", hint="Leave fairness out.")
    return _Counted(rows, parts)


def _of_two(rows: OutOfFold) -> dict[str, _Share | _Mean]:
    pairs = list(zip(rows.probabilities, map(bool, rows.labels), strict=True))
    n, positives = len(pairs), sum(label for _, label in pairs)
    said = [label for chance, label in pairs if chance >= rows.threshold]
    hits = sum(said)
    right = hits + (n - positives) - (len(said) - hits)
    return {
        "base_rate": _Share(positives, n),
        "selection_rate": _Share(len(said), n),
        "true_positive_rate": _Share(hits, positives),
        "false_positive_rate": _Share(len(said) - hits, n - positives),
        "precision": _Share(hits, len(said)),
        "accuracy": _Share(right, n),
        "overestimate": _Mean(tuple(chance - label for chance, label in pairs)),
    }


def _group(name: str, found: _Counted) -> Group:
    rows = found.rows
    n = len(rows.rows)
    measured = {what: part.estimate() for what, part in found.parts.items() if part.n >= MINIMUM_ROWS}
    if n >= MINIMUM_ROWS and rows.task == "classification" and rows.rarest >= MINIMUM_PER_CLASS:
        measured["roc_auc"] = load("roc_auc").score(rows.sample())
    return Group(name=name, n=n, enough=n >= MINIMUM_ROWS, measured=measured)


def _gap(measure: Measure, groups: Mapping[str, _Counted]) -> Gap:
    """The widest difference between two groups, with its 95 % interval."""
    small = tuple(name for name, each in groups.items() if any(each.parts[rate].n < MINIMUM_ROWS for rate in RATES[measure]))
    known = {name: each.parts for name, each in groups.items() if name not in small}
    pairs = list(combinations(known, 2))
    if not pairs:
        return Gap(measure=measure, widest=(), small=small, estimate=None)
    z = NORMAL.inv_cdf(1 - ALPHA / 2 / len(pairs) / len(RATES[measure]))
    apart: dict[tuple[str, ...], tuple[float, float, float]] = {}
    for rate in RATES[measure]:
        shown = {name: _scaled(measure, parts[rate].estimate(z)) for name, parts in known.items()}
        apart |= {(rate, *pair): _apart(shown[pair[0]], shown[pair[1]]) for pair in pairs}
    widest = max(apart, key=lambda key: apart[key][0])
    value, low, high = (max(each[place] for each in apart.values()) for place in range(3))
    if measure == RATIO:
        value, low, high = math.exp(-value), math.exp(-high), math.exp(-low)
    n = sum(parts[RATES[measure][0]].n for parts in known.values())
    estimate = Estimate(value=value, low=low, high=high, n=n)
    return Gap(measure=measure, widest=widest[1:], small=small, estimate=estimate)


def _scaled(measure: Measure, found: Estimate) -> tuple[float, float, float]:
    """Value, low and high; of a ratio their logarithms."""
    told = (found.value, found.low, found.high)
    return told if measure != RATIO else tuple(math.log(max(LEAST, each)) for each in told)  # type: ignore[return-value]  # three


def _apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    """The size of the difference of two, and the bounds of its size."""
    gap = one[0] - other[0]
    low = gap - math.hypot(one[0] - one[1], other[2] - other[0])
    high = gap + math.hypot(one[2] - one[0], other[0] - other[1])
    return abs(gap), max(0.0, low, -high), max(high, -low)


def _not_judged(each: Fair, task: TaskName, cells: Cells | None) -> str:
    """Why a measure cannot be judged; empty where it can."""
    known = MEASURES.get(task, ())
    if each.measure not in known:
        return f"a {task} model has no {each.measure}; it has {', '.join(known) or 'none'}."
    if cells is None or each.by not in cells:
        return f"the rows of the evidence have no column '{each.by}'."
    return ""


def _judged(each: Fair, gap: Gap, rule: Rule) -> Condition:
    if gap.estimate is None or (gap.small and not each.allow_small):
        told = f"not enough data: {', '.join(gap.small)} with fewer than {MINIMUM_ROWS} rows that count."
        return _condition(each, "not-enough-data", told)
    shown = rule.widen(gap.estimate)
    worse, better, bound = shown.high, shown.low, each.bound
    if each.measure == RATIO:
        worse, better, bound = -shown.low, -shown.high, -bound
    outcome: Kept | Outcome = "kept" if worse <= bound else "missed" if better > bound else "inconclusive"
    side = "at least" if each.measure == RATIO else "at most"
    told = f"{' and '.join(gap.widest)} are furthest apart, {shown.value:.4f} [{shown.low:.4f}, {shown.high:.4f}]"
    left = f" Left out as too small: {', '.join(gap.small)}." if gap.small else ""
    reason = f"{told} on {shown.n} rows; the gate asks for {side} {each.bound:g}: {outcome}.{left}"
    return replace(_condition(each, outcome, reason), n=shown.n, effect=shown, method=METHOD)


def _condition(each: Fair, outcome: Kept | Outcome, reason: str) -> Condition:
    held = outcome == "kept"
    told = f"{each.name}: {reason}"
    return Condition(kind="fairness", name=each.name, outcome=outcome, held=held, bound=each.bound, reason=told)
