"""The door prices by the row of the caller's team: what is reserved, booked, bounded and routed."""

from __future__ import annotations

from dataclasses import replace

import httpx2

from tandem.core.endpoint import Endpoint, Target
from tandem.core.money import Price
from tandem.gateway.snapshot import Snapshot
from tests.gateway.conftest import KEY, House

MINI = "mock/gpt-4o-mini"


def body(**more: object) -> dict[str, object]:
    return {"model": "assistant", "max_tokens": 20, "messages": [{"role": "user", "content": "hello"}], **more}


async def chat(door: House, **more: object) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        return await http.post("/v1/chat/completions", json=body(**more))


def test_a_team_has_its_own_row_and_else_everybodys() -> None:
    common, own = Price(input=1, output=2), Price(input=3, output=4)
    snapshot = Snapshot(prices={MINI: common, "mock/x": common}, team_prices={"risk": {MINI: own}})
    assert snapshot.price(MINI, "risk") == own
    assert snapshot.price(MINI, "sales") == snapshot.price("mock/x", "risk") == common
    assert snapshot.price("mock/y", "risk") is None
    own_machine = replace(snapshot, prices={**snapshot.prices, "mock/": own})
    assert (own_machine.price("mock/y", "sales"), own_machine.price("mock/x", "sales")) == (own, common)
    assert own_machine.price("other/y", "risk") is None


async def test_a_call_is_booked_by_the_row_of_its_team(door: House) -> None:
    before = door.snapshot.prices[MINI]
    own = replace(before, input=before.input * 10, output=before.output * 10, source="set by ada for the team risk")
    assert (await chat(door)).status_code == 200
    door.publish(team_prices={"risk": {MINI: own}, "sales": {MINI: before}})
    assert (await chat(door)).status_code == 200
    door.move()
    dear, cheap = (door.traces.find(row.trace, team=None).calls[0] for row in door.traces.list(team=None))
    assert dear.cost == own.cost(dear.attempts[0].usage)
    assert cheap.cost == before.cost(cheap.attempts[0].usage)
    assert dear.attempts[0].reserved > 9 * cheap.attempts[0].reserved
    told = [
        span.attributes.get("tandem.price") for call in (dear, cheap) for span in call.spans if "tandem.price" in span.attributes
    ]
    assert told == [own.source, before.source]


async def test_a_model_that_only_the_team_has_a_price_for_passes_a_cap(door: House) -> None:
    own = door.snapshot.prices[MINI]
    door.publish(prices={}, team_prices={"risk": {MINI: own}})
    door.cap(10**9)
    assert (await chat(door)).status_code == 200
    door.publish(team_prices={"sales": {MINI: own}})
    refused = await chat(door)
    assert refused.status_code >= 400
    assert "price" in refused.json()["error"]["message"]


async def test_the_cheapest_and_the_callers_bound_go_by_the_teams_row(door: House) -> None:
    listed = door.snapshot.prices[MINI]
    other = "mock/gpt-4o"
    route = (Target(target=MINI), Target(target=other))
    cheap = Price(input=1_000, output=1_000, source="ours")
    assistant = Endpoint(name="assistant", kind="chat", route=route, strategy="cheapest")
    dear = replace(listed, input=listed.input * 5, output=listed.output * 5)
    door.publish(endpoints={"assistant": assistant}, prices={MINI: listed, other: dear}, team_prices={"risk": {other: cheap}})
    assert (await chat(door)).status_code == 200
    bounded = await chat(door, provider={"max_price": {"prompt": 0.01}})
    assert bounded.status_code == 200
    door.move()
    asked = [door.traces.find(row.trace, team=None).calls[0].attempts[0].target for row in door.traces.list(team=None)]
    assert asked == [other, other]
