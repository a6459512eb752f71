"""Control is away, keys come and go: what the doors do meanwhile, on every worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until

pytestmark = [pytest.mark.journey, pytest.mark.slow, pytest.mark.alone]

WORKERS = 2
CALLERS = 24
"""Fresh connections that are asked in a row: no worker is left out, but once in ten million."""
PROMISED_SECONDS = 1.0
SLACK = 4.0
"""A loaded machine may take so many times longer."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("house"), workers=WORKERS) as running:
        yield running


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def everywhere(house: Platform, key: str) -> set[int]:
    """What this key is answered over many fresh connections."""
    return {house.chat(key).status_code for _ in range(CALLERS)}


def test_both_workers_are_reached(house: Platform) -> None:
    """Of each worker's own count, more than one is seen: so the tests below see every worker."""
    for _ in range(CALLERS):
        assert house.chat(ADMIN).status_code == 200
    counts = {httpx2.get(f"{house.url}/metrics", verify=TLS).text for _ in range(CALLERS)}
    workers = {
        line.partition('worker="')[2].partition('"')[0] for text in counts for line in text.splitlines() if "worker=" in line
    }
    assert len(workers) == WORKERS, workers


def test_a_key_is_known_and_forgotten_on_every_worker_within_a_second(house: Platform) -> None:
    made = time.monotonic()
    key = house.key("brief")
    until(lambda: everywhere(house, key) == {200}, "a new key works", PROMISED_SECONDS * SLACK)
    house.api("DELETE", "/keys/brief")
    time.sleep(PROMISED_SECONDS)
    assert everywhere(house, key) == {401}
    assert time.monotonic() - made < 60
    assert httpx2.get(f"{house.url}/api/v1/whoami", headers=bearer(key), verify=TLS).status_code == 401


def test_calls_go_on_while_control_stands_still(house: Platform) -> None:
    with stopped(house.pids("control")):
        assert everywhere(house, ADMIN) == {200}
        assert httpx2.get(f"{house.url}/health", timeout=5, verify=TLS).status_code == 200
        ready = httpx2.get(f"{house.url}/health/ready", timeout=10, verify=TLS)
        assert ready.status_code == 503
        assert ready.json()["parts"]["control"] != "ok"
        assert ready.json()["parts"]["snapshot"] == ready.json()["parts"]["journal"] == "ok"
        trace = house.chat(ADMIN).headers["x-tandem-trace-id"]
    house.wait()
    until(
        lambda: httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), verify=TLS).status_code == 200,
        "what happened meanwhile is in the trace store",
    )


def test_calls_go_on_while_control_is_dead_and_it_comes_back(house: Platform) -> None:
    (pid,) = house.pids("control")
    os.kill(pid, signal.SIGKILL)
    refusals: list[httpx2.Response] = []
    while not refusals or refusals[-1].status_code == 503:
        refusals.append(httpx2.get(f"{house.url}/api/v1/whoami", headers=bearer(ADMIN), timeout=30, verify=TLS))
        assert httpx2.get(f"{house.url}/health", timeout=5, verify=TLS).status_code == 200
        assert house.chat(ADMIN).status_code == 200
        assert len(refusals) < 2000
    assert len(refusals) > 1
    for refusal in refusals[:-1]:
        told = refusal.json()["error"]
        assert told["code"] == "unavailable"
        assert "tandem doctor" in told["hint"]
    assert refusals[-1].status_code == 200
    house.wait()
    assert house.pids("control") != [pid]
    house.settle()
    assert house.api("POST", "/audit/verify")["ok"]


def test_a_model_without_a_price_is_called_only_where_no_cap_has_to_be_kept(house: Platform) -> None:
    keys = {name: house.key(name) for name in ("capped", "free")}
    house.api("PUT", "/budgets/key/capped", json={"cap": "5", "window": "total"})
    house.api("PUT", "/endpoints/unpriced", json={"kind": "chat", "route": [{"target": "mock/mock-unpriced"}]})
    body = {"model": "unpriced", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}

    def ask(name: str) -> httpx2.Response:
        return httpx2.post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(keys[name]), timeout=30, verify=TLS)

    def bill() -> int:
        totals = httpx2.get(f"{house.mock_url}/bill", verify=TLS).json()["totals"]
        return int(totals["requests"])

    until(lambda: all(ask(name).status_code != 404 for name in keys for _ in range(8)), "the endpoint is on both workers")
    billed = bill()
    for _ in range(CALLERS):
        refused = ask("capped")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "unpriced_under_cap")
        assert "mock/mock-unpriced" in refused.json()["error"]["message"]
    assert bill() == billed
    answered = ask("free")
    assert answered.status_code == 200
    house.settle()
    found = house.api("GET", f"/traces/{answered.headers['x-tandem-trace-id']}")
    assert found["cost"] is None
    assert found["cost_usd"] is None
    assert [attempt["cost"] for call in found["calls"] for attempt in call["attempts"]] == [None]
    spent = house.api("GET", "/spend?scope=key/free")
    assert spent["unpriced"] == spent["attempts"] > 0
    assert house.api("GET", "/spend?scope=key/capped")["attempts"] == 0
