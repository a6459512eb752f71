"""The tables of the law, and every statement that touches them. It decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from tandem.core.policy import Alert
from tandem.core.principal import Principal, Terms
from tandem.governance.authorise import Scope
from tandem.store.canonical import canonical
from tandem.store.sql import metadata

teams = Table(
    "teams",
    metadata,
    Column("name", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)

keys = Table(
    "keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("team", Text, ForeignKey("teams.name"), nullable=False),
    Column("org", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("endpoints", Text, nullable=False),
    Column("scopes", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", BigInteger),
    Column("revoked_by", Text),
    Column("changed", BigInteger, nullable=False, index=True),
    Column("owner", Text, nullable=False, server_default="", index=True),
    Column("terms", Text, nullable=False, server_default="{}"),
)
_ACTIVE = keys.c.revoked_at.is_(None)
Index("uq_keys_active_name", keys.c.name, unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE)

past_tokens = Table(
    "past_tokens",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key", Text, ForeignKey("keys.id"), nullable=False, index=True),
    Column("until", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False, index=True),
)

key_feed = Table(
    "key_feed",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("team", Text, nullable=False, index=True),
    Column("action", Text, nullable=False, index=True),
    Column("subject", Text, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("mac", Text, nullable=False),
    Column("hash", Text),
)

audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entries", BigInteger, nullable=False),
    Column("last_mac", Text, nullable=False),
    Column("head_mac", Text, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("managed", Text),
    Column("etag", Integer, nullable=False),
    Column("standing", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key as it is kept: whom it names and what became of it. The token itself is kept nowhere."""

    principal: Principal
    created_at: int
    """UTC microseconds, like all times here."""
    created_by: str
    revoked_at: int | None = None
    revoked_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row of the audit."""

    seq: int
    """Counts from 1 without gaps."""
    at: int
    """UTC microseconds."""
    actor: str
    team: str
    action: str
    """`key.create`, `alias.promote`…"""
    subject: str
    """What it was done to: `key/ci`, `model/tumor@2`…"""
    detail: str
    """Canonical JSON."""
    mac: str
    hash: str = ""
    """The SHA-256 of the row before and of this one, in hex."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the audit ends, as the database says."""

    entries: int
    last_mac: str
    head_mac: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the delivery of an alert goes."""

    cursor: int
    """The last row of the audit that it is done with."""
    failures: int = 0
    """Tries in a row that failed."""
    failing_since: int | None = None
    """UTC microseconds, like all times here."""
    tried_at: int | None = None
    delivered_at: int | None = None
    error: str = ""
    """Of the last try; bounded, and without address or secret."""
    undelivered: int = 0
    """Messages that were given up, ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptAlert:
    """An alert as it is kept, and how its delivery goes."""

    alert: Alert
    etag: int
    """Moves with every change by a person; then what waits is tried at once."""
    standing: Standing
    changed_at: int
    changed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Matching:
    """Which rows of the audit are meant."""

    after: int
    """Only later ones than this `seq`."""
    actions: tuple[str, ...]
    team: str | None
    """None: of every team."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """Matching rows that are older than somebody waits for."""

    count: int
    last: int
    """The newest one's `seq`."""
    actions: tuple[str, ...]


