"""Monitors as pages: what is watched, and what each check found."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.scale import Line, heights, line
from tandem.core.errors import NotFound
from tandem.core.monitor import Finding, Monitor, Report
from tandem.core.score import Estimate
from tandem.governance.authorise import scope_of
from tandem.monitoring.repo import Monitors

PAGE = 50
RANK = {"drifted": 0, "inconclusive": 1, "not-enough-data": 2, "stable": 3}
"""What a reader looks for comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One bin as two bars, in percent of the tallest."""

    label: str
    before: int
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One finding, drawn."""

    finding: Finding
    line: Line | None
    """Its effect on an axis that holds its threshold too."""
    effect: str
    bins: tuple[Bin, ...]


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
        values = {"monitor": found, "reports": reports, "report": chosen, "rows": () if chosen is None else drawn(chosen)}
        return desk.page(request, "monitor.html", f"Monitor {name}", values, by=by)

    return router


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
        bins=_bins(finding),
    )


def _none(finding: Finding) -> float:
    """The effect of no change."""
    return 1.0 if finding.measure == "ratio" else 0.0


def _words(effect: Estimate) -> str:
    return f"{effect.value:.3g} [{effect.low:.3g}, {effect.high:.3g}]"


def _bins(finding: Finding) -> tuple[Bin, ...]:
    """Shares of reference and window, so that samples of different size can be compared by eye."""
    shown = finding.histogram
    if shown is None or not sum(shown.reference) or not sum(shown.now):
        return ()
    per = [(10_000 * count // sum(counts)) for counts in (shown.reference, shown.now) for count in counts]
    high = heights(per)
    middle = len(shown.labels)
    return tuple(Bin(label=label, before=high[place], now=high[middle + place]) for place, label in enumerate(shown.labels))
