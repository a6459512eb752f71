"""Where calls go, through a whole door: who can take them, canaries, shadows, keys, and the trace that tells why."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.trace import Trace
from tandem.gateway.check import check_endpoint
from tandem.gateway.prices import price_of
from tandem.gateway.routing import shadow
from tandem.gateway.routing.explain import routed
from tandem.gateway.snapshot import Host
from tandem.store.vault import Vault
from tests.gateway.conftest import KEY, House

NAMES = ("gpt-4o", "gpt-4o-mini", "gpt-4.1-nano")
WHITE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def spread(door: House, *route: Target, **more: Any) -> None:
    """The endpoint `assistant` with this route."""
    prices = {f"mock/{name}": price_of(name, "openai", door.snapshot.compiled_at) for name in NAMES}
    door.publish(
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route, **more)},
        prices={**door.snapshot.prices, **{name: price for name, price in prices.items() if price is not None}},
        contexts={"mock/gpt-4o-mini": 128_000, "mock/gpt-4o": 128_000},
    )


async def ask(door: House, text: str = "hi", **more: object) -> httpx2.Response:
    body = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": text}], **more}
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(f"{door.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})


def asked(door: House) -> list[str]:
    """The models that the mock was asked for, in order."""
    return [str(request["body"]["model"]) for request in door.mock.requests()]  # type: ignore[index]


def calls(door: House, reply: httpx2.Response) -> list[Trace]:
    door.move()
    return list(door.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls)


def told(door: House, reply: httpx2.Response) -> list[dict[str, Any]]:
    rows: Any = calls(door, reply)[0].attributes["tandem.route"]
    return list(rows)


# --- conditions and fitness


async def test_conditions_on_principal_request_and_metadata_choose_the_target(door: House) -> None:
    spread(
        door,
        Target(target="mock/gpt-4o", when={"metadata.tier": "gold"}),
        Target(target="mock/gpt-4.1-nano", when={"request.tokens": {"under": 500}, "principal.team": "risk"}, priority=1),
        Target(target="mock/gpt-4o-mini", priority=2),
    )
    await ask(door, metadata={"tier": "gold"})
    await ask(door)
    reply = await ask(door, "long " * 1000)
    assert asked(door) == ["gpt-4o", "gpt-4.1-nano", "gpt-4o-mini"]
    assert told(door, reply) == [
        {"target": "mock/gpt-4o-mini", "place": 1},
        {"target": "mock/gpt-4o", "dropped": "its condition on metadata.tier is not met"},
        {"target": "mock/gpt-4.1-nano", "dropped": "its condition on request.tokens is not met"},
    ]


async def test_where_nobody_takes_a_call_the_caller_hears_why(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o", when={"principal.team": "other"}))
    reply = await ask(door)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["code"] == "no_target"
    assert "principal.team" in error["message"]
    assert reply.headers["x-tandem-fault"] == "policy.no_target"
    assert door.mock.requests() == []


async def test_what_a_model_lacks_it_is_not_asked_for(door: House) -> None:
    spread(door, Target(target="mock/gpt-4.1-nano", lacks=("vision", "tools", "json")), Target(target="mock/gpt-4o", priority=1))
    picture = [{"role": "user", "content": [{"type": "text", "text": "Look."}, WHITE]}]
    for more in (
        {"messages": picture},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
        {"response_format": {"type": "json_object"}},
        {},
    ):
        assert (await ask(door, **more)).status_code == 200
    assert asked(door) == ["gpt-4o", "gpt-4o", "gpt-4o", "gpt-4.1-nano"]


async def test_what_does_not_fit_goes_where_it_does_and_a_guess_never_takes_the_last(door: House) -> None:
    spread(door, Target(target="mock/gpt-4.1-nano", context=100), Target(target="mock/gpt-4o", context=4000, priority=1))
    assert (await ask(door)).status_code == 200
    reply = await ask(door, "word " * 1000)
    assert (await ask(door, "word " * 10_000)).status_code == 200  # too long for both, by our guess: the widest is asked
    assert asked(door) == ["gpt-4.1-nano", "gpt-4o", "gpt-4o"]
    assert told(door, reply)[1] == {"target": "mock/gpt-4.1-nano", "dropped": "about 1,259 tokens do not fit into 100"}


async def test_content_stays_in_its_region(door: House) -> None:
    (own,) = door.snapshot.hosts.values()
    door.publish(hosts={"mock": own, "eu": replace(own, name="eu", region="eu", keys=())})
    spread(door, Target(target="mock/gpt-4o"), Target(target="eu/gpt-4o-mini", priority=1), regions=("eu",))
    reply = await ask(door)
    assert asked(door) == ["gpt-4o-mini"]
    assert told(door, reply)[1] == {"target": "mock/gpt-4o", "dropped": "content may go to eu only"}


async def test_a_bound_of_what_a_call_may_cost_keeps_the_dear_ones_out(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o"), Target(target="mock/gpt-4.1-nano", priority=1), max_cost="0.00002")
    reply = await ask(door)
    assert asked(door) == ["gpt-4.1-nano"]
    assert told(door, reply)[1]["dropped"].startswith("it is expected to cost 0.0000")
    spread(door, Target(target="mock/mock-unpriced"), max_cost="1")
    assert (await ask(door)).json()["error"]["code"] == "no_target"


# --- canaries, shadows, conversations


async def test_a_canary_answers_its_share_of_the_conversations_and_keeps_them(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o"), Target(target="mock/gpt-4.1-nano", role="canary", share=0.3))
    for _ in range(2):
        for number in range(60):
            await ask(door, f"conversation {number}")
    models = asked(door)
    assert models[:60] == models[60:]
    assert 8 <= Counter(models[:60])["gpt-4.1-nano"] <= 29


async def test_a_canary_that_fails_costs_no_answer_and_answers_nobody_elses_calls(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o"), Target(target="mock/gpt-4.1-nano", role="canary", share=1.0))
    door.mock.faults(["500;model=gpt-4.1-nano"])
    replies = [await ask(door, f"number {number}") for number in range(8)]
    assert {reply.status_code for reply in replies} == {200}
    assert Counter(asked(door)) == {"gpt-4.1-nano": 5, "gpt-4o": 8}  # after five failures it rests
    door.mock.faults(["500;model=gpt-4o"])
    spread(door, Target(target="mock/gpt-4o"), Target(target="mock/gpt-4.1-nano", role="canary", share=1e-9))
    reply = await ask(door)
    assert reply.status_code == 500
    assert told(door, reply)[1]["dropped"].startswith("a canary for 1e-09 of the calls")


async def test_a_shadow_hears_the_call_and_delays_nobody(door: House) -> None:
    """Its answer goes nowhere, its cost is the endpoint's team's, and it stands in the trace below the call it heard."""
    spread(door, Target(target="mock/gpt-4o-mini"), Target(target="mock/gpt-4o", role="shadow", share=1.0))
    door.mock.faults(["slow-headers=4;model=gpt-4o"])
    shadows = door.handler.answering.hosts.shadows
    reply = await ask(door, stream=True)
    assert reply.status_code == 200
    assert len(shadows.running) == 1  # the caller has all of its answer, and the shadow has none
    await asyncio.gather(*shadows.running)
    heard, other = sorted(calls(door, reply), key=lambda call: call.start)
    assert other.parent == heard.call
    assert [attempt.target for attempt in other.attempts] == ["mock/gpt-4o"]
    assert other.outcome == "ok"
    assert other.cost == next(row.cost_nano for row in door.mock.bill() if row.model == "gpt-4o")
    assert door.ledger.spend("shadow/assistant", since=0, until=2**62)[0] == other.cost
    assert door.ledger.spend("endpoint/assistant", since=0, until=2**62)[0] == heard.cost
    assert door.ledger.spend("key/demo", since=0, until=2**62)[0] == heard.cost
    assert door.ledger.spend("org", since=0, until=2**62)[0] == (heard.cost or 0) + (other.cost or 0)


async def test_a_call_that_was_not_answered_has_no_shadow(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o-mini"), Target(target="mock/gpt-4o", role="shadow", share=1.0), retries=0)
    door.mock.faults(["500;model=gpt-4o-mini"])
    assert (await ask(door)).status_code == 500
    assert not door.handler.answering.hosts.shadows.running
    assert asked(door) == ["gpt-4o-mini"]


async def test_shadows_are_bounded_and_those_left_out_are_counted(door: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shadow, "MOST", 1)
    spread(door, Target(target="mock/gpt-4o-mini"), Target(target="mock/gpt-4o", role="shadow", share=1.0))
    door.mock.faults(["slow-headers=4;model=gpt-4o"])
    for _ in range(3):
        assert (await ask(door)).status_code == 200
    async with httpx2.AsyncClient() as http:
        told = (await http.get(f"{door.url}/metrics")).text
    assert 'tandem_shadows_running{worker="0"} 1' in told
    assert 'tandem_shadows_left_out{worker="0"} 2' in told
    await asyncio.gather(*door.handler.answering.hosts.shadows.running)


async def test_a_shadow_passes_no_cap(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o-mini"), Target(target="mock/gpt-4o", role="shadow", share=1.0))
    door.cap(1, scope="team/default")
    reply = await ask(door)
    assert reply.status_code == 200
    await asyncio.gather(*door.handler.answering.hosts.shadows.running)
    assert asked(door) == ["gpt-4o-mini"]
    assert [call.outcome for call in calls(door, reply) if call.parent is not None] == ["over_budget"]


async def test_a_conversation_stays_with_its_target_as_long_as_it_is_well(door: House) -> None:
    spread(door, Target(target="mock/gpt-4o"), Target(target="mock/gpt-4o-mini"), sticky=True)
    for number in range(12):
        for _ in range(2):
            await ask(door, f"conversation {number}")
    models = asked(door)
    assert all(models[place] == models[place + 1] for place in range(0, 24, 2))
    assert set(models) == {"gpt-4o", "gpt-4o-mini"}


# --- keys


async def test_another_key_of_the_provider_is_used_at_once_and_the_dead_one_rests(door: House) -> None:
    """BerriAI/litellm#36926 and others: one key's limit is not the provider's."""
    vault = Vault(bytes(32))
    sealed = tuple(vault.seal("provider", key, b"mock") for key in (b"dead", b"live"))
    (own,) = door.snapshot.hosts.values()
    door.publish(hosts={"mock": replace(own, keys=sealed)})
    spread(door, Target(target="mock/gpt-4o-mini"), retries=0)
    door.mock.faults(["401*1"])
    reply = await ask(door)
    assert reply.status_code == 200
    assert [attempt.outcome for attempt in calls(door, reply)[0].attempts] == ["provider_auth", "ok"]
    await ask(door)
    keys = [str(request["headers"]["authorization"]) for request in door.mock.requests()]  # type: ignore[index]
    assert keys[0] != keys[1] == keys[2]  # the mock shows digests
    health = door.handler.answering.hosts.memory.health
    assert [each.name for each in health.resting(door.handler.door.clock.now())] == ["mock#1"]


