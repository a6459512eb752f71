"""The machines that share this platform's stores, over HTTP."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import Response

from tandem.api.wire import Caller, answer
from tandem.governance.authorise import authorise
from tandem.governance.machines import Machines


def routes(machines: Machines) -> APIRouter:
    """The routes of the machines."""
    router = APIRouter(tags=["doctor"])

    @router.get("/machines")
    def every(by: Caller) -> Response:
        """Each machine: when it was heard of last, and whether it holds parts of caps or has attempts under way."""
        authorise(by, "audit")
        return answer([{**asdict(each), "away": machines.away(each)} for each in machines.list()])

    @router.delete("/machines/{name}")
    def let_go(name: str, by: Caller) -> Response:
        """Books what a machine that does not come back had under way, at its reservations, and frees what it held."""
        return answer({"machine": name, "booked": machines.let_go(name, by)})

    return router
