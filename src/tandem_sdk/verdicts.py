"""What comparisons conclude: estimates with intervals, verdicts, and the report of a gate. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.shape import Mismatch, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval and the sample it rests on."""

    value: float
    low: float | None = None
    high: float | None = None
    """Bounds of the two-sided interval at `level`."""
    n: int | None = None
    """Rows, or pairs of rows, it was computed from."""
    level: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One judgement of a trace, a run or a version."""

    scorer: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    label: str | None = None
    """For verdicts the outcome, for a person's judgement the opinion."""
    detail: Mapping[str, object] = field(default_factory=dict)
    """What else is known: of a person's, the call and the review."""
    created_by: str = ""
    created_at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The outcome of comparing a candidate with a champion on the same rows."""

    outcome: str
    """`improved`, `non-inferior`, `regressed`, `inconclusive` or `not-enough-data`."""
    metric: str = ""
    candidate: Estimate | None = None
    champion: Estimate | None = None
    """None when there was no champion."""
    difference: Estimate | None = None
    """Candidate minus champion, oriented so that more is better."""
    margin: float | None = None
    """The loss that non-inferiority tolerates, in units of the metric."""
    method: str = ""
    """The statistical method, as its source names it."""
    p: float | None = None
    """Two-sided, of the test that the two are alike, where the method is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing that a gate asks, and what became of it."""

    kind: str = ""
    """`data`, `comparison`, `minimum`, `slice`, `latency` or `size`."""
    name: str = ""
    """The metric, the slice, or what was measured."""
    outcome: str = ""
    """Of a comparison as in `Verdict`; of a bound `kept`, `missed`, `inconclusive` or `not-enough-data`."""
    held: bool = False
    """Whether the gate lets this pass; all conditions must hold."""
    reason: str = ""
    n: int = 0
    """Rows, or measurements."""
    effect: Estimate | None = None
    """The difference to the champion (more is better), or what was measured."""
    bound: float | None = None
    """What the interval must keep."""
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What a gate concluded, and why."""

    passed: bool
    candidate: Estimate | None = None
    """The candidate's metric; None where it could not be computed."""
    verdict: Verdict | None = None
    """The comparison with the champion; None where there is no champion, or the two cannot be compared."""
    reasons: tuple[str, ...] = ()
    """Sentences, one per check, whether it held or not."""
    conditions: tuple[Condition, ...] = ()
    """Everything that was asked of it, in the order of the reasons."""
    gate: Mapping[str, object] = field(default_factory=dict)
    """The gate as it stood: metric, minimum, margin, require."""
    candidate_ref: str | None = None
    champion_ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What became of one asset when the release that pins it was promoted or rolled back."""

    ref: str
    """The version that its alias names now."""
    moved: bool = True
    why: str = ""
    """Why it was left alone."""
    report: GateReport | None = None
    """What its gate concluded; None when no gate applied, or nothing moved."""
    endpoint: str | None = None
    """The endpoint that serves it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """Where an alias stands after a promotion, and what its gate concluded."""

    alias: str
    version: int
    """The version the alias names now."""
    ref: str = ""
    etag: str | int | None = None
    passed: bool = True
    verdict: Verdict | None = None
    """None when no gate applied, or there was no champion."""
    reasons: tuple[str, ...] = ()
    endpoint: str | None = None
    """The endpoint that serves the version now, when the alias is one that serves."""
    report: GateReport | None = None
    """What the gate concluded; None when no gate applied."""
    ungated: bool = False
    """True when no gate applied."""
    pins: tuple[Pin, ...] = ()
    """Of a release: what became of each asset it pins."""


def estimates(told: object) -> dict[str, Estimate]:
    """Metrics by name out of JSON; what is no estimate is passed over."""
    found: dict[str, Estimate] = {}
    for name, value in told.items() if isinstance(told, Mapping) else ():
        try:
            found[str(name)] = read(Estimate, value)
        except Mismatch:  # a metric of a kind this client does not know
            continue
    return found
