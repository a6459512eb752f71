"""Routes: the order of targets, what is retried, what never is, and what every failure costs."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Sequence

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.canon import CANON, classed
from tandem.core.endpoint import Endpoint, Target, Timeouts
from tandem.core.errors import Rejected, TandemError, TimedOut, Unreachable
from tandem.gateway.routing.order import Tries, order, pause
from tandem.gateway.snapshot import Host
from tests.gateway.conftest import KEY, House

ASK = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


def endpoint(*targets: Target, retries: int = 1) -> Endpoint:
    return Endpoint(name="e", kind="chat", route=targets, retries=retries)


@given(st.lists(st.tuples(st.floats(0, 9), st.integers(0, 3)), min_size=1, max_size=8), st.integers())
def test_every_target_stands_once_priorities_first(rows: list[tuple[float, int]], seed: int) -> None:
    targets = [Target(target=f"p/{number}", weight=weight, priority=priority) for number, (weight, priority) in enumerate(rows)]
    ordered = order(targets, random.Random(seed))
    assert sorted(ordered, key=str) == sorted(targets, key=str)
    assert [target.priority for target in ordered] == sorted(target.priority for target in ordered)
    for before, after in itertools.pairwise(ordered):
        assert not (before.weight <= 0 < after.weight and before.priority == after.priority)


def test_weights_are_shares() -> None:
    dice = random.Random(1)
    heavy, light = Target(target="p/heavy", weight=3), Target(target="p/light", weight=1)
    first = Counter(order((heavy, light), dice)[0].target for _ in range(4000))
    assert 0.72 < first["p/heavy"] / 4000 < 0.78


@pytest.mark.parametrize(("targets", "retries", "tries"), [(1, 0, 1), (1, 2, 3), (3, 0, 3), (3, 1, 3), (2, 3, 4)])
def test_every_candidate_is_tried_and_retries_go_round(targets: int, retries: int, tries: int) -> None:
    candidates = [Target(target=f"p/{number}") for number in range(targets)]
    asked = Tries.of(endpoint(*candidates, retries=retries), candidates)
    names = [asked.target]
    while (following := asked.after(CANON["upstream_5xx"], another_key=False)) is not None:
        names.append(following)
    assert names == [candidates[number % targets] for number in range(tries)]


@pytest.mark.parametrize(
    ("error", "steps"),
    [
        (Unreachable("x"), ("fail_over", "retry_same")),
        (TimedOut("x"), ("fail_over", "retry_same")),
        (Rejected("x", code="rate_limited"), ("rotate_key", "fail_over", "retry_same")),
        (Rejected("x", code="upstream_5xx"), ("fail_over", "retry_same")),
        (Rejected("x", code="provider_auth"), ("rotate_key", "fail_over")),
        (Rejected("x", code="quota"), ("rotate_key", "fail_over")),
        (Rejected("x", code="context_exceeded"), ("fail_over",)),
        (Rejected("x", code="not_found"), ("fail_over",)),
        (Rejected("x", code="content_policy"), ()),
        (Rejected("x", code="bad_request"), ()),
    ],
)
def test_a_safety_refusal_and_a_bad_question_are_never_routed_around(error: TandemError, steps: tuple[str, ...]) -> None:
    """BerriAI/litellm#40406: three gateways ask the next model when one refused for the sake of safety."""
    assert classed(error).steps == steps


def test_what_would_fail_again_is_not_asked_again() -> None:
    """One that does not fit, or is not known, says the same the second time; a crowded one may not."""
    a, b = Target(target="p/a"), Target(target="p/b")
    asked = Tries.of(endpoint(a, b, retries=9), (a, b))
    assert asked.after(CANON["context_exceeded"], another_key=False) == b
    assert asked.after(CANON["overloaded"], another_key=False) == b
    assert asked.after(CANON["not_found"], another_key=False) is None


def test_a_further_key_costs_no_retry() -> None:
    only = Target(target="p/a")
    asked = Tries.of(endpoint(only, retries=0), (only,))
    assert asked.after(CANON["provider_auth"], another_key=True) == only
    assert asked.after(CANON["rate_limited"], another_key=True) == only
    assert asked.after(CANON["rate_limited"], another_key=False) is None
    assert asked.after(CANON["upstream_5xx"], another_key=True) is None


