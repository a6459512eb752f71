"""Endpoints and providers over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.approvals import WAITING, waits
from tandem.api.wire import Caller, answer, bearer
from tandem.core.clock import Clock
from tandem.core.endpoint import Ability, Endpoint, EndpointKind, Provider, Role, Strategy, Target, Timeouts
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.money import PICO_PER_NANO, dollars
from tandem.core.principal import Principal
from tandem.gateway.approved import ask_guards
from tandem.gateway.compile import seal_keys
from tandem.gateway.prices import VENDORS, Listed, catalogue
from tandem.gateway.providers.compatible import KNOWN, complete
from tandem.gateway.repo import Routes
from tandem.gateway.routing import board
from tandem.gateway.snapshot import Snapshot
from tandem.gateway.trial import try_provider
from tandem.governance.approvals.requests import Requests
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.store.vault import Vault

Name = Annotated[str, Field(max_length=140)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class TargetIn(BaseModel):
    """One place an endpoint can send a call to."""

    model_config = ConfigDict(extra="forbid")
    target: Name
    weight: Annotated[float, Field(ge=0, le=1e6)] = 1.0
    priority: Annotated[int, Field(ge=0, le=1000)] = 0
    when: dict[str, Any] = {}
    role: Role = "serve"
    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    context: Annotated[int, Field(ge=1)] | None = None
    lacks: Annotated[list[Ability], Field(max_length=3)] = []


class TimeoutsIn(BaseModel):
    """Seconds a call may wait, stage by stage."""

    model_config = ConfigDict(extra="forbid")
    connect: Seconds = 5.0
    first_byte: Seconds = 60.0
    idle: Seconds = 30.0
    total: Seconds = 600.0


class EndpointIn(BaseModel):
    """An endpoint as it shall be."""

    model_config = ConfigDict(extra="forbid")
    kind: EndpointKind
    route: Annotated[list[TargetIn], Field(min_length=1, max_length=100)]
    team: Name = "default"
    strategy: Strategy = "weighted"
    router: Annotated[str, Field(max_length=140)] = ""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05
    sticky: bool = False
    regions: Annotated[list[Name], Field(max_length=32)] = []
    max_cost: Annotated[str, Field(max_length=32)] = ""
    past_refusals: bool = False
    retries: Annotated[int, Field(ge=0, le=10)] = 1
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    hour_price: Annotated[str, Field(max_length=32)] = ""
    timeouts: TimeoutsIn = TimeoutsIn()
    cache_seconds: Annotated[int, Field(ge=0, le=30 * 86_400)] = 0
    record_content: bool = True
    guards: Name | None = None
    model: Annotated[str, Field(max_length=140)] = ""


class ProviderIn(BaseModel):
    """A provider as it shall be; literal keys are sealed before they are stored. A known name fills in what is left out."""

    model_config = ConfigDict(extra="forbid")
    protocol: Name | None = None
    base_url: Annotated[str, Field(max_length=2048)] | None = None
    keys: Annotated[list[Annotated[str, Field(min_length=1, max_length=8192)]], Field(max_length=32)] | None = None
    prices: Name | None = None
    hour_price: Annotated[str, Field(max_length=32, description="Dollars an hour of a machine of one's own")] = ""
    tokens_per_second: Annotated[float, Field(ge=0, le=1e9)] = 0.0
    region: Annotated[str, Field(max_length=140)] = ""
    collects: bool = True


class WakeIn(BaseModel):
    """What is to be asked again."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None


class TrialIn(BaseModel):
    """Which model a provider is tried with."""

    model_config = ConfigDict(extra="forbid")
    model: Name