async def test_where_every_key_is_refused_the_call_ends_and_the_next_target_is_asked(door: House) -> None:
    (own,) = door.snapshot.hosts.values()
    keys = tuple(Vault(bytes(32)).seal("provider", key, b"two") for key in (b"a", b"b"))
    door.publish(hosts={"mock": own, "two": replace(own, name="two", keys=keys)})
    spread(door, Target(target="two/gpt-4o"), Target(target="mock/gpt-4o-mini", priority=1))
    door.mock.faults(["401*2"])
    reply = await ask(door)
    assert reply.status_code == 200
    assert [attempt.outcome for attempt in calls(door, reply)[0].attempts] == ["provider_auth", "provider_auth", "ok"]


async def test_keys_are_tried_once_however_many_retries_there_are(door: House) -> None:
    """Two keys that are both limited, one target, two retries: two attempts for the keys, and two more."""
    (own,) = door.snapshot.hosts.values()
    keys = tuple(Vault(bytes(32)).seal("provider", key, b"mock") for key in (b"a", b"b"))
    door.publish(hosts={"mock": replace(own, keys=keys)})
    spread(door, Target(target="mock/gpt-4o-mini"), retries=2)
    door.mock.faults(["429;retry-after=0"])
    reply = await ask(door)
    assert reply.status_code == 429
    assert len(door.mock.requests()) == 4


