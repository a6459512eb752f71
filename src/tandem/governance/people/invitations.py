"""Links that are good once: to join, or to choose a new password. It sends nothing and knows no wire.

A link holds 256 random bits; what is kept is a keyed digest. It ends when it is used, when it is taken back, when whoever
made it is disabled or removed, and after a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from tandem.core.asset import check_name
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import Person, Principal, Role
from tandem.core.secret import Secret
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.digest import digest, new_token
from tandem.governance.people.attempts import Slowing
from tandem.governance.people.passwords import Passwords, check_password
from tandem.governance.people.persons import Persons, check_email, check_roles, may_give, themself
from tandem.governance.people.repo import Invitation, InvitationRows, SessionRows
from tandem.store.sql import Sql
from tandem.store.vault import Vault

SECONDS = 3 * 24 * 3600
"""For which a link is good, unless it is said otherwise."""
LONGEST_SECONDS = 30 * 24 * 3600
CHANGING = "inside"
"""Where those are who are signed in already, as attempts are counted."""
_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Who is asked to join."""

    email: str
    role: Role | None = None
    teams: Mapping[str, Role]
    seconds: int = SECONDS


class Invitations:
    """Links, and what they open; passwords are chosen and changed here."""

    def __init__(self, sql: Sql, vault: Vault, clock: Clock, audit: Audit, persons: Persons, passwords: Passwords) -> None:
        self._sql, self._clock, self._audit, self._persons, self._passwords = sql, clock, audit, persons, passwords
        self._pepper = vault.derive("invitations")
        self._rows, self._sessions, self._slowing = InvitationRows(), SessionRows(), Slowing(vault)

    def invite(self, invited: Invited, *, by: Principal) -> tuple[Invitation, Secret]:
        """Makes a link to join. The Secret is the only copy there will ever be.

        Raises:
            Forbidden: `by` is no admin of all that is given.
            Conflict: a person has this e-mail already.
            Invalid: no e-mail, no role, or a time that is too long.
        """
        email = check_email(invited.email)
        check_roles(invited.role, invited.teams)
        may_give(by, invited.role, invited.teams)
        with self._sql.write() as conn:
            if self._persons.rows.by_email(conn, email):
                raise Conflict(
                    "There is a person with this e-mail already.",
                    hint="Give them a role: tandem team member.",
                    field="email",
                )
            found = self._made(email, None, invited.role, invited.teams, invited.seconds, by)
            team = min(invited.teams, default="default")
            return found, self._add(conn, found, "person.invite", f"invitation/{found.id}", team, by)

    def link(self, name: str, *, seconds: int = SECONDS, by: Principal) -> tuple[Invitation, Secret]:
        """Makes a link by which a person chooses a new password.

        Raises:
            Forbidden: `by` is no admin of the organisation.
            NotFound: there is no such person.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            person = self._someone(conn, name)
            found = self._made(person.email or "", person.id, None, {}, seconds, by)
            team = min(person.teams, default="default")
            return found, self._add(conn, found, "person.link", person.owner, team, by)

    def list(self, by: Principal) -> tuple[Invitation, ...]:
        """Links that can still be used, newest first: all of them for the organisation's admins and auditors, else the team's."""
        authorise(by, "read", by.team)
        with self._sql.read() as conn:
            return self._rows.list(conn, scope_of(by), self._clock.now()) if by.may("admin", by.team) or by.may("audit") else ()

    def withdraw(self, id: str, *, by: Principal) -> Invitation:
        """Takes a link back.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none that `by` sees.
        """
        if not by.may("admin", by.team):
            authorise(by, "admin")
        found = next((each for each in self.list(by) if each.id == id), None)
        if found is None:
            raise NotFound(f"There is no invitation '{id}'.", hint="It may have been used; `tandem person invited` lists them.")
        may_give(by, found.role if found.teams or found.role else "admin", found.teams)
        with self._sql.write() as conn:
            self._rows.remove(conn, found.id)
            self._audit.append(
                conn,
                actor=by.name,
                action="person.withdraw",
                subject=f"invitation/{id}",
                team=min(found.teams, default="default"),
            )
        return found

    def open(self, token: str) -> tuple[Invitation, str]:
        """What a link is for, and the name that the person has, or may choose.

        Raises:
            NotFound: it was used, taken back, is over, or never was.
        """
        with self._sql.read() as conn:
            found = self._must(conn, token)
            person = None if found.person is None else self._persons.rows.by_id(conn, found.person)
        return found, name_for(found.email) if person is None else person.name

    def redeem(self, token: str, *, name: str, password: str) -> Person:
        """Uses a link up: the person is made, or gets the password and is signed out elsewhere.

        Args:
            name: what somebody who joins wants to be called; a new password changes no name.

        Raises:
            NotFound: as `open`.
            Invalid: the password is none to use.
            Conflict: the name is taken.
        """
        with self._sql.read() as conn:  # before anything costly
            found = self._must(conn, token)
        check_password(password, name=check_name(name), email=found.email)
        hashed = self._passwords.hash(password)
        with self._sql.write() as conn:
            found = self._must(conn, token)
            if found.person is None:
                person = self._join(conn, found, name)
            else:
                person = self._persons.rows.by_id(conn, found.person) or _gone()
                self._sessions.end_of(conn, person.id)
            self._rows.remove(conn, found.id)
            self._set(conn, person, hashed, by=person.name)
        return person

    def set_password(self, name: str, password: str, *, current: str | None = None, by: Principal) -> Person:
        """Gives a person a password, and ends their sessions: by themself with the present one, or by an admin.

        Raises:
            Forbidden: `by` is neither, or the present password is wrong.
            NotFound: there is no such person.
            Invalid: the password is none to use.
            RateLimited: the present one was wrong too often.
        """
        with self._sql.read() as conn:
            person = self._someone(conn, name)
            kept = self._persons.rows.password(conn, person.id)
        if by.kind == "person" and by.id == person.id:
            if kept is not None:
                self._check(person, kept, current or "")
        elif not by.may("admin"):
            themself(by, person)
        check_password(password, name=name, email=person.email)
        hashed = self._passwords.hash(password)
        with self._sql.write() as conn:
            person = self._someone(conn, name)
            self._sessions.end_of(conn, person.id)
            self._set(conn, person, hashed, by=by.name)
        return person

    def _check(self, person: Person, kept: str, current: str) -> None:
        """Looks at the present password; whoever found a session open guesses it no faster than at the sign-in."""
        with self._sql.write() as conn:
            self._slowing.begin(conn, person.name, CHANGING, self._clock.now())
        if not self._passwords.holds(kept, current):
            raise Invalid("The present password is not right.", hint="Write the one you sign in with.", field="current")
        with self._sql.write() as conn:
            self._slowing.well(conn, person.name, CHANGING)

    def _join(self, conn: Connection, found: Invitation, name: str) -> Person:
        person = Person(
            id=new_id("per"),
            name=name,
            email=found.email,
            role=found.role,
            teams=found.teams,
            created_at=self._clock.now(),
            created_by=found.created_by,
        )
        self._persons.insert(conn, person, action="person.join", by=name, more={"invitation": found.id})
        return person

    def _set(self, conn: Connection, person: Person, hashed: str, *, by: str) -> None:
        self._persons.rows.set_password(conn, person.id, hashed)
        team = min(person.teams, default="default")
        self._audit.append(conn, actor=by, action="person.password", subject=person.owner, team=team)

    def _someone(self, conn: Connection, name: str) -> Person:
        person = self._persons.rows.find(conn, name)
        if person is None or person.kind != "person":
            raise NotFound(f"There is no person '{name}'.", hint="`tandem person list` shows them; a service has no password.")
        return person

    def _must(self, conn: Connection, token: str) -> Invitation:
        found = self._rows.by_digest(conn, digest(self._pepper, token))
        if found is None or found.expires_at <= self._clock.now():
            raise NotFound("This link is not good any more.", hint="It was used, or its time is over. Ask for a new one.")
        return found

    def _made(
        self, email: str, person: str | None, role: Role | None, teams: Mapping[str, Role], seconds: int, by: Principal
    ) -> Invitation:
        if not 60 <= seconds <= LONGEST_SECONDS:
            raise Invalid("A link is good for a minute to 30 days.", hint="Give a shorter time.", field="seconds")
        now = self._clock.now()
        return Invitation(
            id=new_id("inv"),
            email=email,
            person=person,
            role=role,
            teams=dict(teams),
            created_at=now,
            created_by=by.name,
            expires_at=now + seconds * MICROS,
        )

    def _add(self, conn: Connection, found: Invitation, action: str, subject: str, team: str, by: Principal) -> Secret:
        token = new_token().replace("tdm_", "tdi_")
        self._rows.sweep(conn, self._clock.now())
        self._rows.add(conn, digest(self._pepper, token), found)
        detail = {"invitation": found.id, "role": found.role, "teams": dict(found.teams), "expires_at": found.expires_at}
        self._audit.append(conn, actor=by.name, action=action, subject=subject, team=team, detail=detail)
        return Secret(token)


def name_for(email: str) -> str:
    """The name that somebody with this address would have.

    >>> name_for("Ada.Lovelace+x@example.org")
    'ada.lovelace-x'
    """
    return _NAME.sub("-", email.partition("@")[0].lower()).strip("._-")[:64] or "person"


def _gone() -> Person:
    raise NotFound("The person is gone.", hint="Ask for an invitation.")
