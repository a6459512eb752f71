"""Approvals as a page: what waits for people, what was decided, and the rules that ask for them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.core import approval
from tandem.core.approval import ACTIONS, HOURS, Action, Approval, ApproverRole
from tandem.governance.approvals.requests import Requests, may_approve, person_of
from tandem.governance.approvals.rules import Rules
from tandem.governance.authorise import scope_of

PAGE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request, and what the person who looks may do about it."""

    request: approval.Request
    deed: str
    """What exactly shall be done."""
    waits_for: str
    own: bool
    said: bool
    """Whether this person has approved it."""


def routes(desk: Desk, requests: Requests, rules: Rules) -> APIRouter:
    """The pages of approvals."""
    router = desk.router()

    @router.get("/requests")
    def waiting(request: Request) -> Response:
        by = desk.enter(request)
        person = person_of(by)
        rows = [_row(each, person) for each in requests.list(scope_of(by), limit=PAGE)]
        values = {"rows": rows, "rules": requests.approvals.list(by), "actions": ACTIONS, "hours": HOURS}
        return desk.page(request, "requests.html", "Requests", values, by=by)

    @router.post("/requests/{identifier}/approve")
    def approve(request: Request, identifier: str) -> Response:
        requests.approve(identifier, by=desk.enter(request, "approve"))
        return RedirectResponse("/requests", 303)

    @router.post("/requests/{identifier}/decline")
    def decline(request: Request, identifier: str) -> Response:
        requests.decline(identifier, by=desk.enter(request, "approve"))
        return RedirectResponse("/requests", 303)

    @router.post("/approvals")
    def set_rule(
        request: Request,
        action: Annotated[Action, Form()],
        people: Annotated[int, Form(ge=1, le=10)] = 1,
        role: Annotated[ApproverRole, Form()] = "approver",
        team: Annotated[str, Form(max_length=64)] = "",
        hours: Annotated[int, Form(ge=1, le=24 * 90)] = HOURS,
    ) -> Response:
        rule = Approval(action=action, people=people, role=role, team=team or None, hours=hours)
        rules.put(rule, by=desk.enter(request, "admin"))
        return RedirectResponse("/requests", 303)

    @router.post("/approvals/drop")
    def drop_rule(
        request: Request, action: Annotated[Action, Form()], team: Annotated[str, Form(max_length=64)] = ""
    ) -> Response:
        rules.drop(action, team or None, by=desk.enter(request, "admin"))
        return RedirectResponse("/requests", 303)

    return router


def _row(request: approval.Request, person: str) -> Row:
    return Row(
        request=request,
        deed=json.dumps(request.deed, indent=2, ensure_ascii=False, sort_keys=True) if request.rule is not None else "",
        waits_for=may_approve(request),
        own=request.person == person,
        said=any(voice.person == person for voice in request.approvals),
    )
