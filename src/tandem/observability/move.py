"""The mover: carries journal records into the trace store and the books, each exactly once.

It tails the segments of living workers and empties those of dead ones. Traces are written first
(idempotent by call and attempt), then one transaction of the books stores money, open calls and the
new offsets together; a crash between the two repeats a batch without effect. A worker whose boot
lock can be taken is dead: what it had begun and not ended is booked at its reservation.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tandem.core.clock import MICROS, Clock, iso
from tandem.core.errors import Unavailable
from tandem.core.money import Usage
from tandem.core.trace import Attempt, Trace
from tandem.observability.content import Keeping, SegmentSeal, Subjects, Vault
from tandem.observability.counts import Cell, Counts
from tandem.observability.record import Begun, Closed, Ended, Hold, frames
from tandem.observability.reserve import reserve_of
from tandem.observability.traces import Entry, Traces

READ_BYTES = 4 * 1024 * 1024
IDLE_SECONDS = 0.1
UPKEEP_SECONDS = 3600.0
SEEN_SECONDS = 5.0
"""How often the others are told that a machine's workers live."""
DAY_MICROS = 86_400 * MICROS
LOCK = "move.lock"
"""Held for the length of a pass, so that a backup sees trace store and books at one moment between two passes."""


@contextmanager
def between_passes(folder: Path) -> Iterator[None]:
    """Waits until no mover of this journal is in the middle of a pass, and lets none begin one for the block."""
    lock = os.open(folder.with_name(LOCK), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A call that was answered without an attempt, and counts against limits of calls all the same."""

    call: str
    at: int
    """UTC microseconds when it ended."""
    holds: Sequence[Hold]
    scopes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one pass found, ready for one transaction of the books."""

    begun: Sequence[Begun]
    ended: Sequence[Ended]
    offsets: Mapping[str, int]
    """Segment → bytes that are done with."""
    boots: Mapping[str, str]
    """Call id → boot of the worker that runs it, for every record of `begun`."""
    counted: Sequence[Counted] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Calls that are kept for a shorter time than others."""

    days: int
    kind: str | None = None
    team: str | None = None


class Books(Protocol):
    """Where money, open calls and journal offsets are kept: `governance.ledger.Ledger`."""

    def offsets(self) -> dict[str, int]: ...
    def post(self, batch: Batch) -> None: ...
    def open_attempts(self, boot: str) -> list[Begun]: ...
    def bury(self, boot: str) -> None: ...
    def forget(self, segment: str) -> None: ...
    def prune(self, before: int) -> int: ...
    def tick(self) -> int: ...
    def expire(self, tick: int, boots: Sequence[str]) -> None: ...
    def seen(self, machine: str, boots: Sequence[str]) -> None: ...
    def workers(self, machine: str) -> list[str]: ...
    def to_disk(self) -> None: ...


def _counted(record: Closed) -> Counted:
    return Counted(call=record.trace.call, at=record.trace.end, holds=record.holds, scopes=record.scopes)


def _crashed(begun: Begun, now: int) -> Trace:
    """What is known of a call whose worker died: an attempt was begun, nobody got an answer."""
    return Trace(
        id=begun.trace,
        call=begun.call,
        parent=begun.parent,
        endpoint=begun.endpoint,
        kind=begun.kind,
        team=begun.team,
        principal=begun.principal,
        start=begun.at,
        end=now,
        outcome="crashed",
        status=0,
        cost=begun.reserved,
        spans=[],
        attempts=[],
        attributes={"note": "The worker died before it answered; the attempt is booked at its reservation."},
    )


class Mover:
    """Runs in the control process; `step` is one pass, `run` passes until stopped."""

    def __init__(
        self,
        folder: Path,
        *,
        traces: Traces,
        subjects: Subjects,
        books: Books,
        vault: Vault,
        clock: Clock,
        retention_days: int = 90,
        rules: Sequence[Rule] = (),
        machine: str = "",
        counting: Callable[[Trace, bytes], Sequence[tuple[Cell, Counts]]] = lambda trace, content: (),
        naming: Callable[[Trace, bytes], str] = lambda trace, content: "",
    ) -> None:
        """
        Args:
            counting: what a call adds to the counts of a watched endpoint: the call and its content, empty where none
                was recorded. It raises nothing.
            naming: the digest of the key that the caller gave a call, empty without one. It raises nothing.
            machine: its name among those that share the books; empty where it is the only one.
        """
        self._folder, self._retention_days, self._rules = folder, retention_days, rules
        self._traces, self._subjects, self._books, self._vault, self._clock = traces, subjects, books, vault, clock
        self._seals: dict[str, SegmentSeal] = {}
        self._machine, self._told, self._counting = machine, float("-inf"), counting
        self._naming = naming
        self._stop, self._turn = threading.Event(), threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def step(self) -> int:
        """One pass over all segments; returns the number of records moved."""
        with self._turn, between_passes(self._folder):
            return self._pass()

    def _pass(self) -> int:
        offsets = self._books.offsets()
        segments = sorted(self._folder.glob("*.jnl"))
        boots = {path.name.split(".")[0] for path in segments}
        dead = {boot for boot in boots if self._is_dead(boot)}
        for boot in dead:  # before anything is written: what it kept free may be the only room there is
            reserve_of(self._folder, boot).unlink(missing_ok=True)
        expiry = self._books.tick()  # before reading: what was begun under a lease that ends by now is in what we read
        self._live(boots - dead)
        moved = 0
        for path in segments:
            moved += self._segment(path, offsets.get(path.stem, 0))
        self._books.expire(expiry, sorted(boots))
        for boot in sorted(dead):
            self._bury(boot, [path for path in segments if path.name.startswith(boot + ".")])
        self._drop_finished(segments, dead)
        return moved

    def run(self, fault: Callable[[BaseException], None]) -> None:
        """Passes until `stop`; what fails is told once and tried again, for the journal keeps everything until it is moved."""
        told, due = "", 0.0
        while not self._stop.is_set():
            try:
                moved = self.step()
                told = ""
                if self._clock.monotonic() >= due:
                    due = self._clock.monotonic() + UPKEEP_SECONDS
                    self.keep(self._retention_days)
            except (Unavailable, OSError, sqlite3.Error) as error:
                moved = 0
                if str(error) != told:
                    told = str(error)
                    fault(error)
            if moved == 0:
                self._stop.wait(IDLE_SECONDS)

    def drain(self) -> None:
        """Passes until nothing is left to move.

        Raises:
            Unavailable: a store cannot be written; the journal keeps the rest.
        """
        while self.step():
            pass

    def scrub(self) -> int:
        """Moves what is there, then overwrites with zeros what was moved out of segments that are still in use.

        Returns:
            Bytes that were overwritten.

        Raises:
            Unavailable: a store cannot be written; nothing was overwritten then.
            OSError: the disk refused.
        """
        self.drain()
        overwritten = 0
        with self._turn, between_passes(self._folder):
            offsets = self._books.offsets()
            self._books.to_disk()  # an offset that power loss takes back would point into the zeros
            for path in sorted(self._folder.glob("*.jnl")):
                overwritten += _overwrite(path, offsets.get(path.stem, 0))
        return overwritten

    def keep(self, days: int) -> Sequence[str]:
        """Drops whole days of traces older than `days`, and calls that a rule keeps for fewer; returns the days that went."""
        now = self._clock.now()
        before = now - days * DAY_MICROS
        self._books.prune(before)
        self._subjects.refresh(now)
        with self._turn, between_passes(self._folder):
            for rule in self._rules:
                self._traces.thin(now - rule.days * DAY_MICROS, kind=rule.kind, team=rule.team)
            return self._traces.drop(iso(before)[:10])

    def stop(self) -> None:
        self._stop.set()

    def _segment(self, path: Path, offset: int) -> int:
        moved = 0
        while True:
            with path.open("rb") as file:
                file.seek(offset)
                data = file.read(READ_BYTES)
            records = list(frames(data))
            if not records and len(data) == READ_BYTES:  # one frame larger than a read
                data = path.read_bytes()[offset:]
                records = list(frames(data))
            if not records:
                return moved
            offset += records[-1][1]
            self._move(path.stem, [record for record, _ in records], offset)
            moved += len(records)

    def _move(self, segment: str, records: Sequence[Begun | Ended | Closed], offset: int) -> None:
        begun = [record for record in records if isinstance(record, Begun)]
        ended = [record for record in records if isinstance(record, Ended)]
        keeping = self._subjects.keeping()
        closed = [self._entry(segment, record, keeping) for record in records if isinstance(record, Closed)]
        self._traces.store(closed, [(record.trace, record.attempt, record.scopes) for record in ended])
        boot = segment.split(".")[0]
        self._books.post(
            Batch(
                begun=begun,
                ended=ended,
                offsets={segment: offset},
                boots={record.call: boot for record in begun},
                counted=[_counted(record) for record in records if isinstance(record, Closed) and record.scopes],
            )
        )

    def _entry(self, segment: str, record: Closed, keeping: Keeping) -> Entry:
        trace = record.trace
        if not record.content and trace.subject is None:
            return Entry(trace=trace, subject="", sealed=b"", counted=self._counting(trace, b""))
        name, content = trace.subject or f"principal:{trace.principal}", b""
        if record.content:
            seal = self._seals.get(segment)
            if seal is None:
                seal = self._seals[segment] = SegmentSeal(self._vault, segment)
            content = seal.open(record.content)
        identifier, sealed = keeping.keep(name, content, begun=trace.start, now=trace.end)
        named = trace if trace.subject is None else replace(trace, subject=identifier)
        return Entry(
            trace=named,
            subject=identifier,
            sealed=sealed,
            counted=self._counting(trace, content),
            key=self._naming(trace, content),
        )

    def _live(self, boots: set[str]) -> None:
        """Tells the others that these workers live, every few seconds."""
        now = self._clock.monotonic()
        if self._machine and boots and now - self._told >= SEEN_SECONDS:
            self._books.seen(self._machine, sorted(boots))
            self._told = now

    def let_go(self, machine: str) -> int:
        """Books what another machine has begun and never told the end of, at its reservations, and frees what it holds.

        Returns:
            How many attempts that were.

        Raises:
            Unavailable: a store cannot be written; what is left can be done again.
        """
        with self._turn, between_passes(self._folder):
            return sum([self._end(boot) for boot in self._books.workers(machine)])

    def _is_dead(self, boot: str) -> bool:
        try:
            lock = os.open(self._folder / f"{boot}.lock", os.O_RDWR)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True

    def _bury(self, boot: str, segments: Sequence[Path]) -> None:
        """Ends a dead worker and deletes its journal."""
        self._end(boot)
        for path in segments:
            path.unlink(missing_ok=True)
            self._books.forget(path.stem)
            self._seals.pop(path.stem, None)
        (self._folder / f"{boot}.lock").unlink(missing_ok=True)

    def _end(self, boot: str) -> int:
        """Books what a dead worker left open, at the reservation, and frees its leases; returns how many attempts that were."""
        now = self._clock.now()
        left = self._books.open_attempts(boot)
        ended = [
            Ended(
                trace=begun.trace,
                attempt=Attempt(
                    call=begun.call,
                    attempt=begun.attempt,
                    target=begun.target,
                    usage=replace(Usage(), source="estimated"),
                    cost=begun.reserved,
                    reserved=begun.reserved or 0,
                    outcome="crashed",
                    start=begun.at,
                    end=now,
                ),
                holds=begun.holds,
                scopes=begun.scopes,
            )
            for begun in left
        ]
        if ended:
            lost = [Entry(trace=_crashed(begun, now), subject="", sealed=b"") for begun in left]
            self._traces.store(lost, [(record.trace, record.attempt, record.scopes) for record in ended])
            self._books.post(Batch(begun=[], ended=ended, offsets={}, boots={}))
        self._books.bury(boot)
        return len(ended)

    def _drop_finished(self, segments: Sequence[Path], dead: set[str]) -> None:
        """Deletes segments of living workers that were rotated away and read to their end."""
        newest: dict[str, Path] = {}
        for path in segments:
            newest[path.name.split(".")[0]] = path
        offsets = self._books.offsets()
        for path in segments:
            boot = path.name.split(".")[0]
            if boot in dead or newest[boot] == path:
                continue
            if offsets.get(path.stem, 0) >= path.stat().st_size:
                path.unlink(missing_ok=True)
                self._books.forget(path.stem)
                self._seals.pop(path.stem, None)


def _overwrite(path: Path, size: int) -> int:
    """Overwrites the first `size` bytes with zeros, on the disk too; returns how many that were."""
    try:
        with path.open("rb+", buffering=0) as file:
            for start in range(0, size, READ_BYTES):
                os.pwrite(file.fileno(), bytes(min(READ_BYTES, size - start)), start)
            os.fsync(file.fileno())
    except FileNotFoundError:
        return 0
    return size
