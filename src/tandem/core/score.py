"""Score: one judgement of a Trace, a Run or an Asset. Verdict: what a comparison concludes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["improved", "non-inferior", "regressed", "inconclusive", "not-enough-data"]


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
