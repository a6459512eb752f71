"""Compiles what control knows into the snapshot that doors execute, and publishes it with the key feed.

Whoever commits a change raises one version row; the compiler looks at it, at the ledger's caps and at
the key feed, and writes the replica when one of them moved. It decides nothing about a call.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tandem.core.asset import Kind, Ref, Version
from tandem.core.clock import MICROS, Clock
from tandem.core.endpoint import HOSTED, Endpoint, EndpointKind, Provider, Target
from tandem.core.errors import Invalid, NotFound, TandemError, Unavailable
from tandem.core.money import Price
from tandem.core.policy import Budget
from tandem.gateway.prices import VENDORS, context_of, models_of, price_of
from tandem.gateway.pricing.book import Book
from tandem.gateway.pricing.repo import Prices, Throughputs
from tandem.gateway.publish import Publisher
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import Host, Served, Snapshot
from tandem.governance.authorise import ALL
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.governance.standing import MEMBER
from tandem.registry.registry import Registry
from tandem.store.blobs import Blobs
from tandem.store.vault import Vault

LOOK_SECONDS = 0.1
BEAT_SECONDS = 5
TRIES = 5
"""How often policy that goes on changing is compiled before it is published as it was seen; the next look does it again."""
SERVED_KINDS: Mapping[str, EndpointKind] = {"model": "predict", "decision": "decide", "index": "chat"}
PRODUCTION = "production"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a snapshot is compiled from."""

    registry: Registry
    routes: Routes
    prices: Prices
    throughputs: Throughputs
    keys: Keys
    ledger: Ledger
    blobs: Blobs
    vault: Vault
    clock: Clock


