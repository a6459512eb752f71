"""Principals as a page: keys and what each may do, never their secrets."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.governance.keys import Keys


def routes(desk: Desk, keys: Keys) -> APIRouter:
    """The page of Principal."""
    router = desk.router()

    @router.get("/keys")
    def page(request: Request) -> Response:
        by = desk.enter(request)
        found = sorted(keys.list(by), key=lambda key: (key.revoked_at is not None, key.principal.name))
        return desk.page(request, "keys.html", "Keys", {"keys": found, "now": desk.clock.now()}, by=by)

    return router
