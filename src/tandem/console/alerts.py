"""Alerts as a page: who is told outside, of what, and how that goes. They are added by command, because of their secrets."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.governance.alerts.alerts import Alerts, Trial


def routes(desk: Desk, alerts: Alerts) -> APIRouter:
    """The page of alerts, a part of Policy."""
    router = desk.router()

    @router.get("/alerts")
    def rows(request: Request) -> Response:
        return _page(request)

    @router.post("/alerts/{name}/test")
    def test(request: Request, name: str) -> Response:
        by = desk.enter(request, "admin")
        return _page(request, name, alerts.test(name, by=by))

    @router.get("/alerts/{name}/test")
    def tested(request: Request, name: str) -> Response:
        """Where a browser comes back to that reloads the answer."""
        desk.enter(request, "audit")
        return RedirectResponse("/alerts", 303)

    def _page(request: Request, tested: str = "", trial: Trial | None = None) -> Response:
        by = desk.enter(request, "audit")
        values = {"alerts": alerts.list(by=by), "tested": tested, "trial": trial}
        return desk.page(request, "alerts.html", "Alerts", values, by=by)

    return router
