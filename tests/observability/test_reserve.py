"""The reserve: on a disk that is full to the last byte, what was answered is written down, and nothing new begins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.disks import fill, kinds, mounted
from tests.observability.test_journal import Office, begun, closed, ended, no_room

from tandem.core.errors import Unavailable
from tandem.core.trace import Span
from tandem.gateway.door import CALLS_LIMIT
from tandem.observability.content import SegmentSeal
from tandem.observability.journal import DROPPED, Journal
from tandem.observability.record import Begun, Closed, Ended, Record, frame, frames
from tandem.observability.reserve import OWED_BYTES, RESERVE_BYTES, STEP_BYTES, Reserve, reserve_of, write_zeros

SIZE = 4 * STEP_BYTES


@dataclass
class Disk:
    folder: Path
    kept: bool
    """Whether it is full as a disk is; otherwise the process may write no byte, and the reserve helps nothing."""

    @contextmanager
    def full(self) -> Iterator[None]:
        if not self.kept:
            with no_room():
                yield
            return
        fill(self.folder)
        try:
            yield
        finally:
            (self.folder / "ballast").unlink()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "disk" in metafunc.fixturenames:
        metafunc.parametrize("disk", kinds(), indirect=True)


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param == "limited":
        yield Disk(tmp_path, False)
        return
    folder = tmp_path / "disk"
    folder.mkdir()
    with mounted(folder, "32m"):
        yield Disk(folder, True)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def taken(file: Path) -> int:
    return file.stat().st_blocks * 512


def free(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


def records(folder: Path) -> list[Record]:
    files = sorted(folder.glob("*.jnl"))
    return [record for file in files for record, _ in frames(file.read_bytes())]


def large(record: Begun) -> Closed:
    """As much as a call with several stages and a failed attempt before the last says of itself."""
    trace = closed(record).trace
    words = {"code": "upstream_unreachable", "message": "m" * 100, "hint": "h" * 60, "field": None}
    stages = [Span(name="chat some-model-of-a-provider", start=1, end=2, attributes={"gen_ai.model": "m" * 30}) for _ in range(3)]
    attempts = [ended(record).attempt] * 2
    return Closed(replace(trace, spans=stages, attempts=attempts, attributes={"error": words, "snapshot": 12}), b"")


def test_a_reserve_takes_its_room_gives_it_in_steps_and_takes_it_again(tmp_path: Path) -> None:
    file = tmp_path / "x.reserve"
    reserve = Reserve(file, SIZE)
    assert taken(file) >= SIZE == reserve.left
    assert reserve.fault is None
    assert reserve.give(100)
    assert taken(file) <= reserve.left == SIZE - STEP_BYTES
    assert reserve.fault == "No space left on device"
    assert reserve.give(2 * STEP_BYTES)
    assert reserve.left == 0  # what is asked for, and a block that others may be quicker to take
    assert not reserve.give(1)
    reserve.fill()
    assert taken(file) >= SIZE == reserve.left
    assert reserve.fault is None
    reserve.drop()
    assert list(tmp_path.iterdir()) == []


def test_zeros_take_room_as_well(tmp_path: Path) -> None:
    file = tmp_path / "zeros"
    opened = os.open(file, os.O_CREAT | os.O_RDWR)
    write_zeros(opened, 0, SIZE + 1)
    os.close(opened)
    assert taken(file) > SIZE
    assert file.read_bytes() == bytes(SIZE + 1)


def test_the_reserve_holds_the_end_of_every_call_that_may_run() -> None:
    record = begun()
    assert len(frame(ended(record)) + frame(large(record))) <= OWED_BYTES
    assert CALLS_LIMIT * OWED_BYTES <= RESERVE_BYTES


def test_no_call_begins_before_the_reserve_is_whole(office: Office) -> None:
    with no_room(SIZE - 1):
        journal = Journal(office.folder, reserve_bytes=SIZE)
        assert journal.fault is not None
        with pytest.raises(Unavailable, match="journal cannot be written"):
            journal.begin(begun())
        assert journal.flush()  # nothing waits
        with pytest.raises(Unavailable):
            journal.begin(begun())
    assert journal.flush()
    assert journal.fault is None
    journal.begin(begun())
    assert len(records(office.folder)) == 1
    journal.close()


def test_a_disk_with_less_room_than_the_reserve_is_left_alone(disk: Disk) -> None:
    room = free(disk.folder)
    reserve = Reserve(disk.folder / "x.reserve", room + 2**30)
    assert reserve.fault == "No space left on device"
    assert reserve.left == taken(disk.folder / "x.reserve") == 0
    reserve.drop()


def test_the_mover_takes_no_reserve_for_a_segment_and_removes_that_of_a_dead_worker(office: Office) -> None:
    journal = Journal(office.folder)
    file = reserve_of(office.folder, journal.boot)
    record = begun()
    journal.begin(record)
    journal.write(ended(record), closed(record))
    assert office.mover.step() == 3
    assert taken(file) >= RESERVE_BYTES
    journal.close()
    assert not file.exists()
    file.write_bytes(bytes(100))  # as if it had been killed
    office.ledger.forget(journal.segment)  # and its records were still to be moved
    with no_room(), pytest.raises(Unavailable):
        office.mover.step()
    assert not file.exists()  # first of all: it may be the only room there is
    office.mover.step()
    assert list(office.folder.iterdir()) == []


def test_what_ends_on_a_full_disk_is_written_and_what_is_refused_takes_nothing_of_the_reserve(disk: Disk) -> None:
    office = Office(disk.folder)
    journal = Journal(office.folder)
    file = reserve_of(office.folder, journal.boot)
    running = [begun() for _ in range(3)]
    for record in running:
        journal.begin(record)
    with disk.full():
        for _ in range(1000):  # what has room in a page goes on for a while
            try:
                journal.begin(begun())
            except Unavailable:
                break
        for _ in range(200):
            journal.write(closed(begun()))  # refused ones
        assert file.stat().st_size == RESERVE_BYTES
        for record in running:
            journal.write(ended(record), closed(record))
        written = {record.trace.call for record in records(office.folder) if isinstance(record, Closed)}
        assert written >= {record.call for record in running} if disk.kept else not written
        assert file.stat().st_size == RESERVE_BYTES - (STEP_BYTES if disk.kept else 0)
        assert journal.fault is not None
        assert not journal.flush()
        with pytest.raises(Unavailable):
            journal.begin(begun())
    assert journal.flush()
    assert journal.fault is None
    assert taken(file) >= RESERVE_BYTES
    journal.begin(begun())
    closings = [record.trace.call for record in records(office.folder) if isinstance(record, Closed)]
    assert len(closings) == len(set(closings)) == 203
    assert journal.close() == 0
    office.mover.step()
    assert [call.outcome for call in office.traces.find(running[0].trace, team="t").calls] == ["ok"]


def test_content_gives_way_to_the_ends_of_other_calls(disk: Disk) -> None:
    office = Office(disk.folder)
    journal = Journal(office.folder, reserve_bytes=SIZE)
    seal = SegmentSeal(office.vault, journal.segment).seal(bytes(STEP_BYTES // 2))
    running = [begun() for _ in range(SIZE // OWED_BYTES)]
    for record in running:
        journal.begin(record)
    with disk.full():
        for record in running:
            journal.write(ended(record), closed(record, seal, subject="ann"))
        assert journal.flush() == disk.kept
    assert journal.flush()
    written = {record.trace.call: record for record in records(office.folder) if isinstance(record, Closed)}
    whole = [number for number, record in enumerate(running) if written[record.call].content == seal]
    if disk.kept:
        bare = written[running[0].call]
        assert bare.content == b""
        assert bare.trace.attributes == {"a": 1, "note": DROPPED}
        assert len(running) / 4 < whole[0]  # when there were fewer left to spare room for
        assert written[running[whole[0]].call].trace.attributes == {"a": 1}
    else:  # it waited in memory
        assert len(whole) == len(running)
    assert len(written) == len(running)
    journal.close()


def test_an_orderly_end_writes_what_was_refused_into_what_the_reserve_leaves(disk: Disk) -> None:
    office = Office(disk.folder)
    journal = Journal(office.folder)
    first = begun()
    journal.begin(first)
    with disk.full():
        journal.write(ended(first), closed(first))
        for _ in range(100):
            journal.write(closed(begun()))
        assert (journal.close() == 0) == disk.kept
    assert len(records(office.folder)) == (103 if disk.kept else 1)


CHILD = """
import os, resource, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.disks import fill
from tests.observability.test_journal import Journal, begun, closed, ended
from tandem.core.errors import Unavailable
from tandem.observability.content import SegmentSeal
from tandem.store.vault import Vault
folder = Path({folder!r})
journal = Journal(folder / "journal")
running = [begun() for _ in range({calls})]
for record in running:
    journal.begin(record)
