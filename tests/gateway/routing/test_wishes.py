"""OpenRouter's and FastRouter's words: what a caller wishes of the route, through a whole door and its own client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx2
import msgspec
import openai
import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.gateway.prices import price_of
from tandem.gateway.publish import Publisher
from tandem.gateway.routing.wishes import brokered, cut, named, read
from tandem.gateway.snapshot import Host, Snapshot
from tandem.governance.digest import PEPPER, digest
from tandem.store.vault import Vault
from tests.gateway.conftest import KEY, House

ASK = {"max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def sealed(name: str) -> tuple[bytes, ...]:
    return (Vault(bytes(32)).seal("provider", b"mk", name.encode()),)


@pytest.fixture
def spread(door: House) -> House:
    """Two providers with three models behind `assistant`, and a second endpoint."""
    (own,) = door.snapshot.hosts.values()
    hosts = {name: replace(own, name=name, keys=sealed(name)) for name in ("openai", "azure")}
    hosts["azure"] = replace(hosts["azure"], collects=False)
    route = (
        Target(target="openai/gpt-4o"),
        Target(target="azure/gpt-4o-mini", priority=1),
        Target(target="openai/gpt-4.1-nano", priority=2),
    )
    second = Endpoint(name="second", kind="chat", route=(Target(target="openai/mock-unpriced"),))
    names = [*(target.target for target in route), "openai/mock-unpriced"]
    prices = {name: price_of(name.partition("/")[2], "openai", door.snapshot.compiled_at) for name in names}
    door.publish(
        hosts=hosts,
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route), "second": second},
        prices={name: price for name, price in prices.items() if price is not None},
    )
    return door


async def ask(door: House, model: str | None = "assistant", key: str = KEY, **more: Any) -> httpx2.Response:
    body = {**ASK, **more} if model is None else {"model": model, **ASK, **more}
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(f"{door.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"})


def asked(door: House) -> list[str]:
    return [str(request["body"]["model"]) for request in door.mock.requests()]  # type: ignore[index]


@pytest.mark.parametrize(
    ("model", "provider", "first"),
    [
        ("assistant", {}, "gpt-4o"),
        ("assistant", {"order": ["Azure"]}, "gpt-4o-mini"),
        ("assistant", {"only": ["azure"]}, "gpt-4o-mini"),
        ("assistant", {"ignore": ["openai"]}, "gpt-4o-mini"),
        ("assistant", {"data_collection": "deny"}, "gpt-4o-mini"),
        ("assistant", {"sort": "price"}, "gpt-4.1-nano"),
        ("assistant:price", {}, "gpt-4.1-nano"),
        ("assistant:floor", {}, "gpt-4.1-nano"),
        ("assistant", {"max_price": {"prompt": 0.2, "completion": 1}}, "gpt-4o-mini"),
        ("assistant", {"max_price": {"prompt": 0.12}}, "gpt-4.1-nano"),
    ],
)
async def test_wishes_choose_among_the_targets_of_the_route(
    spread: House, model: str, provider: dict[str, Any], first: str
) -> None:
    reply = await ask(spread, model, provider=provider)
    assert reply.status_code == 200, reply.text
    assert asked(spread) == [first]
    assert "provider" not in spread.mock.requests()[0]["body"]  # type: ignore[operator]


async def test_models_are_asked_one_after_the_other(spread: House) -> None:
    spread.mock.faults(["500;model=gpt-4o", "500;model=gpt-4o-mini", "500;model=gpt-4.1-nano"])
    reply = await ask(spread, models=["assistant", "second"])
    assert reply.status_code == 200
    assert asked(spread) == ["gpt-4o", "gpt-4o-mini", "gpt-4.1-nano", "mock-unpriced"]
    assert "models" not in spread.mock.requests()[0]["body"]  # type: ignore[operator]


async def test_models_alone_are_enough(spread: House) -> None:
    assert (await ask(spread, None, models=["second", "assistant"])).status_code == 200
    assert asked(spread) == ["mock-unpriced"]
    refused = await ask(spread, None)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "model"


async def test_without_fallbacks_nobody_else_is_asked(spread: House) -> None:
    spread.mock.faults(["500;model=gpt-4o"])
    reply = await ask(spread, provider={"allow_fallbacks": False}, models=["second"])
    assert reply.status_code == 500
    assert set(asked(spread)) == {"gpt-4o"}


async def test_wishes_nobody_fulfils_are_told(spread: House) -> None:
    reply = await ask(spread, provider={"only": ["nobody"]})
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == "no_target"
    assert "the caller wants nobody only" in reply.json()["error"]["message"]


async def test_wishes_open_no_door_that_the_key_does_not(spread: House) -> None:
    narrow = Principal(id="key_2", name="narrow", team="risk", endpoints=("assistant",))
    publisher: Publisher = spread.publisher
    publisher.write(None, 2, [(digest(spread.handler.door.vault.derive(PEPPER), "tdm_narrow"), narrow)])
    spread.handler.door.replica.refresh()
    for models in (["second"], ["openai/o3"]):
        reply = await ask(spread, models=models, key="tdm_narrow")
        assert reply.status_code == 403
    assert asked(spread) == []


async def test_a_further_model_is_guarded_like_the_first(spread: House) -> None:
    second = replace(spread.snapshot.endpoints["second"], guards="policy/strict@production")
    spread.publish(endpoints={**spread.snapshot.endpoints, "second": second})
    reply = await ask(spread, models=["second"])
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "models[0]"


async def test_who_requires_every_parameter_gets_who_has_a_place_for_it(spread: House) -> None:
    gemini = Host(name="gemini", protocol="gemini", base_url=f"{spread.mock.url}/v1beta", keys=sealed("gemini"))
    route = (Target(target="gemini/gemini-2.5-flash"), Target(target="openai/gpt-4o", priority=1))
    spread.publish(
        hosts={**spread.snapshot.hosts, "gemini": gemini},
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route)},
    )
    plain = await ask(spread, user="u1")
    assert plain.headers["x-tandem-dropped"] == "user"
    strict = await ask(spread, user="u1", provider={"require_parameters": True})
    assert strict.status_code == 200
    assert "x-tandem-dropped" not in strict.headers
    assert strict.json()["model"].startswith("gpt-4o")


async def test_a_broker_is_left_to_read_them_itself(spread: House) -> None:
    """Where every target is a broker the body passes as it is; a name that only looks like one is none."""
    broker = Host(name="broker", protocol="openai", base_url="https://openrouter.ai/api/v1")
    own = spread.snapshot.hosts["openai"]
    route = (Target(target="broker/x"),)
    endpoint = Endpoint(name="assistant", kind="chat", route=route, retries=0)
    assert brokered(endpoint, {"broker": broker})
    assert not brokered(replace(endpoint, route=(*route, Target(target="openai/y"))), {"broker": broker, "openai": own})
    assert not brokered(endpoint, {"broker": replace(broker, base_url="https://openrouter.ai.evil.example/v1")})


async def test_openrouters_client_code_works_as_it_is(spread: House) -> None:
    """OpenRouter is spoken to with OpenAI's client and `extra_body`."""
    async with openai.AsyncOpenAI(base_url=f"{spread.url}/v1", api_key=KEY) as client:
        said = await client.chat.completions.create(
            model="assistant:price",
            messages=[{"role": "user", "content": "hi"}],
            extra_body={"models": ["second"], "provider": {"ignore": ["azure"], "require_parameters": True}},
        )
    assert said.choices[0].message.content
    assert asked(spread) == ["gpt-4.1-nano"]


