"""The machine's clock is set, forward and back: leases go on, windows and dates follow it, and no work is lost or doubled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from bench.proof import ENOUGH, Step, prove
from sqlalchemy import create_engine

from tandem.core.clock import MICROS, FixedClock
from tandem.core.errors import Unauthenticated
from tandem.core.policy import Budget
from tandem.core.principal import LOCAL
from tandem.gateway.publish import Publisher
from tandem.gateway.snapshot import Replica, Snapshot
from tandem.governance.authorise import ALL
from tandem.governance.digest import digest
from tandem.governance.ledger import LEASE_SECONDS, Ledger
from tandem.governance.people.lasting import IDLE_SECONDS
from tandem.jobs.heartbeat import Heartbeat
from tests.gateway.test_snapshot import ANN, PEPPER
from tests.governance.people.place import GOOD, people
from tests.governance.test_admit import Office as Purses
from tests.governance.test_admit import take
from tests.governance.test_ledger import begun, ended, hold, standing

HOUR = 3600 * MICROS
DAY = 24 * HOUR


# --- the door


def test_the_books_balance_over_jumps_in_both_directions(tmp_path: Path) -> None:
    def calls(worker: int) -> list[Step]:
        return [("whole", worker, "ok", 5, 0), ("stream", worker, "ok", 40, 0), ("whole", worker, "untold", 12, 0)]

    caps = [Budget(scope="org", cap=ENOUGH, window="day"), Budget(scope="key/demo", cap=ENOUGH, unit="tokens", window="hour")]
    steps = [step for hours in (25, -1, -48, 24) for step in (*calls(0), ("jump", 0, "", hours, 0), *calls(1))]
    verdict = asyncio.run(prove(tmp_path, caps, steps))
    assert verdict.wrong == ()
    assert (verdict.error, verdict.attempts) == (0, 24)


async def test_a_door_spends_a_lease_by_the_clock_that_cannot_be_set(tmp_path: Path) -> None:
    office = Purses(tmp_path)
    purse = office.purse()
    held = await take(purse, 10)
    for jump in (HOUR, -2 * HOUR):
        office.clock.micros += jump
        assert purse.fresh(held)
        (hold,) = [hold for hold in (await take(purse, 10)).holds if hold.scope == "key/demo"]
        assert hold.lease in {old.lease for old in held.holds}
    for jump in (DAY, -DAY):
        office.clock.micros += jump
        (hold,) = [hold for hold in (await take(purse, 10)).holds if hold.scope == "key/demo"]
        assert hold.lease not in {old.lease for old in held.holds}  # of the other window
        assert 0 < office.reserved() <= 10_000
    office.clock.advance(LEASE_SECONDS)
    assert not purse.fresh(held)


def test_an_expired_key_is_let_in_again_only_while_the_clock_is_back(tmp_path: Path) -> None:
    clock = FixedClock()
    publisher, replica = Publisher(tmp_path / "replica.db"), Replica(tmp_path / "replica.db", PEPPER, clock)
    ann = replace(ANN, expires_at=clock.now() + HOUR)
    publisher.write(Snapshot(version=1, compiled_at=clock.now()), 1, [(digest(PEPPER, "a"), ann)])
    replica.refresh()
    clock.micros += 2 * HOUR
    assert replica.age() == 7200  # until control, which is on the same clock, says that it is there
    with pytest.raises(Unauthenticated, match="expired"):
        replica.identify("a")
    publisher.beat(clock.now())
    replica.refresh()
    assert replica.age() == 0
    clock.micros -= 2 * HOUR
    assert replica.age() <= 0
    assert replica.identify("a").name == "ann"


# --- control


def test_the_audit_keeps_its_order_and_sessions_end_by_the_clock(tmp_path: Path) -> None:
    here = people(tmp_path)
    here.person("ada", red="editor")
    cookie = here.sessions.sign_in("ada", GOOD).cookie
    here.clock.micros -= DAY
    assert here.sessions.by_cookie(cookie) is not None
    here.keys.create("late", team="red", role="editor", by=LOCAL)
    here.clock.micros += DAY + 2 * IDLE_SECONDS * MICROS
    here.keys.create("later", team="red", role="editor", by=LOCAL)
    assert here.sessions.by_cookie(cookie) is None
    assert [entry.subject for entry in here.audit.list(ALL, limit=2)] == ["key/later", "key/late"]
    assert here.audit.verify().ok


# --- the ledger


def test_windows_follow_the_clock_and_what_was_used_in_each_stays(tmp_path: Path) -> None:
    clock = FixedClock()
    ledger = Ledger(tmp_path / "ledger.db", clock)
    ledger.set_budget(Budget(scope="key/demo", cap=100))
    today = clock.now()
    record, first = begun(hold(ledger, "key/demo", "day", 80), at=today)
    ledger.post(first)
    ledger.post(ended(record, 70))
    clock.micros -= DAY
    assert standing(ledger) == (0, 0)
    hold(ledger, "key/demo", "day", 30, "b")
    clock.micros += DAY
    assert standing(ledger) == (70, 10)
    ledger.close()


# --- jobs


@pytest.mark.parametrize("hours", [3, -3])
def test_nobody_is_taken_for_dead_because_the_clock_was_set_and_a_dead_one_is_found(tmp_path: Path, hours: int) -> None:
    engine, clock = create_engine(f"sqlite:///{tmp_path / 'jobs.db'}"), FixedClock()
    one, two, three = (Heartbeat(engine, name, clock, seconds=5) for name in ("one", "two", "three"))
    for each in (one, two, three):
        each.begin()
    clock.micros += hours * HOUR
    assert two.beat() is None  # nothing follows from rows that were written by another clock
    assert one.beat() is None
    clock.advance(5)
    assert two.beat() == one.beat() == frozenset({"one", "two"})
    engine.dispose()
