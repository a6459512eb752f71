"""Traces as pages: the list, and one answer explained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tandem.console.about import contributions
from tandem.console.desk import Desk
from tandem.console.endpoints import Current, standing
from tandem.console.waterfall import waterfall
from tandem.console.words import readable
from tandem.core.money import Price
from tandem.gateway.routing.explain import routed
from tandem.governance.authorise import scope_of
from tandem.observability import dialogue
from tandem.observability.content import Subjects
from tandem.observability.explain import explain
from tandem.observability.traces import Traces

PAGE = 50
MICROS_MAX = 2**62
OUTCOMES = (
    "ok",
    "gone",
    "forbidden",
    "not_found",
    "invalid",
    "over_budget",
    "rate_limited",
    "no_target",
    "timed_out",
    "unreachable",
    "crashed",
)
"""Offered by the filter; any other can be typed."""
Pricing = Callable[[str, int, str], Price | None]
Word = Annotated[str, Query(max_length=140)]


def routes(desk: Desk, traces: Traces, subjects: Subjects, current: Current, price: Pricing) -> APIRouter:
    """The pages of Trace; `price` gives the row of a target at a time for a team."""
    router = desk.router()

    @router.get("/traces")
    def rows(
        request: Request,
        before: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
        endpoint: Word = "",
        outcome: Word = "",
    ) -> Response:
        by = desk.enter(request)
        scope = scope_of(by)
        found = traces.list(
            team=scope.team, limit=PAGE + 1, before=before, endpoint=endpoint.strip() or None, outcome=outcome.strip() or None
        )
        values = {
            "traces": found[:PAGE],
            "older": found[PAGE - 1].start if len(found) > PAGE else None,
            "before": before,
            "endpoint": endpoint.strip(),
            "outcome": outcome.strip(),
            "endpoints": [each.endpoint.name for each in standing(current(), scope)],
            "outcomes": OUTCOMES,
        }
        return desk.page(request, "traces.html", "Traces", values, by=by)

    @router.get("/traces/{identifier}")
    def show(request: Request, identifier: str, content: bool = False) -> Response:
        by = desk.enter(request)
        found = explain(traces, subjects, identifier, team=scope_of(by).team, content=content)
        values = {
            "found": found,
            "opening": found.calls[0] if found.calls else None,
            "waterfall": waterfall(found.calls),
            "asked": dialogue.asked,
            "answered": dialogue.answered,
            "contributions": contributions,
            "readable": readable,
            "routes": [each for each in routed(found.calls, price) if len(each.targets) > 1],
        }
        return desk.page(request, "trace.html", f"Trace {identifier}", values, by=by)

    return router
