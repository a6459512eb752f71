"""What is told of an alarm: the verdict with n, and every finding with effect, interval and n; no row, no content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tandem.core.approval import Request
from tandem.governance.authorise import ALL
from tandem.governance.repo import Entry
from tandem.monitoring.tell import teller
from tests.monitoring.house import House, person


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.serve()
    yield made
    made.close()


def newest(house: House, action: str) -> Entry:
    return next(entry for entry in house.audit.list(ALL, action=action))


def test_an_alarm_and_a_retraining_tell_what_was_found(house: House) -> None:
    house.monitor(on_alarm="retrain")
    house.data()
    house.clock.advance(1)
    house.predict(400, shift=2.0)
    assert house.watch.check("m").alarm
    tell = teller(house.monitors, house.requests)
    first, *findings = tell(newest(house, "monitor.alarm"))
    assert first.startswith("drifted: n 400, compared with dataset/rows@1, which model/credit@1 was trained on")
    (moved,) = findings
    assert moved.startswith("x (values): psi ")
    assert "], n 400 against 600; matters from 0.1" in moved
    assert tell(newest(house, "monitor.retrain"))[0] == first


def test_what_is_gone_is_not_told(house: House) -> None:
    house.monitor()
    house.clock.advance(1)
    house.predict(400, shift=2.0)
    house.watch.check("m")
    house.watch.remove("m", by=person())
    tell = teller(house.monitors, house.requests)
    assert tell(newest(house, "monitor.alarm")) == ()
    assert tell(newest(house, "monitor.add")) == ()


def test_a_request_tells_why(house: House) -> None:
    house.requests.open(
        Request(
            id="req_1", team="risk", subject="model/credit@2", alias="production", reason="It moved.", monitor="m", report=None,
            run="run_1", passed=True,
        )
    )  # fmt: skip
    assert teller(house.monitors, house.requests)(newest(house, "request.open")) == ("It moved.",)
