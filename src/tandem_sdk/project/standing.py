"""What stands on the platform under the name of a declared thing. It reads each list once, and changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from tandem_sdk.assets import Asset, AssetSummary, Version
from tandem_sdk.budgets import Budget, Limit
from tandem_sdk.client import Client
from tandem_sdk.endpoints import Endpoint
from tandem_sdk.errors import NotFound
from tandem_sdk.keys import Principal
from tandem_sdk.monitors import Monitor
from tandem_sdk.project.tables import OF_MONITORS, dollars
from tandem_sdk.shape import plain
from tandem_sdk.waiting import Approval, Request

SOURCE = "source.py"
"""The file of a decision."""
NANO = Decimal(1_000_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is there now."""

    content: Mapping[str, object]
    base: str
    """Changes whenever it does."""
    elsewhere: str = ""
    """What manages it instead of a project, such as a line of `tandem.toml`."""


class World:
    """The platform as one plan sees it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._listed: dict[str, dict[str, AssetSummary]] = {}
        self._shown: dict[str, Asset | None] = {}

    def standing(self, address: str, content: Mapping[str, object]) -> Standing | None:
        """What stands under an address; None where nothing does.

        Args:
            content: what is declared, for what the platform is asked about.
        """
        kind, _, name = address.partition("/")
        return _READ[kind](self, name, content)

    def newest(self, kind: str, name: str) -> Version | None:
        """The newest version of an asset."""
        if kind not in self._listed:
            self._listed[kind] = {each.name: each for each in self.client.assets.list(kind)}
        found = self._listed[kind].get(name)
        return None if found is None else found.newest

    def asset(self, ref: str) -> Asset | None:
        """An asset with its aliases."""
        if ref not in self._shown:
            try:
                self._shown[ref] = self.client.assets.show(ref)
            except NotFound:
                self._shown[ref] = None
        return self._shown[ref]

    def pinned(self, ref: str) -> str:
        """A reference with the version that it means now; as it is, where it means none."""
        named, _, tail = ref.partition("@")
        kind, _, name = named.partition("/")
        if tail.isdigit():
            return ref
        if not tail:
            newest = self.newest(kind, name)
            return ref if newest is None else newest.ref
        found = self.asset(named)
        alias = None if found is None else found.aliases.get(tail)
        return ref if alias is None else f"{named}@{alias.version}"

    @cached_property
    def rules(self) -> tuple[Approval, ...]:
        return self.client.approvals.list()

    @cached_property
    def waiting(self) -> tuple[Request, ...]:
        return self.client.requests.list(state="open", limit=1000)

    @cached_property
    def me(self) -> Principal:
        return self.client.whoami()

    @cached_property
    def gates(self) -> dict[str, Mapping[str, object]]:
        return {f"{each.asset}@{each.alias}": _object(each) for each in self.client.gates.list()}

    @cached_property
    def endpoints(self) -> dict[str, Endpoint]:
        return {each.name: each for each in self.client.endpoints.list(declared=True)}

    @cached_property
    def monitors(self) -> dict[str, Monitor]:
        return {each.name: each for each in self.client.monitors.list()}

    @cached_property
    def budgets(self) -> dict[str, Budget]:
        return {f"{each.scope}@{each.window}": each for each in self.client.budgets.list()}

    @cached_property
    def limits(self) -> dict[str, Limit]:
        return {f"{each.scope}@{each.unit}/{each.window}": each for each in self.client.limits.list()}


def fingerprint(value: object) -> str:
    """A short digest of JSON."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:24]


def same(wanted: object, found: object) -> bool:
    """Whether what stands there is what is declared; what a declaration leaves out must be empty there.

    >>> same({"low": 1}, {"low": 1.0, "high": None}), same({"low": 1}, {"low": 1, "high": 3}), same([], None)
    (True, False, True)
    """
    if isinstance(wanted, Mapping) and isinstance(found, Mapping):
        keys = wanted.keys() | found.keys()
        return all(same(wanted.get(key), found.get(key)) for key in keys)
    if isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        return len(wanted) == len(found) and all(same(one, other) for one, other in zip(wanted, found, strict=True))
    if isinstance(wanted, bool) or isinstance(found, bool):
        return bool(wanted) == bool(found) and not (isinstance(wanted, str) or isinstance(found, str))
    return wanted == found or (wanted in _EMPTY and found in _EMPTY)


_EMPTY: tuple[object, ...] = (None, "", [], (), {})


_Content = Callable[["World", Version, Mapping[str, object]], Mapping[str, object]]


