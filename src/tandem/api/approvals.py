"""Approvals over HTTP: the rules, and the requests that wait for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.approval import HOURS, Action, Approval, ApproverRole, Request, State
from tandem.governance.approvals.requests import Requests, may_approve
from tandem.governance.approvals.rules import Rules
from tandem.governance.authorise import authorise, scope_of

WAITS = "x-tandem-request"
"""The header of an answer that says: nothing was done yet, this request waits for people."""
WAITING: dict[int | str, dict[str, Any]] = {202: {"description": "Nothing was done yet: the request that waits for people"}}
"""What OpenAPI says of a route whose deed may need people."""
Limit = Annotated[int, Query(ge=1, le=1000)]
Team = Annotated[str | None, Query(max_length=64)]


class ApprovalIn(BaseModel):
    """How many people a deed needs."""

    model_config = ConfigDict(extra="forbid")
    people: int = Field(1, ge=1, le=10, description="Its author is none of them")
    role: ApproverRole = "approver"
    team: str | None = Field(None, max_length=64, description="Whose things; null: every team's without a rule of its own")
    hours: int = Field(HOURS, ge=1, le=24 * 90, description="How long a request waits")


class DecisionIn(BaseModel):
    """What a person says to a request."""

    model_config = ConfigDict(extra="forbid")
    note: str = Field("", max_length=2000)


def routes(rules: Rules, requests: Requests) -> APIRouter:
    """The routes of approvals and requests, a part of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/approvals")
    def list_approvals(by: Caller) -> Response:
        """Which deeds need how many people."""
        return answer([asdict(rule) for rule in requests.approvals.list(by)])

    @router.put("/approvals/{action}", responses=WAITING)
    def set_approval(action: Action, body: ApprovalIn, by: Caller) -> Response:
        """Sets a rule; one that weakens the rule that holds needs the people which that rule names (202)."""
        rule = Approval(action=action, team=body.team, people=body.people, role=body.role, hours=body.hours)
        waiting = rules.put(rule, by=by)
        return answer(asdict(rule)) if waiting is None else waits(waiting)

    @router.delete("/approvals/{action}", responses=WAITING)
    def drop_approval(action: Action, by: Caller, team: Team = None) -> Response:
        """Drops a rule; that needs the people it names (202)."""
        waiting = rules.drop(action, team, by=by)
        return answer({"action": action, "team": team}) if waiting is None else waits(waiting)

    @router.get("/requests")
    def list_requests(by: Caller, state: Annotated[State | None, Query()] = None, limit: Limit = 50) -> Response:
        """What waits for people, and what was decided, newest first."""
        authorise(by, "read")
        return answer([_body(request) for request in requests.list(scope_of(by), state=state, limit=limit)])

    @router.get("/requests/{identifier}")
    def request(identifier: str, by: Caller) -> Response:
        """One request: what exactly shall be done, who asked, who approved."""
        authorise(by, "read")
        return answer(_body(requests.find(identifier, scope_of(by))))

    @router.post("/requests/{identifier}/approve")
    def approve(identifier: str, body: DecisionIn, by: Caller) -> Response:
        """Approves; the last approval that is needed does the deed. A promotion is judged by its gate once more."""
        ended, done = requests.approve(identifier, by=by, note=body.note)
        moved = ended.state == "approved" and ended.does == "alias.promote"
        return answer({**_body(ended), "promotion": done if moved else None, "done": done or None})

    @router.post("/requests/{identifier}/decline")
    def decline(identifier: str, body: DecisionIn, by: Caller) -> Response:
        """Ends a request; nothing is done. Whoever asked may withdraw it so."""
        return answer(_body(requests.decline(identifier, by=by, note=body.note)))

    return router


def waits(request: Request, more: dict[str, Any] | None = None) -> Response:
    """The answer to a deed that needs people: 202, the request, and who may approve it."""
    return answer({**(more or {}), **_body(request)}, 202, {WAITS: request.id})


def _body(request: Request) -> dict[str, Any]:
    return {**asdict(request), "waits_for": may_approve(request) if request.state == "open" else None}
