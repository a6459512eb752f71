"""The journal survives what a process does not: torn frames, full disks, a SIGKILL in the middle."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.observability.conftest import Place

from tandem.core.clock import FixedClock, micros
from tandem.core.errors import Unavailable
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.policy import Budget
from tandem.core.trace import Attempt, Span, Trace
from tandem.governance.ledger import Ledger
from tandem.observability.content import SegmentSeal, Subjects
from tandem.observability.journal import REFUSED_BYTES, Journal
from tandem.observability.move import Mover, Rule
from tandem.observability.record import Begun, Closed, Ended, Hold, frame, frames
from tandem.observability.traces import Entry, Traces, day_of
from tandem.store.vault import Vault

SCOPES = ("org", "team/t", "key/demo")


def begun(call: str | None = None, trace: str | None = None, holds: tuple[Hold, ...] = (), reserved: int | None = 500) -> Begun:
    return Begun(
        call or new_call(), 0, trace or new_trace(), None, 1, "mock/m", "e", "chat", "t", "demo", SCOPES, reserved, holds
    )


def ended(record: Begun, cost: int = 100) -> Ended:
    attempt = Attempt(
        call=record.call,
        attempt=0,
        target="mock/m",
        usage=Usage(input=3, source="provider"),
        cost=cost,
        reserved=500,
        outcome="ok",
        start=1,
        end=2,
    )
    return Ended(record.trace, attempt, record.holds, SCOPES)


def closed(record: Begun, content: bytes = b"", subject: str | None = None) -> Closed:
    trace = Trace(
        id=record.trace,
        call=record.call,
        parent=None,
        endpoint="e",
        kind="chat",
        team="t",
        principal="demo",
        start=1,
        end=2,
        outcome="ok",
        status=200,
        cost=100,
        spans=[Span(name="admit", start=1, end=2)],
        attempts=[],
        attributes={"a": 1},
        subject=subject,
    )
    return Closed(trace, content)


class Office:
    """A mover with everything it fills."""

    def __init__(self, home: Path, place: Place | None = None) -> None:
        place = place or Place(traces=home / "traces", subjects=home / "subjects.db")
        self.clock, self.vault = FixedClock(), Vault(bytes(32))
        self.folder = home / "journal"
        self.ledger = Ledger(home / "ledger.db", self.clock)
        self.traces = Traces(place.traces)
        self.subjects = Subjects(place.subjects, self.vault)
        self.mover = self.new_mover()

    def new_mover(self) -> Mover:
        return Mover(
            self.folder, traces=self.traces, subjects=self.subjects, books=self.ledger, vault=self.vault, clock=self.clock
        )


@pytest.fixture
def office(tmp_path: Path, place: Place) -> Iterator[Office]:
    made = Office(tmp_path, place)
    yield made
    made.traces.close()
    made.subjects.close()


@given(st.lists(st.sampled_from("bec"), max_size=6), st.integers(0, 400))
def test_any_cut_of_the_file_yields_whole_records_only(kinds: list[str], cut: int) -> None:
    records = [{"b": begun(), "e": ended(begun()), "c": closed(begun(), b"x")}[kind] for kind in kinds]
    data = b"".join(frame(record) for record in records)
    kept = data[: max(0, len(data) - cut)]
    read = [record for record, _ in frames(kept)]
    assert read == records[: len(read)]
    assert len(read) == len(records) or cut > 0


def test_a_damaged_frame_ends_the_reading(office: Office) -> None:
    data = bytearray(frame(begun()) + frame(begun()))
    data[len(data) // 2 + 12] ^= 1
    assert len(list(frames(bytes(data)))) == 1


def test_records_reach_the_store_and_the_books_once(office: Office) -> None:
    journal = Journal(office.folder)
    record = begun()
    journal.begin(record)
    seal = SegmentSeal(office.vault, journal.segment).seal(b"hello")
    journal.write(ended(record), closed(record, seal, subject="ann"))
    assert office.mover.step() == 3
    assert office.new_mover().step() == 0  # a fresh mover knows how far the last one was
    (call,) = office.traces.find(record.trace, team="t").calls
    assert call.attributes == {"a": 1}
    assert office.subjects.open(*(office.traces.sealed(record.call, record.trace) or ("", b""))) == b"hello"
    assert office.ledger.spend("key/demo", since=0, until=2**60) == (100, 1, 0)
    journal.close()


def test_a_batch_that_is_moved_twice_counts_once(office: Office) -> None:
    journal = Journal(office.folder)
    record = begun()
    journal.begin(record)
    journal.write(ended(record), closed(record))
    segment = f"{journal.segment}"
    office.mover.step()
    office.ledger.forget(segment)  # as if the books' transaction had been lost after the traces were written
    office.mover.step()
    assert office.traces.counts() == {"calls": 1, "attempts": 1}
    assert office.ledger.spend("org", since=0, until=2**60) == (100, 1, 0)
    journal.close()


def test_segments_are_rotated_and_removed_when_read(office: Office) -> None:
    journal = Journal(office.folder, segment_bytes=2000)
    for _ in range(30):
        record = begun()
        journal.begin(record)
        journal.write(ended(record), closed(record))
    assert len(list(office.folder.glob("*.jnl"))) > 3
    office.mover.step()
    assert len(list(office.folder.glob("*.jnl"))) == 1
    assert office.traces.counts()["calls"] == 30
    journal.close()
    office.mover.step()
    assert list(office.folder.iterdir()) == []


CHILD = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.observability.test_journal import Journal, begun, ended, closed, Hold
journal = Journal(Path({folder!r}))
lease = {lease!r}
done = begun(holds=(Hold(lease, "key/demo", "day", 500),))
journal.begin(done)
journal.write(ended(done), closed(done))
left = begun(holds=(Hold(lease, "key/demo", "day", 500),))
journal.begin(left)
os.write(journal._file, b"\\x50\\x00\\x00\\x00torn")
print(journal.boot, done.call, left.call, left.trace, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_worker_is_buried_with_its_books_straight(office: Office) -> None:
    from tandem.governance.ledger import Want

    office.ledger.set_budget(Budget(scope="key/demo", cap=5000))
    given = office.ledger.lease("later", [Want(scope="key/demo", meter="day", need=2000, like=2000)])
    assert isinstance(given, list)
    root = str(Path(__file__).parents[2])
    code = CHILD.format(root=root, folder=str(office.folder), lease=given[0].lease)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    boot, _, left_call, left_trace = child.stdout.split()
    office.ledger._rows.run("UPDATE leases SET boot = ?", (boot,))
    office.mover.step()
    (account,) = office.ledger.accounts()
    assert (account.settled, account.reserved) == (600, 0)  # 100 as told, 500 as reserved
    assert office.traces.counts()["calls"] == 2
    (crashed,) = office.traces.find(left_trace, team="t").calls
    assert (crashed.call, crashed.outcome, crashed.cost) == (left_call, "crashed", 500)
    assert list(office.folder.iterdir()) == []
    assert office.mover.step() == 0


@contextmanager
def no_room(size: int = 0) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: what a full disk is to whoever writes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_refuses_new_calls_and_keeps_started_ones(office: Office) -> None:
    journal = Journal(office.folder)
    first = begun()
    journal.begin(first)
    size = os.fstat(journal._file).st_size
    with no_room(size + 10):
        with pytest.raises(Unavailable, match="journal cannot be written"):
            journal.begin(begun())
        journal.write(ended(first), closed(first))  # waits in memory
        assert journal.fault is not None
    assert journal.flush()
    assert journal.fault is None
    journal.begin(begun())
    office.mover.step()
    assert [call.outcome for call in office.traces.find(first.trace, team="t").calls] == ["ok"]
    journal.close()


def test_what_waited_for_room_is_readable_though_its_segment_was_full(office: Office) -> None:
    journal = Journal(office.folder, segment_bytes=1000)
    first = journal.segment
    seal = SegmentSeal(office.vault, first)
    waiting = [begun() for _ in range(5)]
    for record in waiting[:2]:
        journal.begin(record)
    with no_room():
        for record in waiting:
            journal.write(ended(record), closed(record, seal.seal(record.call.encode()), subject="ann"))
    assert journal.flush()
    journal.begin(begun())
    assert journal.segment != first
    office.mover.step()
    for record in waiting:
        sealed = office.traces.sealed(record.call, record.trace)
        assert sealed is not None
        assert office.subjects.open(*sealed) == record.call.encode()
    assert journal.close() == 0


def test_refused_calls_leave_room_in_memory_for_those_that_were_begun(office: Office) -> None:
    journal = Journal(office.folder)
    first, seal = begun(), SegmentSeal(office.vault, journal.segment)
    journal.begin(first)
    with no_room():
        for size in (2**20, 2**16, 2**12, 0):  # to the brim
            for _ in range(20):
                journal.write(closed(begun(), seal.seal(bytes(size))))
        journal.write(ended(first), closed(first))
    assert journal.flush()
    office.mover.step()
    assert office.traces.counts()["calls"] < 80
    assert REFUSED_BYTES < next(office.folder.glob("*.jnl")).stat().st_size < REFUSED_BYTES + 2**12
    assert [call.outcome for call in office.traces.find(first.trace, team="t").calls] == ["ok"]
    journal.close()


def test_what_a_journal_cannot_write_when_it_closes_is_told_and_booked_at_its_reservation(office: Office) -> None:
    journal = Journal(office.folder)
    first = begun(reserved=500)
    journal.begin(first)
    with no_room():
        journal.write(ended(first), closed(first))
        assert journal.close() > 0
    office.mover.step()
    (crashed,) = office.traces.find(first.trace, team="t").calls
    assert (crashed.outcome, crashed.cost) == ("crashed", 500)


def test_a_mover_without_room_says_so_and_moves_everything_once_later(office: Office) -> None:
    office.ledger.set_budget(Budget(scope="key/demo", cap=1000))
    journal = Journal(office.folder)
    first = begun()
    journal.begin(first)
    journal.write(ended(first), closed(first))
    with no_room():
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"cannot be written: the disk takes no more"):
                office.mover.step()
    assert office.mover.step() == 3
    assert office.mover.step() == 0
    assert office.traces.counts() == {"calls": 1, "attempts": 1}
    assert office.ledger.spend("key/demo", since=0, until=2**62) == (100, 1, 0)
    journal.close()


def test_a_mover_that_runs_outlives_a_full_disk(office: Office) -> None:
    journal = Journal(office.folder)
    first = begun()
    journal.begin(first)
    journal.write(ended(first), closed(first))
    told: list[BaseException] = []
    heard = threading.Event()

    def fault(error: BaseException) -> None:
        told.append(error)
        heard.set()

    mover = threading.Thread(target=office.mover.run, args=(fault,))
    with no_room():
        mover.start()
        assert heard.wait(10)
    deadline = time.monotonic() + 10
    while office.traces.counts()["calls"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    office.mover.stop()
    mover.join()
    assert {type(error) for error in told} == {Unavailable}
    journal.close()


def test_no_team_sees_anothers_trace(office: Office) -> None:
    from tandem.core.errors import NotFound

    journal = Journal(office.folder)
    record = begun()
    journal.begin(record)
    journal.write(ended(record), closed(record))
    office.mover.step()
    with pytest.raises(NotFound):
        office.traces.find(record.trace, team="other")
    assert office.traces.list(team="other") == []
    assert [row.trace for row in office.traces.list(team="t")] == [record.trace]
    journal.close()


def test_old_days_leave_with_everything_about_them(office: Office) -> None:
    journal = Journal(office.folder)
    record = begun()
    journal.begin(record)
    journal.write(ended(record), closed(record))
    office.mover.step()
    day = day_of(record.trace)
    assert office.traces.days() == [day]
    office.clock.micros = micros(f"{day}T00:00:00Z")
    assert office.mover.keep(1) == []
    office.clock.advance(40 * 86_400)
    assert office.mover.keep(30) == [day]
    assert office.traces.days() == []
    assert office.ledger._rows.all("SELECT * FROM booked") == []
    assert office.ledger.spend("org", since=0, until=2**60) == (100, 1, 0)  # the sums stay
    journal.close()


def test_a_rule_keeps_calls_of_a_kind_or_team_for_fewer_days(office: Office) -> None:
    now = office.clock.micros = time.time_ns() // 1000 + 20 * 86_400 * 1_000_000  # ids bear the day they are made on

    def made(kind: str, team: str, days: int) -> Closed:
        record = closed(begun())
        return Closed(replace(record.trace, kind=kind, team=team, end=now - days * 86_400 * 1_000_000), b"")

    kept = [made("chat", "blue", 6), made("chat", "red", 2), made("predict", "red", 8)]
    gone = [made("chat", "red", 6), made("predict", "blue", 11)]
    office.traces.store([Entry(trace=record.trace, subject="sub_x", sealed=b"x") for record in (*kept, *gone)], [])
    mover = Mover(
        office.folder,
        traces=office.traces,
        subjects=office.subjects,
        books=office.ledger,
        vault=office.vault,
        clock=office.clock,
        rules=[Rule(kind="chat", team="red", days=5), Rule(days=10)],
    )
    assert mover.keep(36_500) == []
    assert {row.call for row in office.traces.list(team=None)} == {record.trace.call for record in kept}
    assert all(office.traces.sealed(record.trace.call, record.trace.id) is None for record in gone)
    assert all(office.traces.sealed(record.trace.call, record.trace.id) is not None for record in kept)