class Compiler:
    """Keeps `replica.db` equal to what control knows; one per control process."""

    def __init__(
        self,
        sources: Sources,
        *,
        replica: Path,
        served: Path,
        max_age: float | None,
        environment: Mapping[str, str],
        hour_price: int = 0,
    ) -> None:
        self._s = sources
        self._hour_price = hour_price
        served.mkdir(parents=True, exist_ok=True)
        self._publisher = Publisher(replica)
        self._served = served
        self._max_age = max_age
        self._environment = environment
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._seen: tuple[object, ...] | None = None
        self._listed: dict[tuple[str, str], Price | None] = {}
        self._snapshot = Snapshot()
        self._beaten = 0
        self.damaged: dict[str, str] = {}
        """Versions whose files cannot be laid out, and why; `tandem doctor` tells."""

    def current(self) -> Snapshot:
        """The snapshot as it was last compiled; changes committed meanwhile are compiled first, if they can be written."""
        try:
            self.publish()
        except (Unavailable, OSError):  # `run` tells why and tries again; what there is can be read meanwhile
            if self._seen is None:
                raise
        return self._snapshot

    def records(self, address: str) -> bool:
        """Whether the content of an endpoint's calls is kept; a model that is named directly keeps it."""
        endpoint = self.current().endpoints.get(address)
        return endpoint is None or endpoint.record_content

    def book(self) -> Book:
        """Every price as it is known now, for any time."""
        providers = {provider.name: provider for provider in self._s.routes.providers(ALL)}
        seen = {each.provider: each for each in self._s.throughputs.list(ALL)}
        return Book(self._s.prices.list(ALL), providers, seen)

    def routes(self) -> dict[str, tuple[str, ...]]:
        """The targets that answer at each endpoint now."""
        return {
            name: tuple(target.target for target in endpoint.route if target.role != "shadow")
            for name, endpoint in self.current().endpoints.items()
        }

    def price(self, target: str, at: int, team: str) -> Price | None:
        """The price row of a target (`provider/model`) that was in force at a UTC time (microseconds) for a team."""
        return self.book().price(target, at, team)

    def publish(self) -> int:
        """Writes the replica if anything changed; returns the version it now holds."""
        with self._lock:
            version = self._s.registry.snapshot_version()
            day = self._s.clock.now() // 86_400_000_000  # dated prices change at midnight
            if self._seen is None or self._seen[2] != day:
                self._listed.clear()
            caps = self._s.ledger.caps_version()
            after = self._publisher.key_version()
            key_version, changes = self._s.keys.changes(after)
            number = self._publisher.snapshot_version()
            snapshot = None
            if (version, caps, day) != self._seen:
                number += 1
                snapshot, version = self._of_one_moment(number, version)
                self._snapshot = snapshot
            if snapshot is not None or changes:
                self._publisher.write(snapshot, key_version, changes)
            self._seen = (version, caps, day)
            return number

    def _of_one_moment(self, number: int, version: int) -> tuple[Snapshot, int]:
        """A snapshot, and the version of policy that it is of.

        What is committed while it is compiled may be seen in part, such as a release without its pins: then it is compiled again.
        """
        caps = _caps(self._s.ledger.budgets())
        for _ in range(TRIES):
            snapshot, before = self._compile(number, caps), version
            version = self._s.registry.snapshot_version()
            if version == before:
                break
        return snapshot, before

    def run(self, fault: Callable[[BaseException], None]) -> None:
        """Publishes whatever changes until `stop`; what fails is told once and tried again."""
        told = ""
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.publish()
                self._beat()
                told = ""
            except (OSError, sqlite3.Error, TandemError) as error:
                if str(error) != told:
                    told = str(error)
                    fault(error)

    def _beat(self) -> None:
        now = self._s.clock.now()
        if now - self._beaten >= BEAT_SECONDS * MICROS:
            self._beaten = now
            self._publisher.beat(now)

    def stop(self) -> None:
        self._stop.set()

    def close(self) -> None:
        self._publisher.close()

    def _compile(self, version: int, caps: Mapping[str, tuple[str, ...]]) -> Snapshot:
        providers = {provider.name: provider for provider in self._s.routes.providers(ALL)}
        served = self._served_versions()
        endpoints, book, now = self._endpoints(served), self.book(), self._s.clock.now()
        return Snapshot(
            version=version,
            compiled_at=now,
            max_age=self._max_age,
            hosts={name: self._host(provider) for name, provider in providers.items()},
            endpoints=endpoints,
            prices=self._price_rows(endpoints, providers, book, now),
            team_prices={team: _priced(targets, book, now, team) for team, targets in book.teams().items()},
            contexts=self._contexts(endpoints, providers),
            served=served,
            prompts=self._named("prompt"),
            policies=self._named("policy"),
            routers=self._named("router"),
            budgets=caps,
            hour_price=self._hour_price,
        )

    def _host(self, provider: Provider) -> Host:
        keys = [self._resolve(reference, provider.name) for reference in provider.keys]
        return Host(
            name=provider.name,
            protocol=provider.protocol,
            base_url=provider.base_url,
            region=provider.region,
            collects=provider.collects,
            keys=tuple(self._s.vault.seal("provider", key.encode(), provider.name.encode()) for key in keys if key),
        )

    def _resolve(self, reference: str, provider: str) -> str | None:
        """The key a reference names; a missing one is left out, and `tandem doctor` says so."""
        scheme, _, rest = reference.partition(":")
        if scheme == "env":
            return self._environment.get(rest)
        if scheme == "file":
            try:
                return Path(rest).read_text("utf-8").strip()
            except OSError:
                return None
        if scheme == "sealed":
            try:
                return self._s.vault.open("provider-key", bytes.fromhex(rest), provider.encode()).decode()
            except (ValueError, TandemError):  # of another home, or damaged: one provider must not keep all policy from the doors
                return None
        return None

    def _served_versions(self) -> dict[str, Served]:
        served: dict[str, Served] = {}
        for asset in self._s.registry.assets(None, ALL):
            if asset.kind not in SERVED_KINDS:
                continue
            production = asset.aliases.get(PRODUCTION)
            for version in self._s.registry.versions(asset.kind, asset.name, ALL)[:50]:
                folder = self._laid_out(version)
                if folder is not None:
                    served[str(version.ref)] = self._entry(version, folder, is_production=version.version == production)
        return served

    def _laid_out(self, version: Version) -> str | None:
        """The directory with a version's files, empty where it has none; None where they are damaged."""
        if not version.members:
            return ""
        folder = self._served / version.digest.removeprefix("sha256:")
        try:
            self._s.blobs.materialise(version.members, folder)
        except TandemError as error:  # one damaged version must not keep all the others from the doors
            self.damaged[str(version.ref)] = error.message
            return None
        self.damaged.pop(str(version.ref), None)
        return str(folder)

    def _entry(self, version: Version, folder: str, *, is_production: bool) -> Served:
        attributes: dict[str, object] = {
            "team": version.team,
            "created_by": version.created_by,
            "run": version.run,
            "made_from": list(version.parents),
        }
        for parent in version.parents:
            if parent.startswith("dataset/"):
                attributes["data_digest"] = self._s.registry.find(Ref.parse(parent), ALL).digest
        if is_production:
            attributes |= self._promotion(version)
        return Served(
            ref=str(version.ref),
            members=folder,
            digest=version.digest,
            meta=msgspec.json.encode({**version.meta, **self._vector(version)}),
            attributes=attributes,
        )

    def _vector(self, version: Version) -> dict[str, object]:
        """What the features are that a model was trained on, in the words of their versions; empty where there are none."""
        name = version.meta.get("service")
        if version.kind != "model" or not isinstance(name, str):
            return {}
        try:
            service = self._s.registry.find(Ref.parse(name), ALL)
            views = service.meta.get("views")
            parts = [self._s.registry.find(Ref.parse(str(view)), ALL) for view in views] if isinstance(views, list) else []
        except (NotFound, Invalid) as error:  # it is then asked with inputs alone
            self.damaged[str(version.ref)] = error.message
            return {}
        return {"vector": {"service": _told(service), "views": [_told(part) for part in parts]}}

    def _promotion(self, version: Version) -> dict[str, object]:
        """How this version got its alias: verdict and every approver, for every trace it answers."""
        for move in self._s.registry.moves(version.kind, version.name, PRODUCTION, ALL):
            if move.alias.version == version.version:
                report = move.report or {}
                return {
                    "alias": PRODUCTION,
                    "approved_by": ", ".join(move.approvers) or move.alias.moved_by,
                    "gate": report.get("verdict"),
                    "ungated": move.alias.ungated,
                }
        return {}

    def _named(self, kind: Kind) -> dict[str, Served]:
        """The versions of a kind, by every name they answer to, with their files where they have any."""
        named: dict[str, Served] = {}
        for asset in self._s.registry.assets(kind, ALL):
            for version in self._s.registry.versions(kind, asset.name, ALL)[:50]:
                folder = self._laid_out(version)
                if folder is None:
                    continue
                entry = Served(
                    ref=str(version.ref),
                    members=folder,
                    digest=version.digest,
                    meta=msgspec.json.encode(version.meta),
                    attributes={"team": version.team, "created_by": version.created_by},
                )
                named[entry.ref] = entry
                for alias, number in asset.aliases.items():
                    if number == version.version:
                        named[f"{kind}/{asset.name}@{alias}"] = entry
        return named

    def _endpoints(self, served: Mapping[str, Served]) -> dict[str, Endpoint]:
        """Declared endpoints with their aliases resolved, and one for every model, decision and index in production."""
        endpoints: dict[str, Endpoint] = {}
        for asset in self._s.registry.assets(None, ALL):
            if asset.kind in SERVED_KINDS and PRODUCTION in asset.aliases:
                target = Target(target=f"{asset.kind}/{asset.name}@{asset.aliases[PRODUCTION]}")
                endpoints[asset.name] = Endpoint(name=asset.name, kind=SERVED_KINDS[asset.kind], route=(target,), team=asset.team)
        for endpoint in self._s.routes.endpoints(ALL):
            route = tuple(replace(target, target=self._pinned(target.target, endpoint)) for target in endpoint.route)
            endpoints[endpoint.name] = replace(endpoint, route=route)
        return endpoints

    def _pinned(self, target: str, endpoint: Endpoint) -> str:
        """The version a target means now. One of another team stays without a version, so that nothing answers there."""
        if target.partition("/")[0] not in SERVED_KINDS:
            return target
        try:
            version = self._s.registry.find(Ref.parse(target), ALL)
        except (NotFound, Invalid):  # the call says that it is missing; a route must not vanish because of it
            return target
        shared = version.team in (endpoint.team, "default") or endpoint.managed is not None  # the file is the operator's
        return str(version.ref) if shared else f"{version.kind}/{version.name}"

    def _price_rows(
        self, endpoints: Mapping[str, Endpoint], providers: Mapping[str, Provider], book: Book, now: int
    ) -> dict[str, Price]:
        """Rows for everybody: of every target of an endpoint, and of whatever else price lists or our own rows name."""
        rows: dict[str, Price] = {}
        for provider in providers.values():
            vendor = None if provider.hour_price else provider.prices or VENDORS.get(provider.protocol)
            for model in models_of(vendor) if vendor is not None else ():
                price = self._price(model, vendor, now)
                if price is not None:
                    rows[f"{provider.name}/{model}"] = price
        targets = {
            target
            for endpoint in endpoints.values()
            if endpoint.kind in HOSTED
            for target in (*[target.target for target in endpoint.route], endpoint.model)
            if target.partition("/")[0] in providers
        }
        targets |= {f"{provider.name}/" for provider in providers.values() if provider.hour_price}
        return rows | _priced(targets | book.targets(), book, now, "")

    def _contexts(self, endpoints: Mapping[str, Endpoint], providers: Mapping[str, Provider]) -> dict[str, int]:
        """Tokens that fit into the targets of endpoints; one that is named directly has no other to go to."""
        found: dict[str, int] = {}
        for target in {target.target for endpoint in endpoints.values() for target in endpoint.route}:
            name, _, model = target.partition("/")
            provider = providers.get(name)
            vendor = None if provider is None else provider.prices or VENDORS.get(provider.protocol)
            tokens = None if vendor is None else context_of(model, vendor)
            if tokens is not None:
                found[target] = tokens
        return found

    def _price(self, model: str, vendor: str | None, now: int) -> Price | None:
        if vendor is None:
            return None
        key = (model, vendor)
        if key not in self._listed:
            self._listed[key] = price_of(model, vendor, now)
        return self._listed[key]


