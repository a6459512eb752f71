"""Monitors: standing questions over the traces of an endpoint; and their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tandem_sdk.verdicts import Estimate
from tandem_sdk.wire import API, Wire, read_replies, read_reply
from tandem_sdk.wire import segment as in_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often a value fell into each frozen bin; the last bin holds missing values."""

    labels: tuple[str, ...] = ()
    reference: tuple[int, ...] = ()
    now: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found about one column or score."""

    subject: str
    what: str
    """`schema`, `missing`, `values`, `score`, `performance` or `estimate`."""
    verdict: str
    """`drifted`, `stable`, `inconclusive` or `not-enough-data`."""
    n: int = 0
    reference_n: int = 0
    measure: str = ""
    """What `effect` is: `psi`, `rate`, `difference of rates` or `ratio`."""
    threshold: float = 0.0
    """The smallest effect that matters."""
    effect: Estimate | None = None
    p: float | None = None
    adjusted: float | None = None
    """The p-value after control over all findings of the check."""
    now: Estimate | None = None
    before: Estimate | None = None
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
    monitor: str = ""
    at: int = 0
    """UTC microseconds, like all times here."""
    trigger: str = ""
    verdict: str = ""
    """`drifted`, `stable`, `inconclusive` or `not-enough-data`."""
    alarm: bool = False
    """Whether this report raised an alarm; one that goes on is not raised again."""
    n: int = 0
    since: int = 0
    until: int = 0
    level: float = 0.0
    """The chance of a false alarm that this check was allowed."""
    reference: str = ""
    coverage: Mapping[str, int] = field(default_factory=dict)
    """Calls by what could be read of them."""
    findings: tuple[Finding, ...] = ()
    run: str | None = None
    """The retraining that it began."""
    reviews: int = 0
    """Calls of the window that were put before a person."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Monitor:
    """A standing question about one endpoint."""

    name: str
    endpoint: str = ""
    question: str = "drift"
    """`drift`, `scores` or `performance`."""
    team: str = ""
    window: int = 1000
    span: int | None = None
    hours: int | None = None
    """Whole hours that are judged at a time, from counts."""
    against: tuple[str, ...] = ("training",)
    maturity: float = 0.8
    wait: int = 2_592_000
    days: int = 7
    weeks: int = 4
    segment: str | None = None
    minimum: int = 100
    threshold: float = 0.1
    false_alarm_every: int = 1000
    false_pages: float | None = None
    """False alarms a quarter over all the team's scheduled monitors that name a number."""
    every: int | None = None
    """Seconds between two checks; None checks only when asked."""
    on_alarm: str = "alarm"
    on_data: str = "none"
    promote: str = "ask"
    canary_share: float = 0.1
    canary_seconds: int = 3_600
    retrainings: int | None = None
    """That it may begin within 30 days; None sets no bound."""
    await_labels: bool = False
    cooldown: int = 86_400
    review: int = 0
    """Calls of each judged window that are put before a person."""
    created_at: int = 0
    created_by: str = ""
    alarmed: bool = False
    """Whether an alarm goes on."""
    newest: Report | None = None
    """Its newest report."""


