"""Slices: the parts of the rows on which a version must prove itself too, Holm-adjusted. Pure; it reads no dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from tandem.core.policy import Gate, Slice
from tandem.core.score import Condition, Estimate, Kept, Outcome
from tandem.evaluation.compare import compare, too_few
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.looks import Rule, scaled
from tandem.evaluation.measures import scorer_of

Cells = Mapping[str, Sequence[object]]
"""Column → its values, one for each row of the evidence, in its order."""
NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """That a slice keeps a bound: the effect, oriented so that more is better, is above it."""

    slice: Slice
    what: str
    """Such as `recall of at least 0.7`."""
    effect: Estimate
    bound: float
    compared: bool
    """Against the champion, or a minimum of its own."""
    shown: Estimate
    """The effect in the metric's own direction."""
    method: str

    def chance(self, alpha: float) -> float:
        """One-sided p-value that the bound is not kept, with the interval's lower half as a normal one."""
        half = self.effect.value - self.effect.low
        above = self.effect.value - self.bound
        if half <= 0:
            return 0.0 if above > 0 else 1.0
        return 1 - NORMAL.cdf(NORMAL.inv_cdf(1 - alpha / 2) * above / half)


def judge_slices(
    gate: Gate, candidate: OutOfFold, champion: OutOfFold | None, cells: Cells | None, rule: Rule
) -> list[Condition]:
    """One condition for each thing that each slice must keep.

    Args:
        gate: names the slices.
        candidate: its evidence.
        champion: its evidence of the same rows in the same order; None where there is none.
        cells: the columns that the slices name; None where the rows cannot be read.
        rule: how wide intervals must be at this look.

    Raises:
        Invalid: a metric is not known.
    """
    found: list[Condition] = []
    claims: list[Claim] = []
    for each in gate.slices:
        if cells is None or each.column not in cells:
            found.append(_unknown(each))
            continue
        places = [place for place, value in enumerate(cells[each.column]) if inside(each, value)]
        ours = candidate.at(places)
        if (few := _few(each, ours)) is not None:
            found.append(few)
            continue
        theirs = None if champion is None else champion.at(places)
        claims += _claims(gate, each, ours, theirs, rule)
        if each.minimum is None and theirs is None:
            found.append(_condition(each, "kept", held=True, n=len(places), reason="there is nothing to compare with."))
    return found + _stepped(claims, rule)


def inside(each: Slice, value: object) -> bool:
    """Whether a row with this value belongs to the slice; a missing value belongs to none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return False
    if each.value is not None:
        return text(value) == each.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (each.low is None or value >= each.low) and (each.high is None or value < each.high)


def text(value: object) -> str:
    """A value as a slice names it.

    >>> text(True), text(3.0), text("north")
    ('true', '3', 'north')
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _few(each: Slice, rows: OutOfFold) -> Condition | None:
    """What is said of a slice that has too few rows for a verdict; None where it has enough."""
    told = too_few(rows)
    if not told:
        return None
    excused = " The gate lets small ones pass." if each.allow_small else ""
    return _condition(
        each, "not-enough-data", held=each.allow_small, n=len(rows.rows), reason=f"not enough data: {told}{excused}"
    )


def _claims(gate: Gate, each: Slice, ours: OutOfFold, theirs: OutOfFold | None, rule: Rule) -> list[Claim]:
    metric = each.metric or gate.metric
    scorer = scorer_of(gate, metric, ours.task)
    claims = []
    if each.minimum is not None:
        shown = rule.widen(scorer.score(ours.sample()))
        more = scorer.more_is_better
        what = f"{metric} of at {'least' if more else 'most'} {each.minimum:g}"
        bound = each.minimum if more else -each.minimum
        claims.append(
            Claim(
                slice=each,
                what=what,
                effect=shown if more else _negated(shown),
                bound=bound,
                compared=False,
                shown=shown,
                method="",
            )
        )
    margin = each.margin if each.margin is not None or each.minimum is not None else gate.margin
    if margin is not None and theirs is not None:
        verdict = compare(metric, ours, theirs, margin=margin, scorer=scorer, rule=rule)
        assert verdict.difference is not None
        gap = verdict.difference
        what = f"{metric} no more than {margin:g} below the champion"
        claims.append(Claim(slice=each, what=what, effect=gap, bound=-margin, compared=True, shown=gap, method=verdict.method))
    return claims


def _stepped(claims: Sequence[Claim], rule: Rule) -> list[Condition]:
    """Holm's procedure (1979): the surest claim must clear alpha / m, the next alpha / (m - 1), until one does not."""
    ranked = sorted(claims, key=lambda claim: claim.chance(rule.alpha))
    point = NORMAL.inv_cdf(1 - rule.alpha / 2)
    conditions, stopped = [], False
    for place, claim in enumerate(ranked):
        share = rule.alpha / (len(ranked) - place)
        factor = NORMAL.inv_cdf(1 - share / 2) / point
        effect = scaled(claim.effect, factor, round(1 - share, 6))
        outcome = _outcome(claim, effect)
        good = outcome in ("kept", "improved", "non-inferior")
        if good and stopped:
            outcome = "inconclusive"
        stopped = stopped or not good
        shown = scaled(claim.shown, factor, effect.level)
        told = f"{shown.value:.4f} [{shown.low:.4f}, {shown.high:.4f}] on {shown.n} rows, adjusted for {len(ranked)} claims"
        condition = _condition(
            claim.slice, outcome, held=good and not stopped, n=shown.n, reason=f"{claim.what} is {outcome}: {told}."
        )
        bound = claim.bound if claim.effect is claim.shown else -claim.bound
        conditions.append(replace(condition, effect=shown, bound=bound, method=claim.method))
    return conditions


def _outcome(claim: Claim, effect: Estimate) -> Outcome | Kept:
    if effect.low > claim.bound or (not claim.compared and effect.low >= claim.bound):
        return "kept" if not claim.compared else "improved" if effect.low > 0 else "non-inferior"
    if claim.compared:
        return "regressed" if effect.high < 0 else "inconclusive"
    return "missed" if effect.high < claim.bound else "inconclusive"


def _unknown(each: Slice) -> Condition:
    return _condition(each, "inconclusive", held=False, n=0, reason=f"the rows of the evidence have no column '{each.column}'.")


def _condition(each: Slice, outcome: Outcome | Kept, *, held: bool, n: int, reason: str) -> Condition:
    return Condition(kind="slice", name=each.name, outcome=outcome, held=held, n=n, reason=f"Where {each.name}: {reason}")


def _negated(estimate: Estimate) -> Estimate:
    return Estimate(value=-estimate.value, low=-estimate.high, high=-estimate.low, n=estimate.n, level=estimate.level)
