"""The immutable policy a door executes, and the local replica it reads it from.

Control compiles the snapshot and the key feed into `replica.db` (`gateway/compile.py`); every worker
looks at the file's change counter, decodes the new version and swaps one reference. When control or
its store is away the last version stands, and its age is known. It knows no SQL server, no
registry, no framework.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from tandem.core.clock import Clock
from tandem.core.endpoint import HOSTED, Endpoint, EndpointKind, Target
from tandem.core.errors import Forbidden, NotFound, Unauthenticated
from tandem.core.money import Price
from tandem.core.principal import Principal
from tandem.governance.digest import digest as digest_of
from tandem.governance.lend import PREFIX, lent
from tandem.governance.terms import check_address, check_kind, permits_model

INDEX = "index/"
"""How targets begin that are answered from documents."""
KEYS_LIMIT = 50_000
"""Keys held in memory; a miss is one read of the replica."""

SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
PRAGMA busy_timeout=5000;
CREATE TABLE IF NOT EXISTS snapshot (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS keys (digest BLOB PRIMARY KEY, version INTEGER NOT NULL, body BLOB) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS keys_by_version ON keys (version);
CREATE TABLE IF NOT EXISTS beat (id INTEGER PRIMARY KEY CHECK (id = 1), at INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A provider as the door needs it: where, in which protocol, with which keys."""

    name: str
    protocol: str
    base_url: str
    keys: tuple[bytes, ...] = ()
    """Sealed under the vault's `provider` purpose; several are rotated."""
    region: str = ""
    collects: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model, decision or index version as the door hands it to the one who answers."""

    ref: str
    """`model/tumor@2`."""
    members: str
    """Directory that holds the version's files."""
    digest: str
    meta: bytes
    """The version's meta, as JSON."""
    attributes: Mapping[str, object] = field(default_factory=dict)
    """What a trace says about it: data digest, gate, approver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything the door needs to know, in one value."""

    version: int = 0
    compiled_at: int = 0
    max_age: float | None = None
    """Seconds after which the door refuses; None: never."""
    hosts: Mapping[str, Host] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By `provider/model`, for everybody; by `provider/` what every other model costs that it serves on own machines."""
    team_prices: Mapping[str, Mapping[str, Price]] = field(default_factory=dict)
    """By team and `provider/model`: rows that hold for that team alone."""
    contexts: Mapping[str, int] = field(default_factory=dict)
    """Tokens that fit into a model, by `provider/model`, where the price list says."""
    served: Mapping[str, Served] = field(default_factory=dict)
    """Models, decisions and indexes, by `kind/name@version`."""
    prompts: Mapping[str, Served] = field(default_factory=dict)
    """Prompts, by every name they answer to: `prompt/explain@3`, `prompt/explain@production`."""
    routers: Mapping[str, Served] = field(default_factory=dict)
    """Learned routers, by every name they answer to: `router/tasks@2`, `router/tasks@production`."""
    policies: Mapping[str, Served] = field(default_factory=dict)
    """Policies with guards, by every name they answer to: `policy/strict@1`, `policy/strict@production`."""
    budgets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Scopes with a hard cap, and by which meters; `governance.admit.Caps`."""
    hour_price: int = 0
    """Nano-dollars an hour of what this platform computes itself: predictions, decisions."""

    def enter(self, address: str, principal: Principal, kind: EndpointKind) -> Endpoint:
        """The Endpoint an address means for this principal, with what its key leaves of it: kinds and models.

        Raises:
            NotFound: nothing answers there, or it is of another kind.
            Forbidden: the key may not call it, nor any model that it would ask.
        """
        check_kind(principal, kind)
        return self.permitted(self.resolve(address, principal, kind), principal)

    def permitted(self, endpoint: Endpoint, principal: Principal) -> Endpoint:
        """The endpoint with the targets that may answer this principal: those at providers are bound by its key's models.

        Raises:
            Forbidden: none is left.
        """
        if not principal.models:
            return endpoint
        route = tuple(
            target
            for target in endpoint.route
            if target.target.partition("/")[0] not in self.hosts or permits_model(principal, target.target)
        )
        if len(route) == len(endpoint.route):
            return endpoint
        if not any(target.role != "shadow" for target in route):
            raise Forbidden(
                f"No model that '{endpoint.name}' may ask is allowed to the key '{principal.name}'.",
                hint=f"It may use {', '.join(principal.models[:5])}; ask for a key with more models.",
                code="model_not_allowed",
            )
        return replace(endpoint, route=route)

    def answers(self, endpoint: Endpoint, principal: Principal) -> bool:
        """Whether the terms of a key leave anything of an endpoint, for lists of what may be called."""
        try:
            check_kind(principal, endpoint.kind)
            self.permitted(endpoint, principal)
        except Forbidden:
            return False
        return True

    def price(self, target: str, team: str) -> Price | None:
        """What a target (`provider/model`) costs a team; None where nobody knows."""
        own = self.team_prices.get(team)
        row = None if own is None else own.get(target)
        if row is None:
            row = self.prices.get(target)
        return self.prices.get(f"{target.partition('/')[0]}/") if row is None else row

    def resolve(self, address: str, principal: Principal, kind: EndpointKind) -> Endpoint:
        """The Endpoint an address means for this principal.

        An address is an endpoint's name, or `provider/model` or `model/name@version` for those whose
        key has the scope `any-version`, and for admins.

        Raises:
            NotFound: nothing answers there, or it is of another kind.
            Forbidden: the key may not call it.
        """
        endpoint = self.endpoints.get(address)
        if endpoint is not None and (not principal.endpoints or address in principal.endpoints):
            if endpoint.kind != kind:
                raise NotFound(
                    f"The endpoint '{address}' answers {endpoint.kind} calls, not {kind}.", hint=_ADDRESS[endpoint.kind]
                )
            if endpoint.team != "default" and endpoint.team != principal.team and not principal.may("admin"):
                raise NotFound(
                    f"There is no endpoint '{address}'.", hint="`tandem endpoint list` shows the ones your key may call."
                )
            return endpoint
        direct = None if endpoint is not None else self._direct(address, kind)
        if direct is not None and ("any-version" in principal.scopes or principal.may("admin")):
            return direct
        if endpoint is not None:
            raise Forbidden(
                f"The key '{principal.name}' may not call the endpoint '{address}'.",
                hint="Ask for a key whose endpoints include it.",
            )
        if direct is not None:
            raise Forbidden(
                f"'{address}' is not an endpoint, and the key '{principal.name}' may not name models directly.",
                hint="Use a key with the scope any-version, or call an endpoint.",
            )
        raise NotFound(
            f"There is no endpoint '{address}'.",
            hint="`tandem endpoint list` shows the ones your key may call.",
            code="model_not_found",
        )

    def _direct(self, address: str, kind: EndpointKind) -> Endpoint | None:
        if kind in HOSTED:
            known = ("/" in address and address.partition("/")[0] in self.hosts) or (
                kind == "chat" and is_index(address, self.served)
            )
        else:
            known = address in self.served
        return Endpoint(name=address, kind=kind, route=(Target(target=address),)) if known else None


