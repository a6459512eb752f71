"""Targets that fail rest, are tried again, and are never the reason for a refusal."""

from __future__ import annotations

import random

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.canon import CANON
from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target
from tandem.gateway.routing.health import ILL, LEAST, LONGEST, MOST, OF_KEYS, REST, WINDOW, Health
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
    assert [each.name for each in found.resting(0)] == [A.target]
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


@pytest.mark.parametrize("outcome", sorted(set(CANON) - ILL - OF_KEYS))
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


def test_a_key_that_is_refused_rests_and_the_target_does_not() -> None:
    found = Health()
    assert found.key(A.target, 3, 0) == 0
    found.note(A.target, "provider_auth", 0, key=0, keys=3)
    assert found.key(A.target, 3, 0) == 1
    assert found.key("p/other", 3, 0) == 1  # it is the account that was refused
    assert found.order(ROUTE, 0) == [A, B]
    assert [each.name for each in found.resting(0)] == ["p#1"]
    found.note(A.target, "rate_limited", 0, 20.0, key=1, keys=3)
    assert found.key(A.target, 3, 0) == 2
    assert found.key("p/other", 3, 0) == 1  # another model has a limit of its own


def test_a_target_of_which_every_key_rests_rests_until_the_first_wakes() -> None:
    found = Health()
    found.note(A.target, "rate_limited", 0, 20.0, key=0, keys=2)
    assert found.order(ROUTE, 0) == [A, B]
    found.note(A.target, "rate_limited", 0, 40.0, key=1, keys=2)
    assert found.order(ROUTE, 0) == [B, A]
    assert found.order(ROUTE, 20 * MICROS) == [A, B]
    assert found.key(A.target, 2, 20 * MICROS) == 0
    found.note(A.target, "ok", 20 * MICROS, key=0, keys=2)
    assert [each.name for each in found.resting(20 * MICROS)] == ["p/a#2"]


def test_every_key_is_tried_once_in_a_call_and_one_that_rests_last() -> None:
    found = Health()
    found.note(A.target, "quota", 0, key=0, keys=3)
    assert [found.key(A.target, 3, 0, tried) for tried in ((), (1,), (1, 2), (0, 1, 2))] == [1, 2, 0, None]
    assert found.key(A.target, 0, 0) is None


@pytest.mark.parametrize("name", ["p/a", "p", "p#1"])
def test_what_is_forgotten_is_asked_as_if_nothing_had_been(name: str) -> None:
    """BerriAI/litellm#25504: a cooldown that nobody can see or end."""
    found = Health()
    found.note(A.target, "quota", 0, key=0, keys=1)
    found.note("q/z", "rate_limited", 0, 9.0)
    assert {each.name for each in found.resting(0)} == {"p/a", "p#1", "q/z", "q/z#1"}
    before = found.changes
    found.forget(name)
    assert {each.name for each in found.resting(0)} == {"q/z", "q/z#1"}
    assert found.changes > before
    found.forget()
    assert found.resting(0) == []


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
    assert door.traces.find(row.trace, team=None).calls[0].attributes["tandem.route"] == [
        {"target": "mock/gpt-4o-mini", "place": 1},
        {"target": "mock/gpt-4o", "place": 2, "rests": "upstream_5xx"},
    ]


async def test_where_everybody_rests_the_route_is_asked_all_the_same(door: House) -> None:
    door.mock.faults([f"500*{LEAST * 3}"])
    ask = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as http:
        seen = [(await http.post("/v1/chat/completions", json=ask)).status_code for _ in range(LEAST + 1)]
    assert seen == [500] * LEAST + [200]
