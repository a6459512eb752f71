"""Work that is done again and again beside everything else. It knows what fails and says so; what the work is, it does not."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable

from tandem.core.errors import TandemError

FAILS = (TandemError, OSError, sqlite3.Error)
"""What another round may find mended; anything else is a bug, and ends the rounds."""


def always() -> bool:
    """Of a platform on one machine."""
    return True


class Rounds:
    """One piece of work, every so many seconds until `stop`."""

    def __init__(
        self, work: Callable[[], object], seconds: float, *, mine: Callable[[], bool] = always, at_once: bool = False
    ) -> None:
        """
        Args:
            work: one round of it; one that returns True has more to do, and is begun again without a pause.
            mine: whether this process is the one to do it now; looked at before each round.
            at_once: whether the first round comes before the first pause.
        """
        self._work, self._seconds, self._mine, self._at_once = work, seconds, mine, at_once
        self._stop = threading.Event()

    def run(self, fault: Callable[[BaseException], None]) -> None:
        """Goes round until `stop`; what fails is told once, and tried again."""
        told, pause = "", 0.0 if self._at_once else self._seconds
        while not self._stop.wait(pause):
            pause = self._seconds
            try:
                if self._mine() and self._work() is True:
                    pause = 0.0
                told = ""
            except FAILS as error:
                if str(error) != told:
                    told = str(error)
                    fault(error)

    def stop(self) -> None:
        """The round under way is the last."""
        self._stop.set()