if {kept}:
    fill(folder)
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
for record in running:
    journal.write(ended(record), closed(record, SegmentSeal(Vault(bytes(32)), journal.segment).seal(bytes(20_000))))
try:
    journal.begin(begun())
except Unavailable:
    os.kill(os.getpid(), 9)
"""


def test_as_many_calls_as_may_run_are_on_a_full_disk_when_their_worker_is_killed(disk: Disk) -> None:
    office = Office(disk.folder)
    root = str(Path(__file__).parents[2])
    code = CHILD.format(root=root, folder=str(disk.folder), calls=CALLS_LIMIT, kept=disk.kept)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr
    if disk.kept:
        (disk.folder / "ballast").unlink()
    found = records(office.folder)
    ends = {record.attempt.call for record in found if isinstance(record, Ended)}
    closes = {record.trace.call for record in found if isinstance(record, Closed)}
    assert len(ends) == len(closes) == (CALLS_LIMIT if disk.kept else 0)
    office.mover.step()
    assert office.traces.counts() == {"calls": CALLS_LIMIT, "attempts": CALLS_LIMIT}
    assert office.ledger.spend("org", since=0, until=2**60)[0] == CALLS_LIMIT * (100 if disk.kept else 500)
    assert list(office.folder.iterdir()) == []
