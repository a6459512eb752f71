"""Providers and endpoints as the control plane keeps them. Doors read the compiled snapshot, never these tables."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Integer, Row, Table, Text, delete, insert, select, update

from tandem.core.asset import KINDS as ASSETS
from tandem.core.asset import Ref, check_name
from tandem.core.clock import Clock
from tandem.core.endpoint import Endpoint, EndpointKind, Provider, Strategy
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.gateway.providers.base import PROTOCOLS
from tandem.gateway.snapshot import INDEX
from tandem.governance.audit import Audit
from tandem.governance.authorise import Scope, authorise, scope_of
from tandem.registry.repo import bump
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

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

REFERENCES = ("env:", "file:", "sealed:")
KINDS: tuple[EndpointKind, ...] = get_args(EndpointKind)

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
        authorise(by, "write", endpoint.team)
        check_endpoint(endpoint)
        with self._sql.write() as conn:
            present = _row(conn, endpoints, endpoint.name)
            if present is not None:
                if not scope_of(by).admits(present.team):
                    raise Conflict(f"The name '{endpoint.name}' is taken by another team.", hint="Choose another name.")
                authorise(by, "write", present.team)
                _need_approval(_noun(present, Endpoint), endpoint.guards, by)
            return self._put(conn, endpoints, endpoint, by, expected_etag, team=endpoint.team)

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
            row = _must(conn, endpoints, name)
            if not scope_of(by).admits(row.team):
                raise _none(endpoints, name)
            authorise(by, "write", row.team)
            _need_approval(_noun(row, Endpoint), None, by)
            self._delete(conn, endpoints, row, by, through, team=row.team)

    def _put(self, conn: Connection, table: Table, noun: Noun, by: Principal, expected: int | None, *, team: str | None) -> int:
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
        # The body holds references only; what a reference leads to is never here.
        self._record(conn, table, "put", noun.name, by, team or by.team, {"etag": etag + 1, "body": msgspec.to_builtins(noun)})
        return etag + 1

    def _delete(self, conn: Connection, table: Table, row: Row[Any], by: Principal, through: Hand, *, team: str) -> None:
        if through == "api":
            _check_managed(table, row)
        conn.execute(delete(table).where(table.c.name == row.name))
        self._record(conn, table, "delete", row.name, by, team, {"through": through})

    def _record(
        self, conn: Connection, table: Table, verb: str, name: str, by: Principal, team: str, detail: dict[str, object]
    ) -> None:
        noun = _word(table)
        self._audit.append(conn, actor=by.name, action=f"{noun}.{verb}", subject=f"{noun}/{name}", team=team, detail=detail)
        bump(conn)


def check_provider(provider: Provider) -> None:
    """Looks at a Provider before it is kept.

    Raises:
        Invalid: the name, the protocol, the address or a key reference is wrong.
    """
    check_name(provider.name)
    if provider.protocol not in PROTOCOLS:
        raise Invalid(
            f"Nobody speaks the protocol '{provider.protocol}' of the provider '{provider.name}'."
            if provider.protocol
            else f"The provider '{provider.name}' names no protocol.",
            hint=f"Say one of {', '.join(sorted(PROTOCOLS))}; every compatible server speaks openai.",
            field="protocol",
        )
    try:
        address = urlsplit(provider.base_url)
        sound = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        sound = False
    if not sound or address.username is not None or address.password is not None or address.query or address.fragment:
        # The address is not repeated: a password may stand in it.
        raise Invalid(
            f"The address of the provider '{provider.name}' is no plain http(s) URL.",
            hint="Write https://HOST/PATH, without a user, a query or a fragment; keys go into keys.",
            field="base_url",
        )
    for place, key in enumerate(provider.keys):
        if not key.startswith(REFERENCES) or key in REFERENCES:
            raise Invalid(
                f"Key {place} of the provider '{provider.name}' is no reference.",
                hint="Write env:NAME or file:PATH; a literal key is sealed before it is kept.",
                field=f"keys[{place}]",
            )


def _need_approval(present: Endpoint, guards: str | None, by: Principal) -> None:
    """Who makes an endpoint chooses its guards; to take them away or change them is an approver's.

    Raises:
        Forbidden: `by` is none.
    """
    if present.guards is not None and present.guards != guards:
        authorise(by, "approve", present.team)


def check_endpoint(endpoint: Endpoint) -> None:
    """Looks at an Endpoint before it is kept.

    Raises:
        Invalid: the name, the kind, the route or a bound is wrong.
    """
    check_name(endpoint.name)
    check_name(endpoint.team)
    who = f"The endpoint '{endpoint.name}'"
    if endpoint.kind not in KINDS:
        raise Invalid(f"{who} is of no known kind.", hint=f"Kinds are {', '.join(KINDS)}.", field="kind")
    if not endpoint.route:
        raise Invalid(f"{who} leads nowhere.", hint='Give a route, such as [{ target = "provider/model" }].', field="route")
    for place, target in enumerate(endpoint.route):
        if not all(target.target.partition("/")) or any(letter.isspace() for letter in target.target):
            raise Invalid(
                f"{who} has a target that names nothing.",
                hint="Write provider/model or KIND/NAME@ALIAS.",
                field=f"route[{place}].target",
            )
        if target.target.partition("/")[0] in ASSETS and Ref.parse(target.target).alias is None:
            # A version gets an alias through its gate; an endpoint that names the version itself would go round it.
            raise Invalid(
                f"{who} names {target.target}, which is no alias.",
                hint="Write KIND/NAME@ALIAS, such as model/tumor@production; `tandem promote` moves the alias.",
                field=f"route[{place}].target",
            )
        if not (math.isfinite(target.weight) and target.weight >= 0):
            raise Invalid(f"{who} has a weight of {target.weight}.", hint="Use zero or more.", field=f"route[{place}].weight")
    _check_answering(endpoint, who)
    if not any(target.weight > 0 for target in endpoint.route):
        raise Invalid(f"{who} gives no target any weight.", hint="Give one a weight above 0.", field="route")
    if endpoint.guards is not None:
        policy = Ref.parse(endpoint.guards)
        if policy.kind != "policy" or policy.alias is None:
            raise Invalid(f"{who} has guards that are no policy's alias.", hint="Write policy/NAME@ALIAS.", field="guards")
    if endpoint.strategy not in get_args(Strategy) or (
        endpoint.strategy != "weighted" and endpoint.kind not in ("chat", "embed")
    ):
        raise Invalid(
            f"{who} has the strategy '{endpoint.strategy}'.",
            hint=f"Say one of {', '.join(get_args(Strategy))}; predict and decide know weighted alone.",
            field="strategy",
        )
    if endpoint.retries < 0:
        raise Invalid(f"{who} has {endpoint.retries} retries.", hint="Use zero or more.", field="retries")
    if endpoint.max_output_tokens < 1:
        raise Invalid(f"{who} lets nothing be answered.", hint="Use one token or more.", field="max_output_tokens")
    times = endpoint.timeouts
    for name, seconds in (
        ("connect", times.connect),
        ("first_byte", times.first_byte),
        ("idle", times.idle),
        ("total", times.total),
    ):
        if not (math.isfinite(seconds) and seconds > 0):
            raise Invalid(f"{who} has a {name} timeout of {seconds} s.", hint="Use more than zero.", field=f"timeouts.{name}")


def _check_answering(endpoint: Endpoint, who: str) -> None:
    """A route into indexes answers chats and leads nowhere else; a model that writes belongs to such a route."""
    inward = [target.target.startswith(INDEX) for target in endpoint.route]
    if any(inward) and (endpoint.kind != "chat" or not all(inward)):
        raise Invalid(
            f"{who} leads into an index and elsewhere, or answers {endpoint.kind} calls.",
            hint="A route into index/NAME@ALIAS is of the kind chat and has no other targets.",
            field="route",
        )
    if endpoint.model and (not all(inward) or endpoint.model.startswith(INDEX) or any(map(str.isspace, endpoint.model))):
        raise Invalid(
            f"{who} names a model that cannot write its answers.",
            hint="Only for a route into index/NAME@ALIAS: provider/model, or the name of a chat endpoint.",
            field="model",
        )


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
