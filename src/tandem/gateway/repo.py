"""Providers and endpoints as the control plane keeps them. Doors read the compiled snapshot, never these tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Integer, Row, Table, Text, delete, insert, select, update

from tandem.core.clock import Clock
from tandem.core.endpoint import Endpoint, Provider
from tandem.core.errors import Conflict, NotFound, TandemError
from tandem.core.principal import Principal
from tandem.gateway.check import check_endpoint, check_provider
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope, authorise, scope_of
from tandem.registry.repo import bump
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata
from tandem.store.vault import Vault

providers = Table(
    "providers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("managed", Text),
    Column("etag", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("name", Text, primary_key=True),
    Column("team", Text, nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("managed", Text),
    Column("etag", Integer, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
)

SEALED = "sealed:"
SEALED_KEY = "provider-key"
"""The vault's purpose for a provider's key that was given as a literal."""
Noun = TypeVar("Noun", Provider, Endpoint)
Hand = Literal["api", "file"]
"""Through what a change comes: a caller, or the settings file."""


class Routes:
    """The Providers and Endpoints of the platform, with who may change which.

    What the settings file declares carries `managed` (`file:LINE`) and is changed by the file alone.
    The same content put again changes nothing and leaves no audit row.
    """

    def __init__(self, sql: Sql, clock: Clock, audit: Audit) -> None:
        self._sql, self._clock, self._audit = sql, clock, audit

    def put_provider(self, provider: Provider, *, by: Principal, expected_etag: int | None = None) -> int:
        """Adds or replaces a Provider and returns its etag.

        Raises:
            Forbidden: `by` is no admin.
            Invalid: the name, the address or a key reference is wrong; a clear-text key is never repeated.
            Conflict: the file manages it, or it was changed since `expected_etag` (0: there was none).
        """
        authorise(by, "admin")
        check_provider(provider)
        with self._sql.write() as conn:
            return self._put(conn, providers, provider, by, expected_etag, team=None)

    def put_endpoint(self, endpoint: Endpoint, *, by: Principal, expected_etag: int | None = None) -> int:
        """Adds or replaces an Endpoint and returns its etag.

        Raises:
            Forbidden: `by` may not write in the endpoint's team, or in the team it would be taken from.
            Invalid: the name, the kind, the route or a bound is wrong.
            Conflict: the name is another team's, the file manages it, or it was changed since `expected_etag`.
        """
        with self._sql.write() as conn:
            return self.put_endpoint_in(conn, endpoint, by=by, expected_etag=expected_etag)

    def put_endpoint_in(
        self,
        conn: Connection,
        endpoint: Endpoint,
        *,
        by: Principal,
        expected_etag: int | None = None,
        detail: Mapping[str, object] | None = None,
        watched: bool = False,
    ) -> int:
        """`put_endpoint` in a transaction that is under way; `detail` is what else the audit says of it.

        Args:
            watched: as `check_endpoint`.
        """
        authorise(by, "write", endpoint.team)
        check_endpoint(endpoint, watched=watched)
        present = _row(conn, endpoints, endpoint.name)
        if present is not None:
            if not scope_of(by).admits(present.team):
                raise Conflict(f"The name '{endpoint.name}' is taken by another team.", hint="Choose another name.")
            authorise(by, "write", present.team)
            _need_approval(_noun(present, Endpoint), endpoint.guards, by)
        return self._put(conn, endpoints, endpoint, by, expected_etag, team=endpoint.team, detail=detail)

    def standing(self, conn: Connection, name: str) -> tuple[Endpoint, int] | None:
        """An Endpoint and its etag as a transaction that is under way sees it, of whatever team; None when there is none."""
        row = _row(conn, endpoints, name)
        return None if row is None else (_noun(row, Endpoint), row.etag)

    def provider(self, name: str, scope: Scope) -> tuple[Provider, int]:
        """A Provider and its etag; its key references are shown to those who see all teams.

        Raises:
            NotFound: there is none.
        """
        with self._sql.read() as conn:
            row = _must(conn, providers, name)
        return _shown(_noun(row, Provider), scope), row.etag

    def endpoint(self, name: str, scope: Scope) -> tuple[Endpoint, int]:
        """An Endpoint and its etag.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            row = _must(conn, endpoints, name)
        if not scope.admits(row.team):
            raise _none(endpoints, name)
        return _noun(row, Endpoint), row.etag

    def providers(self, scope: Scope) -> tuple[Provider, ...]:
        """All Providers by name; they belong to no team, but only who sees all teams sees their key references."""
        with self._sql.read() as conn:
            rows = conn.execute(select(providers).order_by(providers.c.name)).all()
        return tuple(_shown(_noun(row, Provider), scope) for row in rows)

    def endpoints(self, scope: Scope) -> tuple[Endpoint, ...]:
        """The Endpoints of the scope, by name."""
        query = select(endpoints).order_by(endpoints.c.name)
        if scope.team is not None:
            query = query.where(endpoints.c.team == scope.team)
        with self._sql.read() as conn:
            return tuple(_noun(row, Endpoint) for row in conn.execute(query))

    def delete_provider(self, name: str, *, by: Principal, through: Hand = "api") -> None:
        """Removes a Provider; `through="file"` retires one that the file no longer declares.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none.
            Conflict: the file manages it.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            row = _must(conn, providers, name)
            self._delete(conn, providers, row, by, through, team=by.team)

    def delete_endpoint(self, name: str, *, by: Principal, through: Hand = "api") -> None:
        """Removes an Endpoint; `through="file"` retires one that the file no longer declares.

        Raises:
            Forbidden: `by` may not write in its team.
            NotFound: there is none that `by` sees.
            Conflict: the file manages it.
        """
        authorise(by, "write")
        with self._sql.write() as conn:
            self.delete_endpoint_in(conn, name, by=by, through=through)

    def delete_endpoint_in(
        self, conn: Connection, name: str, *, by: Principal, through: Hand = "api", detail: Mapping[str, object] | None = None
    ) -> None:
        """`delete_endpoint` in a transaction that is under way; `detail` is what else the audit says of it."""
        row = _must(conn, endpoints, name)
        if not scope_of(by).admits(row.team):
            raise _none(endpoints, name)
        authorise(by, "write", row.team)
        _need_approval(_noun(row, Endpoint), None, by)
        self._delete(conn, endpoints, row, by, through, team=row.team, detail=detail)

    def stale(self, vault: Vault) -> int:
        """Providers' keys that are sealed under another master key than the present one."""
        return sum(_is_stale(key, vault) for provider in self.providers(ALL) for key in provider.keys)

    def reseal(self, vault: Vault) -> int:
        """Seals providers' keys anew under the present master key, and has the doors be told; returns how many."""
        with self._sql.write() as conn:
            count = 0
            for row in conn.execute(select(providers)).all():
                provider = _noun(row, Provider)
                keys = tuple(_anew(key, provider.name, vault) for key in provider.keys)
                count += sum(old != new for old, new in zip(provider.keys, keys, strict=True))
                if keys != provider.keys:
                    body = canonical(msgspec.to_builtins(replace(provider, keys=keys)))
                    conn.execute(update(providers).where(providers.c.name == row.name).values(body=body))
            bump(conn)  # the keys in the snapshot are sealed too, those of the environment as well
        return count

    def woken(self, name: str | None, *, by: Principal) -> None:
        """Keeps who asked that a target, a provider or a key (or, None, everything) be asked again before its rest is over.

        Raises:
            Forbidden: `by` may not write.
        """
        authorise(by, "write")
        with self._sql.write() as conn:
            self._audit.append(
                conn, actor=by.name, action="target.wake", subject=f"target/{name or '*'}", team=by.team, detail={}
            )

    def _put(
        self,
        conn: Connection,
        table: Table,
        noun: Noun,
        by: Principal,
        expected: int | None,
        *,
        team: str | None,
        detail: Mapping[str, object] | None = None,
    ) -> int:
        row = _row(conn, table, noun.name)
        if row is not None and noun.managed is None:
            _check_managed(table, row)
        etag = 0 if row is None else row.etag
        if expected is not None and expected != etag:
            raise Conflict(
                f"The {_word(table)} '{noun.name}' was changed meanwhile: its etag is {etag}, not {expected}.",
                hint="Look at it again, then decide.",
            )
        body = canonical(msgspec.to_builtins(noun))
        if row is not None and row.body == body:
            return int(row.etag)
        state = {
            "body": body,
            "managed": noun.managed,
            "etag": etag + 1,
            "changed_at": self._clock.now(),
            "changed_by": by.name,
        }
        if team is not None:
            state["team"] = team
        if row is None:
            conn.execute(insert(table).values(name=noun.name, **state))
        else:
            conn.execute(update(table).where(table.c.name == noun.name).values(state))
        told = {"etag": etag + 1, "body": _told(noun), **(detail or {})}
        self._record(conn, table, "put", noun.name, by, team or by.team, told)
        return etag + 1

    def _delete(
        self,
        conn: Connection,
        table: Table,
        row: Row[Any],
        by: Principal,
        through: Hand,
        *,
        team: str,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        if through == "api":
            _check_managed(table, row)
        conn.execute(delete(table).where(table.c.name == row.name))
        self._record(conn, table, "delete", row.name, by, team, {"through": through, **(detail or {})})

    def _record(
        self, conn: Connection, table: Table, verb: str, name: str, by: Principal, team: str, detail: dict[str, object]
    ) -> None:
        noun = _word(table)
        self._audit.append(conn, actor=by.name, action=f"{noun}.{verb}", subject=f"{noun}/{name}", team=team, detail=detail)
        bump(conn)


def _told(noun: Provider | Endpoint) -> object:
    """A noun as the audit tells it: with references, never with what they lead to, and of a sealed key with its end alone."""
    if isinstance(noun, Provider):
        noun = replace(noun, keys=tuple(f"{SEALED}…{key[-6:]}" if key.startswith(SEALED) else key for key in noun.keys))
    return msgspec.to_builtins(noun)


def _is_stale(key: str, vault: Vault) -> bool:
    scheme, _, rest = key.partition(":")
    try:
        return scheme == "sealed" and vault.stale(bytes.fromhex(rest))
    except ValueError:  # damaged: nobody can seal it anew
        return False


def _anew(key: str, provider: str, vault: Vault) -> str:
    """A key's reference, sealed under the present master key; one that nobody can open stays as it is."""
    if not _is_stale(key, vault):
        return key
    try:
        return SEALED + vault.anew(SEALED_KEY, bytes.fromhex(key.removeprefix(SEALED)), provider.encode()).hex()
    except TandemError:
        return key


def _need_approval(present: Endpoint, guards: str | None, by: Principal) -> None:
    """Who makes an endpoint chooses its guards; to take them away or change them is an approver's.

    Raises:
        Forbidden: `by` is none.
    """
    if present.guards is not None and present.guards != guards:
        authorise(by, "approve", present.team)


def _check_managed(table: Table, row: Row[Any]) -> None:
    if row.managed is not None:
        raise Conflict(
            f"The {_word(table)} '{row.name}' is managed by {row.managed}.",
            hint="Change it there and start again; it is read-only here.",
        )


def _row(conn: Connection, table: Table, name: str) -> Row[Any] | None:
    return conn.execute(select(table).where(table.c.name == name)).first()


def _must(conn: Connection, table: Table, name: str) -> Row[Any]:
    row = _row(conn, table, name)
    if row is None:
        raise _none(table, name)
    return row


def _none(table: Table, name: str) -> NotFound:
    return NotFound(f"There is no {_word(table)} '{name}'.", hint=f"`tandem {_word(table)} list` shows the ones you may see.")


def _word(table: Table) -> str:
    return table.name.removesuffix("s")


def _noun(row: Row[Any], kind: type[Noun]) -> Noun:
    return msgspec.json.decode(row.body, type=kind)


def _shown(provider: Provider, scope: Scope) -> Provider:
    return provider if scope.team is None else replace(provider, keys=())
