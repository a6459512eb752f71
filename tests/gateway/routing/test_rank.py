"""Strategies: what they put first, what they tell, and that nobody is lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.money import Price, Usage
from tandem.gateway.check import check_endpoint
from tandem.gateway.prices import price_of
from tandem.gateway.routing.rank import FADE, GUESSED_OUTPUT, Paces, cheapest, fastest, least_busy
from tests.gateway.conftest import KEY, House

A, B, C = Target(target="p/a"), Target(target="p/b"), Target(target="p/c")
ASK = {"model": "assistant", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}


def costs(prices: dict[str, Price], usage: Usage) -> Callable[[Target], int | None]:
    return lambda target: prices[target.target].cost(usage) if target.target in prices else None


def test_cheapest_goes_by_what_this_call_costs_and_not_by_a_rate_alone() -> None:
    prices = {A.target: Price(input=1000, output=9000), B.target: Price(input=4000, output=1000)}
    reads, writes = costs(prices, Usage(input=1000, output=1)), costs(prices, Usage(input=1, output=1000))
    dice = random.Random(1)
    assert [target for target, _ in cheapest([A, B, C], reads, dice)] == [A, B, C]
    assert [target for target, _ in cheapest([A, B, C], writes, dice)] == [B, A, C]
    assert cheapest([C], reads, dice) == [(C, None)]


def test_equal_prices_share_the_calls() -> None:
    prices = costs({target.target: Price(input=1, output=1) for target in (A, B)}, Usage(input=9))
    first = Counter(cheapest([A, B], prices, random.Random(seed))[0][0].target for seed in range(400))
    assert 150 < first[A.target] < 250


def test_the_least_busy_is_who_has_fewest_calls_and_equals_share() -> None:
    paces = Paces()
    paces.begin(A.target)
    paces.begin(A.target)
    paces.begin(B.target)
    assert least_busy([A, B, C], paces, random.Random(1)) == [(C, 0), (B, 1), (A, 2)]
    paces.end(B.target)
    first = Counter(least_busy([A, B, C], paces, random.Random(seed))[0][0].target for seed in range(400))
    assert set(first) == {B.target, C.target}
    assert 150 < first[B.target] < 250


def test_fastest_goes_by_the_peak_at_once_and_forgets_it_slowly() -> None:
    paces = Paces()
    for target, seconds in ((A, 0.1), (B, 0.3)):
        paces.note(target.target, seconds, 0, streamed=True)
    assert fastest([A, B], paces, 0, random.Random(1), streamed=True)[0][0] == A
    paces.note(A.target, 5.0, MICROS, streamed=True)
    paces.note(A.target, 0.1, 2 * MICROS, streamed=True)
    assert fastest([A, B], paces, 2 * MICROS, random.Random(1), streamed=True)[0][0] == B
    for second in range(3, 120):
        paces.note(A.target, 0.1, second * MICROS, streamed=True)
        paces.note(B.target, 0.3, second * MICROS, streamed=True)
    assert fastest([A, B], paces, 120 * MICROS, random.Random(1), streamed=True)[0][0] == A


def test_who_was_slow_is_tried_again_when_nobody_measured_it_since() -> None:
    paces = Paces()
    paces.note(A.target, 5.0, 0, streamed=False)
    paces.note(B.target, 0.5, 6 * FADE, streamed=False)
    assert fastest([A, B], paces, 6 * FADE, random.Random(1), streamed=False)[0][0] == A


def test_who_is_busy_is_expected_to_be_slow() -> None:
    paces = Paces()
    for target, seconds in ((A, 0.1), (B, 0.15)):
        paces.note(target.target, seconds, 0, streamed=True)
    paces.begin(A.target)
    assert fastest([A, B], paces, 0, random.Random(1), streamed=True)[0][0] == B
    paces.end(A.target)
    assert fastest([A, B], paces, 0, random.Random(1), streamed=True)[0][0] == A
    assert not paces._busy


def test_of_many_the_worst_is_never_first() -> None:
    paces = Paces()
    targets = [Target(target=f"p/{number}") for number in range(5)]
    for number, target in enumerate(targets):
        paces.note(target.target, 0.1 * (number + 1), 0, streamed=True)
    firsts = Counter(fastest(targets, paces, 0, random.Random(seed), streamed=True)[0][0].target for seed in range(500))
    assert set(firsts) == {"p/0", "p/1", "p/2", "p/3"}
    assert firsts["p/0"] == max(firsts.values())


def test_the_next_answer_is_guessed_from_the_last() -> None:
    paces = Paces()
    assert paces.guess("e", 4096) == GUESSED_OUTPUT
    assert paces.guess("e", 10) == 10
    for _ in range(200):
        paces.said("e", 40)
    assert paces.guess("e", 4096) == 40


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 100), st.integers(0, 50), st.booleans()), max_size=50), st.integers())
def test_nobody_is_lost_and_no_score_is_nothing(events: list[tuple[int, float, int, bool]], seed: int) -> None:
    paces, now, targets = Paces(), 0, [Target(target=f"p/{number}") for number in range(4)]
    for number, seconds, passed, streamed in events:
        now += passed * MICROS
        paces.note(f"p/{number}", seconds, now, streamed=streamed)
    found = fastest(targets, paces, now, random.Random(seed), streamed=True)
    assert sorted(target.target for target, _ in found) == ["p/0", "p/1", "p/2", "p/3"]
    assert all(seconds > 0 for _, seconds in found)


@pytest.mark.parametrize(("kind", "strategy"), [("predict", "cheapest"), ("chat", "best")])
def test_a_strategy_that_cannot_be_is_refused(kind: str, strategy: str) -> None:
    target = Target(target="model/m@production" if kind == "predict" else "p/a")
    with pytest.raises(Invalid) as caught:
        check_endpoint(Endpoint(name="e", kind=kind, route=(target,), strategy=strategy))  # type: ignore[arg-type]
    assert caught.value.field == "strategy"


async def ask(door: House, times: int, *, stream: bool = False) -> list[str]:
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        for _ in range(times):
            assert (await http.post("/v1/chat/completions", json={**ASK, "stream": stream})).status_code == 200
    return [request["body"]["model"] for request in door.mock.requests()[-times:]]  # type: ignore[index]


def spread(door: House, strategy: str, *names: str) -> None:
    prices = {f"mock/{name}": price_of(name, "openai", door.snapshot.compiled_at) for name in names}
    route = tuple(Target(target=f"mock/{name}") for name in names)
    door.publish(
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route, strategy=strategy)},  # type: ignore[arg-type]
        prices={**door.snapshot.prices, **{name: price for name, price in prices.items() if price is not None}},
    )


async def test_the_cheapest_is_asked_and_the_trace_says_what_was_expected(door: House) -> None:
    spread(door, "cheapest", "gpt-4o", "gpt-4.1-nano", "gpt-4o-mini", "mock-unpriced")
    assert set(await ask(door, 5)) == {"gpt-4.1-nano"}
    door.move()
    (row, *_) = door.traces.list(team=None)
    told = door.traces.find(row.trace, team=None).calls[0].attributes
    assert told["tandem.route.strategy"] == "cheapest"
    rows: Any = told["tandem.route"]
    assert [row["target"] for row in rows] == ["mock/gpt-4.1-nano", "mock/gpt-4o-mini", "mock/gpt-4o", "mock/mock-unpriced"]
    assert [row["place"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["expected"].startswith("$0.0000")
    assert rows[3]["expected"] == "no price"


async def test_the_cheapest_that_fails_is_followed_by_the_next(door: House) -> None:
    spread(door, "cheapest", "gpt-4o", "gpt-4.1-nano", "gpt-4o-mini")
    door.mock.faults(["500*1;model=gpt-4.1-nano"])
    await ask(door, 1)
    assert [request["body"]["model"] for request in door.mock.requests()] == ["gpt-4.1-nano", "gpt-4o-mini"]  # type: ignore[index]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_fastest_is_asked(door: House, stream: bool) -> None:
    spread(door, "fastest", "gpt-4o", "gpt-4o-mini")
    door.mock.faults(["slow-headers=5;model=gpt-4o"])
    models = await ask(door, 12, stream=stream)
    assert Counter(models[2:])["gpt-4o-mini"] == 10


async def test_where_one_target_is_left_there_is_nothing_to_choose(door: House) -> None:
    spread(door, "fastest", "gpt-4o-mini")
    await ask(door, 1)
    door.move()
    (row, *_) = door.traces.list(team=None)
    assert "tandem.route.strategy" not in door.traces.find(row.trace, team=None).calls[0].attributes
