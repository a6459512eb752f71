"""Monitors as pages: what is watched, and what each check found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.scale import Bin, Line, line, paired
from tandem.core.errors import NotFound
from tandem.core.monitor import Finding, Monitor, Report
from tandem.core.score import Estimate
from tandem.governance.authorise import scope_of
from tandem.monitoring.repo import Monitors

PAGE = 50
WIDE, HIGH = 600.0, 60.0
"""Of the drawing of checks over time, in its own units."""
RANK = {"drifted": 0, "inconclusive": 1, "not-enough-data": 2, "stable": 3}
"""What a reader looks for comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One finding, drawn."""

    finding: Finding
    line: Line | None
    """Its effect on an axis that holds its threshold too."""
    effect: str
    bins: tuple[Bin, ...]
    moved: str
    """What was and what is, where no bins tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Checks over time, as the points of lines in a drawing of `WIDE` by `HIGH`."""

    line: str
    beside: str
    """A second line; empty without one."""
    limit: float | None
    """How far down what matters stands."""
    alarms: tuple[float, ...]
    """How far right alarms were raised."""
    text: str
    low: float
    high: float
    since: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One monitor of the list."""

    monitor: Monitor
    newest: Report | None


def routes(desk: Desk, monitors: Monitors) -> APIRouter:
    """The pages of Monitor."""
    router = desk.router()

    @router.get("/monitors")
    def rows(request: Request) -> Response:
        by = desk.enter(request)
        scope = scope_of(by)
        found = [
            Entry(monitor=each, newest=next(iter(monitors.reports(each.name, scope, limit=1)), None))
            for each in monitors.list(scope)
        ]
        return desk.page(request, "monitors.html", "Monitors", {"entries": found}, by=by)

    @router.get("/monitors/{name}")
    def show(request: Request, name: str, report: str | None = None) -> Response:
        by = desk.enter(request)
        scope = scope_of(by)
        found = monitors.find(name, scope)
        reports = monitors.reports(name, scope, limit=PAGE)
        chosen = next(iter(reports), None) if report is None else monitors.report(report, scope)
        if chosen is not None and chosen.monitor != name:
            raise NotFound(f"There is no such report of {name}.", hint="The monitor's page lists its checks.")
        values = {
            "monitor": found,
            "reports": reports,
            "report": chosen,
            "rows": () if chosen is None else drawn(chosen),
            "track": track(reports),
        }
        return desk.page(request, "monitor.html", f"Monitor {name}", values, by=by)

    return router


def track(reports: Sequence[Report]) -> Track | None:
    """The checks of a monitor with a verdict, as a line over time; None where there are fewer than two.

    Of drift and scores the line is the largest effect in multiples of what matters, of performance the realised accuracy,
    with what was expected without labels as a second line.
    """
    told = sorted((report for report in reports if report.verdict != "not-enough-data"), key=lambda report: report.at)
    if len(told) < 2:
        return None
    realised = [_value(report, "performance") for report in told]
    estimated = [_value(report, "estimate") for report in told]
    sizes = [_times(report) for report in told]
    of_performance = any(value is not None for value in realised)
    first = realised if of_performance else sizes
    known = [value for value in (*first, *estimated, *(() if of_performance else (1.0,))) if value is not None]
    low, high = (min(known), max(known)) if of_performance else (0.0, max(known))
    place = axis(low, high)
    across = axis(told[0].at, told[-1].at)
    xs = [round(WIDE * across(report.at), 1) for report in told]

    def points(values: Sequence[float | None]) -> str:
        pairs = zip(xs, values, strict=True)
        return " ".join(f"{x},{HIGH * (1 - place(value)):.1f}" for x, value in pairs if value is not None)

    return Track(
        line=points(first),
        beside=points(estimated) if of_performance else "",
        limit=None if of_performance else round(HIGH * (1 - place(1.0)), 1),
        alarms=tuple(x for x, report in zip(xs, told, strict=True) if report.alarm),
        text="accuracy realised, and as estimated without labels" if of_performance else "largest effect ÷ what matters",
        low=low,
        high=high,
        since=told[0].at,
        until=told[-1].at,
    )


def axis(low: float, high: float) -> Callable[[float], float]:
    """Where a value stands between two, from 0 to 1."""
    return lambda value: (value - low) / (high - low) if high > low else 0.5


def _value(report: Report, what: str) -> float | None:
    found = (finding.now for finding in report.findings if (finding.subject, finding.what) == ("accuracy", what))
    return next((now.value for now in found if now is not None), None)


def _times(report: Report) -> float | None:
    found = [
        abs(finding.effect.value - _none(finding)) / (abs(finding.threshold - _none(finding)) or 1.0)
        for finding in report.findings
        if finding.effect is not None and finding.threshold
    ]
    return max(found, default=None)


def drawn(report: Report) -> tuple[Row, ...]:
    """The findings of a report, those that matter first."""
    order = sorted(report.findings, key=lambda finding: (RANK[finding.verdict], finding.adjusted or 1.0, finding.subject))
    return tuple(_row(finding) for finding in order)


def _row(finding: Finding) -> Row:
    effect = finding.effect
    return Row(
        finding=finding,
        line=None if effect is None else line(effect, [(finding.threshold, "threshold"), (_none(finding), "no change")]),
        effect="" if effect is None else _words(effect),
        bins=paired(finding.histogram),
        moved=_moved(finding) if finding.histogram is None else "",
    )


def _moved(finding: Finding) -> str:
    """What was and what is, the latter with its interval; empty where neither is known."""
    then = "" if finding.before is None else f"{finding.before.value:.3g} → "
    return "" if finding.now is None else then + _words(finding.now)


def _none(finding: Finding) -> float:
    """The effect of no change."""
    return 1.0 if finding.measure == "ratio" else 0.0


def _words(effect: Estimate) -> str:
    return f"{effect.value:.3g} [{effect.low:.3g}, {effect.high:.3g}]"
