"""Keys: made once, shown once, kept as a keyed digest, revoked for good. It knows no wire.

Every change raises the version of the key feed in its own transaction; the door follows the feed by
`changes`, so it never has to read all keys again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from tandem.core.asset import check_name
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import LOCAL, ROLES, UNBOUND, WIDE, Person, Principal, Role, Terms
from tandem.core.secret import Secret
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.digest import PEPPER, digest, new_token
from tandem.governance.people.repo import PersonRows
from tandem.governance.repo import Key, KeyRows, bounds
from tandem.governance.terms import check_terms, rights_of, within
from tandem.store.sql import Sql
from tandem.store.vault import Vault

OVERLAP_SECONDS = 7 * 24 * 3600
"""For which the token before may be good at most, after a rotation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A key that nobody knows yet: it can be shown, and is refused until it is admitted."""

    principal: Principal
    secret: Secret
    digest: bytes


class Keys:
    """The keys and teams of the platform."""

    def __init__(self, sql: Sql, vault: Vault, clock: Clock, audit: Audit) -> None:
        self._sql, self._clock, self._audit = sql, clock, audit
        self._pepper = vault.derive(PEPPER)
        self._rows, self._persons = KeyRows(), PersonRows()

    def digest(self, token: str) -> bytes:
        """The 32 bytes under which a token is found."""
        return digest(self._pepper, token)

    def create(
        self,
        name: str,
        *,
        team: str = "default",
        role: Role = "viewer",
        endpoints: tuple[str, ...] = (),
        scopes: tuple[str, ...] = (),
        expires_at: int | None = None,
        terms: Terms = UNBOUND,
        by: Principal,
    ) -> tuple[Principal, Secret]:
        """Makes a key, and its team if there is none. The Secret is the only copy there will ever be.

        Args, Raises: as `draft`.
        """
        draft = self.draft(
            name, team=team, role=role, endpoints=endpoints, scopes=scopes, expires_at=expires_at, terms=terms, by=by
        )
        self.add(draft, by=by)
        return draft.principal, draft.secret

    def add(self, draft: Draft, *, by: Principal) -> None:
        """Lets a drafted key in.

        Raises:
            Conflict: a principal has this name.
        """
        with self._sql.write() as conn:
            self.admit(conn, draft.principal, draft.digest, by=by)

    def draft(
        self,
        name: str,
        *,
        team: str = "default",
        role: Role = "viewer",
        endpoints: tuple[str, ...] = (),
        scopes: tuple[str, ...] = (),
        expires_at: int | None = None,
        terms: Terms = UNBOUND,
        by: Principal,
    ) -> Draft:
        """A key that is not admitted yet; nothing is stored.

        Args:
            name: how the key is called in traces, budgets and the audit; unique among the active ones.
            team: whose rows it sees.
            role: what it may do (`core.principal.RIGHTS`).
            endpoints: the only endpoints it may call; empty means all.
            scopes: extra rights, such as `any-version`.
            expires_at: UTC microseconds after which it is refused.
            terms: whose it is, and what else binds it.
            by: an admin of the team, or a person who makes a key of their own.

        Raises:
            Forbidden: `by` is neither, or would give more than they have.
            Conflict: a principal has this name, or the key would give more than its owner has.
            Invalid: a name, the role, a term or the expiry is not possible.
        """
        if expires_at is not None and expires_at <= self._clock.now():
            raise Invalid(
                f"The key '{name}' would expire in the past.", hint="Give a time that is still to come.", field="expires_at"
            )
        principal = Principal(
            id=new_id("key"),
            name=check_name(name),
            team=check_name(team),
            role=_checked(role),
            endpoints=tuple(check_name(endpoint) for endpoint in endpoints),
            scopes=tuple(scopes),
            expires_at=expires_at,
            **asdict(check_terms(terms, role)),
        )
        _may_make(by, principal)
        token = new_token()
        with self._sql.read() as conn:
            self._check(conn, principal)
        return Draft(principal=principal, secret=Secret(token), digest=self.digest(token))

    def admit(
        self, conn: Connection, principal: Principal, digest: bytes, *, by: Principal, detail: Mapping[str, object] | None = None
    ) -> None:
        """Lets a drafted key in, in a transaction that is under way; doors know it as soon as they have read the feed.

        Args:
            detail: what else the audit says of it.

        Raises:
            Conflict: a principal has this name, or the key would give more than its owner has by now.
        """
        self._check(conn, principal)
        self._add(conn, principal, digest, action="key.create", by=by, detail=detail)

    def taken(self, conn: Connection, name: str) -> bool:
        """Whether an active key, a person or a service has this name."""
        return self._rows.active(conn, name) is not None or self._persons.find(conn, name) is not None

    def _check(self, conn: Connection, principal: Principal) -> None:
        name = principal.name
        if self._rows.active(conn, name):
            raise Conflict(
                f"There is an active key '{name}'.", hint=f"Choose another name, or revoke it: tandem key revoke {name}."
            )
        if self._persons.find(conn, name):
            raise Conflict(
                f"There is a person or service '{name}'.",
                hint="Choose another name: the audit must tell them apart.",
                field="name",
            )
        self._fit(conn, principal)

    def rotate(self, name: str, *, overlap: int = 0, by: Principal) -> tuple[Principal, Secret]:
        """Gives the active key of this name a new token; it stays the same key, with its budgets, traces and rights.

        Args:
            overlap: seconds for which the token before is good beside it, at most a week.

        Raises:
            Forbidden: `by` is no admin of the key's team, nor its owner.
            NotFound: no active key has this name.
            Invalid: the overlap is too long.
        """
        if not 0 <= overlap <= OVERLAP_SECONDS:
            raise Invalid("An overlap is at most 7 days.", hint="Write 1h, 2d.", field="overlap")
        token, until = new_token(), self._clock.now() + overlap * MICROS
        with self._sql.write() as conn:
            key = self._mine(conn, name, by)
            self._rows.rotate(conn, key.principal.id, self.digest(token), until)
            self._audit.append(
                conn,
                actor=by.name,
                action="key.rotate",
                subject=f"key/{name}",
                team=key.principal.team,
                detail={"id": key.principal.id, "before_until": until},
            )
        return key.principal, Secret(token)

    def adopt(self, token: str, name: str = "admin", role: Role = "admin") -> Principal:
        """Makes a token that the operator chose (`TANDEM_ADMIN_KEY`) the key of this name; the same token again changes nothing.

        Another active key of the name is revoked: the operator has changed the token.

        Raises:
            Conflict: the token is a revoked key, or the key of another name.
            Invalid: the token cannot travel in an HTTP header.
        """
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise Invalid(
                "The given key cannot be sent in a header.",
                hint="Use printable ASCII without blanks, best 40 characters or more.",
            )
        with self._sql.write() as conn:
            known = self._rows.by_digest(conn, self.digest(token))
            if known is not None:
                return _adopted(known, name, role)
            present = self._rows.active(conn, check_name(name))
            if present is not None:
                self._revoke(conn, present, by=LOCAL)
            principal = Principal(id=new_id("key"), name=name, team="default", role=_checked(role))
            self._add(conn, principal, self.digest(token), action="key.adopt", by=LOCAL)
        return principal

    def first(self, given: str | None) -> str | None:
        """Sees to it that there is an admin: adopts the operator's key, else makes one when there is none at all.

        Returns:
            A key that was made just now; it is to be shown once.

        Raises:
            Conflict, Invalid: as `adopt`.
        """
        if given:
            self.adopt(given)
            return None
        if any(key.principal.may("admin") and key.revoked_at is None for key in self.list(LOCAL)):
            return None
        return self.create("admin", role="admin", scopes=("any-version",), by=LOCAL)[1].reveal()

    def revoke(self, name: str, by: Principal) -> Principal:
        """Ends the active key of this name for good; doors refuse it as soon as they have read the feed.

        Raises:
            Forbidden: `by` is no admin of the key's team, nor its owner.
            NotFound: no active key has this name.
        """
        with self._sql.write() as conn:
            key = self._mine(conn, name, by)
            self._revoke(conn, key, by=by)
        return key.principal

    def trim(self, conn: Connection, owner: str, person: Person | None, by: Principal) -> None:
        """Revokes the keys of an owner that give more than the owner has, inside the caller's transaction.

        Args:
            person: the owner as they are from now on; None when they are gone.
        """
        for key in self._rows.owned(conn, owner):
            if person is None or not within(key.principal, person):
                self._revoke(conn, key, by=by)

    def list(self, by: Principal) -> tuple[Key, ...]:
        """Keys, oldest first, the revoked ones too: of every team for admins and auditors, else of the own team."""
        authorise(by, "read")
        with self._sql.read() as conn:
            return self._rows.list(conn, scope_of(by))

    def teams(self, by: Principal) -> tuple[str, ...]:
        """The teams that `by` sees."""
        authorise(by, "read")
        with self._sql.read() as conn:
            return self._rows.teams(conn, scope_of(by))

    def find_digest(self, digest: bytes) -> Principal | None:
        """Whose digest this is; None for unknown, revoked and expired keys alike."""
        with self._sql.read() as conn:
            return self._valid(self._rows.by_digest(conn, digest))

    def holds(self, principal: Principal) -> bool:
        """Whether the key of a principal may still be used: work that goes on for hours asks from time to time."""
        with self._sql.read() as conn:
            if principal.kind == "person":
                person = self._persons.by_id(conn, principal.id)
                now = None if person is None else person.acting(principal.team if principal.reach == "team" else "")
                return now is not None and rights_of(principal) <= rights_of(now)
            return self._valid(self._rows.by_id(conn, principal.id)) is not None

    def by_id(self, id: str) -> Principal | None:
        """Whose key has this id; None for unknown, revoked and expired keys alike."""
        with self._sql.read() as conn:
            return self._valid(self._rows.by_id(conn, id))

    def _mine(self, conn: Connection, name: str, by: Principal) -> Key:
        key = self._rows.active(conn, name)
        own = key is not None and by.kind == "person" and key.principal.owner == by.owner
        if not own and not by.may("admin", by.team):
            authorise(by, "admin")
        if key is None or not (own or by.may("admin", key.principal.team)):
            raise NotFound(f"There is no active key '{name}'.", hint="`tandem key list` shows them.")
        return key

    def _fit(self, conn: Connection, principal: Principal) -> None:
        if not principal.owner:
            return
        kind, _, name = principal.owner.partition("/")
        owner = self._persons.find(conn, name)
        if owner is None or owner.kind != kind or owner.disabled_at is not None:
            raise NotFound(
                f"There is no {principal.owner} to own a key.",
                hint="Write person/NAME or service/NAME of one that is not disabled.",
            )
        if not within(principal, owner):
            raise Conflict(
                f"A key with the role {principal.role} in the team {principal.team} would give more than {principal.owner} has.",
                hint="Give the owner the role first (`tandem team member`), or make a key with reach team and a smaller role.",
                field="role",
            )

    def _valid(self, key: Key | None) -> Principal | None:
        if key is None or key.revoked_at is not None:
            return None
        expires_at = key.principal.expires_at
        return None if expires_at is not None and expires_at <= self._clock.now() else key.principal

    def changes(self, after_version: int) -> tuple[int, Sequence[tuple[bytes, Principal | None]]]:
        """What a reader of the feed at `after_version` has missed.

        Returns:
            The version of the feed now, and for each key that changed since its digest with its Principal, or with
            None when it was revoked. Expiry is not in the feed: the reader compares `expires_at` itself.
        """
        with self._sql.read() as conn:
            return self._rows.changes(conn, after_version)

    def _add(
        self,
        conn: Connection,
        principal: Principal,
        digest: bytes,
        *,
        action: str,
        by: Principal,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        now = self._clock.now()
        if self._rows.ensure_team(conn, principal.team, now, by.name):
            self._audit.append(conn, actor=by.name, action="team.create", subject=f"team/{principal.team}", team=principal.team)
        self._rows.add(conn, principal, digest, now, by.name)
        self._audit.append(
            conn,
            actor=by.name,
            action=action,
            subject=f"key/{principal.name}",
            team=principal.team,
            detail={
                "id": principal.id,
                "role": principal.role,
                "endpoints": principal.endpoints,
                "scopes": principal.scopes,
                "expires_at": principal.expires_at,
                **bounds(principal),
                **(detail or {}),
            },
        )

    def _revoke(self, conn: Connection, key: Key, *, by: Principal) -> None:
        self._rows.revoke(conn, key.principal.id, self._clock.now(), by.name)
        self._audit.append(
            conn,
            actor=by.name,
            action="key.revoke",
            subject=f"key/{key.principal.name}",
            team=key.principal.team,
            detail={"id": key.principal.id},
        )


def _may_make(by: Principal, key: Principal) -> None:
    """Lets pass an admin of the key's team, or a person who makes a key of their own; nobody gives more than they have.

    Raises:
        Forbidden: that is not `by`.
    """
    if by.may("admin"):
        return
    own = by.kind == "person" and key.owner == by.owner and key.team == by.team
    if not own:
        authorise(by, "admin", key.team)
    wide = by.reach == "team" and key.reach != "team" and rights_of(key) & WIDE
    if wide or not rights_of(key) <= rights_of(by) or not set(key.scopes) <= set(by.scopes):
        raise Forbidden(
            f"The {by.kind} '{by.name}' would give the key '{key.name}' more than they have.",
            hint="Give it a smaller role, reach team and no scopes, or ask an admin of the organisation.",
        )


def _adopted(known: Key, name: str, role: Role) -> Principal:
    principal = known.principal
    if known.revoked_at is not None:
        raise Conflict("The given key was revoked and stays so.", hint="Set TANDEM_ADMIN_KEY to a new one.")
    if (principal.name, principal.role) != (name, role):
        raise Conflict(
            f"The given key is the key '{principal.name}' (role {principal.role}) already.",
            hint="Set TANDEM_ADMIN_KEY to another one.",
        )
    return principal


def _checked(role: Role) -> Role:
    if role not in ROLES:
        raise Invalid(f"'{role}' is no role.", hint=f"Roles are {', '.join(ROLES)}.", field="role")
    return role