@pytest.mark.parametrize(
    ("models", "provider", "field"),
    [
        ('"x"', "", "models"),
        ("[1]", "", "models"),
        (str(["m"] * 33).replace("'", '"'), "", "models"),
        ("", "[]", "provider"),
        ("", '{"sort": "beauty"}', "provider"),
        ("", '{"zdr": true}', "provider"),
        ("", '{"max_price": {"prompt": "x"}}', "provider"),
        ("", '{"max_price": {"image": 1}}', "provider.max_price.image"),
        ("", '{"only": ["a"], "order": ' + str(["p"] * 33).replace("'", '"') + "}", "provider.order"),
    ],
)
def test_wishes_that_cannot_be_read_are_refused(models: str, provider: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        read(msgspec.Raw(models.encode()), msgspec.Raw(provider.encode()))
    assert caught.value.field == field


def test_no_wishes_are_none_and_nothing_else_is_cut() -> None:
    assert read(msgspec.Raw(b""), msgspec.Raw(b"null")) is None
    assert cut(b'{"model":"a","provider":{},"x":1e400,"models":[]}') == b'{"model":"a","x":1e400}'


def test_a_suffix_is_one_only_where_no_endpoint_bears_it() -> None:
    endpoints = Snapshot(endpoints={"a:price": Endpoint(name="a:price", kind="chat", route=())}).endpoints
    assert named("a:price", endpoints) == ("a:price", None)
    assert named("b:price", endpoints) == ("b", "price")
    assert named("ollama/llama3:8b", endpoints) == ("ollama/llama3:8b", None)
