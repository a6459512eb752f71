"""The journal of one door worker: append-only segments that survive `kill -9`.

A record is one `write` to the page cache (about a microsecond), so it outlives the process; a thread
syncs the file to disk every 50 ms, so a power loss takes at most that interval. The worker holds a
lock on its boot file for as long as it lives: whoever can take that lock knows that it is dead.
Where the disk is full, the ends of calls that run are written out of a reserve, and no call begins before
that is whole again. It knows nothing of where records go afterwards.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from tandem.core.errors import Unavailable
from tandem.core.ids import new_id
from tandem.observability.record import Begun, Closed, Ended, Record, frame
from tandem.observability.reserve import FULL, OWED_BYTES, RESERVE_BYTES, STEP_BYTES, Reserve, reserve_of

SEGMENT_BYTES = 8 * 1024 * 1024
SYNC_SECONDS = 0.05
BACKLOG_BYTES = 64 * 1024 * 1024
"""What may wait in memory while the disk takes nothing at all; beyond it calls that end stay open on the books."""
REFUSED_BYTES = 8 * 1024 * 1024
"""The part of it that calls which were refused may take: what was begun must find room beside them."""
DROPPED = "The disk was full when this call ended: what was sent and answered is not kept."
GONE = "its file was removed"

to_disk: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
"""macOS has no fdatasync."""


class Journal:
    """The writer; one per door worker, used from its event loop only."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, reserve_bytes: int = RESERVE_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.boot = new_id("bot")
        self._segment_bytes = segment_bytes
        self._lock = os.open(folder / f"{self.boot}.lock", os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._sequence = 0
        self._segment = f"{self.boot}.{0:06d}"
        self._file = self._open()
        self._written = 0
        self._full: list[int] = []
        self._reserve = Reserve(reserve_of(folder, self.boot), reserve_bytes)
        self._running = 0
        self._owed: deque[bytes] = deque()
        self._refused: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._write_fault: str | None = None
        self._no_room = False
        self._sync_fault: str | None = None
        self._dirty = False
        self._stop = threading.Event()
        self._syncer = threading.Thread(target=self._sync, name="journal-sync", daemon=True)
        self._syncer.start()

    @property
    def segment(self) -> str:
        """Name of the segment being written; content is sealed under a key derived from it."""
        return self._segment

    @property
    def fault(self) -> str | None:
        """Why the journal takes nothing at the moment; None while it does."""
        return self._sync_fault or self._write_fault or self._reserve.fault

    def begin(self, record: Begun) -> None:
        """Writes that an attempt is about to start.

        Raises:
            Unavailable: the disk takes nothing; the attempt must not start.
        """
        waiting = (self._owed or self._refused) and not self._catch_up()
        if waiting or self._sync_fault or self._reserve.fault or not self._append(frame(record)):
            raise Unavailable(
                f"The journal cannot be written ({self.fault}), so no new call is taken.",
                hint="Put the home back from a backup and start again."
                if self._sync_fault == GONE
                else "Free space on the disk that holds the home directory; calls resume by themselves.",
                retry_after=1,
            )
        self._running += 1

    def write(self, *records: Record) -> None:
        """Writes records of calls that already run, in one piece.

        On a full disk, what is owed to a call that was begun goes out of the reserve; the rest waits in memory.
        """
        data = b""
        for record in records:
            data += frame(record)
            if isinstance(record, Ended):
                self._running -= 1
        clear = not (self._owed or self._refused) or self._catch_up()
        if clear and self._reserve.fault is None and self._append(data):
            return
        owed = any(_was_begun(record) for record in records)
        if owed and not self._owed and self._end(records, data):
            return
        if self._backlog_bytes + len(data) <= (BACKLOG_BYTES if owed else REFUSED_BYTES):
            (self._owed if owed else self._refused).append(data)
            self._backlog_bytes += len(data)

    def flush(self) -> bool:
        """Makes the reserve whole again and writes what waits, as far as there is room; True when nothing waits any more."""
        self._reserve.fill()
        return self._catch_up()

    def _catch_up(self) -> bool:
        while self._owed:
            if not self._draw(self._owed[0]):
                return False
            self._backlog_bytes -= len(self._owed.popleft())
        while self._refused:
            if self._reserve.fault is not None or not self._append(self._refused[0]):
                return False
            self._backlog_bytes -= len(self._refused.popleft())
        return True

    def _end(self, records: tuple[Record, ...], data: bytes) -> bool:
        """Writes the end of a call out of the reserve; its content only as far as every other call's end has room beside it."""
        short = self._reserve.fault is not None or self._no_room
        spare = self._reserve.left - self._running * OWED_BYTES - STEP_BYTES  # of the last step, others may have taken some
        if short and len(data) > spare:
            data = b"".join([frame(_without_content(record)) for record in records])
        return self._draw(data)

    def _draw(self, data: bytes) -> bool:
        while not self._append(data):
            if not (self._no_room and self._reserve.give(len(data))):
                return False
        return True

    def _append(self, data: bytes) -> bool:
        done = 0
        try:
            done = os.write(self._file, data)
            while done < len(data):  # a disk that filled up in the middle: the next write says why
                done += os.write(self._file, data[done:])
        except OSError as error:
            self._write_fault = error.strerror or str(error)
            self._no_room = error.errno in FULL
            if done:  # take the torn piece back
                with suppress(OSError):
                    os.ftruncate(self._file, self._written)
            return False
        self._write_fault = None
        self._no_room = False
        self._written += done
        self._dirty = True
        if self._written >= self._segment_bytes and not (self._owed or self._refused):
            self._rotate()  # not before: what waits is sealed under this segment's key
        return True

    def _open(self) -> int:
        return os.open(self.folder / f"{self.segment}.jnl", os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)

    def _rotate(self) -> None:
        before = self._segment
        self._sequence += 1
        self._segment = f"{self.boot}.{self._sequence:06d}"
        try:
            fresh = self._open()
        except OSError as error:  # go on in the old segment; the next write tries again
            self._sequence -= 1
            self._segment = before
            self._write_fault = error.strerror or str(error)
            return
        self._full.append(self._file)  # the thread syncs and closes it: the loop does not wait for the disk
        self._file, self._written = fresh, 0

    def _sync(self) -> None:
        while not self._stop.wait(SYNC_SECONDS):
            self._finish()
            if os.fstat(self._file).st_nlink == 0:  # what is written goes nowhere, and no write would say so
                self._sync_fault = GONE
                continue
            if not self._dirty:
                continue
            self._dirty = False
            try:
                copy = os.dup(self._file)
            except OSError:
                continue
            try:
                to_disk(copy)
                self._sync_fault = None
            except OSError as error:
                self._dirty = True
                self._sync_fault = error.strerror or str(error)
            finally:
                os.close(copy)

    def _finish(self) -> None:
        """Syncs and closes the segments that are full."""
        while self._full:
            old = self._full[0]
            try:
                to_disk(old)
            except OSError as error:
                self._dirty = True
                self._sync_fault = error.strerror or str(error)
                return
            os.close(self._full.pop(0))

    def close(self) -> int:
        """Syncs and lets go of the boot lock; the mover then empties what is left.

        Returns:
            Bytes about calls that were begun which the disk did not take and which are gone.
        """
        self._catch_up()
        self._reserve.drop()
        self._catch_up()  # what was refused finds room in what the reserve had left
        self._stop.set()
        self._syncer.join(timeout=2)
        self._finish()
        with suppress(OSError):  # what is written outlives the process all the same
            to_disk(self._file)
        os.close(self._file)
        os.close(self._lock)
        return sum(len(data) for data in self._owed)


def _was_begun(record: Record) -> bool:
    """Whether a record is of a call that something was begun for, so that money or an answer hangs on it."""
    return not isinstance(record, Closed) or bool(record.trace.attempts)


def _without_content(record: Record) -> Record:
    if not isinstance(record, Closed) or not record.content:
        return record
    return Closed(replace(record.trace, attributes={**record.trace.attributes, "note": DROPPED}), b"")
