"""Time as the product knows it: UTC microseconds since 1970 for facts, monotonic seconds for waits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

MICROS = 1_000_000
"""Microseconds in a second."""


class Clock(Protocol):
    """Where every package gets the time from, so that a test can own it."""

    def now(self) -> int:
        """UTC microseconds since 1970-01-01."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class FixedClock:
    """A clock that moves only when told; shipped for tests."""

    micros: int = 1_750_000_000 * MICROS
    seconds: float = 1000.0

    def now(self) -> int:
        return self.micros

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        """Moves both times forward by `seconds`."""
        self.micros += round(seconds * MICROS)
        self.seconds += seconds


def iso(micros: int) -> str:
    """RFC 3339 text of a UTC time in microseconds.

    >>> iso(0)
    '1970-01-01T00:00:00.000000Z'
    """
    moment = datetime.fromtimestamp(micros // MICROS, UTC).replace(microsecond=micros % MICROS)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def micros(text: str) -> int:
    """UTC microseconds of an RFC 3339 text; a text without zone is read as UTC.

    >>> micros("1970-01-01T00:00:01Z")
    1000000
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * MICROS + delta.microseconds
