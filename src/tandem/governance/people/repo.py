"""The tables of persons, memberships, sessions and invitations, and every statement that touches them. It decides nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from tandem.core.principal import Person, Role
from tandem.governance.authorise import Scope
from tandem.governance.repo import teams
from tandem.store.canonical import canonical
from tandem.store.sql import metadata

persons = Table(
    "persons",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("email", Text, unique=True),
    Column("role", Text),
    Column("password", Text),
    Column("provider", Text),
    Column("identity", LargeBinary, unique=True),
    Column("disabled_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)

members = Table(
    "members",
    metadata,
    Column("person", Text, ForeignKey("persons.id"), primary_key=True),
    Column("team", Text, ForeignKey("teams.name"), primary_key=True, index=True),
    Column("role", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("principal", Text, nullable=False, index=True),
    Column("team", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False, index=True),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("person", Text),
    Column("role", Text),
    Column("teams", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

attempts = Table(
    "sign_in_attempts",
    metadata,
    Column("subject", LargeBinary, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody who is signed in at the console or the API."""

    principal: str
    """`per_…`, or the `key_…` that was given."""
    team: str
    """In which the person acts; empty: in the whole organisation."""
    address: str
    """Where the sign-in came from."""
    created_at: int
    """UTC microseconds, like all times here."""
    seen_at: int
    expires_at: int
    """However busy it is, it ends then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A link that is good once: for somebody to join, or for a person to choose a new password."""

    id: str
    """`inv_…`; the link itself is kept nowhere."""
    email: str
    person: str | None
    """Who chooses a new password by it; None: somebody joins."""
    role: Role | None
    teams: Mapping[str, Role]
    created_at: int
    created_by: str
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """Sign-ins of one name, or from one address, that failed."""

    failures: int
    until: int
    """Before this UTC time (microseconds) nobody may try again."""
    last_at: int


class PersonRows:
    """Persons and services with their memberships."""

    def find(self, conn: Connection, name: str) -> Person | None:
        return self._one(conn, persons.c.name == name)

    def any(self, conn: Connection) -> bool:
        """Whether there is a person at all."""
        return conn.execute(select(persons.c.id).where(persons.c.kind == "person").limit(1)).first() is not None

    def by_id(self, conn: Connection, id: str) -> Person | None:
        return self._one(conn, persons.c.id == id)

    def by_email(self, conn: Connection, email: str) -> Person | None:
        return self._one(conn, persons.c.email == email)

    def by_identity(self, conn: Connection, identity: bytes) -> Person | None:
        return self._one(conn, persons.c.identity == identity)

    def list(self, conn: Connection, scope: Scope) -> tuple[Person, ...]:
        """By name: all of them, or the team's members with what they are in that team alone."""
        query = select(persons).order_by(persons.c.name)
        if scope.team is not None:
            query = query.where(persons.c.id.in_(select(members.c.person).where(members.c.team == scope.team)))
        held = select(members) if scope.team is None else select(members).where(members.c.team == scope.team)
        roles: dict[str, dict[str, Role]] = {}
        for row in conn.execute(held):
            roles.setdefault(row.person, {})[row.team] = row.role
        return tuple(_person(row, roles.get(row.id, {})) for row in conn.execute(query))

    def add(self, conn: Connection, person: Person) -> None:
        conn.execute(
            insert(persons).values(
                id=person.id,
                name=person.name,
                kind=person.kind,
                email=person.email,
                role=person.role,
                created_at=person.created_at,
                created_by=person.created_by,
            )
        )
        for team, role in person.teams.items():
            self.put_member(conn, person.id, team, role)

    def change(self, conn: Connection, person: Person) -> None:
        """Writes what may change: e-mail, role in the organisation, whether disabled."""
        values = {"email": person.email, "role": person.role, "disabled_at": person.disabled_at}
        conn.execute(update(persons).where(persons.c.id == person.id).values(values))

    def remove(self, conn: Connection, id: str) -> None:
        conn.execute(delete(members).where(members.c.person == id))
        conn.execute(delete(persons).where(persons.c.id == id))

    def put_member(self, conn: Connection, id: str, team: str, role: Role) -> None:
        mine = (members.c.person == id, members.c.team == team)
        if conn.execute(update(members).where(*mine).values(role=role)).rowcount == 0:
            conn.execute(insert(members).values(person=id, team=team, role=role))

    def drop_member(self, conn: Connection, id: str, team: str) -> None:
        conn.execute(delete(members).where(members.c.person == id, members.c.team == team))

    def password(self, conn: Connection, id: str) -> str | None:
        return conn.execute(select(persons.c.password).where(persons.c.id == id)).scalar_one_or_none()

    def set_password(self, conn: Connection, id: str, hashed: str) -> None:
        conn.execute(update(persons).where(persons.c.id == id).values(password=hashed))

    def set_identity(self, conn: Connection, id: str, provider: str, identity: bytes) -> None:
        conn.execute(update(persons).where(persons.c.id == id).values(provider=provider, identity=identity))

    def there_is_team(self, conn: Connection, name: str) -> bool:
        return conn.execute(select(teams.c.name).where(teams.c.name == name)).first() is not None

    def _one(self, conn: Connection, condition: Any) -> Person | None:
        row = conn.execute(select(persons).where(condition)).first()
        if row is None:
            return None
        held = conn.execute(select(members.c.team, members.c.role).where(members.c.person == row.id))
        return _person(row, {each.team: each.role for each in held})


