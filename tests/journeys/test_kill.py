"""kill -9 of door and control at random moments under load: nothing answered is lost, no cap is passed, the audit holds."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tests.journeys.conftest import ON_SERVER, Platform, bearer, platform

KILLS = 15 if ON_SERVER else 50
"""On a server fewer: what is killed is the same, and each comes back more slowly."""
CAP_USD = "0.05"
pytestmark = [pytest.mark.journey, pytest.mark.slow]


class Load:
    """Callers that go on until told to stop, and remember what they were answered; each call on a connection of its own
    where they shall reach every door: a connection that is kept stays with the door that took it."""

    def __init__(self, house: Platform, key: str, callers: int, *, kept: bool = True) -> None:
        self.house, self.key, self.kept = house, key, kept
        self.answered: list[str] = []
        self.refused = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(number,)) for number in range(callers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        body = {"model": "assistant", "max_tokens": 8, "stream": number % 2 == 0, "messages": [{"role": "user", "content": "hi"}]}
        headers = bearer(self.key) | ({} if self.kept else {"connection": "close"})
        with httpx2.Client(timeout=10) as http:
            while not self._stop.is_set():
                try:
                    reply = http.post(f"{self.house.url}/v1/chat/completions", json=body, headers=headers)
                except httpx2.HTTPError:
                    time.sleep(0.01)
                    continue
                whole = reply.status_code == 200 and (number % 2 == 1 or reply.text.rstrip().endswith("[DONE]"))
                if whole:
                    self.answered.append(reply.headers["x-tandem-trace-id"])
                elif reply.status_code == 429:
                    self.refused += 1


def test_fifty_kills_lose_nothing(tmp_path: Path) -> None:
    dice = random.Random(7)
    with platform(tmp_path, workers=2, mock=("--latency", "5", "--jitter", "10")) as house:
        key = house.key("load")
        house.api("PUT", "/budgets/key/load", json={"cap": CAP_USD, "window": "total"})
        time.sleep(0.3)
        with Load(house, key, callers=8) as load:
            for number in range(KILLS):
                before = len(load.answered)
                kind = "control" if number % 10 == 9 else "door"
                while len(load.answered) < before + dice.randrange(1, 30) or not house.pids(kind):
                    time.sleep(0.01)  # a random moment, but never a dead house
                os.kill(dice.choice(house.pids(kind)), signal.SIGKILL)
            time.sleep(1)
        house.wait()
        house.settle()
        answered = load.answered
        (budget,) = house.api("GET", "/budgets")
        report = house.api("POST", "/audit/verify")
        bill = httpx2.get(f"{house.mock_url}/bill?limit=1000000", headers=bearer("mk")).json()
        house.down()

    assert len(answered) > KILLS
    calls: dict[str, int] = {}
    costs = 0
    for trace, count in house.rows("traces", "SELECT trace, count(*) FROM calls GROUP BY trace"):
        calls[trace] = calls.get(trace, 0) + count
    for call, cost, reserved, source in house.rows("traces", "SELECT call, cost, reserved, source FROM attempts"):
        costs += cost or 0
        assert source == "provider" or cost <= reserved, call
    assert [trace for trace in answered if calls.get(trace) != 1] == []
    assert len(set(answered)) == len(answered)
    assert report["ok"], report
    assert budget["settled"] <= budget["cap"]
    assert budget["settled"] + budget["reserved"] <= budget["cap"]
    assert budget["settled"] == costs  # the ledger and the trace store tell the same sum
    assert budget["settled"] >= bill["totals"]["cost_nano"]  # what was left in flight is booked at its reservation
