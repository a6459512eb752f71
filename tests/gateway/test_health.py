"""Targets that fail rest, are tried again, and are never the reason for a refusal."""

from __future__ import annotations

import random

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target
from tandem.gateway import health
from tandem.gateway.health import LEAST, LONGEST, MOST, REST, WINDOW, Health
from tests.gateway.conftest import KEY, House

A, B = Target(target="p/a"), Target(target="p/b", priority=1)
ROUTE = [A, B]


def failed(times: int = LEAST, *, at: int = 0, outcome: str = "upstream_5xx") -> Health:
    found = Health()
    for _ in range(times):
        found.note(A.target, outcome, at)
    return found


def test_a_target_that_fails_rests_behind_the_others_and_comes_back_with_an_answer() -> None:
    found = failed(LEAST - 1)
    assert found.order(ROUTE, 0) == [A, B]
    found.note(A.target, "timed_out", 0)
    assert found.order(ROUTE, 0) == [B, A]
    assert found.resting(0) == [A.target]
    assert found.order(ROUTE, REST) == [A, B]  # the trial
    assert found.order(ROUTE, REST) == [B, A]  # is one call
    found.note(A.target, "ok", REST)
    assert found.order(ROUTE, REST) == [A, B]
    assert found.resting(REST) == []


def test_a_failed_trial_doubles_the_rest_up_to_its_bound() -> None:
    found, now = failed(), 0
    for rest in (REST, 2 * REST, 4 * REST, 8 * REST, LONGEST, LONGEST):
        assert found.order(ROUTE, now + rest - 1) == [B, A]
        now += rest
        assert found.order(ROUTE, now) == [A, B]
        found.note(A.target, "unreachable", now)


def test_a_trial_that_never_ends_does_not_hold_the_place() -> None:
    found = failed()
    assert found.order(ROUTE, REST) == [A, B]
    assert found.order(ROUTE, 2 * REST) == [A, B]


@pytest.mark.parametrize("outcome", sorted(health.WELL - {"ok"}))
def test_what_is_no_fault_of_the_target_does_not_count(outcome: str) -> None:
    assert failed(100, outcome=outcome).order(ROUTE, 0) == [A, B]


def test_few_failures_among_many_answers_are_no_reason() -> None:
    found = Health()
    for number in range(300):
        found.note(A.target, "upstream_5xx" if number % 4 == 0 else "ok", number)
    assert found.order(ROUTE, 300) == [A, B]


def test_old_failures_are_forgotten() -> None:
    found = failed(LEAST - 1)
    found.note(A.target, "upstream_5xx", WINDOW + 1)
    assert found.order(ROUTE, WINDOW + 1) == [A, B]
    found.note(A.target, "ok", 3 * WINDOW)
    assert not found._cases


def test_who_asks_to_be_left_alone_is_within_bounds() -> None:
    found = Health()
    found.note(A.target, "rate_limited", 0, 20.0)
    assert found.order(ROUTE, 19 * MICROS) == [B, A]
    assert found.order(ROUTE, 20 * MICROS) == [A, B]
    found.note(A.target, "rate_limited", 0, 1e9)
    assert found.order(ROUTE, LONGEST) == [A, B]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["ok", "upstream_5xx", "gone"]), st.integers(0, 10)), max_size=60))
def test_nobody_is_lost_whatever_happens(events: list[tuple[int, str, int]]) -> None:
    targets = [Target(target=f"p/{number}") for number in range(4)]
    found, now = Health(), 0
    for number, outcome, passed in events:
        now += passed * MICROS
        found.note(targets[number].target, outcome, now)
        ordered = found.order(random.Random(number).sample(targets, 4), now)
        assert sorted(target.target for target in ordered) == [target.target for target in targets]


def test_what_callers_name_is_bounded() -> None:
    found = Health()
    for number in range(MOST + 10):
        found.note(f"p/{number}", "timed_out", 0)
    assert len(found._cases) == MOST


async def test_calls_go_round_a_target_that_rests_and_the_trace_says_so(door: House) -> None:
    """A primary that is broken costs its failed attempt five times, then no more."""
    route = (Target(target="mock/gpt-4o"), Target(target="mock/gpt-4o-mini", priority=1))
    door.publish(
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=route)},
        prices={**door.snapshot.prices, "mock/gpt-4o": door.snapshot.prices["mock/gpt-4o-mini"]},
    )
    door.mock.faults(["500;model=gpt-4o"])
    ask = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}) as http:
        for _ in range(LEAST + 3):
            assert (await http.post("/v1/chat/completions", json=ask)).status_code == 200
        told = (await http.get("/metrics")).text
    asked = [request["body"]["model"] for request in door.mock.requests()]  # type: ignore[index]
    assert asked == ["gpt-4o", "gpt-4o-mini"] * LEAST + ["gpt-4o-mini"] * 3
    assert 'tandem_targets_resting{worker="0"} 1' in told
    door.move()
    (row, *_) = door.traces.list(team=None)
    assert door.traces.find(row.trace, team=None).calls[0].attributes["tandem.route.resting"] == ["mock/gpt-4o"]


async def test_where_everybody_rests_the_route_is_asked_all_the_same(door: House) -> None:
    door.mock.faults([f"500*{LEAST * 3}"])
    ask = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http:
        seen = [(await http.post("/v1/chat/completions", json=ask)).status_code for _ in range(LEAST + 1)]
    assert seen == [500] * LEAST + [200]