@given(
    st.lists(st.tuples(st.sampled_from(sorted(CANON)), st.booleans()), max_size=60),
    st.integers(1, 5),
    st.integers(0, 10),
)
def test_retries_never_multiply(faults: list[tuple[str, bool]], targets: int, retries: int) -> None:
    """BerriAI/litellm-docs#734: nested retries ask (1 + N)² times."""
    candidates = [Target(target=f"p/{number}") for number in range(targets)]
    asked, made = Tries.of(endpoint(*candidates, retries=retries), candidates), 1
    for code, key in faults:
        rotates = key and "rotate_key" in CANON[code].steps
        if asked.after(CANON[code], another_key=key) is None:
            break
        made += not rotates
    assert made <= max(1 + retries, targets)


def test_the_wait_before_the_same_target_is_bounded() -> None:
    dice = random.Random(1)
    assert pause(Rejected("x", retry_after=2), 1, True, dice) == 2
    assert pause(Rejected("x", retry_after=60), 1, True, dice) is None
    assert pause(Rejected("x", retry_after=60), 1, False, dice) == 0
    waits = [pause(Rejected("x"), number, True, dice) for number in range(1, 12)]
    assert all(wait is not None and 0 < wait <= 2.4 for wait in waits)


async def ask(door: House, body: dict[str, object] | None = None, **more: object) -> httpx2.Response:
    async with httpx2.AsyncClient(timeout=20) as http:
        headers = {"authorization": f"Bearer {KEY}"}
        return await http.post(f"{door.url}/v1/chat/completions", json={**ASK, **(body or {}), **more}, headers=headers)


def fall_back(door: House, **changes: object) -> None:
    """Two targets: a model of a host that is not there, then the mock."""
    gone = Host(name="gone", protocol="openai", base_url="http://127.0.0.1:9/v1")
    targets = (Target(target="gone/gpt-4o-mini"), Target(target="mock/gpt-4o-mini", priority=1))
    chosen = Endpoint(name="assistant", kind="chat", route=targets, **changes)  # type: ignore[arg-type]
    door.publish(
        hosts={**door.snapshot.hosts, "gone": gone},
        endpoints={**door.snapshot.endpoints, "assistant": chosen},
        prices={**door.snapshot.prices, "gone/gpt-4o-mini": door.snapshot.prices["mock/gpt-4o-mini"]},
    )


def alone(door: House, timeouts: Timeouts, retries: int = 0) -> None:
    chosen = Endpoint(
        name="assistant", kind="chat", route=(Target(target="mock/gpt-4o-mini"),), retries=retries, timeouts=timeouts
    )
    door.publish(endpoints={**door.snapshot.endpoints, "assistant": chosen})


def outcomes(door: House, reply: httpx2.Response) -> list[tuple[str, int | None]]:
    door.move()
    (call,) = door.traces.find(reply.headers["x-tandem-trace-id"], team=None).calls
    return [(attempt.outcome, attempt.cost) for attempt in call.attempts]


async def test_the_next_target_answers_when_one_is_down(door: House) -> None:
    fall_back(door, retries=0)
    reply = await ask(door)
    assert reply.status_code == 200
    (billed,) = door.mock.bill()
    assert outcomes(door, reply) == [("unreachable", 0), ("ok", billed.cost_nano)]


async def test_a_stalled_answer_times_out_and_is_booked_at_its_reservation(door: House) -> None:
    alone(door, Timeouts(first_byte=0.2, idle=0.2))
    door.mock.faults(["slow-headers"])
    reply = await ask(door)
    assert reply.status_code == 504
    ((outcome, cost),) = outcomes(door, reply)
    assert outcome == "timed_out"
    assert cost is not None
    assert cost >= sum(row.cost_nano or 0 for row in door.mock.bill())


