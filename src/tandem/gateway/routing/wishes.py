"""What a caller wishes of the route, in OpenRouter's and FastRouter's words: further models, providers, an order, a price.

    {"model": "assistant:price", "models": ["second"], "provider": {"ignore": ["openai"], "max_price": {"prompt": 1}}}

Wishes choose among the targets that the route has; they open no door that the caller's key does not open. A route whose
targets all lead to such a broker leaves them to the broker. https://openrouter.ai/docs/features/provider-routing
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tandem.core.endpoint import Endpoint, Strategy, Target
from tandem.core.errors import Invalid
from tandem.core.money import Price
from tandem.core.principal import Principal
from tandem.gateway.routing.order import Dropped
from tandem.gateway.snapshot import INDEX, Host, Snapshot

Sort = Literal["price", "throughput", "latency"]
SUFFIXES: Mapping[str, Sort] = {
    "price": "price", "floor": "price", "throughput": "throughput", "nitro": "throughput", "latency": "latency",
}  # fmt: skip
"""What may stand behind a model's name, after a colon → what it asks for."""
STRATEGIES: Mapping[Sort, Strategy] = {"price": "cheapest", "throughput": "fastest", "latency": "fastest"}
BROKERS = ("openrouter.ai", "fastrouter.ai")
"""Hosts that understand these wishes themselves."""
MOST = 32
"""Models or providers that a wish may name."""
PICO_PER_DOLLAR_A_MILLION = 1_000_000
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class MaxPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most that may be paid: US dollars per million tokens, and for the request."""

    prompt: float | None = None
    completion: float | None = None
    request: float | None = None
    image: float | None = None


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """The `provider` object of a request."""

    order: list[str] = []
    only: list[str] = []
    ignore: list[str] = []
    sort: Sort | None = None
    max_price: MaxPrice | None = None
    allow_fallbacks: bool = True
    require_parameters: bool = False
    data_collection: Literal["allow", "deny"] = "allow"


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wishes of the route."""

    models: tuple[str, ...] = ()
    """Addresses to go on with, one after the other."""
    provider: Preferences = Preferences()


_known = frozenset(Preferences.__struct_fields__)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])
_preferences = msgspec.json.Decoder(Preferences)
_names = msgspec.json.Decoder(list[str])


def read(models: msgspec.Raw, provider: msgspec.Raw) -> Wishes | None:
    """The wishes of a request; None where it has none.

    Raises:
        Invalid: they cannot be read, or ask for what is not done here; `field` names where.
    """
    has_models, has_provider = bytes(models) not in (b"", b"null"), bytes(provider) not in (b"", b"null")
    if not has_models and not has_provider:
        return None
    try:
        names = _names.decode(models) if has_models else []
    except UNREADABLE:
        raise Invalid("models must be a list of names.", field="models") from None
    preferences = _read_provider(provider) if has_provider else Preferences()
    for field, said in (
        ("models", names),
        ("provider.order", preferences.order),
        ("provider.only", preferences.only),
        ("provider.ignore", preferences.ignore),
    ):
        if len(said) > MOST:
            raise Invalid(f"{field} may name {MOST}.", field=field)
    return Wishes(models=tuple(names), provider=preferences)


def _read_provider(raw: msgspec.Raw) -> Preferences:
    try:
        unknown = set(_objects.decode(raw)) - _known
        found = _preferences.decode(raw)
    except UNREADABLE as error:
        raise Invalid("provider cannot be read.", words=f"{error}.", field="provider") from None
    if unknown:
        raise Invalid(
            "provider asks for what is not known here.",
            words=f"It names {', '.join(sorted(unknown))}.",
            field="provider",
            hint=f"Known are {', '.join(sorted(_known))}.",
        )
    bound = found.max_price
    if bound is not None and bound.image is not None:
        raise Invalid(
            "A price of images cannot be bounded here.", field="provider.max_price.image", hint="Bound prompt and completion."
        )
    return found


def cut(body: bytes) -> bytes:
    """A request without its wishes, for providers that do not know them."""
    found = _objects.decode(body)
    return msgspec.json.encode({name: value for name, value in found.items() if name not in ("models", "provider")})


def named(address: str, endpoints: Mapping[str, Endpoint]) -> tuple[str, Sort | None]:
    """An address without the suffix that asks for an order; one that an endpoint bears is a name."""
    name, colon, suffix = address.rpartition(":")
    if not colon or suffix not in SUFFIXES or address in endpoints:
        return address, None
    return name, SUFFIXES[suffix]


