"""A decision asks for a person; the person answers; the answer is a Score, a row of a dataset, and gone with whom it is about."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until

pytestmark = [pytest.mark.journey, pytest.mark.slow]

SOURCE = """
from dataclasses import dataclass
from tandem.decisions import Calls

@dataclass
class Claim:
    amount: float

@dataclass
class Answer:
    pay: bool

def answer(claim: Claim, calls: Calls) -> Answer:
    if claim.amount > 10:
        calls.ask_a_person("It is a lot.")
    return Answer(pay=claim.amount < 20)
"""
PERSON, WORDS = "somebody-with-a-name", "they moved to Quincunx Street"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("reviews")) as running:
        running.api("POST", "/decisions/claims", json={"source": SOURCE, "entry": "answer"})
        running.api("POST", "/assets/decision/claims/promote", json={"version": 1})
        until(lambda: decide(running, 1.0).status_code == 200)
        yield running


def decide(house: Platform, amount: float) -> httpx2.Response:
    return httpx2.post(f"{house.url}/v1/decide/claims", json={"amount": amount}, headers=bearer(ADMIN), timeout=30, verify=TLS)


def waiting(house: Platform, trace: str) -> Any:
    found = [each for each in house.api("GET", "/reviews?state=open") if each["trace"] == trace]
    return found[0] if found else None


def test_a_marked_decision_is_judged_scored_and_exported(house: Platform) -> None:
    traces = [decide(house, amount).headers["x-tandem-trace-id"] for amount in (5.0, 11.0, 30.0)]
    reviews = [until(lambda trace=trace: waiting(house, trace)) for trace in traces[1:]]  # type: ignore[misc]
    assert waiting(house, traces[0]) is None
    first = house.api("POST", "/reviews/next", json={})
    assert first["id"] == reviews[0]["id"]
    (text,) = first["explained"]["content"].values()
    assert text["notes"]["review"] == ["It is a lot."]
    house.api("POST", f"/reviews/{first['id']}/decide", json={"opinion": "right"})
    said = {"opinion": "wrong", "correction": '{"pay": true}', "note": "covered"}
    house.api("POST", f"/reviews/{reviews[1]['id']}/decide", json=said)
    assert house.api("POST", "/reviews/next", json={}) is None
    (score,) = house.api("GET", f"/traces/{traces[2]}")["scores"]
    assert (score["scorer"], score["label"], score["created_by"]) == ("person", "wrong", "admin")
    made = house.api("POST", "/reviews/export", json={"endpoint": "claims", "dataset": "judged"})
    assert (made["ref"], made["rows"], made["left_out"]) == ("dataset/judged@1", 2, {})
    (tally,) = house.api("GET", "/reviews/tally")
    assert (tally["right"], tally["wrong"], tally["open"]) == (1, 1, 0)
    assert house.api("POST", "/audit/verify")["ok"]


def test_a_mark_outlives_control(house: Platform) -> None:
    (pid,) = house.pids("control")
    os.kill(pid, signal.SIGSTOP)
    trace = decide(house, 12.0).headers["x-tandem-trace-id"]
    os.kill(pid, signal.SIGKILL)
    house.wait()
    assert until(lambda: waiting(house, trace))["source"] == "decision"
    assert [each["trace"] for each in house.api("GET", "/reviews?state=open")].count(trace) == 1


def test_words_go_with_whom_they_are_about(house: Platform) -> None:
    body = {"model": "assistant", "max_tokens": 8, "user": PERSON, "messages": [{"role": "user", "content": "hello"}]}
    reply = httpx2.post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(ADMIN), timeout=30, verify=TLS)
    trace = reply.headers["x-tandem-trace-id"]
    until(lambda: httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), verify=TLS).status_code == 200)
    review = house.api("POST", "/reviews", json={"trace": trace})["id"]
    house.api("POST", f"/reviews/{review}/decide", json={"opinion": "wrong", "correction": WORDS})
    assert house.api("GET", f"/reviews/{review}")["said"]["correction"] == WORDS
    assert house.api("POST", f"/subjects/{PERSON}/erase")["complete"]
    assert house.api("GET", f"/reviews/{review}")["said"] is None
    assert [path for path in house.home.rglob("*") if path.is_file() and clear(path)] == []


def clear(path: Path) -> bool:
    return WORDS.encode() in path.read_bytes()
