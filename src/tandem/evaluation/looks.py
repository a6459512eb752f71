"""How much error a look at growing evidence may spend. Pure; it counts nothing and knows no metric. Imports no numpy.

Evidence of folds never grows: it is judged once, by 95 % intervals. Evidence on held-out rows may be asked again after more
rows came, and every look is a chance to err:

    planned      the gate says how many looks and how many rows: alpha spending (`scorers.spending`), 5 % over all looks
    first        nothing is planned: half of the 5 % for this look
    sequence     nothing was planned and it is asked again: a confidence sequence with the other half, for all looks to come
    spent        the planned looks are used up: nothing follows any more
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from statistics import NormalDist
from typing import Literal, cast

from tandem.core.policy import Gate
from tandem.core.score import Estimate
from tandem.scorers.proportions import Z
from tandem.scorers.sequential import ALPHA, stretch

NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How wide the intervals of one look must be."""

    name: Literal["once", "planned", "first", "sequence", "spent"] = "once"
    z: float = Z
    """Half widths in standard errors, of intervals that lean on a normal distribution."""
    alpha: float = ALPHA
    """Two-sided: what this look, or the whole sequence, may err."""
    look: int = 1
    lost: int = 0
    """Rows of the last look that are missing now."""

    @property
    def level(self) -> float:
        return round(1 - self.alpha, 6)

    def widen(self, estimate: Estimate) -> Estimate:
        """A 95 % interval as this look must have it."""
        return estimate if self.name == "once" else scaled(estimate, self.z / Z, self.level)

    @property
    def allows(self) -> bool:
        """Whether anything may follow from this look."""
        return self.name != "spent" and not self.lost

    @property
    def told(self) -> str:
        """A sentence for people; empty where there is nothing to say."""
        if self.lost:
            return f"{self.lost} rows of the last look are missing now: evidence may grow, but not be exchanged."
        match self.name:
            case "once":
                return ""
            case "planned":
                return f"Look {self.look} of those planned: its intervals are {self.z:.2f} standard errors wide to either side."
            case "first":
                return f"First look at rows that may grow: intervals of {self.level:.1%}; plan the looks to have 95 %."
            case "sequence":
                return f"Look {self.look} at the same two on rows that grew: a confidence sequence of {self.level:.1%}."
            case "spent":
                return "The planned looks are used up, and with them the error that the gate allows."


ONCE = Rule()


def rule_for(gate: Gate, before: Sequence[int] | None, rows: int) -> Rule:
    """What holds at this look.

    Args:
        gate: says what is planned.
        before: the rows at each earlier look at the same candidate and champion; None where evidence cannot grow.
        rows: now.
    """
    if before is None:
        return ONCE
    look = len(before) + 1
    if gate.looks is not None and gate.rows is not None:
        if look > gate.looks or (before and before[-1] >= gate.rows):
            return Rule(name="spent", look=look)
        shares = [each / gate.rows for each in (*before, rows)]
        z = cast(float, import_module("tandem.scorers.spending").boundaries(shares, ALPHA)[-1])
        return Rule(name="planned", z=z, alpha=2 * (1 - NORMAL.cdf(z)), look=look)
    half = ALPHA / 2
    if look == 1:
        return Rule(name="first", z=NORMAL.inv_cdf(1 - half / 2), alpha=half)
    return Rule(name="sequence", z=stretch(rows, half), alpha=half, look=look)


def scaled(estimate: Estimate, factor: float, level: float) -> Estimate:
    """The estimate with both half widths multiplied."""
    return Estimate(
        value=estimate.value,
        low=estimate.value - factor * (estimate.value - estimate.low),
        high=estimate.value + factor * (estimate.high - estimate.value),
        n=estimate.n,
        level=level,
    )
