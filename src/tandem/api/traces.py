"""Traces over HTTP: lists, and one explained."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response

from tandem.api.wire import Caller, answer, usd
from tandem.core.trace import Trace
from tandem.governance.authorise import authorise, scope_of
from tandem.observability.content import Subjects
from tandem.observability.traces import Traces

MICROS_MAX = 2**62


class Kept(msgspec.Struct, frozen=True):
    """Content as the door sealed it."""

    request: bytes
    answer: bytes
    cut: bool = False


def explain(traces: Traces, subjects: Subjects, identifier: str, *, team: str | None, content: bool) -> dict[str, Any]:
    """A trace with all its calls, its whole cost, and its content when asked for."""
    found = traces.find(identifier, team=team)
    costs = [attempt.cost for call in found.calls for attempt in call.attempts] + [attempt.cost for attempt in found.orphans]
    cost = None if None in costs else sum(c or 0 for c in costs)
    return {
        "id": identifier, "calls": found.calls, "orphans": found.orphans, "cost": cost, "cost_usd": usd(cost),
        "content": {call.call: text for call in found.calls if (text := _content(traces, subjects, call))} if content else None,
    }  # fmt: skip


def _content(traces: Traces, subjects: Subjects, call: Trace) -> dict[str, Any] | None:
    sealed = traces.sealed(call.call, call.id)
    if sealed is None:
        return None
    plain = subjects.open(*sealed)
    if plain is None:
        return {"erased": True}
    kept = msgspec.msgpack.decode(plain, type=Kept)
    return {"request": kept.request.decode(errors="replace"), "answer": kept.answer.decode(errors="replace"), "cut": kept.cut}


def routes(traces: Traces, subjects: Subjects) -> APIRouter:
    """The routes of Trace."""
    router = APIRouter(tags=["traces"])

    @router.get("/traces")
    def list_traces(
        by: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 50, before: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
        endpoint: Annotated[str | None, Query(max_length=140)] = None, outcome: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:  # fmt: skip
        """The newest traces of the caller's team."""
        authorise(by, "read")
        rows = traces.list(team=scope_of(by).team, limit=limit, before=before, endpoint=endpoint, outcome=outcome)
        return answer(rows)

    @router.get("/traces/{identifier}")
    def show(identifier: str, by: Caller, content: bool = False) -> Response:
        """Everything that is known of one answer."""
        authorise(by, "read")
        return answer(explain(traces, subjects, identifier, team=scope_of(by).team, content=content))

    return router