def routes(
    table: Routes,
    vault: Vault,
    current: Callable[[], Snapshot],
    door: str,
    clock: Clock,
    board_of: Path,
    requests: Requests,
) -> APIRouter:
    """The routes of Endpoint.

    Args:
        current: gives the compiled Snapshot.
        door: the platform's own address.
        board_of: the folder in which door workers tell of targets that rest.
    """
    router = APIRouter(tags=["endpoints"])

    @router.get("/endpoints")
    def list_endpoints(by: Caller, declared: Annotated[bool, Query()] = False) -> Response:
        """Every address that answers, the ones that a promotion made too, with the versions that their aliases mean now.

        With `declared`, only those that were set, as they were set.
        """
        authorise(by, "read")
        if declared:
            return answer([asdict(e) for e in table.endpoints(ALL) if e.team == "default" or scope_of(by).admits(e.team)])
        snapshot = current()
        scope = scope_of(by)
        return answer([asdict(e) for e in snapshot.endpoints.values() if e.team == "default" or scope.admits(e.team)])

    @router.put("/endpoints/{name}", responses=WAITING)
    def put_endpoint(name: str, body: EndpointIn, by: Caller) -> Response:
        """Adds or replaces an endpoint; where its guards change and a rule asks for people, once they approved (202)."""
        endpoint = Endpoint(
            name=name,
            kind=body.kind,
            team=body.team,
            strategy=body.strategy,
            router=body.router,
            tolerance=body.tolerance,
            sticky=body.sticky,
            regions=tuple(body.regions),
            max_cost=body.max_cost,
            past_refusals=body.past_refusals,
            retries=body.retries,
            max_output_tokens=body.max_output_tokens,
            hour_price=body.hour_price,
            route=tuple(_target(target) for target in body.route),
            timeouts=Timeouts(**body.timeouts.model_dump()),
            cache_seconds=body.cache_seconds,
            record_content=body.record_content,
            guards=body.guards,
            model=body.model,
        )
        present = current().endpoints.get(name)  # a promotion may have made it, then the table does not know it
        if present is not None and not scope_of(by).admits(present.team):
            raise Conflict(f"The name '{name}' is taken by another team.", hint="Choose another name.")
        if (waiting := ask_guards(requests, table, name, endpoint, by=by)) is not None:
            return waits(waiting)
        etag = table.put_endpoint(endpoint, by=by)
        return answer({**asdict(endpoint), "etag": etag})

    @router.delete("/endpoints/{name}", responses=WAITING)
    def delete_endpoint(name: str, by: Caller) -> Response:
        """Removes an endpoint; where it has guards and a rule asks for people, once they approved (202)."""
        if (waiting := ask_guards(requests, table, name, None, by=by)) is not None:
            return waits(waiting)
        table.delete_endpoint(name, by=by)
        return answer({"name": name})

    @router.get("/targets/resting")
    def list_resting(by: Caller) -> Response:
        """Targets and keys that stand behind the others now, as each door worker saw it."""
        authorise(by, "read")
        told = board.read(board_of, clock.now())
        return answer([{"worker": each.worker, **msgspec.to_builtins(one)} for each in told for one in each.resting])

    @router.post("/targets/wake")
    def wake(body: WakeIn, by: Caller) -> Response:
        """Ends the rest of a target, a provider or a key, or of all of them, in every worker."""
        table.woken(body.name, by=by)
        board.forget(board_of, body.name)
        return answer({"name": body.name})

    @router.get("/providers")
    def list_providers(by: Caller) -> Response:
        """Every host of language models; keys are shown as references only."""
        authorise(by, "read")
        return answer([_provider(provider) for provider in table.providers(scope_of(by))])

    @router.get("/providers/known")
    def list_known(by: Caller) -> Response:
        """Every host that a name alone declares, and how many of its models have a price today."""
        authorise(by, "read")
        now = clock.now()
        return answer([{**asdict(row), "models": len(catalogue(row.prices, now)) if row.prices else 0} for row in KNOWN.values()])

    @router.get("/providers/{name}/models")
    def list_models(name: str, by: Caller) -> Response:
        """The models of a provider, or of a known host, that have a price today: US dollars per million tokens."""
        authorise(by, "read")
        vendor = _vendor(table, name, by)
        return answer([_model(row) for row in catalogue(vendor, clock.now())] if vendor is not None else [])

    @router.put("/providers/{name}")
    def put_provider(name: str, body: ProviderIn, by: Caller) -> Response:
        """Adds or replaces a provider."""
        provider = seal_keys(
            complete(name, protocol=body.protocol, base_url=body.base_url, keys=body.keys, prices=body.prices),
            vault,
        )
        provider = replace(
            provider,
            hour_price=body.hour_price,
            tokens_per_second=body.tokens_per_second,
            region=body.region,
            collects=body.collects,
        )
        etag = table.put_provider(provider, by=by)
        return answer({**_provider(provider), "etag": etag})

    @router.delete("/providers/{name}")
    def delete_provider(name: str, by: Caller) -> Response:
        """Removes a provider."""
        table.delete_provider(name, by=by)
        return answer({"name": name})

    @router.post("/providers/{name}/test")
    def test_provider(request: Request, name: str, body: TrialIn, by: Caller) -> Response:
        """Asks a provider's model a few short questions and says what works: reply, stream, usage, tools.

        The calls go through the door with the caller's own key: admitted, priced, traced.
        """
        authorise(by, "admin")
        table.provider(name, scope_of(by))
        given = bearer(request)
        if given is None:
            raise Invalid("A provider is tested with a key, which pays for the calls.", hint=f"tandem provider test {name}")
        return answer(try_provider(door, given, name, body.model))

    return router


def _target(told: TargetIn) -> Target:
    return Target(**{**told.model_dump(), "lacks": tuple(told.lacks)})


def _vendor(table: Routes, name: str, by: Principal) -> str | None:
    """Whose price list applies to a declared provider, or to a known host that nobody has declared."""
    try:
        provider, _ = table.provider(name, scope_of(by))
    except NotFound:
        if name not in KNOWN:
            raise
        return KNOWN[name].prices
    return provider.prices or VENDORS.get(provider.protocol)


def _model(row: Listed) -> dict[str, Any]:
    price = row.price
    return {
        "model": row.model,
        "input": dollars(price.input * PICO_PER_NANO),
        "output": dollars(price.output * PICO_PER_NANO),
        "cache_read": None if price.cache_read is None else dollars(price.cache_read * PICO_PER_NANO),
        "context": row.context,
        "source": price.source,
    }


def _provider(provider: Provider) -> dict[str, Any]:
    return {
        **asdict(provider),
        "keys": [key if not key.startswith("sealed:") else f"sealed:…{key[-6:]}" for key in provider.keys],
    }
