"""A door that stands still beyond the end of its leases: nobody waits for its money, and it spends none of it afterwards."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tandem.governance.ledger import LEASE_SECONDS
from tests.journeys.conftest import Platform, bearer, platform, until
from tests.journeys.test_kill import Load

pytestmark = [pytest.mark.journey, pytest.mark.slow]
CAP_NANO = 3_000_000


class Eye:
    """Looks into the ledger all the while, from outside."""

    def __init__(self, house: Platform) -> None:
        self.most, self.looks = 0, 0
        self._house, self._stop = house, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Eye:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            stands = "SELECT settled + leased FROM accounts WHERE scope = 'key/load' AND meter = 'total'"
            seen = self._house.rows("ledger", stands)
            self.most, self.looks = max([self.most, *[row[0] for row in seen]]), self.looks + 1


def leases_of(house: Platform) -> dict[str, int]:
    """What each worker holds, in nano-dollars."""
    query = "SELECT boot, CAST(sum(amount) AS INTEGER) FROM leases WHERE scope = 'key/load' AND state = 0 GROUP BY boot"
    return dict(house.rows("ledger", query))


def test_a_stopped_door_loses_its_leases_and_spends_nothing_from_them(tmp_path: Path) -> None:
    with platform(tmp_path, workers=2, mock=("--latency", "20", "--jitter", "20")) as house:
        key = house.key("load")
        house.api("PUT", "/budgets/key/load", json={"cap": "0.003", "window": "total"})
        time.sleep(0.3)
        with Eye(house) as eye:
            with Load(house, key, callers=6, kept=False) as load:
                until(lambda: len(load.answered) > 10 and len(leases_of(house)) == 2, "both doors hold money")
                stopped = house.pids("door")[0]
                os.kill(stopped, signal.SIGSTOP)
                before = leases_of(house)
                time.sleep(LEASE_SECONDS + 3)
                after = leases_of(house)
                answered = len(load.answered)
            os.kill(stopped, signal.SIGCONT)
            with Load(house, key, callers=6) as again:
                until(lambda: again.refused > 5, "the cap is reached")
            house.settle()
        bill = httpx2.get(f"{house.mock_url}/bill?limit=1000000", headers=bearer("mk")).json()
        (budget,) = house.api("GET", "/budgets")
        house.down()
    assert len(before) == 2
    assert len(after) <= 1, "the stopped door's lease was reaped"
    assert answered > 10
    assert eye.looks > 100
    assert 0 < eye.most <= CAP_NANO
    assert budget["settled"] + budget["reserved"] <= CAP_NANO
    assert bill["totals"]["cost_nano"] <= budget["settled"]
