"""Monitor: a standing question over the traces of an endpoint, with an action. Its reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.score import Estimate

Question = Literal["drift", "scores", "performance"]
"""`drift`: are the rows that a model is asked about those it was trained on? `scores`: does a chat endpoint answer as it did?
`performance`: is a model as right as it was, by labels that come late?"""
Against = Literal["training", "trailing", "season"]
"""What hours are compared with: the rows the model was trained on, the days before, or the same hours of earlier weeks."""
Action = Literal["none", "alarm", "retrain", "roll-back"]
Promote = Literal["ask", "if-gate-passes", "canary"]
Trigger = Literal["asked", "schedule", "new-data"]
Change = Literal["drifted", "stable", "inconclusive", "not-enough-data"]
What = Literal["schema", "missing", "values", "score", "performance", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A standing question about one endpoint."""

    name: str
    team: str
    endpoint: str
    question: Question = "drift"
    window: int = 1000
    """The most calls that one check looks at, the newest first."""
    span: int | None = None
    """Seconds: calls that are older are not looked at; None sets no bound."""
    hours: int | None = None
    """Of drift: judge so many whole hours at a time, from counts; None judges single calls, of which `window` is the bound."""
    against: tuple[Against, ...] = ("training",)
    """Of hours: what they are compared with."""
    maturity: float = 0.8
    """Of performance: the share of a window's rows whose label must have come before it is compared."""
    wait: int = 30 * 86_400
    """Of performance: seconds after a window's end until its labels are waited for no more."""
    days: int = 7
    """Of the trailing reference."""
    weeks: int = 4
    """Of the seasonal reference."""
    segment: str | None = None
    """Of hours: a column whose values (or thirds of its range) are judged each by itself too."""
    minimum: int = 100
    """Rows (or calls) below which there is no verdict."""
    threshold: float = 0.1
    """The smallest effect that matters: of the population stability index, or of a rate."""
    false_alarm_every: int = 1000
    """Checks between two false alarms, on average, when nothing changes: the budget of error."""
    false_pages: float | None = None
    """False alarms a quarter, on average, of all the team's scheduled monitors that name a number; it takes the place of
    `false_alarm_every`. None leaves that."""
    every: int | None = None
    """Seconds between two checks; None checks only when asked."""
    on_alarm: Action = "alarm"
    on_data: Action = "none"
    """What a new version of the dataset does that the model in production was trained on."""
    promote: Promote = "ask"
    """Whether a retrained version is promoted when its gate passes, or tried as a canary first, or a person is asked."""
    canary_share: float = 0.1
    """Of the calls, that a canary answers."""
    canary_seconds: int = 3_600
    """How long a canary is watched before it is promoted."""
    cooldown: int = 86_400
    """Seconds after a retraining during which none is begun."""
    retrainings: int | None = None
    """Retrainings that it may begin within 30 days; None sets no bound."""
    await_labels: bool = False
    """Of drift: whether a retraining waits until `maturity` of the calls that raised the alarm have their label, or `wait`."""
    review: int = 0
    """Calls of each judged window, drawn at random, that are put before a person."""
    created_at: int = 0
    created_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often a value fell into each frozen bin, then and now; the last bin holds missing values."""

    labels: tuple[str, ...]
    reference: tuple[int, ...]
    now: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found about one column or score."""

    subject: str
    """The column, or the score's name."""
    what: What
    verdict: Change
    n: int
    reference_n: int
    measure: str
    """What `effect` is: `psi`, `difference of rates` or `ratio`."""
    threshold: float
    effect: Estimate | None = None
    """With its 95 % interval."""
    p: float | None = None
    """The probability of a change at least as large when nothing has changed, for just these two sample sizes."""
    adjusted: float | None = None
    """The same after control over all findings of the check (Holm)."""
    now: Estimate | None = None
    """The rate or mean in the window."""
    before: Estimate | None = None
    """The same in the reference."""
    histogram: Histogram | None = None
    against: str = ""
    """Of hours: the reference, `training`, `trailing` or `season`."""
    segment: str = ""
    """The part of the calls that is meant, as `COLUMN=VALUE`; empty for all."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one check concluded."""

    id: str
    monitor: str
    team: str
    at: int
    """UTC microseconds, like all times here."""
    trigger: Trigger
    verdict: Change
    alarm: bool
    """Whether this report raised an alarm; one that goes on is not raised again."""
    n: int
    """Rows (or calls) that were judged."""
    since: int
    """The window's bounds: calls that ended after this time …"""
    until: int
    """… and not after this one."""
    level: float
    """The chance of a false alarm that this check was allowed."""
    reference: str = ""
    """What the window was compared with: a dataset version, or the calls of a time."""
    coverage: Mapping[str, int] = field(default_factory=dict)
    """Calls in the window by what could be read of them: read, refused, erased, unrecorded, cut, unread."""
    findings: tuple[Finding, ...] = ()
    run: str | None = None
    """The retraining that this report began."""
    reviews: int = 0
    """Calls of the window that were put before a person."""
    note: str = ""