class KeyRows:
    """Keys and teams."""

    def ensure_team(self, conn: Connection, name: str, now: int, by: str) -> bool:
        """Makes the team if there is none; True when it was made."""
        if conn.execute(select(teams.c.name).where(teams.c.name == name)).first():
            return False
        conn.execute(insert(teams).values(name=name, created_at=now, created_by=by))
        return True

    def teams(self, conn: Connection, scope: Scope) -> tuple[str, ...]:
        query = select(teams.c.name).order_by(teams.c.name)
        if scope.team is not None:
            query = query.where(teams.c.name == scope.team)
        return tuple(conn.execute(query).scalars())

    def add(self, conn: Connection, principal: Principal, digest: bytes, now: int, by: str) -> None:
        conn.execute(
            insert(keys).values(
                id=principal.id,
                name=principal.name,
                team=principal.team,
                org=principal.org,
                kind=principal.kind,
                role=principal.role,
                endpoints=canonical(principal.endpoints),
                scopes=canonical(principal.scopes),
                expires_at=principal.expires_at,
                digest=digest,
                created_at=now,
                created_by=by,
                changed=self._next_version(conn),
                owner=principal.owner,
                terms=canonical(bounds(principal)),
            )
        )

    def revoke(self, conn: Connection, id: str, now: int, by: str) -> None:
        version = self._next_version(conn)
        conn.execute(update(keys).where(keys.c.id == id).values(revoked_at=now, revoked_by=by, changed=version))
        conn.execute(update(past_tokens).where(past_tokens.c.key == id).values(changed=version))

    def rotate(self, conn: Connection, id: str, digest: bytes, until: int) -> None:
        """Gives the key a new token; the one before is good until a UTC time (microseconds)."""
        version = self._next_version(conn)
        before = conn.execute(select(keys.c.digest).where(keys.c.id == id)).scalar_one()
        sooner = (past_tokens.c.key == id, past_tokens.c.until > until)
        conn.execute(update(past_tokens).where(*sooner).values(until=until, changed=version))
        conn.execute(insert(past_tokens).values(digest=before, key=id, until=until, changed=version))
        conn.execute(update(keys).where(keys.c.id == id).values(digest=digest, changed=version))

    def active(self, conn: Connection, name: str) -> Key | None:
        row = conn.execute(select(keys).where(keys.c.name == name, _ACTIVE)).first()
        return None if row is None else _key(row)

    def by_id(self, conn: Connection, id: str) -> Key | None:
        row = conn.execute(select(keys).where(keys.c.id == id)).first()
        return None if row is None else _key(row)

    def by_digest(self, conn: Connection, digest: bytes) -> Key | None:
        row = conn.execute(select(keys).where(keys.c.digest == digest)).first()
        if row is not None:
            return _key(row)
        row = conn.execute(_PAST.where(past_tokens.c.digest == digest)).first()
        return None if row is None else _before(_key(row), row.until)

    def list(self, conn: Connection, scope: Scope) -> tuple[Key, ...]:
        query = select(keys).order_by(keys.c.created_at, keys.c.id)
        if scope.team is not None:
            query = query.where(keys.c.team == scope.team)
        return tuple(_key(row) for row in conn.execute(query))

    def owned(self, conn: Connection, owner: str) -> tuple[Key, ...]:
        """The active keys of a person or a service."""
        return tuple(_key(row) for row in conn.execute(select(keys).where(keys.c.owner == owner, _ACTIVE)))

    def changes(self, conn: Connection, after: int) -> tuple[int, Sequence[tuple[bytes, Principal | None]]]:
        now = [(row.changed, row.digest, _key(row)) for row in conn.execute(select(keys).where(keys.c.changed > after))]
        past = conn.execute(_PAST.where(past_tokens.c.changed > after))
        found = now + [(row.token_changed, row.token, _before(_key(row), row.until)) for row in past]
        version = conn.execute(select(key_feed.c.version)).scalar_one_or_none() or 0
        found.sort(key=lambda each: each[0])
        return version, [(digest, None if key.revoked_at is not None else key.principal) for _, digest, key in found]

    def _next_version(self, conn: Connection) -> int:
        if conn.execute(update(key_feed).values(version=key_feed.c.version + 1)).rowcount == 0:
            conn.execute(insert(key_feed).values(id=1, version=1))
        version: int = conn.execute(select(key_feed.c.version)).scalar_one()
        return version


class AuditRows:
    """The audit's rows and its head. Whether they are genuine is for `audit.py` to say."""

    def head(self, conn: Connection) -> Head | None:
        row = conn.execute(select(audit_head)).first()
        return None if row is None else Head(entries=row.entries, last_mac=row.last_mac, head_mac=row.head_mac)

    def add(self, conn: Connection, entry: Entry, head: Head) -> None:
        """Writes the row and moves the head to it."""
        conn.execute(
            insert(audit).values(
                seq=entry.seq,
                at=entry.at,
                actor=entry.actor,
                team=entry.team,
                action=entry.action,
                subject=entry.subject,
                detail=entry.detail,
                mac=entry.mac,
                hash=entry.hash,
            )
        )
        moved = {"entries": head.entries, "last_mac": head.last_mac, "head_mac": head.head_mac}
        if conn.execute(update(audit_head).values(moved)).rowcount == 0:
            conn.execute(insert(audit_head).values(id=1, **moved))

    def mac_of(self, conn: Connection, seq: int) -> str | None:
        return conn.execute(select(audit.c.mac).where(audit.c.seq == seq)).scalar_one_or_none()

    def hash_of(self, conn: Connection, seq: int) -> str | None:
        return conn.execute(select(audit.c.hash).where(audit.c.seq == seq)).scalar_one_or_none()

    def span(self, conn: Connection, since: int | None, until: int | None) -> tuple[int | None, int | None]:
        """The first row from a time on, and the last one up to a time; None where there is none."""
        first, last = select(func.min(audit.c.seq)), select(func.max(audit.c.seq))
        first = first if since is None else first.where(audit.c.at >= since)
        last = last if until is None else last.where(audit.c.at <= until)
        return conn.execute(first).scalar(), conn.execute(last).scalar()

    def page(self, conn: Connection, after: int, limit: int) -> tuple[Entry, ...]:
        """Rows by their number, those behind `after`."""
        query = select(audit).where(audit.c.seq > after).order_by(audit.c.seq).limit(limit)
        return tuple(_entry(row) for row in conn.execute(query))

    def every(self, conn: Connection) -> Iterator[Entry]:
        """All rows by their number, a thousand at a time."""
        found = conn.execution_options(yield_per=1000).execute(select(audit).order_by(audit.c.seq))
        for row in found:
            yield _entry(row)

    def list(
        self, conn: Connection, scope: Scope, *, before: int | None, subject: str | None, action: str | None, limit: int
    ) -> tuple[Entry, ...]:
        query: Select[Any] = select(audit).order_by(audit.c.seq.desc()).limit(limit)
        if scope.team is not None:
            query = query.where(audit.c.team == scope.team)
        if before is not None:
            query = query.where(audit.c.seq < before)
        if subject is not None:
            query = query.where(audit.c.subject == subject)
        if action is not None:
            query = query.where(audit.c.action == action)
        return tuple(_entry(row) for row in conn.execute(query))

    def first(self, conn: Connection, wanted: Matching) -> Entry | None:
        """The oldest row that matches."""
        row = conn.execute(_matching(select(audit), wanted).order_by(audit.c.seq).limit(1)).first()
        return None if row is None else _entry(row)

    def count(self, conn: Connection, wanted: Matching) -> int:
        """How many rows match."""
        found: int = conn.execute(_matching(select(func.count()).select_from(audit), wanted)).scalar_one()
        return found

    def overdue(self, conn: Connection, wanted: Matching, before: int) -> Overdue:
        """The matching rows from before a time."""
        found = select(audit.c.action, func.count().label("count"), func.max(audit.c.seq).label("last"))
        rows = conn.execute(_matching(found, wanted).where(audit.c.at <= before).group_by(audit.c.action)).all()
        return Overdue(
            count=sum(row[1] for row in rows),
            last=max((row.last for row in rows), default=wanted.after),
            actions=tuple(sorted(row.action for row in rows)),
        )


