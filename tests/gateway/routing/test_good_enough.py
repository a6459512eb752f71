"""The strategy that goes by what was learned, through a whole door: which target is asked, what the trace tells, what fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.evaluation.outcomes import read
from tandem.gateway.check import check_endpoint
from tandem.gateway.prices import price_of
from tandem.gateway.routing.seen import Seen
from tandem.gateway.routing.shelf import Shelf
from tandem.gateway.snapshot import Served, Snapshot
from tandem.training.router import train
from tests.gateway.conftest import KEY, House
from tests.gateway.routing.test_warm import seen
from tests.routing import written

NAMES = {"adder": "gpt-4o", "poet": "gpt-4.1-nano"}
SUM = "Add the numbers stone and stone and give the total of both. Case 100 of 1."
POEM = "Write a short poem about a river that meets a ship in the rain. Case 101 of 1."


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What was learned: the dear one can add, both can write poems."""
    things = ("stone", "river", "cat", "cloud", "lamp", "horse", "bread", "ship", "moon", "clock")
    lines = []
    for number in range(240):
        one, two, adds = things[number % 10], things[number * 7 % 10], number % 2 == 0
        asked = f"Add the numbers {one} and {two} and give the total of both."
        if not adds:
            asked = f"Write a short poem about a {one} that meets a {two} in the rain."
        scores = {"gpt-4o": 1.0, "mock/gpt-4.1-nano": 0.0 if adds else 1.0}
        models = {name: {"score": score, "cost": 1} for name, score in scores.items()}
        lines.append({"question": f"{asked} Case {number} of 1.", "models": models})
    outcomes = read(written(tmp_path_factory.mktemp("router") / "outcomes.jsonl", lines))
    return train(outcomes, seed=1, progress=lambda part, stage: None)


async def learned(door: House, data: bytes, **more: Any) -> None:
    folder = door.home / "served" / "router"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "router.json").write_bytes(data)
    prices = {f"mock/{name}": price_of(name, "openai", door.snapshot.compiled_at) for name in NAMES.values()}
    route = (Target(target="mock/gpt-4.1-nano"), Target(target="mock/gpt-4o"))
    endpoint = Endpoint(name="assistant", kind="chat", route=route, strategy="good_enough", router="router/tasks@production")
    door.publish(
        endpoints={"assistant": replace(endpoint, **more)},
        routers={"router/tasks@production": Served(ref="router/tasks@1", members=str(folder), digest="sha256:1", meta=b"{}")},
        prices={name: price for name, price in prices.items() if price is not None},
    )
    await door.handler.answering.hosts.refresh(door.snapshot)


async def ask(door: House, text: str, address: str = "/v1/chat/completions") -> tuple[str, dict[str, Any]]:
    """The model that was asked first, and what the trace tells of the route."""
    body = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    async with httpx2.AsyncClient(timeout=20) as http:
        reply = await http.post(f"{door.url}{address}", json=body, headers={"authorization": f"Bearer {KEY}"})
    assert reply.status_code == 200, reply.text
    door.move()
    call = door.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls[0]
    return str(door.mock.requests()[-1]["body"]["model"]), call.attributes  # type: ignore[index]


async def test_the_cheapest_that_is_good_enough_is_asked_on_every_wire(door: House, file: bytes) -> None:
    await learned(door, file, tolerance=0.3)
    for address in ("/v1/chat/completions", "/anthropic/v1/messages"):
        assert (await ask(door, SUM, address))[0] == "gpt-4o"
        model, told = await ask(door, POEM, address)
        assert model == "gpt-4.1-nano"
    assert told["tandem.route.strategy"] == "good_enough"
    assert told["tandem.route.router"]["ref"] == "router/tasks@1"
    rows = told["tandem.route"]
    assert [row["target"] for row in rows] == ["mock/gpt-4.1-nano", "mock/gpt-4o"]
    assert rows[0]["expected"].startswith("good with 0.")
    assert ", $0.0000" in rows[0]["expected"]


async def test_with_any_tolerance_the_cheapest_is_asked_and_with_none_the_best(door: House, file: bytes) -> None:
    await learned(door, file, tolerance=1.0)
    assert (await ask(door, SUM))[0] == "gpt-4.1-nano"
    await learned(door, file, tolerance=0.0)
    assert (await ask(door, SUM))[0] == "gpt-4o"


@pytest.mark.parametrize("data", [b"{}", b"\xff"])
async def test_a_damaged_router_costs_no_answer_and_is_told(door: House, data: bytes) -> None:
    await learned(door, data)
    model, told = await ask(door, SUM)
    assert model == "gpt-4.1-nano"
    assert told["tandem.route.router"] == "the router is damaged"


async def test_a_router_that_is_not_there_costs_no_answer(door: House, file: bytes) -> None:
    await learned(door, file)
    door.publish(routers={})
    await door.handler.answering.hosts.refresh(door.snapshot)
    model, told = await ask(door, SUM)
    assert model == "gpt-4.1-nano"
    assert told["tandem.route.router"] == "the router is not there"


async def test_a_shelf_reads_what_is_named_and_forgets_the_rest(tmp_path: Path, file: bytes) -> None:
    (tmp_path / "router.json").write_bytes(file)
    served = Served(ref="router/tasks@1", members=str(tmp_path), digest="sha256:1", meta=b"{}")
    endpoint = Endpoint(name="e", kind="chat", route=(), strategy="good_enough", router="router/tasks@production")
    shelf = Shelf()
    await shelf.refresh(Snapshot(endpoints={"e": endpoint}, routers={"router/tasks@production": served}))
    assert not isinstance(shelf.find(served), str)
    missing = replace(served, digest="sha256:2", members=str(tmp_path / "none"))
    await shelf.refresh(Snapshot(endpoints={"e": endpoint}, routers={"router/tasks@production": missing}))
    assert shelf.find(served) == "the router is not read yet"
    assert shelf.find(missing) == "the router cannot be read (No such file or directory)"


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        ([{"role": "user", "content": "one"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "two"}], "two"),
        ([{"role": "user", "content": [{"type": "text", "text": "parts"}]}], "parts"),
        ([{"role": "system", "content": "only this"}], ""),
        ([], ""),
    ],
)
def test_the_last_words_of_the_user_are_what_is_asked(messages: list[dict[str, object]], asked: str) -> None:
    assert seen(messages).question == asked


def test_the_words_of_a_plain_input_are_what_is_asked() -> None:
    found = seen([])
    body = b'{"model": "m", "input": "a plain one"}'
    assert Seen(msgspec.structs.replace(found.asked, body=body)).question == "a plain one"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"strategy": "good_enough"}, "router"),
        ({"router": "router/tasks@production"}, "router"),
        ({"strategy": "good_enough", "router": "policy/tasks@production"}, "router"),
        ({"strategy": "good_enough", "router": "router/tasks@3"}, "router"),
        ({"strategy": "good_enough", "router": "router/tasks@production", "tolerance": 1.5}, "tolerance"),
    ],
)
def test_an_endpoint_that_cannot_go_by_it_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_endpoint(Endpoint(name="e", kind="chat", route=(Target(target="p/a"),), **more))
    assert caught.value.field == field
