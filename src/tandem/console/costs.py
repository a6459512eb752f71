"""Costs as a page: what was spent by day, team, endpoint and model, and whether the provider's bill agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.scale import heights
from tandem.governance.authorise import scope_of
from tandem.governance.bills.causes import TOLD
from tandem.governance.bills.forecast import Forecasts
from tandem.governance.bills.overview import Daily, grouped, overview
from tandem.governance.bills.reconcile import Bills
from tandem.governance.ledger import Ledger
from tandem.observability.attempts import Spent
from tandem.observability.traces import Traces

DAYS = 30
ROWS = 20
"""Lines of a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One day of the chart."""

    daily: Daily
    height: int
    """In percent of the dearest day's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was spent, by one thing."""

    heading: str
    by: str
    rows: tuple[Spent, ...]


def routes(desk: Desk, bills: Bills, forecasts: Forecasts, ledger: Ledger, traces: Traces) -> APIRouter:
    """The page of costs."""
    router = desk.router()

    @router.get("/costs")
    def costs(request: Request) -> Response:
        by = desk.enter(request)
        found = overview(ledger, traces, by=by, days=DAYS, now=desk.clock.now())
        kept = bills.kept.list(scope_of(by), 1)
        values = {
            "overview": found,
            "columns": columns(found.days),
            "total": sum(day.cost for day in found.days),
            "tables": [
                Table(heading=heading, by=name, rows=grouped(found.spent, name)[:ROWS])
                for heading, name in (("Team", "team"), ("Endpoint", "endpoint"), ("Model", "target"))
            ],
            "forecasts": forecasts.every(by),
            "reconciliation": kept[0] if kept else None,
            "told": TOLD,
            "audits": by.may("audit"),
        }
        return desk.page(request, "costs.html", "Costs", values, by=by)

    return router


def columns(days: Sequence[Daily]) -> tuple[Column, ...]:
    """Days as bars."""
    return tuple(Column(daily=day, height=high) for day, high in zip(days, heights([day.cost for day in days]), strict=True))