def _told(version: Version) -> dict[str, object]:
    """A view or service as whoever serves its features reads it."""
    told: dict[str, object] = {"name": version.name, "version": version.version, "definition": version.meta.get("definition")}
    return told | ({"columns": version.meta["columns"]} if "columns" in version.meta else {})


def _priced(targets: Iterable[str], book: Book, now: int, team: str) -> dict[str, Price]:
    """What some targets cost, those without a price left out."""
    found = {target: book.price(target, now, team) for target in targets}
    return {target: price for target, price in found.items() if price is not None}


def _caps(budgets: Sequence[Budget]) -> dict[str, tuple[str, ...]]:
    """The caps that refuse, as a purse reads them; those of runs come with their calls."""
    caps: dict[str, tuple[str, ...]] = {}
    for budget in budgets:
        if budget.mode == "soft" or budget.scope.startswith("run/"):
            continue
        for scope in (budget.scope, budget.scope + MEMBER) if budget.fair else (budget.scope,):
            caps[scope] = (*caps.get(scope, ()), budget.meter)
    return caps


def seal_keys(provider: Provider, vault: Vault) -> Provider:
    """The provider with literal keys sealed; references stay as they are.

    Raises:
        Invalid: a key is what a list shows of one that is sealed already.
    """
    if any(key.startswith("sealed:") for key in provider.keys):
        raise Invalid(
            f"A key of the provider '{provider.name}' is sealed already, and nobody can give such a one.",
            field="keys",
            hint="Give the key itself, env:NAME or file:PATH.",
        )
    keys = tuple(
        key
        if key.startswith(("env:", "file:"))
        else "sealed:" + vault.seal("provider-key", key.encode(), provider.name.encode()).hex()
        for key in provider.keys
    )
    return replace(provider, keys=keys)