def is_index(address: str, served: Mapping[str, Served]) -> bool:
    """Whether an address names an index version that is served: `index/policies@3`."""
    return address.startswith(INDEX) and address in served


_ADDRESS = {
    "chat": "POST /v1/chat/completions reaches it.",
    "embed": "POST /v1/embeddings reaches it.",
    "rerank": "POST /v1/rerank reaches it.",
    "predict": "POST /v2/models/NAME/infer reaches it.",
    "decide": "POST /v1/decide/NAME reaches it.",
}


class Replica:
    """A worker's view of `replica.db`: the current snapshot and the keys, refreshed by `refresh`."""

    def __init__(self, path: Path, pepper: bytes, clock: Clock, lending: bytes = b"") -> None:
        self._clock = clock
        self._lending = lending
        """The secret under which the platform lends itself keys; empty where it lends none."""
        self._pepper = pepper
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5)
        self._db.executescript(SCHEMA)
        self._seen = -1
        self._key_version = 0
        self._beat = 0
        self._keys: OrderedDict[bytes, Principal | None] = OrderedDict()
        self._digests: dict[str, bytes] = {}
        """Of tokens that named somebody, so that a busy key is digested once."""
        self.snapshot = Snapshot()
        self.refresh()

    def refresh(self) -> bool:
        """Looks for a change (about 3 µs when there is none); True when a new snapshot was swapped in."""
        try:
            seen = self._db.execute("PRAGMA data_version").fetchone()[0]
            if seen == self._seen:
                return False
            for digest, version, body in self._db.execute(
                "SELECT digest, version, body FROM keys WHERE version > ? ORDER BY version", (self._key_version,)
            ):
                self._key_version = version
                if digest in self._keys:
                    self._keys[digest] = _principal(body)
            row = self._db.execute("SELECT version, body FROM snapshot WHERE version != ?", (self.snapshot.version,)).fetchone()
            beat = self._db.execute("SELECT at FROM beat").fetchone()
        except sqlite3.Error:  # the replica is being replaced or its disk is away: what we hold stands
            return False
        self._seen = seen
        self._beat = self._beat if beat is None else beat[0]
        if row is None:
            return False
        self.snapshot = msgspec.msgpack.decode(row[1], type=Snapshot)
        return True

    def age(self) -> float:
        """Seconds since control last said that this snapshot is what it knows."""
        return (self._clock.now() - max(self._beat, self.snapshot.compiled_at)) / 1e6

    def identify(self, token: str | None, peer: str = "") -> Principal:
        """The principal of a bearer token.

        Args:
            peer: where the caller is, as trusted proxies tell it.

        Raises:
            Unauthenticated: no token, an unknown, revoked or expired one.
            Forbidden: the key is bound to other networks.
        """
        if not token:
            raise Unauthenticated(
                "This call needs a key.", hint="Send it as 'Authorization: Bearer KEY'; `tandem key create` makes one."
            )
        digest = self._digests.get(token)
        if digest is None:
            if self._lending and token.startswith(PREFIX):
                return self._lent(token)
            digest = digest_of(self._pepper, token)
        try:
            principal = self._keys[digest]
            self._keys.move_to_end(digest)
        except KeyError:
            principal = self._read(digest)
        if principal is None:
            raise Unauthenticated(
                "The key is not known here.", hint="It may have been revoked; `tandem key create` makes a new one."
            )
        if principal.expires_at is not None and principal.expires_at <= self._clock.now():
            raise Unauthenticated(f"The key '{principal.name}' has expired.", hint="Ask an admin for a new one.")
        if principal.networks:
            check_address(principal, peer)
        if len(self._digests) >= KEYS_LIMIT:
            self._digests.clear()
        self._digests[token] = digest
        return principal

    def _lent(self, token: str) -> Principal:
        principal = lent(self._lending, token, self._clock.now())
        if principal is None:
            raise Unauthenticated("The key is not known here.", hint="Keys that the platform lends itself last a minute.")
        return principal

    def _read(self, digest: bytes) -> Principal | None:
        try:
            row = self._db.execute("SELECT body FROM keys WHERE digest = ?", (digest,)).fetchone()
        except sqlite3.Error:
            raise Unauthenticated("The key cannot be checked right now.", hint="Try again in a moment.", status=503) from None
        if row is None:  # unknown keys are not remembered: a flood of them must not push out known ones
            return None
        principal = self._keys[digest] = _principal(row[0])
        if len(self._keys) > KEYS_LIMIT:
            self._keys.popitem(last=False)
        return principal

    def close(self) -> None:
        self._db.close()


def _principal(body: bytes | None) -> Principal | None:
    return None if body is None else msgspec.msgpack.decode(body, type=Principal)
