"""Principals as a page: persons, services, teams and invitations, with what an admin may do to each."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tandem.console.desk import Desk
from tandem.core.errors import Invalid
from tandem.core.principal import ROLES, WIDE_ROLES, Principal, Role
from tandem.core.secret import Secret
from tandem.governance.keys import Keys
from tandem.governance.people.invitations import Invitations, Invited
from tandem.governance.people.persons import NewPerson, Persons

Text = Annotated[str, Form(max_length=320)]


def routes(desk: Desk, persons: Persons, invitations: Invitations, keys: Keys, address: str) -> APIRouter:
    """The pages of Principal that are about people.

    Args:
        address: of the console, for links.
    """
    router = desk.router()

    def page(request: Request, by: Principal, *, link: Secret | None = None, whose: str = "") -> Response:
        teams = keys.teams(by)
        values = {
            "persons": persons.list(by),
            "teams": teams,
            "own": [team for team in teams if by.may("admin", team)],
            "invitations": invitations.list(by),
            "link": None if link is None else f"{address}/join/{link.reveal()}",
            "whose": whose,
            "roles": ROLES,
            "wide": WIDE_ROLES,
            "sees_mail": by.may("admin", by.team) or by.may("audit"),
        }
        return desk.page(request, "people.html", "People", values, by=by)

    @router.get("/people")
    def people(request: Request) -> Response:
        return page(request, desk.enter(request))

    @router.post("/people/invite")
    def invite(request: Request, email: Text, team: Text = "", role: Text = "viewer") -> Response:
        by = desk.enter(request)
        wide = _role(role) if not team else None
        teams = {team: _role(role)} if team else {}
        _, secret = invitations.invite(Invited(email=email, role=wide, teams=teams), by=by)
        return page(request, by, link=secret, whose=email)

    @router.post("/people/withdraw")
    def withdraw(request: Request, invitation: Text) -> Response:
        invitations.withdraw(invitation, by=desk.enter(request))
        return _back()

    @router.post("/people/services")
    def add_service(request: Request, name: Text, team: Text, role: Text = "viewer") -> Response:
        persons.add(NewPerson(name=name, kind="service", teams={team: _role(role)}), by=desk.enter(request))
        return _back()

    @router.post("/people/teams")
    def add_team(request: Request, team: Text) -> Response:
        persons.add_team(team, by=desk.enter(request))
        return _back()

    @router.post("/people/members")
    def set_member(request: Request, name: Text, team: Text, role: Text = "") -> Response:
        by = desk.enter(request)
        if role == "none":
            persons.drop_member(team, name, by=by)
        else:
            persons.put_member(team, name, _role(role), by=by)
        return _back()

    @router.post("/people/{name}/link")
    def link(request: Request, name: str) -> Response:
        by = desk.enter(request)
        _, secret = invitations.link(name, by=by)
        return page(request, by, link=secret, whose=name)

    @router.post("/people/{name}/disable")
    def disable(request: Request, name: str) -> Response:
        persons.change(name, disabled=True, by=desk.enter(request))
        return _back()

    @router.post("/people/{name}/enable")
    def enable(request: Request, name: str) -> Response:
        persons.change(name, disabled=False, by=desk.enter(request))
        return _back()

    @router.post("/people/{name}/sign-out")
    def sign_out(request: Request, name: str) -> Response:
        desk.sessions.end_all(name, by=desk.enter(request))
        return _back()

    @router.post("/people/{name}/remove")
    def remove(request: Request, name: str, sure: Text = "") -> Response:
        by = desk.enter(request)
        if not sure:
            raise Invalid("Nobody was removed: it was not confirmed.", hint="Tick that it is meant.", field="sure")
        persons.remove(name, by=by)
        return _back()

    return router


def _role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    raise Invalid(f"'{text[:20]}' is no role.", hint=f"Roles are {', '.join(ROLES)}.", field="role")


def _back() -> Response:
    return RedirectResponse("/people", 303, {"cache-control": "no-store"})
