"""Score: one judgement of a Trace, a Run or an Asset. Verdict: what a comparison concludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["improved", "non-inferior", "regressed", "inconclusive", "not-enough-data"]
Kept = Literal["kept", "missed"]
"""Of a bound: the whole interval is on its good side, or on its bad one; else it is inconclusive."""
ConditionKind = Literal["data", "comparison", "minimum", "slice", "fairness", "latency", "size"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval and the sample it rests on."""

    value: float
    low: float
    high: float
    """Bounds of the two-sided interval at `level`."""
    n: int
    """Rows (or pairs of rows) it was computed from."""
    level: float = 0.95


def concluded(difference: Estimate, margin: float) -> Outcome:
    """What follows from the interval of a difference, more being better, where a loss of `margin` is tolerated.

    >>> concluded(Estimate(value=0.0, low=-0.01, high=0.01, n=100), margin=0.02)
    'non-inferior'
    """
    if difference.low > 0:
        return "improved"
    if difference.low > -margin:
        return "non-inferior"
    return "regressed" if difference.high < 0 else "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of comparing a candidate with a champion on the same rows."""

    outcome: Outcome
    metric: str
    candidate: Estimate
    champion: Estimate | None
    difference: Estimate | None
    """Candidate minus champion, oriented so that more is better."""
    margin: float
    """The loss that non-inferiority tolerates, in units of the metric."""
    method: str
    """The statistical method, named as its source names it."""
    p: float | None = None
    """Two-sided, of the test that the two are alike, where the method is one; None elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that a gate asks, and what became of it."""

    kind: ConditionKind
    name: str
    """The metric, the slice, or what was measured."""
    outcome: Outcome | Kept
    """Of a comparison its verdict; of a bound whether it is kept."""
    held: bool
    """Whether the gate lets this pass; all conditions must hold."""
    reason: str
    """A sentence for people."""
    n: int = 0
    """Rows, or measurements."""
    effect: Estimate | None = None
    """The difference to the champion (more is better), or what was measured."""
    bound: float | None = None
    """What the interval must keep; of a comparison, minus the margin."""
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One judgement: of what, by which scorer, with what result."""

    id: str
    subject: str
    """A trace id, a run id, or an asset version such as `model/tumor@2`."""
    scorer: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    label: str | None = None
    """For verdicts: the outcome."""
    detail: Mapping[str, object] = field(default_factory=dict)
    created_at: int = 0
    created_by: str = ""
