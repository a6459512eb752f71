"""Monitors: standing questions over the traces of an endpoint; and their reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.verdicts import Estimate
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


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
    """`schema`, `missing`, `values` or `score`."""
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
    """`drift` or `scores`."""
    team: str = ""
    window: int = 1000
    span: int | None = None
    minimum: int = 100
    threshold: float = 0.1
    false_alarm_every: int = 1000
    every: int | None = None
    """Seconds between two checks; None checks only when asked."""
    on_alarm: str = "alarm"
    on_data: str = "none"
    promote: str = "ask"
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
        minimum: int = 100,
        threshold: float | None = None,
        false_alarm_every: int = 1000,
        on_alarm: str = "alarm",
        on_data: str = "none",
        promote: str = "ask",
        cooldown: int = 86_400,
        review: int = 0,
    ) -> Monitor:
        """Begins to watch an endpoint: calls from now on are judged.

        Args:
            name: the monitor's name.
            endpoint: where a model predicts (`drift`) or a language model chats (`scores`).
            question: `drift` or `scores`.
            every: seconds between two checks; None checks only when asked.
            window: the most calls that one check looks at.
            span: seconds; older calls are not looked at.
            minimum: rows or calls below which there is no verdict.
            threshold: the effect that matters; None means 0.1 for drift (population stability index), 0.05 for rates.
            false_alarm_every: checks between two false alarms, on average.
            on_alarm: `none`, `alarm` or `retrain`.
            on_data: `retrain` when a new version of the training dataset comes, or `none`.
            promote: `ask` a person, or `if-gate-passes`.
            cooldown: seconds after a retraining during which none is begun.
            review: calls of each judged window, drawn at random, that are put before a person.

        Raises:
            NotFound: there is no such endpoint.
            Invalid: the question does not fit the endpoint.
            Conflict: the name is taken.
        """
        body = {
            "name": name, "endpoint": endpoint, "question": question, "every": every, "window": window, "span": span,
            "minimum": minimum, "threshold": threshold, "false_alarm_every": false_alarm_every, "on_alarm": on_alarm,
            "on_data": on_data, "promote": promote, "cooldown": cooldown, "review": review,
        }  # fmt: skip
        return read_reply(Monitor, self._wire.send("POST", f"{API}/monitors", body, once=True))

    def list(self) -> tuple[Monitor, ...]:
        """Every monitor of the team, with its newest report."""
        return read_replies(Monitor, self._wire.get(f"{API}/monitors"))

    def show(self, name: str) -> Monitor:
        """One monitor with its newest report.

        Raises:
            NotFound: there is none.
        """
        return read_reply(Monitor, self._wire.get(f"{API}/monitors/{segment(name)}"))

    def check(self, name: str) -> Report:
        """Judges what came since the last verdict, now.

        Raises:
            NotFound: there is none, or its endpoint serves nothing.
        """
        return read_reply(Report, self._wire.send("POST", f"{API}/monitors/{segment(name)}/check", patient=True, once=True))

    def reports(self, name: str, limit: int = 50) -> tuple[Report, ...]:
        """What its checks concluded, newest first."""
        return read_replies(Report, self._wire.get(f"{API}/monitors/{segment(name)}/reports", {"limit": limit}))

    def remove(self, name: str) -> None:
        """Ends a monitor and drops its reports.

        Raises:
            NotFound: there is none.
        """
        self._wire.send("DELETE", f"{API}/monitors/{segment(name)}")
