"""The work of Runs on the books: each piece once, under whoever asked, and none while a cap is full."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.training.place import EDITOR, Place, open_place

from tandem.core.policy import Budget
from tandem.core.run import Run
from tandem.governance import metering
from tandem.governance.authorise import ALL
from tandem.governance.metering import Bill, Meter
from tandem.jobs.job import Halted, Job, Why

HOUR = 3_600_000_000_000
"""Nano-dollars: a dollar a millisecond would be too much; this is a dollar a second."""
SCOPES = ["org", "team/risk", "key/risk-editor", "run/risk/zone"]


@dataclass
class Steps:
    """Checkpoints of a job that takes none; it can be told to halt."""

    why: Why | None = None

    def step(self, name: str, work: object) -> str:
        raise AssertionError(f"{name} is no step of this job")

    def halted(self) -> Why | None:
        return self.why


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = open_place(tmp_path)
    yield made
    made.sql.close()


def bill(place: Place, meter: Meter, steps: Steps | None = None) -> Bill:
    run = place.runs.start(place.runs.create("predict", "zone", inputs={}, by=EDITOR).id)
    return meter.bill(Job(run, {}, place.runs, place.clock, steps or Steps()), EDITOR, "model/zone@1")  # type: ignore[arg-type]  # takes no steps


def spend(meter: Meter, scope: str) -> tuple[int, int, int]:
    now = meter.clock.now()
    return meter.ledger.spend(scope, since=now, until=now)


def test_each_piece_is_booked_once_under_all_who_pay(place: Place) -> None:
    meter = place.meter(HOUR)
    asked = bill(place, meter)
    for piece, seconds in ((1, 0.5), (2, 1.5), (1, 0.5), (2, 99.0)):
        asked.book(piece, seconds)
    for scope in SCOPES:
        assert spend(meter, scope) == (2_000_000_000, 2, 0)
    assert spend(meter, "team/other") == (0, 0, 0)
    assert asked.close() == asked.close() == {"cost": 2_000_000_000}
    (row,) = place.audit.list(ALL, action="run.cost")
    assert (row.actor, row.team, row.subject) == ("risk-editor", "risk", f"run/{asked.job.run_id}")
    assert '"cost":2000000000' in row.detail


def test_two_runs_are_two_bills(place: Place) -> None:
    meter = place.meter(HOUR)
    for asked in (bill(place, meter), bill(place, meter)):
        asked.book(1, 1)
        assert asked.close() == {"cost": 1_000_000_000}
    assert spend(meter, "run/risk/zone") == (2_000_000_000, 2, 0)


def test_without_a_price_nothing_is_booked_and_no_cap_holds(place: Place) -> None:
    meter = place.meter()
    meter.ledger.set_budget(Budget(scope="team/risk", cap=0))
    asked = bill(place, meter)
    asked.wait()
    asked.book(1, 1)
    assert asked.close() == {}
    assert spend(meter, "org") == (0, 0, 0)
    assert place.audit.list(ALL, action="run.cost") == ()


@pytest.mark.parametrize("scope", SCOPES)
def test_a_full_cap_leaves_no_room_until_it_is_raised(place: Place, scope: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "POLL", 0.01)
    meter = place.meter(HOUR)
    meter.ledger.set_budget(Budget(scope=scope, cap=1_500_000_000))
    asked = bill(place, meter)
    asked.book(1, 1)
    assert asked.reached() is None
    asked.book(2, 1)
    assert asked.reached() == f"waiting: {scope} has used its cap of $1.5; raise it, or cancel the run"
    waiting = threading.Thread(target=asked.wait)
    waiting.start()

    def found() -> Run:
        return place.runs.find(asked.job.run_id, ALL)

    while "waiting" not in found().stage:
        waiting.join(0.01)
        assert waiting.is_alive()
    meter.ledger.set_budget(Budget(scope=scope, cap=3_000_000_000))
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_soft_cap_and_a_cap_of_calls_stop_nothing(place: Place) -> None:
    meter = place.meter(HOUR)
    meter.ledger.set_budget(Budget(scope="org", cap=1, mode="soft"))
    meter.ledger.set_budget(Budget(scope="team/risk", cap=1, unit="requests"))
    asked = bill(place, meter)
    asked.book(1, 1)
    assert asked.reached() is None
    assert {each.scope: each.settled for each in meter.ledger.accounts()} == {"org": 1_000_000_000, "team/risk": 0}


@pytest.mark.parametrize("why", ["cancelled", "stopping"])
def test_who_waits_is_cancelled_or_stopped(place: Place, why: Why) -> None:
    meter = replace(place.meter(HOUR))
    meter.ledger.set_budget(Budget(scope="org", cap=0))
    with pytest.raises(Halted) as halted:
        bill(place, meter, Steps(why)).wait()
    assert halted.value.why == why
