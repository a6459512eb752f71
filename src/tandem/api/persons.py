"""Principals over HTTP: persons and services, teams, invitations, and the way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, address_of, answer, drop_session, own_site, set_session
from tandem.core.errors import Forbidden
from tandem.core.principal import Person, Principal, Role
from tandem.governance.keys import Keys
from tandem.governance.people.invitations import LONGEST_SECONDS, SECONDS, Invitations, Invited
from tandem.governance.people.persons import NewPerson, Persons
from tandem.governance.people.repo import Invitation
from tandem.governance.sessions import COOKIE, Opened, Sessions

Name = Annotated[str, Field(max_length=64)]
Email = Annotated[str, Field(max_length=254)]
Password = Annotated[str, Field(max_length=1024)]
Teams = Annotated[dict[Name, Role], Field(max_length=100)]


class SignIn(BaseModel):
    """A person who signs in."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=254)]
    """Or the e-mail."""
    password: Password


class ActIn(BaseModel):
    """The team to go on in; empty: the whole organisation."""

    model_config = ConfigDict(extra="forbid")
    team: Name


class PersonIn(BaseModel):
    """A person or a service to be made."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    kind: Literal["person", "service"] = "person"
    email: Email | None = None
    role: Role | None = None
    """In the whole organisation: `admin` or `auditor`."""
    teams: Teams = Field(default_factory=dict)


class PersonChange(BaseModel):
    """What changes; what is left away stays."""

    model_config = ConfigDict(extra="forbid")
    email: Email | None = None
    role: Role | Literal["none"] | None = None
    disabled: bool | None = None


class PasswordIn(BaseModel):
    """A new password, and the present one of whoever changes their own."""

    model_config = ConfigDict(extra="forbid")
    password: Password
    current: Password | None = None


class TeamIn(BaseModel):
    """A team to be made."""

    model_config = ConfigDict(extra="forbid")
    name: Name


class MemberIn(BaseModel):
    """What somebody is in a team."""

    model_config = ConfigDict(extra="forbid")
    role: Role


class LinkIn(BaseModel):
    """For how long a link is good."""

    model_config = ConfigDict(extra="forbid")
    seconds: int = Field(SECONDS, ge=60, le=LONGEST_SECONDS)


class InvitationIn(LinkIn):
    """Who is asked to join."""

    email: Email
    role: Role | None = None
    teams: Teams = Field(default_factory=dict)


class Redeemed(BaseModel):
    """A link that is used up."""

    model_config = ConfigDict(extra="forbid")
    token: Annotated[str, Field(max_length=128)]
    name: Name
    password: Password


def routes(persons: Persons, invitations: Invitations, sessions: Sessions, keys: Keys, address: str) -> APIRouter:
    """The routes of Principal that are about people.

    Args:
        address: of the console, for links.
    """
    router = APIRouter(tags=["principals"])

    @router.post("/session")
    def sign_in(request: Request, body: SignIn) -> Response:
        """Signs a person in: the answer sets the session's cookie."""
        own_site(request)
        before = request.cookies.get(COOKIE)
        opened = sessions.sign_in(body.name, body.password, address=address_of(request), before=before)
        return _entered(request, sessions, opened)

    @router.get("/session")
    def session(by: Caller) -> Response:
        """Who is signed in, in which teams they can act, and where else they are signed in."""
        return answer({**_session(sessions, by), "sessions": [asdict(each) for each in sessions.of(by)]})

    @router.put("/session")
    def act_in(request: Request, body: ActIn, by: Caller) -> Response:
        """Goes on in another team of the person's."""
        if by.kind != "person":
            raise Forbidden("A key acts in its own team.", hint="Sign in with your name and password.")
        return answer(_session(sessions, sessions.act_in(request.cookies.get(COOKIE, ""), body.team)))

    @router.delete("/session")
    def sign_out(request: Request, by: Caller) -> Response:
        """Signs out: the cookie opens nothing any more."""
        sessions.end(request.cookies.get(COOKIE, ""))
        done = answer({"signed_out": True})
        drop_session(request, done)
        return done

    @router.get("/persons")
    def list_persons(by: Caller) -> Response:
        """Persons and services: all for admins and auditors, else those of the own team."""
        return answer([shown(person, by) for person in persons.list(by)])

    @router.post("/persons", status_code=201)
    def add(body: PersonIn, by: Caller) -> Response:
        """Makes a person or a service."""
        new = NewPerson(name=body.name, kind=body.kind, email=body.email, role=body.role, teams=body.teams)
        return answer(shown(persons.add(new, by=by), by), 201)

    @router.put("/persons/{name}")
    def change(name: Name, body: PersonChange, by: Caller) -> Response:
        """Changes a person; who is disabled is out at once, with all their keys."""
        return answer(shown(persons.change(name, email=body.email, role=body.role, disabled=body.disabled, by=by), by))

    @router.delete("/persons/{name}")
    def remove(name: Name, by: Caller) -> Response:
        """Removes a person or a service, with their sessions and keys."""
        return answer(shown(persons.remove(name, by=by), by))

    @router.put("/persons/{name}/password")
    def set_password(name: Name, body: PasswordIn, by: Caller) -> Response:
        """Sets a password, and ends the person's sessions."""
        person = invitations.set_password(name, body.password, current=body.current, by=by)
        return answer({"name": person.name, "password": True})

    @router.post("/persons/{name}/link", status_code=201)
    def link(name: Name, body: LinkIn, by: Caller) -> Response:
        """Makes a link, good once, by which the person chooses a new password; it is shown in this answer alone."""
        made, secret = invitations.link(name, seconds=body.seconds, by=by)
        return answer({"link": join(address, secret.reveal()), "invitation": _invitation(made)}, 201)

    @router.post("/persons/{name}/sign-out")
    def sign_out_everywhere(name: Name, by: Caller) -> Response:
        """Ends every session of a person."""
        return answer({"name": name, "ended": sessions.end_all(name, by=by)})

    @router.get("/teams")
    def teams(by: Caller) -> Response:
        """The teams that the caller sees, with who is in them."""
        seen = persons.list(by)
        rows = [{"name": team, "members": _members(seen, team)} for team in keys.teams(by)]
        return answer(rows)

    @router.post("/teams", status_code=201)
    def add_team(body: TeamIn, by: Caller) -> Response:
        """Makes a team."""
        persons.add_team(body.name, by=by)
        return answer({"name": body.name, "members": {}}, 201)

    @router.put("/teams/{team}/members/{name}")
    def put_member(team: Name, name: Name, body: MemberIn, by: Caller) -> Response:
        """Puts somebody into a team, or gives them another role there."""
        return answer(shown(persons.put_member(team, name, body.role, by=by), by))

    @router.delete("/teams/{team}/members/{name}")
    def drop_member(team: Name, name: Name, by: Caller) -> Response:
        """Takes somebody out of a team; their keys of the team end."""
        return answer(shown(persons.drop_member(team, name, by=by), by))

    @router.get("/invitations")
    def list_invitations(by: Caller) -> Response:
        """Links that can still be used; never the links themselves."""
        return answer([_invitation(each) for each in invitations.list(by)])

    @router.post("/invitations", status_code=201)
    def invite(body: InvitationIn, by: Caller) -> Response:
        """Makes a link, good once, by which somebody joins; it is shown in this answer alone."""
        wanted = Invited(email=body.email, role=body.role, teams=body.teams, seconds=body.seconds)
        made, secret = invitations.invite(wanted, by=by)
        return answer({"link": join(address, secret.reveal()), "invitation": _invitation(made)}, 201)

    @router.delete("/invitations/{identifier}")
    def withdraw(identifier: Name, by: Caller) -> Response:
        """Takes a link back."""
        return answer(_invitation(invitations.withdraw(identifier, by=by)))

    @router.post("/invitations/redeem")
    def redeem(request: Request, body: Redeemed) -> Response:
        """Uses a link up: the person has a password and is signed in."""
        own_site(request)
        person = invitations.redeem(body.token, name=body.name, password=body.password)
        before = request.cookies.get(COOKIE)
        return _entered(request, sessions, sessions.enter(person, address=address_of(request), before=before, how="link"))

    return router


def join(address: str, token: str) -> str:
    """The link that a token stands in."""
    return f"{address}/join/{token}"


def shown(person: Person, by: Principal) -> dict[str, object]:
    """A person as `by` may see them: other teams are shown to the organisation's admins and auditors, e-mails to admins."""
    own = by.kind == "person" and by.id == person.id
    if not (own or by.may("audit")):
        person = replace(person, teams={team: role for team, role in person.teams.items() if team == by.team})
    if not (own or by.may("admin", by.team) or by.may("audit")):
        person = replace(person, email=None)
    return {**asdict(person), "teams": dict(person.teams)}


def _members(seen: tuple[Person, ...], team: str) -> Mapping[str, str]:
    return {person.name: person.teams[team] for person in seen if team in person.teams}


def _session(sessions: Sessions, by: Principal) -> dict[str, object]:
    return {"principal": asdict(by), "teams": dict(sessions.hats(by))}


def _entered(request: Request, sessions: Sessions, opened: Opened) -> Response:
    done = answer(_session(sessions, opened.principal))
    set_session(request, done, opened.cookie, sessions.lasting.seconds)
    return done


def _invitation(invitation: Invitation) -> dict[str, object]:
    return {**asdict(invitation), "teams": dict(invitation.teams)}
