"""Pause: a store that did not answer is left alone for a moment, so that calls do not queue up behind its time-outs.

It knows no store.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tandem.core.clock import Clock
from tandem.core.errors import Unavailable

SECONDS = 1.0
"""The least time for which a store is not asked again, if nobody says otherwise."""
TIMES_AS_LONG = 3
"""A store that took long to fail is left alone for this many times as long: a thread waits a quarter of its time at most."""


@dataclass(slots=True)
class Pause:
    """Whether one store is asked just now. Safe for several threads."""

    clock: Clock
    least: float = SECONDS
    _until: float = 0.0
    _fault: Unavailable | None = None

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Surrounds a question; one that ends with `Unavailable` begins a pause.

        Raises:
            Unavailable: the store did not answer, just now or a moment ago.
        """
        began, fault = self.clock.monotonic(), self._fault
        if fault is not None and began < self._until:
            raise Unavailable(fault.message, hint=fault.hint, retry_after=fault.retry_after)
        try:
            yield
        except Unavailable as error:
            now = self.clock.monotonic()
            self._fault, self._until = error, now + max(self.least, (now - began) * TIMES_AS_LONG)
            raise
