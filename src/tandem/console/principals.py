"""Principals as a page: keys and what each may do; a secret is shown once, in the answer that made it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.core import approval
from tandem.core.errors import Invalid
from tandem.core.principal import ROLES, Principal, Role, Terms
from tandem.core.secret import Secret
from tandem.governance.approvals.keys import ask_key
from tandem.governance.approvals.requests import Requests, may_approve
from tandem.governance.keys import Keys
from tandem.governance.terms import KINDS

Text = Annotated[str, Form(max_length=2000)]
OVERLAPS = {"": 0, "1h": 3600, "1d": 86_400, "7d": 604_800}


def routes(desk: Desk, keys: Keys, requests: Requests) -> APIRouter:
    """The pages of keys."""
    router = desk.router()

    def page(
        request: Request,
        by: Principal,
        *,
        made: tuple[str, Secret] | None = None,
        waiting: approval.Request | None = None,
    ) -> Response:
        found = sorted(keys.list(by), key=lambda key: (key.revoked_at is not None, key.principal.name))
        values = {
            "keys": found,
            "now": desk.clock.now(),
            "made": None if made is None else (made[0], made[1].reveal()),
            "waits_for": None if waiting is None else may_approve(waiting),
            "teams": [team for team in keys.teams(by) if by.may("admin", team)] or ([by.team] if by.kind == "person" else []),
            "roles": ROLES,
            "kinds": KINDS,
            "overlaps": list(OVERLAPS),
        }
        return desk.page(request, "keys.html", "Keys", values, by=by)

    @router.get("/keys")
    def shown(request: Request) -> Response:
        return page(request, desk.enter(request))

    @router.post("/keys")
    def create(
        request: Request,
        name: Text,
        team: Text,
        role: Text = "viewer",
        owner: Text = "",
        endpoints: Text = "",
        kinds: Text = "",
        models: Text = "",
        networks: Text = "",
        discreet: Text = "",
        everywhere: Text = "",
    ) -> Response:
        by = desk.enter(request)
        if by.kind == "person" and not by.may("admin", team):
            owner = by.owner
        terms = Terms(
            owner=owner.strip(),
            reach="organisation" if everywhere else "team",
            kinds=tuple(kind for kind in KINDS if kind in _words(kinds)),
            models=_words(models),
            networks=_words(networks),
            content=not discreet,
        )
        draft = keys.draft(name, team=team, role=_role(role), endpoints=_words(endpoints), terms=terms, by=by)
        waiting = ask_key(requests, draft, by=by)
        if waiting is None:
            keys.add(draft, by=by)
        return page(request, by, made=(draft.principal.name, draft.secret), waiting=waiting)

    @router.post("/keys/{name}/rotate")
    def rotate(request: Request, name: str, overlap: Text = "") -> Response:
        by = desk.enter(request)
        if overlap not in OVERLAPS:
            raise Invalid("This is no overlap.", hint="Choose one of the list.", field="overlap")
        made, secret = keys.rotate(name, overlap=OVERLAPS[overlap], by=by)
        return page(request, by, made=(made.name, secret))

    @router.post("/keys/{name}/revoke")
    def revoke(request: Request, name: str) -> Response:
        keys.revoke(name, desk.enter(request))
        return RedirectResponse("/keys", 303, {"cache-control": "no-store"})

    return router


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Invalid(f"'{text[:20]}' is no role.", hint=f"Roles are {', '.join(ROLES)}.", field="role")