# --- failures by class


async def test_a_safety_refusal_is_routed_around_only_where_the_owner_says_so(door: House) -> None:
    """BerriAI/litellm#40406."""
    route = (Target(target="mock/gpt-4o"), Target(target="mock/gpt-4o-mini", priority=1))
    for past, status in ((False, 400), (True, 200)):
        spread(door, *route, past_refusals=past)
        door.mock.faults(["refuse=400;model=gpt-4o"])
        reply = await ask(door)
        assert reply.status_code == status
    assert Counter(asked(door)) == {"gpt-4o": 2, "gpt-4o-mini": 1}


async def test_what_one_protocol_cannot_carry_goes_to_one_that_can(door: House) -> None:
    (own,) = door.snapshot.hosts.values()
    gemini = Host(name="gemini", protocol="gemini", base_url=f"{door.mock.url}/v1beta", keys=())
    door.publish(hosts={"mock": own, "gemini": gemini})
    spread(door, Target(target="gemini/gemini-2.5-flash"), Target(target="mock/gpt-4o-mini", priority=1), retries=0)
    reply = await ask(door, n=2)
    assert reply.status_code == 200
    assert [attempt.target for attempt in calls(door, reply)[0].attempts] == ["mock/gpt-4o-mini"]
    spread(door, Target(target="gemini/gemini-2.5-flash"), retries=3)
    refused = await ask(door, n=2)
    assert refused.status_code == 400
    assert refused.headers["x-tandem-fault"] == "caller.not_carried"
    assert refused.json()["error"]["param"] == "n"


