"""The way in, and the first page: what is in production, what was answered, what was spent, what runs."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk, local, own_site
from tandem.console.endpoints import Current, standing
from tandem.console.policy import bars, spent_today
from tandem.core.errors import NotFound
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, scope_of
from tandem.governance.ledger import Ledger
from tandem.governance.sessions import COOKIE, SESSION_SECONDS
from tandem.jobs.repo import Runs
from tandem.observability.traces import Traces

TRACES, RUNS = 8, 5
"""Rows of each that the first page shows."""


def routes(desk: Desk, traces: Traces, runs: Runs, ledger: Ledger, audit: Audit, current: Current) -> APIRouter:
    """The routes of the first page, and of signing in and out."""
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

    @router.post("/console/sign-in")
    def sign_in(
        request: Request,
        key: Annotated[str, Form(max_length=8192)] = "",
        after: Annotated[str, Form(max_length=8192)] = "/",
    ) -> Response:
        own_site(request)
        opened = desk.sessions.open(key.strip())
        if opened is None:
            fault = "This key is not known here. It may be mistyped, revoked or expired."
            return desk.sign_in(request, status=401, after=after, fault=fault)
        answer = RedirectResponse(local(after), 303, {"cache-control": "no-store"})
        answer.set_cookie(
            COOKIE, opened[1], max_age=SESSION_SECONDS, path="/", secure=_https(request), httponly=True, samesite="strict"
        )
        return answer

    @router.post("/console/sign-out")
    def sign_out(request: Request) -> Response:
        own_site(request)
        answer = RedirectResponse("/", 303, {"cache-control": "no-store"})
        answer.delete_cookie(COOKIE, path="/", secure=_https(request), httponly=True, samesite="strict")
        return answer

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


def _https(request: Request) -> bool:
    """Whether the browser speaks TLS to us; the door, which alone can reach this process, says so."""
    return request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
