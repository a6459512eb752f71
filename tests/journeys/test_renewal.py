"""SIGHUP: new processes take over, and no caller notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import httpx2
import pytest

from tests.journeys.conftest import ADMIN, bearer, platform

pytestmark = [pytest.mark.journey, pytest.mark.slow]


def test_a_renewal_drops_no_call(tmp_path: Path) -> None:
    with platform(tmp_path) as house:
        before = house.pids("door") + house.pids("control")
        stop, outcomes = threading.Event(), []

        def call() -> None:
            while not stop.is_set():
                outcomes.append(house.chat(ADMIN).status_code)  # a fresh connection each time

        caller = threading.Thread(target=call)
        caller.start()
        assert house.process is not None
        house.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 30
        while set(before) & set(house.pids("door") + house.pids("control")) and time.monotonic() < deadline:
            time.sleep(0.05)
        house.wait()
        stop.set()
        caller.join()
        assert not set(before) & set(house.pids("door") + house.pids("control"))
        assert set(outcomes) == {200}
        assert len(outcomes) > 10


def test_callers_wait_for_a_worker_that_was_killed(tmp_path: Path) -> None:
    with platform(tmp_path) as house:
        (pid,) = house.pids("door")
        os.kill(pid, signal.SIGKILL)
        reply = httpx2.get(f"{house.url}/v1/models", headers=bearer(ADMIN), timeout=20)
        assert reply.status_code == 200