async def test_attempts_are_counted_by_outcome_and_side(door: House) -> None:
    door.mock.faults(["500*1"])
    assert (await ask(door)).status_code == 200
    async with httpx2.AsyncClient() as http:
        told = (await http.get(f"{door.url}/metrics")).text
    assert 'tandem_attempts_total{worker="0",outcome="upstream_5xx",side="provider"} 1' in told
    assert 'tandem_attempts_total{worker="0",outcome="ok",side="none"} 1' in told


# --- why


async def test_a_route_is_explained_with_what_the_others_would_have_cost(door: House) -> None:
    spread(
        door,
        Target(target="mock/gpt-4o"),
        Target(target="mock/gpt-4.1-nano"),
        Target(target="mock/mock-unpriced", when={"principal.team": "other"}),
        strategy="cheapest",
    )
    reply = await ask(door)
    found = calls(door, reply)
    (one,) = routed(found, lambda target, at, team: door.snapshot.prices.get(target))
    assert (one.endpoint, one.strategy) == ("assistant", "cheapest")
    nano, four, unpriced = one.targets
    assert (nano.target, nano.state, nano.place, nano.cost) == ("mock/gpt-4.1-nano", "answered", 1, found[0].cost)
    assert nano.would_cost == nano.cost
    usage = found[0].attempts[0].usage
    assert (four.state, four.cost) == ("not asked", None)
    assert four.would_cost == door.snapshot.prices["mock/gpt-4o"].cost(usage)
    assert four.expected.startswith("$")
    assert (unpriced.state, unpriced.would_cost) == ("left out", None)


async def test_a_route_of_one_is_explained_by_its_attempts(door: House) -> None:
    door.mock.faults(["500*1"])
    reply = await ask(door)
    found = calls(door, reply)
    assert "tandem.route" not in found[0].attributes
    ((target,),) = [each.targets for each in routed(found, lambda target, at, team: None)]
    assert (target.target, target.state, target.would_cost) == ("mock/gpt-4o-mini", "answered", None)


# --- what cannot be


@pytest.mark.parametrize(
    ("target", "more", "field"),
    [
        ({"role": "canary"}, {}, "route[1].share"),
        ({"share": 0.5}, {}, "route[1].share"),
        ({"role": "shadow", "share": 1.5}, {}, "route[1].share"),
        ({"role": "twin", "share": 0.5}, {}, "route[1].role"),
        ({"lacks": ("taste",)}, {}, "route[1].lacks"),
        ({"context": 0}, {}, "route[1].context"),
        ({"when": {"team": "x"}}, {}, "route[1].when.team"),
        ({}, {"max_cost": "much"}, "max_cost"),
        ({}, {"max_cost": "0"}, "max_cost"),
        ({}, {"sticky": True, "strategy": "fastest"}, "sticky"),
    ],
)
def test_a_route_that_cannot_be_is_refused(target: dict[str, Any], more: dict[str, Any], field: str) -> None:
    route = (Target(target="p/a"), Target(target="p/b", **target))
    with pytest.raises(Invalid) as caught:
        check_endpoint(Endpoint(name="e", kind="chat", route=route, **more))
    assert caught.value.field == field


def test_an_endpoint_needs_somebody_who_serves() -> None:
    with pytest.raises(Invalid, match="serves"):
        check_endpoint(Endpoint(name="e", kind="chat", route=(Target(target="p/a", role="shadow", share=1.0),)))
    with pytest.raises(Invalid, match="predict"):
        check_endpoint(Endpoint(name="e", kind="predict", route=(Target(target="model/m@production"),), regions=("eu",)))