class Monitors:
    """`client.monitors`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def add(
        self,
        name: str,
        *,
        endpoint: str,
        question: str = "drift",
        every: int | None = None,
        window: int = 1000,
        span: int | None = None,
        hours: int | None = None,
        against: Sequence[str] = ("training",),
        maturity: float = 0.8,
        wait: int = 2_592_000,
        days: int = 7,
        weeks: int = 4,
        segment: str | None = None,
        minimum: int = 100,
        threshold: float | None = None,
        false_alarm_every: int = 1000,
        false_pages: float | None = None,
        on_alarm: str = "alarm",
        on_data: str = "none",
        promote: str = "ask",
        canary_share: float = 0.1,
        canary_seconds: int = 3_600,
        retrainings: int | None = None,
        await_labels: bool = False,
        cooldown: int = 86_400,
        review: int = 0,
    ) -> Monitor:
        """Begins to watch an endpoint: calls from now on are judged.

        Args:
            name: the monitor's name.
            endpoint: where a model predicts (`drift`, `performance`) or a language model chats (`scores`).
            question: `drift`, `scores` or `performance`.
            every: seconds between two checks; None checks only when asked.
            window: the most calls that one check looks at.
            span: seconds; older calls are not looked at. Of performance the length of a window, a day by default.
            hours: of drift: so many whole hours are judged at a time, from counts; None judges single calls.
            against: of hours, one or several of `training`, `trailing` (the `days` before) and `season` (the same hours of
                the `weeks` before).
            maturity: of performance: the share of a window's rows whose label must have come before it is compared.
            wait: of performance: seconds after a window until its labels are waited for no more.
            days: of the trailing reference.
            weeks: of the seasonal reference.
            segment: of hours: a column whose values are judged each by itself too.
            minimum: rows or calls below which there is no verdict.
            threshold: the effect that matters; None means 0.1 for drift (population stability index), 0.05 for rates.
            false_alarm_every: checks between two false alarms, on average.
            false_pages: instead, false alarms a quarter over all the team's scheduled monitors that name a number; needs `every`.
            on_alarm: `none`, `alarm`, `retrain` or `roll-back`.
            on_data: `retrain` when a new version of the training dataset comes, or `none`.
            promote: `ask` a person, `if-gate-passes`, or `canary`: where the gate passes, a canary with `canary_share` of the
                calls is watched for `canary_seconds` first, and promoted unless it does harm.
            retrainings: that it may begin within 30 days; None sets no bound.
            await_labels: of drift: a retraining waits until `maturity` of the calls that raised the alarm have their label,
                but no longer than `wait`.
            cooldown: seconds after a retraining during which none is begun.
            review: calls of each judged window, drawn at random, that are put before a person.

        Raises:
            NotFound: there is no such endpoint.
            Invalid: the question does not fit the endpoint.
            Conflict: the name is taken.
        """
        body = {
            "name": name, "endpoint": endpoint, "question": question, "every": every, "window": window, "span": span,
            "hours": hours, "against": list(against), "days": days, "weeks": weeks, "segment": segment,
            "maturity": maturity, "wait": wait,
            "minimum": minimum, "threshold": threshold, "false_alarm_every": false_alarm_every,
            "false_pages": false_pages, "on_alarm": on_alarm,
            "on_data": on_data, "promote": promote, "canary_share": canary_share, "canary_seconds": canary_seconds,
            "retrainings": retrainings, "await_labels": await_labels, "cooldown": cooldown, "review": review,
        }  # fmt: skip
        return self.put(body)

    def put(self, monitor: Mapping[str, object]) -> Monitor:
        """Begins a monitor that is written as the API takes it.

        Raises:
            NotFound, Invalid, Conflict: as `add`.
        """
        return read_reply(Monitor, self._wire.send("POST", f"{API}/monitors", dict(monitor), once=True))

    def list(self) -> tuple[Monitor, ...]:
        """Every monitor of the team, with its newest report."""
        return read_replies(Monitor, self._wire.get(f"{API}/monitors"))

    def show(self, name: str) -> Monitor:
        """One monitor with its newest report.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Monitor, self._wire.get(f"{API}/monitors/{in_path(name)}"))

    def check(self, name: str) -> Report:
        """Judges what came since the last verdict, now.

        Raises:
            NotFound: there is none, or its endpoint serves nothing.
        """
        return read_reply(Report, self._wire.send("POST", f"{API}/monitors/{in_path(name)}/check", patient=True, once=True))

    def reports(self, name: str, limit: int = 50) -> tuple[Report, ...]:
        """What its checks concluded, newest first."""
        return read_replies(Report, self._wire.get(f"{API}/monitors/{in_path(name)}/reports", {"limit": limit}))

    def remove(self, name: str) -> None:
        """Ends a monitor and drops its reports.

        Raises:
            NotFound: there is none.
        """
        self._wire.send("DELETE", f"{API}/monitors/{in_path(name)}")
