"""Caps of every unit, scope and mode, as a caller meets them at the door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tandem.core.clock import Clock
from tandem.core.endpoint import Endpoint, Target
from tandem.core.policy import Budget, Mode, Unit
from tandem.core.secret import Secret
from tandem.core.window import Window
from tandem.gateway.cache import Cache
from tandem.gateway.snapshot import Served
from tandem.gateway.target import Answer, Question
from tandem.governance.admit import Lender
from tandem.governance.ledger import Ledger
from tandem.governance.shared import SharedBooks
from tests.gateway.conftest import KEY, House, house
from tests.redis_server import RedisServer

ASK = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
HOUR = 3_600_000_000


class Slowly:
    """A model of our own that takes its time, and a decision that asks a language model."""

    async def answer(self, question: Question) -> Answer:
        await asyncio.sleep(0.02)
        if question.served.ref.startswith("decision/"):
            await question.nested("chat", "assistant", json.dumps(ASK).encode(), {})
            return Answer(body=b"{}")
        return Answer(body=b'{"outputs": []}')

    async def close(self) -> None:
        return


@pytest.fixture(params=["ledger", "redis"])
def lender(request: pytest.FixtureRequest) -> Callable[[Ledger, Clock], Lender]:
    """Where limits are counted: in the ledger as all other caps, or in Redis."""
    if request.param == "ledger":
        return lambda ledger, clock: ledger
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    return lambda ledger, clock: SharedBooks(ledger, Secret(server.url), clock)


@pytest.fixture
async def door(tmp_path: Path, lender: Callable[[Ledger, Clock], Lender]) -> AsyncIterator[House]:
    async with house(tmp_path, lender=lender) as found:
        yield found


@pytest.fixture
async def rooms(tmp_path: Path, lender: Callable[[Ledger, Clock], Lender]) -> AsyncIterator[House]:
    """A door that predicts and decides too, at 36 dollars an hour: ten nano-dollars a microsecond."""
    async with house(tmp_path, targets={"predict": Slowly(), "decide": Slowly()}, lender=lender) as door:
        served = {ref: Served(ref=ref, members="", digest="", meta=b"{}") for ref in ("model/m@1", "decision/d@1")}
        own = {
            "m": Endpoint(name="m", kind="predict", route=(Target(target="model/m@1"),)),
            "d": Endpoint(name="d", kind="decide", route=(Target(target="decision/d@1"),)),
        }
        door.publish(served=served, endpoints={**door.snapshot.endpoints, **own}, hour_price=36 * 10**9)
        yield door


def cap(
    door: House, scope: str, amount: int, *, unit: Unit = "usd", window: Window = "total", mode: Mode = "hard", fair: bool = False
) -> None:
    budget = Budget(scope=scope, cap=amount, unit=unit, window=window, mode=mode, fair=fair)
    door.ledger.set_budget(budget)
    if mode == "soft":
        return
    caps = dict(door.snapshot.budgets)
    for each in (scope, f"{scope}>") if fair else (scope,):
        caps[each] = (*caps.get(each, ()), budget.meter)
    door.publish(budgets=caps)


async def ask(
    door: House, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None, **more: Any
) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        sent = {"authorization": f"Bearer {KEY}", **(headers or {})}
        return await http.post(f"{door.url}{path}", json={**ASK, **more}, headers=sent)


def standing(door: House, scope: str, unit: str = "usd") -> int:
    while door.mover.step():
        pass
    return next(account.settled for account in door.ledger.accounts() if (account.scope, account.unit) == (scope, unit))


async def test_a_limit_of_calls_refuses_the_next_one_and_tells_when(door: House) -> None:
    cap(door, "key/demo", 2, unit="requests", window="minute")
    assert [(await ask(door)).status_code for _ in range(3)] == [200, 200, 429]
    refused = await ask(door)
    error = refused.json()["error"]
    assert error["code"] == "over_limit"
    assert "The limit of key/demo (2 requests a minute) has 0 left" in error["message"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-tandem-limit"] == "key/demo:requests/minute"
    assert refused.headers["x-tandem-fault"] == "policy.over_limit"
    assert len(door.mock.bill()) == 2
    async with openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=KEY, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="assistant", messages=[{"role": "user", "content": "hi"}])
    assert standing(door, "key/demo", "requests") == 2


async def test_what_was_refused_or_failed_to_be_read_is_no_call(door: House) -> None:
    cap(door, "key/demo", 2, unit="requests", window="minute")
    cap(door, "org", 1)  # a nano-dollar: no room for anything
    for _ in range(3):
        assert (await ask(door)).json()["error"]["code"] == "over_budget"
    assert (await ask(door, max_tokens="many")).status_code == 400
    cap(door, "org", 10**9)
    assert [(await ask(door)).status_code for _ in range(3)] == [200, 200, 429]


async def test_an_answer_that_was_kept_is_a_call_too(door: House) -> None:
    held = door.handler.door
    door.handler.answering.hosts.cache = Cache(door.home / "cache.db", held.vault, held.clock)
    door.publish(endpoints={name: replace(each, cache_seconds=60) for name, each in door.snapshot.endpoints.items()})
    cap(door, "key/demo", 3, unit="requests", window="hour")
    replies = []
    for _ in range(4):
        replies.append(await ask(door))
        door.handler.answering.hosts.cache._thread.submit(lambda: None).result()
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers.get("x-tandem-cache") for reply in replies] == [None, "hit", "hit", None]
    assert len(door.mock.bill()) == 1
    assert standing(door, "key/demo", "requests") == 3


async def test_one_call_is_one_call_however_often_it_is_tried(door: House) -> None:
    cap(door, "key/demo", 1, unit="requests", window="hour")
    door.mock.faults(["500*2"])
    assert (await ask(door)).status_code == 200
    assert (await ask(door)).status_code == 429
    assert standing(door, "key/demo", "requests") == 1


async def test_tokens_are_held_at_their_bound_and_booked_as_they_were(door: House) -> None:
    cap(door, "team/risk", 400, unit="tokens", window="day")
    first = await ask(door)
    used = first.json()["usage"]["total_tokens"]
    assert standing(door, "team/risk", "tokens") == used
    refused = await ask(door, max_tokens=400)
    assert "this call may use up to" in refused.json()["error"]["message"]
    assert (await ask(door)).status_code == 200


async def test_calls_at_once_are_counted_until_they_end(door: House) -> None:
    cap(door, "key/demo", 2, unit="calls")
    door.mock.faults(["slow-headers=3"])
    replies = await asyncio.gather(*[ask(door) for _ in range(4)])
    assert sorted(reply.status_code for reply in replies) == [200, 200, 429, 429]
    refused = next(reply for reply in replies if reply.status_code == 429)
    assert "may have 2 calls at once" in refused.json()["error"]["message"]
    door.mock.faults([])
    assert (await ask(door)).status_code == 200
    assert standing(door, "key/demo", "calls") == 0


async def test_a_caller_that_leaves_gives_its_place_back(door: House) -> None:
    cap(door, "key/demo", 1, unit="calls")
    door.mock.faults(["stall*1"])
    with pytest.raises(httpx2.TimeoutException):
        async with httpx2.AsyncClient(timeout=0.2) as http:
            await http.post(f"{door.url}/v1/chat/completions", json=ASK, headers={"authorization": f"Bearer {KEY}"})
    assert (await ask(door)).status_code == 200


async def test_an_endpoint_pays_for_what_it_calls(rooms: House) -> None:
    cap(rooms, "endpoint/d", 10**12)
    cap(rooms, "endpoint/assistant", 10**12)
    assert (await ask(rooms, "/v1/decide/d")).status_code == 200
    spent = standing(rooms, "endpoint/d")
    chat = standing(rooms, "endpoint/assistant")
    assert chat == sum(row.cost_nano or 0 for row in rooms.mock.bill())
    assert spent > chat > 0  # the decision's own time comes on top


async def test_an_endpoints_cap_holds_inside_of_another_too(rooms: House) -> None:
    cap(rooms, "endpoint/assistant", 1, unit="requests", window="day")
    assert (await ask(rooms)).status_code == 200
    assert (await ask(rooms, "/v1/decide/d")).status_code == 200  # it was told of the refusal, and answers
    assert len(rooms.mock.bill()) == 1


async def test_a_decision_needs_one_place_whatever_it_calls(rooms: House) -> None:
    cap(rooms, "key/demo", 1, unit="calls")
    cap(rooms, "org", 1, unit="calls")
    assert (await ask(rooms, "/v1/decide/d")).status_code == 200
    assert len(rooms.mock.bill()) == 1


async def test_a_prediction_costs_its_time(rooms: House) -> None:
    cap(rooms, "key/demo", 10**13)
    reply = await ask(rooms, "/v2/models/m/infer")
    assert reply.status_code == 200
    rooms.move()
    call = rooms.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls[0]
    (attempt,) = call.attempts
    assert attempt.usage.compute >= 20_000
    assert attempt.cost == attempt.usage.compute * 10
    assert attempt.reserved == 600 * 10**6 * 10  # as long as the endpoint's time-out allows
    assert standing(rooms, "key/demo") == attempt.cost
    assert (await ask(rooms, "/v2/models/m/infer")).status_code == 200
    cap(rooms, "team/risk", 5)
    assert (await ask(rooms, "/v2/models/m/infer")).status_code == 429


async def test_an_endpoint_has_its_own_price_of_an_hour(rooms: House) -> None:
    cheap = replace(rooms.snapshot.endpoints["m"], hour_price="3.6")
    rooms.publish(endpoints={**rooms.snapshot.endpoints, "m": cheap})
    reply = await ask(rooms, "/v2/models/m/infer")
    rooms.move()
    (attempt,) = rooms.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls[0].attempts
    assert attempt.cost == attempt.usage.compute
    assert rooms.ledger.spend("endpoint/m", since=0, until=2**62)[:2] == (attempt.cost, 1)


async def test_a_soft_cap_refuses_nothing_and_counts(door: House) -> None:
    cap(door, "key/demo", 1, mode="soft")
    cap(door, "key/demo", 1, unit="requests", window="hour", mode="soft")
    assert [(await ask(door)).status_code for _ in range(2)] == [200, 200]
    assert standing(door, "key/demo") == sum(row.cost_nano or 0 for row in door.mock.bill())
    assert standing(door, "key/demo", "requests") == 2


async def test_tags_have_spend_and_caps_of_their_own(door: House) -> None:
    cap(door, "tag/autumn", 1, unit="requests", window="day")
    tagged = {"x-tandem-tags": "search, autumn"}
    assert (await ask(door, headers=tagged)).status_code == 200
    refused = await ask(door, headers=tagged)
    assert refused.headers["x-tandem-limit"] == "tag/autumn:requests/day"
    assert (await ask(door, headers={"x-tandem-tags": "search"})).status_code == 200
    door.move()
    assert [door.ledger.spend(f"tag/{name}", since=0, until=2**62)[1] for name in ("search", "autumn")] == [2, 1]


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tandem-tags": "UPPER"},
        {"x-tandem-tags": ",".join("abcdefghi")},
        {"x-tandem-run": "../red"},
        {"x-tandem-run-cap": "1"},
        {"x-tandem-run": "n", "x-tandem-run-cap": "much"},
        {"x-tandem-run": "n", "x-tandem-run-cap": "1", "x-tandem-run-seconds": "forever"},
    ],
)
async def test_what_names_no_bill_is_refused_before_anything_is_sent(door: House, headers: dict[str, str]) -> None:
    reply = await ask(door, headers=headers)
    assert reply.status_code == 400, reply.text
    assert door.mock.bill() == []


async def test_a_run_spends_what_its_first_call_brought_and_no_more(door: House) -> None:
    run = {"x-tandem-run": "nightly"}
    first = await ask(door, headers={**run, "x-tandem-run-cap": "0.00002"})
    assert first.status_code == 200, first.text
    statuses = [(await ask(door, headers=run)).status_code for _ in range(12)]
    assert 429 in statuses
    assert statuses == sorted(statuses)
    refused = await ask(door, headers={**run, "x-tandem-run-cap": "5"})  # whoever comes later raises nothing
    assert refused.headers["x-tandem-limit"] == "run/risk/nightly:total"
    assert (await ask(door)).status_code == 200  # calls outside of it go on
    assert standing(door, "run/risk/nightly") <= 20_000
    door.ledger.end_run("run/risk/nightly")
    await asyncio.sleep(0.3)
    await door.handler.door.purse.tend()
    over = await ask(door, headers=run)
    assert (over.status_code, over.json()["error"]["code"]) == (403, "run_over")


async def test_a_run_without_a_cap_is_only_counted(door: House) -> None:
    for _ in range(2):
        assert (await ask(door, headers={"x-tandem-run": "loose"})).status_code == 200
    door.move()
    assert door.ledger.spend("run/risk/loose", since=0, until=2**62)[1] == 2


async def test_calls_inside_of_a_run_spend_its_budget(rooms: House) -> None:
    run = {"x-tandem-run": "agent", "x-tandem-run-cap": "20"}
    assert (await ask(rooms, "/v1/decide/d", headers=run)).status_code == 200
    rooms.move()
    assert rooms.ledger.spend("run/risk/agent", since=0, until=2**62)[1] == 2


async def test_a_call_without_caps_passes_as_it_came(door: House) -> None:
    cap(door, "key/somebody-else", 10**9)
    asked = dict(ASK)
    del asked["max_tokens"]
    async with httpx2.AsyncClient(timeout=20) as http:
        await http.post(f"{door.url}/v1/chat/completions", json=asked, headers={"authorization": f"Bearer {KEY}"})
    (seen,) = door.mock.requests()
    assert "max_tokens" not in json.dumps(seen)
