"""Traces over HTTP: lists, and one explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response

from tandem.api.wire import Caller, answer, usd
from tandem.core.money import Price
from tandem.gateway.routing.explain import routed
from tandem.governance.authorise import authorise, scope_of
from tandem.observability.content import Subjects
from tandem.observability.explain import explain
from tandem.observability.traces import Traces

MICROS_MAX = 2**62


def routes(traces: Traces, subjects: Subjects, price: Callable[[str, int, str], Price | None]) -> APIRouter:
    """The routes of Trace; `price` gives the row of a target at a time for a team."""
    router = APIRouter(tags=["traces"])

    @router.get("/traces")
    def list_traces(
        by: Caller,
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
        before: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
        endpoint: Annotated[str | None, Query(max_length=140)] = None,
        outcome: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """The newest traces of the caller's team."""
        authorise(by, "read")
        rows = traces.list(team=scope_of(by).team, limit=limit, before=before, endpoint=endpoint, outcome=outcome)
        return answer(rows)

    @router.get("/traces/{identifier}")
    def show(identifier: str, by: Caller, content: bool = False) -> Response:
        """Everything that is known of one answer."""
        authorise(by, "read")
        found = explain(traces, subjects, identifier, team=scope_of(by).team, content=content)
        return answer({**asdict(found), "cost_usd": usd(found.cost)})

    @router.get("/traces/{identifier}/route")
    def route(identifier: str, by: Caller) -> Response:
        """Why the calls of one answer went where they went, and what the other targets would have cost."""
        authorise(by, "read")
        found = explain(traces, subjects, identifier, team=scope_of(by).team, content=False)
        return answer([asdict(each) for each in routed(found.calls, price)])

    return router
