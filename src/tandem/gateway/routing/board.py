"""What workers tell of targets that rest, in a folder: one file per worker, and one that asks them all to forget.

Workers write when something changed, control reads when somebody looks. Files are replaced whole, so nobody reads half of
one; what a worker that is gone has left ends by its own times.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import msgspec

from tandem.core.errors import Unavailable
from tandem.gateway.routing.health import Health, Resting

ASKED = "forget.json"
MOST = 1024
"""Rests that a worker tells of."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker says."""

    worker: str
    at: int
    resting: list[Resting]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """That every worker forgets something."""

    number: int
    name: str | None = None
    """A target, a provider or a key; None: everything."""


_told = msgspec.json.Decoder(Told)
_wishes = msgspec.json.Decoder(list[Wish])
UNREADABLE = (OSError, msgspec.DecodeError, UnicodeDecodeError)


class Board:
    """One worker's side."""

    def __init__(self, folder: Path, worker: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, self._asked, self._worker = folder / f"worker-{worker}.json", folder / ASKED, worker
        self._written = -1
        self._stamp: int | None = None
        self._done = max((wish.number for wish in _read_wishes(self._asked)), default=0)

    def tend(self, health: Health, now: int) -> None:
        """Forgets what somebody asked to forget, and tells what has changed; microseconds where nothing has."""
        self._forget(health)
        if health.changes == self._written:
            return
        self._written = health.changes
        told = Told(worker=self._worker, at=now, resting=health.resting(now)[:MOST])
        with suppress(OSError):  # what is shown is late then; no call depends on it
            _replace(self._file, msgspec.json.encode(told))

    def _forget(self, health: Health) -> None:
        try:
            stamp = self._asked.stat().st_mtime_ns
        except OSError:
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp
        for wish in _read_wishes(self._asked):
            if wish.number > self._done:
                self._done = wish.number
                health.forget(wish.name)


def read(folder: Path, now: int) -> list[Told]:
    """What every worker tells, without what is over, by worker."""
    found: list[Told] = []
    for file in sorted(folder.glob("worker-*.json")):
        try:
            told = _told.decode(file.read_bytes())
        except UNREADABLE:
            continue
        found.append(msgspec.structs.replace(told, resting=[each for each in told.resting if each.until > now]))
    return found


def forget(folder: Path, name: str | None) -> None:
    """Asks every worker to forget a target, a provider or a key, or everything; they do within a moment.

    Raises:
        Unavailable: the wish cannot be written.
    """
    file = folder / ASKED
    wishes = _read_wishes(file)
    number = max((wish.number for wish in wishes), default=0) + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _replace(file, msgspec.json.encode([*wishes[-31:], Wish(number=number, name=name)]))
    except OSError as error:
        raise Unavailable(
            f"The wish cannot be written ({error.strerror}).", hint="Targets end their rest within a minute by themselves."
        ) from None


def _read_wishes(file: Path) -> list[Wish]:
    try:
        return _wishes.decode(file.read_bytes())
    except UNREADABLE:
        return []


def _replace(file: Path, data: bytes) -> None:
    beside = file.with_suffix(f".{os.getpid()}.tmp")
    beside.write_bytes(data)
    beside.replace(file)