def _asset(kind: str, content: _Content) -> _Read:
    def found(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
        newest = world.newest(kind, name)
        if newest is None:
            return None
        return Standing(content=content(world, newest, declared), base=f"{newest.version} {newest.digest}")

    return found


def _picked(*keys: str) -> _Content:
    return lambda world, version, declared: {key: version.meta.get(key) for key in keys}


def _decision(world: World, version: Version, declared: Mapping[str, object]) -> Mapping[str, object]:
    return {"source": world.client.assets.member(version.ref, SOURCE).decode(), "entry": version.meta.get("entry")}


def _view(world: World, version: Version, declared: Mapping[str, object]) -> Mapping[str, object]:
    """As it was defined; what the platform took from the dataset's contract is left out where nobody declares it."""
    told, wanted = version.meta.get("definition"), declared.get("definition")
    definition = dict(told) if isinstance(told, Mapping) else {}
    for key in ("time", "id"):
        if not isinstance(wanted, Mapping) or key not in wanted:
            definition.pop(key, None)
    return {"definition": definition}


def _contract(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    try:
        found = world.client.datasets.kept_contract(name)
    except NotFound:
        return None
    return Standing(content=found, base=fingerprint(found))


def _whole(found: Mapping[str, object], declared: Mapping[str, object], elsewhere: str = "") -> Standing:
    """What is compared of a thing: all that is declared of it."""
    content = {key: found.get(key) for key in declared} if declared else found
    return Standing(content=content, base=fingerprint(found), elsewhere=elsewhere)


def _gate(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    found = world.gates.get(name)
    return None if found is None else _whole(found, declared)


def _endpoint(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    found = world.endpoints.get(name)
    return None if found is None else _whole(_object(found), declared, found.managed or "")


def _monitor(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    found = world.monitors.get(name)
    if found is None:
        return None
    settled = {key: value for key, value in _object(found).items() if key not in OF_MONITORS - {"name"}}
    return _whole(settled, declared)


def _cap(found: Budget | Limit | None, declared: Mapping[str, object], cap: object) -> Standing | None:
    if found is None:
        return None
    keys = ("scope", "unit", "window", "mode", "fair", "alerts")
    return _whole({**{key: value for key, value in _object(found).items() if key in keys}, "cap": cap}, declared)


def _budget(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    found = world.budgets.get(name)
    return _cap(found, declared, None if found is None else dollars(Decimal(found.cap) / NANO))


def _limit(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    found = world.limits.get(name)
    return _cap(found, declared, None if found is None else found.cap)


def _alias(world: World, name: str, declared: Mapping[str, object]) -> Standing | None:
    """Where an alias stands; of a release, where that of each asset that it pins does too."""
    ref, _, alias = name.partition("@")
    found = world.asset(ref)
    now = None if found is None else found.aliases.get(alias)
    pins = declared.get("pins")
    if not isinstance(pins, Mapping):
        return None if now is None else Standing(content={"version": now.version}, base=f"etag {now.etag}")
    shown = {pin: world.asset(pin) for pin in pins}
    states = {pin: None if each is None else each.aliases.get(alias) for pin, each in shown.items()}
    content = {
        "version": None if now is None else now.version,
        "pins": {pin: None if state is None else state.version for pin, state in states.items()},
    }
    etags = " ".join(str(0 if state is None else state.etag) for state in (now, *states.values()))
    return None if now is None and not any(states.values()) else Standing(content=content, base=f"etag {etags}")


def _object(value: object) -> Mapping[str, object]:
    found = plain(value)
    assert isinstance(found, dict)
    return found


_Read = Callable[[World, str, Mapping[str, object]], Standing | None]
_SUITE = (
    "data", "endpoint", "scorers", "variables", "expected", "sources", "metric", "rows", "repeats", "seed", "temperature",
    "max_tokens",
)  # fmt: skip
_READ: Mapping[str, _Read] = {
    "contract": _contract,
    "view": _asset("view", _view),
    "service": _asset("service", _picked("definition", "views")),
    "prompt": _asset("prompt", _picked("template", "variables", "model")),
    "policy": _asset("policy", _picked("guards")),
    "decision": _asset("decision", _decision),
    "suite": _asset("suite", _picked(*_SUITE)),
    "gate": _gate,
    "budget": _budget,
    "limit": _limit,
    "release": _asset("release", _picked("pins")),
    "alias": _alias,
    "endpoint": _endpoint,
    "monitor": _monitor,
}
KINDS: tuple[str, ...] = tuple(_READ)
"""In the order in which things are done; they are removed in the opposite one."""
VERSIONED = frozenset({"view", "service", "prompt", "policy", "decision", "suite", "release"})
"""Kinds that are assets, of which a change is a new version."""