async def test_a_stream_that_stalls_ends_with_a_typed_error(door: House) -> None:
    alone(door, Timeouts(first_byte=5, idle=0.2))
    door.mock.faults(["stall-after=2"])
    reply = await ask(door, stream=True, max_tokens=20)
    assert reply.status_code == 200
    last = reply.text.rstrip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["code"] == "timed_out"
    ((outcome, cost),) = outcomes(door, reply)
    assert outcome == "timed_out"
    assert cost is not None


async def test_a_rate_limit_is_waited_for_when_it_is_short(door: House) -> None:
    alone(door, Timeouts(), retries=1)
    door.mock.faults(["429*1;retry-after=1"])
    reply = await ask(door)
    assert reply.status_code == 200
    assert [outcome for outcome, _ in outcomes(door, reply)] == ["rate_limited", "ok"]


async def test_a_long_rate_limit_is_told_to_the_caller(door: House) -> None:
    alone(door, Timeouts(), retries=1)
    door.mock.faults(["429;retry-after=30"])
    reply = await ask(door)
    assert reply.status_code == 429
    assert reply.headers["retry-after"] == "30"
    assert outcomes(door, reply) == [("rate_limited", 0)]


async def test_our_own_key_refused_is_not_the_callers_fault(door: House) -> None:
    alone(door, Timeouts())
    door.mock.faults(["401"])
    reply = await ask(door)
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "provider_auth"


async def test_a_safety_refusal_reaches_the_caller(door: House) -> None:
    fall_back(door, retries=3)
    door.mock.faults(["refuse=400"])
    reply = await ask(door)
    assert reply.status_code == 400
    assert outcomes(door, reply)[-1][0] == "content_policy"
    assert len(outcomes(door, reply)) == 2  # the host that is down, then the refusal, and nobody after it


@pytest.mark.parametrize("usage", ["missing", "double"])
async def test_usage_the_provider_keeps_to_itself_is_booked_at_the_reservation(door: House, usage: str) -> None:
    door.mock.faults([f"usage={usage}"])
    for stream in (False, True):
        reply = await ask(door, stream=stream)
        assert reply.status_code == 200
        ((outcome, cost),) = outcomes(door, reply)
        assert outcome == "ok"
        billed = door.mock.bill()[-1].cost_nano
        assert cost is not None
        assert billed is not None
        assert cost >= billed


async def test_a_model_without_a_price_costs_unknown_and_is_refused_under_a_cap(door: House) -> None:
    unpriced: Sequence[Target] = (Target(target="mock/mock-unpriced"),)
    chosen = Endpoint(name="assistant", kind="chat", route=tuple(unpriced))
    door.publish(endpoints={**door.snapshot.endpoints, "assistant": chosen})
    reply = await ask(door)
    assert reply.status_code == 200
    assert outcomes(door, reply) == [("ok", None)]
    before = len(door.mock.bill())
    door.cap(10**9)
    refused = await ask(door)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "unpriced_under_cap"
    assert len(door.mock.bill()) == before


async def test_a_stream_that_does_not_end_is_cut_at_its_reservation(door: House) -> None:
    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        frame = b'data: {"choices":[{"index":0,"delta":{"content":"more"}}]}\n\n'
        try:
            for _ in range(5000):
                writer.write(frame)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(talkative, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    endless = Host(name="endless", protocol="openai", base_url=f"http://127.0.0.1:{port}")
    chosen = Endpoint(name="assistant", kind="chat", route=(Target(target="endless/gpt-4o-mini"),), retries=0)
    door.publish(
        hosts={"endless": endless},
        endpoints={"assistant": chosen},
        prices={"endless/gpt-4o-mini": door.snapshot.prices["mock/gpt-4o-mini"]},
    )
    door.cap(10**9)
    reply = await ask(door, stream=True, max_tokens=10)
    server.close()
    assert json.loads(reply.text.rstrip().rpartition("data: ")[2])["error"]["code"] == "reservation_used_up"
    assert reply.text.count('"more"') <= 10 + 64
    door.move()
    (account,) = door.ledger.accounts()
    ((outcome, cost),) = outcomes(door, reply)
    assert outcome == "reservation_used_up"
    assert cost == account.settled