def brokered(endpoint: Endpoint, hosts: Mapping[str, Host]) -> bool:
    """Whether every target leads to a host that understands wishes itself."""
    for target in endpoint.route:
        host = hosts.get(target.target.partition("/")[0])
        place = "" if host is None else urlsplit(host.base_url).hostname or ""
        if not any(place == broker or place.endswith(f".{broker}") for broker in BROKERS):
            return False
    return True


def wished(endpoint: Endpoint, wishes: Wishes, sort: Sort | None, snapshot: Snapshot, principal: Principal) -> Endpoint:
    """The endpoint as the caller wishes its route: other models after its own, and the wished order.

    Raises:
        Invalid: a further model is guarded or recorded in another way than the first.
        NotFound, Forbidden: it does not answer this caller.
    """
    sort = sort or wishes.provider.sort
    route = [replace(target, priority=0) for target in endpoint.route] if sort else list(endpoint.route)
    for place, address in enumerate(wishes.models):
        name, _ = named(address, snapshot.endpoints)
        if name in (endpoint.name, *wishes.models[:place]):
            continue
        further = snapshot.permitted(snapshot.resolve(name, principal, endpoint.kind), principal)
        if further.guards != endpoint.guards or further.record_content != endpoint.record_content:
            raise Invalid(
                f"{name} is guarded or recorded in another way than {endpoint.name}.",
                field=f"models[{place}]",
                hint="Name models whose endpoints have the same guards and the same record_content.",
            )
        if further.route[0].target.startswith(INDEX) or endpoint.route[0].target.startswith(INDEX):
            raise Invalid("Endpoints that answer from documents do not stand in for others.", field=f"models[{place}]")
        after = 1 + max(target.priority for target in route)
        route += [
            replace(target, priority=after + (0 if sort else target.priority))
            for target in further.route
            if target.role == "serve" and all(target.target != known.target for known in route)
        ]
    changes: dict[str, object] = {"route": tuple(route)}
    if sort:
        changes |= {"strategy": STRATEGIES[sort], "sticky": False}
    return replace(endpoint, **changes)  # type: ignore[arg-type]  # the fields above


def sieve(
    wishes: Preferences, route: Sequence[Target], hosts: Mapping[str, Host], price: Callable[[str], Price | None]
) -> tuple[list[Target], list[Dropped]]:
    """The targets that the caller wishes, and the others with their reasons."""
    fit: list[Target] = []
    dropped: list[Dropped] = []
    only, ignore = _folded(wishes.only), _folded(wishes.ignore)
    for target in route:
        provider = target.target.partition("/")[0].lower()
        host = hosts.get(target.target.partition("/")[0])
        why = None
        if only and provider not in only:
            why = f"the caller wants {', '.join(sorted(only))} only"
        elif provider in ignore:
            why = "the caller does not want it"
        elif wishes.data_collection == "deny" and (host is None or host.collects):
            why = "the caller wants nothing kept, and its provider may keep what it is sent"
        elif wishes.max_price is not None:
            why = _too_dear(wishes.max_price, price(target.target))
        if why is None:
            fit.append(target)
        else:
            dropped.append(Dropped(target=target, why=why))
    return fit, dropped


def _too_dear(bound: MaxPrice, price: Price | None) -> str | None:
    if price is None:
        return "its price is not known, and the caller bounds it"
    told = (
        ("prompt", bound.prompt, price.input / PICO_PER_DOLLAR_A_MILLION),
        ("completion", bound.completion, price.output / PICO_PER_DOLLAR_A_MILLION),
        ("request", bound.request, price.request / 1e9),
    )
    for name, most, asked in told:
        if most is not None and asked > most:
            return f"its price per {name} is {asked:g} USD, and the caller pays {most:g}"
    return None


def preferred(wishes: Preferences, candidates: Sequence[Target]) -> list[Target]:
    """The candidates with the wished providers first, and nobody after the first where no fallback is wished."""
    order = list(_folded(wishes.order))
    ranked = sorted(
        candidates,
        key=lambda target: order.index(name) if (name := target.target.partition("/")[0].lower()) in order else len(order),
    )
    return ranked if wishes.allow_fallbacks else ranked[:1]


def _folded(names: Sequence[str]) -> dict[str, None]:
    return dict.fromkeys(name.lower() for name in names)