class AlertRows:
    """Alerts. Which rows of the audit they match is for `AuditRows` to say."""

    def find(self, conn: Connection, name: str) -> KeptAlert | None:
        row = conn.execute(select(alerts).where(alerts.c.name == name)).first()
        return None if row is None else _alert(row)

    def list(self, conn: Connection) -> tuple[KeptAlert, ...]:
        """All of them, by name."""
        return tuple(_alert(row) for row in conn.execute(select(alerts).order_by(alerts.c.name)))

    def put(self, conn: Connection, kept: KeptAlert) -> None:
        """Adds an alert, or replaces the one of its name."""
        state = {
            "body": canonical(msgspec.to_builtins(kept.alert)),
            "managed": kept.alert.managed,
            "etag": kept.etag,
            "changed_at": kept.changed_at,
            "changed_by": kept.changed_by,
            "standing": canonical(msgspec.to_builtins(kept.standing)),
        }
        if conn.execute(update(alerts).where(alerts.c.name == kept.alert.name).values(state)).rowcount == 0:
            conn.execute(insert(alerts).values(name=kept.alert.name, **state))

    def keep(self, conn: Connection, name: str, etag: int, standing: Standing) -> bool:
        """Notes how the delivery goes; False when the alert was changed or removed meanwhile."""
        own = (alerts.c.name == name, alerts.c.etag == etag)
        return conn.execute(update(alerts).where(*own).values(standing=canonical(msgspec.to_builtins(standing)))).rowcount == 1

    def remove(self, conn: Connection, name: str) -> None:
        conn.execute(delete(alerts).where(alerts.c.name == name))


def _matching(query: Select[Any], wanted: Matching) -> Select[Any]:
    query = query.where(audit.c.seq > wanted.after, audit.c.action.in_(wanted.actions))
    return query if wanted.team is None else query.where(audit.c.team == wanted.team)


def _alert(row: Row[Any]) -> KeptAlert:
    return KeptAlert(
        alert=msgspec.json.decode(row.body, type=Alert),
        etag=row.etag,
        standing=msgspec.json.decode(row.standing, type=Standing),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )


_PAST = select(keys, past_tokens.c.digest.label("token"), past_tokens.c.until, past_tokens.c.changed.label("token_changed")).join(
    past_tokens, past_tokens.c.key == keys.c.id
)
"""Tokens that a rotation left behind, each with the key that it still opens."""


def _before(key: Key, until: int) -> Key:
    """The key as a token opens it that ends at `until`."""
    ends = key.principal.expires_at
    return replace(key, principal=replace(key.principal, expires_at=until if ends is None else min(ends, until)))


def bounds(principal: Principal) -> dict[str, object]:
    """The terms of a key that say something."""
    plain = Terms()
    told = {name: getattr(principal, name) for name in ("owner", "reach", "rights", "kinds", "models", "networks", "content")}
    return {name: value for name, value in told.items() if value != getattr(plain, name)}


def _key(row: Row[Any]) -> Key:
    terms = msgspec.json.decode(row.terms, type=Terms)
    principal = Principal(
        id=row.id,
        name=row.name,
        team=row.team,
        org=row.org,
        kind=row.kind,
        role=row.role,
        endpoints=tuple(json.loads(row.endpoints)),
        scopes=tuple(json.loads(row.scopes)),
        expires_at=row.expires_at,
        owner=row.owner,
        reach=terms.reach,
        rights=terms.rights,
        kinds=terms.kinds,
        models=terms.models,
        networks=terms.networks,
        content=terms.content,
    )
    return Key(
        principal=principal,
        created_at=row.created_at,
        created_by=row.created_by,
        revoked_at=row.revoked_at,
        revoked_by=row.revoked_by,
    )


def _entry(row: Row[Any]) -> Entry:
    return Entry(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        team=row.team,
        action=row.action,
        subject=row.subject,
        detail=row.detail,
        mac=row.mac,
        hash=row.hash or "",
    )
