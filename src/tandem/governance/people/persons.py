"""Persons and services: made, put into teams, disabled, removed. It knows no password, no session's cookie and no wire.

Whatever takes rights away ends what rests on them in the same transaction: sessions, links, and the keys that would give
more than their owner has. Doors hear of the keys by the key feed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from sqlalchemy import Connection

from tandem.core.asset import check_name
from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import ROLES, WIDE_ROLES, Person, Principal, Role
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.people.repo import InvitationRows, PersonRows, SessionRows
from tandem.governance.repo import KeyRows
from tandem.store.sql import Sql

EMAIL = re.compile(r"[^@\s\x00-\x1f<>\",;:]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
TEAMS = 100
"""Of one person."""


class Trims(Protocol):
    """Ends the keys of an owner that give more than the owner has; of nobody (None), all of them."""

    def __call__(self, conn: Connection, owner: str, person: Person | None, by: Principal) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPerson:
    """Who is to be made."""

    name: str
    kind: Literal["person", "service"] = "person"
    email: str | None = None
    role: Role | None = None
    teams: Mapping[str, Role]


class Persons:
    """The persons and services of the organisation, and its teams."""

    def __init__(self, sql: Sql, clock: Clock, audit: Audit, trim: Trims) -> None:
        self._sql, self._clock, self._audit, self._trim = sql, clock, audit, trim
        self.rows = PersonRows()
        self._keys, self._sessions, self._links = KeyRows(), SessionRows(), InvitationRows()

    # --- look

    def list(self, by: Principal) -> tuple[Person, ...]:
        """By name: everybody for the organisation's admins and auditors, else the own team's members, without other teams."""
        authorise(by, "read")
        with self._sql.read() as conn:
            return self.rows.list(conn, scope_of(by))

    # --- change

    def add(self, new: NewPerson, *, by: Principal) -> Person:
        """Makes a person or a service, who is in at least one team or has a role in the organisation.

        Raises:
            Forbidden: `by` is no admin of all that is given.
            Conflict: a principal has this name, or a person this e-mail.
            Invalid: a name, an e-mail or a role is not possible.
        """
        person = self.checked(new, by=by)
        with self._sql.write() as conn:
            self.insert(conn, person, action="person.add", by=by.name)
        return person

    def checked(self, new: NewPerson, *, by: Principal) -> Person:
        """The person as it would be made; `insert` writes it.

        Raises:
            Forbidden, Invalid: as `add`.
        """
        check_roles(new.role, new.teams)
        may_give(by, new.role, new.teams)
        service = new.kind == "service"
        if service and new.email is not None:
            raise Invalid("A service has no e-mail.", hint="It has keys alone.", field="email")
        return Person(
            id=new_id("svc" if service else "per"),
            name=check_name(new.name),
            kind=new.kind,
            email=None if new.email is None else check_email(new.email),
            role=new.role,
            teams=dict(new.teams),
            created_at=self._clock.now(),
            created_by=by.name,
        )

    def insert(self, conn: Connection, person: Person, *, action: str, by: str, more: Mapping[str, object] | None = None) -> None:
        """Writes a new person inside the caller's transaction.

        Raises:
            Conflict: the name or the e-mail is taken.
        """
        if self.rows.find(conn, person.name) or self._keys.active(conn, person.name):
            raise Conflict(
                f"There is a principal '{person.name}' already.",
                hint="Choose another name: persons, services and keys share them, so that the audit names one of them.",
                field="name",
            )
        if person.email is not None and self.rows.by_email(conn, person.email):
            raise Conflict(
                "There is a person with this e-mail already.", hint="Give them a role: tandem team member.", field="email"
            )
        for team in person.teams:
            self.ensure_team(conn, team, by)
        self.rows.add(conn, person)
        self._note(conn, person, action, by, {"id": person.id, "kind": person.kind, **_roles(person), **(more or {})})

    def change(
        self, name: str, *, email: str | None = None, role: Role | Literal["none"] | None = None, disabled: bool | None = None,
        by: Principal,
    ) -> Person:  # fmt: skip
        """Changes what is given. Whoever is disabled is signed out at once, and all their keys are revoked for good.

        Args:
            role: in the whole organisation; `none` takes it away.

        Raises:
            Forbidden: `by` is no admin of the organisation.
            NotFound: there is no such person.
            Conflict: another person has the e-mail.
        """
        authorise(by, "admin")
        if role is not None and role != "none":
            check_roles(role, {})
        with self._sql.write() as conn:
            before = self._must(conn, name)
            after = before
            if email is not None:
                known = self.rows.by_email(conn, check_email(email))
                if known is not None and known.id != before.id:
                    raise Conflict(
                        "Another person has this e-mail.", hint="`tandem person list` shows whose it is.", field="email"
                    )
                after = replace(after, email=check_email(email))
            if role is not None:
                after = replace(after, role=None if role == "none" else role)
            if disabled is not None:
                after = replace(after, disabled_at=(before.disabled_at or self._clock.now()) if disabled else None)
            if after == before:
                return before
            self.rows.change(conn, after)
            if after.disabled_at is not None:
                self._sessions.end_of(conn, after.id)
                self._links.remove_of(conn, person=after.id, name=after.name, email=after.email)
            detail = {
                "id": after.id,
                **_roles(after),
                "disabled": after.disabled_at is not None,
                "email": after.email != before.email,
            }
            self._note(conn, after, "person.set", by.name, detail)
            self._less(conn, before, after, by)
        return after

    def remove(self, name: str, *, by: Principal) -> Person:
        """Removes a person or a service with everything that is theirs: sessions, links, memberships, keys.

        Raises:
            Forbidden: `by` is no admin of the organisation.
            NotFound: there is no such person.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            person = self._must(conn, name)
            self._sessions.end_of(conn, person.id)
            self._links.remove_of(conn, person=person.id, name=person.name, email=person.email)
            self._trim(conn, person.owner, None, by)
            self.rows.remove(conn, person.id)
            self._note(conn, person, "person.remove", by.name, {"id": person.id})
        return person

    # --- teams

    def add_team(self, team: str, *, by: Principal) -> None:
        """Makes a team.

        Raises:
            Forbidden: `by` is no admin of the organisation.
            Conflict: there is one of this name.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            if not self.ensure_team(conn, check_name(team), by.name):
                raise Conflict(f"There is a team '{team}' already.", hint="`tandem team list` shows them.", field="team")

    def ensure_team(self, conn: Connection, team: str, by: str) -> bool:
        """Makes a team where there is none; whether it was made."""
        made = self._keys.ensure_team(conn, check_name(team), self._clock.now(), by)
        if made:
            self._audit.append(conn, actor=by, action="team.create", subject=f"team/{team}", team=team)
        return made

    def put_member(self, team: str, name: str, role: Role, *, by: Principal) -> Person:
        """Puts a person or a service into a team, or gives them another role there.

        Raises:
            Forbidden: `by` is no admin of the team.
            NotFound: there is no such team, or no such person.
        """
        authorise(by, "admin", team)
        check_roles(None, {team: role})
        with self._sql.write() as conn:
            person = self._must(conn, name)
            if not self.rows.there_is_team(conn, team):
                raise NotFound(f"There is no team '{team}'.", hint="Make it: tandem team add.")
            if person.teams.get(team) == role:
                return person
            after = replace(person, teams={**person.teams, team: role})
            if len(after.teams) > TEAMS:
                raise Invalid(f"A person is in at most {TEAMS} teams.", hint="Give a role in the organisation instead.")
            self.rows.put_member(conn, person.id, team, role)
            self._audit.append(
                conn, actor=by.name, action="member.set", subject=person.owner, team=team, detail={"team": team, "role": role}
            )
            self._less(conn, person, after, by)
        return after

    def drop_member(self, team: str, name: str, *, by: Principal) -> Person:
        """Takes a person or a service out of a team; their keys of the team are revoked.

        Raises:
            Forbidden: `by` is no admin of the team.
            NotFound: they are not in it.
        """
        authorise(by, "admin", team)
        with self._sql.write() as conn:
            person = self._must(conn, name)
            if team not in person.teams:
                raise NotFound(f"'{name}' is not in the team '{team}'.", hint="`tandem team list` shows who is.")
            after = replace(person, teams={each: role for each, role in person.teams.items() if each != team})
            self.rows.drop_member(conn, person.id, team)
            self._audit.append(
                conn, actor=by.name, action="member.remove", subject=person.owner, team=team, detail={"team": team}
            )
            self._less(conn, person, after, by)
        return after

    def claimed(self, conn: Connection, person: Person, roles: Mapping[str, Role], by: str) -> Person:
        """Gives a person the roles that a provider of sign-ins vouches for, in the teams that it decides about.

        Args:
            roles: team → role; a team with no role any more is left out, and is left.
        """
        after = replace(person, teams=dict(roles))
        for team in sorted({*person.teams, *roles}):
            role = roles.get(team)
            if role == person.teams.get(team):
                continue
            if role is None:
                self.rows.drop_member(conn, person.id, team)
            else:
                self.ensure_team(conn, team, by)
                self.rows.put_member(conn, person.id, team, role)
            self._audit.append(
                conn,
                actor=by,
                action="member.remove" if role is None else "member.set",
                subject=person.owner,
                team=team,
                detail={"team": team, "role": role},
            )
        if after != person:
            self._less(conn, person, after, Principal(id=person.id, name=by, team="default", kind="service"))
        return after

    def widened(self, conn: Connection, person: Person, role: Role | None, by: str) -> Person:
        """Gives a person the role in the organisation that a provider of sign-ins vouches for, or takes it away."""
        after = replace(person, role=role)
        self.rows.change(conn, after)
        self._note(conn, after, "person.set", by, {"id": after.id, **_roles(after)})
        self._less(conn, person, after, Principal(id=person.id, name=by, team="default", kind="service"))
        return after

    def _less(self, conn: Connection, before: Person, after: Person, by: Principal) -> None:
        """Ends what rests on rights that a person had: keys, and links that they gave as an admin."""
        self._trim(conn, after.owner, after, by)
        if _administers(before) - _administers(after):
            self._links.remove_by(conn, after.name)

    def _must(self, conn: Connection, name: str) -> Person:
        person = self.rows.find(conn, name)
        if person is None:
            raise _unknown(name)
        return person

    def _note(self, conn: Connection, person: Person, action: str, by: str, detail: Mapping[str, object]) -> None:
        team = min(person.teams, default="default")
        self._audit.append(conn, actor=by, action=action, subject=person.owner, team=team, detail=detail)


def check_email(text: str) -> str:
    """An e-mail address, in the one way it is kept.

    Raises:
        Invalid: it is none.
    """
    found = text.strip().lower()
    if len(found) > 254 or not EMAIL.fullmatch(found):
        raise Invalid("This is no e-mail address.", hint="Write NAME@DOMAIN.", field="email")
    return found


def check_roles(role: Role | None, teams: Mapping[str, Role]) -> None:
    """Looks at roles that somebody shall have.

    Raises:
        Invalid: there is none, or one that does not exist.
    """
    if role is not None and role not in WIDE_ROLES:
        raise Invalid(
            f"Nobody is {role} in the whole organisation.", hint=f"Say {' or '.join(WIDE_ROLES)}, or name a team.", field="role"
        )
    for team, held in teams.items():
        check_name(team)
        if held not in ROLES:
            raise Invalid(f"'{held}' is no role.", hint=f"Roles are {', '.join(ROLES)}.", field="teams")
    if role is None and not teams:
        raise Invalid("Without a team and a role there is nothing to do here.", hint="Name a team and a role.", field="teams")
    if len(teams) > TEAMS:
        raise Invalid(f"A person is in at most {TEAMS} teams.", hint="Give a role in the organisation instead.", field="teams")


def may_give(by: Principal, role: Role | None, teams: Mapping[str, Role]) -> None:
    """Lets pass who may give these roles: the organisation's admin any, a team's admin those in the team.

    Raises:
        Forbidden: that is not `by`.
    """
    if role is not None:
        authorise(by, "admin")
    for team in teams:
        authorise(by, "admin", team)


def themself(by: Principal, person: Person) -> None:
    """Lets pass the person alone, signed in; a key of theirs is not enough.

    Raises:
        Forbidden: somebody else.
    """
    if by.kind != "person" or by.id != person.id:
        raise Forbidden("Only the person themself may do this, signed in.", hint="Sign in, or ask an admin.")


def _administers(person: Person) -> frozenset[str]:
    """The teams that a person is an admin of; empty for the whole organisation."""
    wide = frozenset({""}) if person.role == "admin" else frozenset[str]()
    return wide | {team for team, role in person.teams.items() if role == "admin"}


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no person or service '{name}'.", hint="`tandem person list` shows them.")


def _roles(person: Person) -> dict[str, object]:
    return {"role": person.role, "teams": dict(person.teams)}