class SessionRows:
    """Who is signed in."""

    def add(self, conn: Connection, digest: bytes, session: Session) -> None:
        conn.execute(
            insert(sessions).values(
                digest=digest,
                principal=session.principal,
                team=session.team,
                address=session.address,
                created_at=session.created_at,
                seen_at=session.seen_at,
                expires_at=session.expires_at,
            )
        )

    def find(self, conn: Connection, digest: bytes) -> Session | None:
        row = conn.execute(select(sessions).where(sessions.c.digest == digest)).first()
        return None if row is None else _session(row)

    def of(self, conn: Connection, principal: str) -> tuple[Session, ...]:
        """The sessions of one principal, newest first."""
        query = select(sessions).where(sessions.c.principal == principal).order_by(sessions.c.created_at.desc())
        return tuple(_session(row) for row in conn.execute(query))

    def seen(self, conn: Connection, digest: bytes, now: int) -> None:
        conn.execute(update(sessions).where(sessions.c.digest == digest).values(seen_at=now))

    def act_in(self, conn: Connection, digest: bytes, team: str) -> None:
        conn.execute(update(sessions).where(sessions.c.digest == digest).values(team=team))

    def end(self, conn: Connection, digest: bytes) -> None:
        conn.execute(delete(sessions).where(sessions.c.digest == digest))

    def end_of(self, conn: Connection, principal: str) -> int:
        """Ends every session of a principal; how many there were."""
        return conn.execute(delete(sessions).where(sessions.c.principal == principal)).rowcount

    def sweep(self, conn: Connection, now: int, idle_since: int) -> None:
        """Forgets what is over."""
        conn.execute(delete(sessions).where((sessions.c.expires_at <= now) | (sessions.c.seen_at <= idle_since)))


class InvitationRows:
    """Links that wait to be used."""

    def add(self, conn: Connection, digest: bytes, invitation: Invitation) -> None:
        conn.execute(
            insert(invitations).values(
                id=invitation.id,
                digest=digest,
                email=invitation.email,
                person=invitation.person,
                role=invitation.role,
                teams=canonical(dict(invitation.teams)),
                created_at=invitation.created_at,
                created_by=invitation.created_by,
                expires_at=invitation.expires_at,
            )
        )

    def by_digest(self, conn: Connection, digest: bytes) -> Invitation | None:
        row = conn.execute(select(invitations).where(invitations.c.digest == digest)).first()
        return None if row is None else _invitation(row)

    def find(self, conn: Connection, id: str) -> Invitation | None:
        row = conn.execute(select(invitations).where(invitations.c.id == id)).first()
        return None if row is None else _invitation(row)

    def list(self, conn: Connection, scope: Scope, now: int) -> tuple[Invitation, ...]:
        """Those that can still be used, newest first: all, or those into the one team alone."""
        query = select(invitations).where(invitations.c.expires_at > now).order_by(invitations.c.created_at.desc())
        found = [_invitation(row) for row in conn.execute(query)]
        return tuple(each for each in found if scope.team is None or set(each.teams) == {scope.team})

    def remove(self, conn: Connection, id: str) -> None:
        conn.execute(delete(invitations).where(invitations.c.id == id))

    def remove_of(self, conn: Connection, *, person: str, name: str, email: str | None) -> None:
        """Ends every link that a person was given or has given."""
        mine = (invitations.c.person == person) | (invitations.c.created_by == name)
        conn.execute(delete(invitations).where(mine if email is None else mine | (invitations.c.email == email)))

    def remove_by(self, conn: Connection, name: str) -> None:
        """Ends every link that a person has given."""
        conn.execute(delete(invitations).where(invitations.c.created_by == name))

    def sweep(self, conn: Connection, now: int) -> None:
        conn.execute(delete(invitations).where(invitations.c.expires_at <= now))


class AttemptRows:
    """Sign-ins that failed, by a digest of the name or the address."""

    def find(self, conn: Connection, subject: bytes) -> Attempts | None:
        row = conn.execute(select(attempts).where(attempts.c.subject == subject)).first()
        return None if row is None else Attempts(failures=row.failures, until=row.until, last_at=row.last_at)

    def put(self, conn: Connection, subject: bytes, found: Attempts) -> None:
        values = {"failures": found.failures, "until": found.until, "last_at": found.last_at}
        if conn.execute(update(attempts).where(attempts.c.subject == subject).values(values)).rowcount == 0:
            conn.execute(insert(attempts).values(subject=subject, **values))

    def forget(self, conn: Connection, subject: bytes) -> None:
        conn.execute(delete(attempts).where(attempts.c.subject == subject))

    def sweep(self, conn: Connection, before: int) -> None:
        conn.execute(delete(attempts).where(attempts.c.last_at <= before))


def forget(conn: Connection) -> None:
    """Ends every session and every link: of a home that comes back from a backup nobody knows which of them are over."""
    conn.execute(delete(sessions))
    conn.execute(delete(invitations))


def _person(row: Row[Any], held: Mapping[str, Role]) -> Person:
    return Person(
        id=row.id,
        name=row.name,
        kind=row.kind,
        email=row.email,
        role=row.role,
        teams=held,
        disabled_at=row.disabled_at,
        has_password=row.password is not None,
        sso=row.provider,
        created_at=row.created_at,
        created_by=row.created_by,
    )


def _session(row: Row[Any]) -> Session:
    return Session(
        principal=row.principal,
        team=row.team,
        address=row.address,
        created_at=row.created_at,
        seen_at=row.seen_at,
        expires_at=row.expires_at,
    )


def _invitation(row: Row[Any]) -> Invitation:
    return Invitation(
        id=row.id,
        email=row.email,
        person=row.person,
        role=row.role,
        teams=json.loads(row.teams),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
    )
