"""The first page: what is in production, what was answered, what was spent, what runs."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.endpoints import Current, standing
from tandem.console.policy import bars, spent_today
from tandem.core.errors import NotFound
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, scope_of
from tandem.governance.ledger import Ledger
from tandem.jobs.repo import Runs
from tandem.observability.traces import Traces

TRACES, RUNS = 8, 5
"""Rows of each that the first page shows."""


def routes(desk: Desk, traces: Traces, runs: Runs, ledger: Ledger, audit: Audit, current: Current) -> APIRouter:
    """The route of the first page."""
    router = desk.router()

    @router.get("/")
    def home(request: Request) -> Response:
        if desk.known(request) is None:
            return desk.sign_in(request)
        by = desk.enter(request)
        scope = scope_of(by)
        values = {
            "endpoints": standing(current(), scope),
            "traces": traces.list(team=scope.team, limit=TRACES),
            "budgets": bars(ledger, by),
            "spent": spent_today(ledger, by, desk.clock.now()),
            "runs": [*runs.list(scope, state="running", limit=RUNS), *runs.list(scope, state="queued", limit=RUNS)],
            "last_entry": next(iter(audit.list(ALL, limit=1)), None) if by.may("audit") else None,
        }
        return desk.page(request, "home.html", "Home", values, by=by)

    return router


def nothing(desk: Desk) -> APIRouter:
    """The last route: an address of one word that nobody knows, asked for by a browser."""
    router = desk.router()

    @router.get("/{page}")
    def unknown(request: Request, page: str) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            raise HTTPException(404)  # a program gets the error as every API route writes it
        raise NotFound(f"/{page} is nothing here.", hint="The navigation shows what there is.")

    return router
