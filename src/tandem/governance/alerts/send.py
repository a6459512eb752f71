"""The courier: carries rows of the audit to the alerts that ask for them, each at least once and in order.

A dead destination holds up its own rows and nobody else's: every alert is carried to in a thread of its own. How far
it got is kept with the alert after each delivery, so a killed process sends at most one message a second time, under
the same id. It knows no channel.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import TandemError, Unavailable
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.repo import Entry, KeptAlert, Standing

FIRST_SECONDS = 2.0
"""After the first failure; twice that after the next, and so on, up to …"""
LONGEST_SECONDS = 900.0
PATIENCE_SECONDS = 86_400.0
"""After this long, what was to be told is given up."""
ERROR_LIMIT = 300
LEAVE_SECONDS = 2.0
"""How long a stop waits for all that is under way; what is not done by then is sent again after the next start."""


@dataclass(slots=True)
class Track:
    """Where the delivery to one alert is, in this process. It runs ahead of what is kept while the disk is full."""

    etag: int
    standing: Standing
    looked: int
    """The last row of the audit that was looked at, wanted or not."""
    due: float = 0.0
    """Monotonic seconds before which it is not tried again."""
    unsaved: bool = False


def in_thread(work: Callable[[], None]) -> threading.Thread:
    """Starts the work beside; it does not keep the process from ending."""
    thread = threading.Thread(target=work, name="alert", daemon=True)
    thread.start()
    return thread


class Courier:
    """One per control process: `step` starts what is due."""

    def __init__(
        self,
        alerts: Alerts,
        clock: Clock,
        *,
        fault: Callable[[BaseException], None] = lambda error: None,
        draw: Callable[[], float] = random.random,
        start: Callable[[Callable[[], None]], threading.Thread | None] = in_thread,
    ) -> None:
        """
        Args:
            fault: is told once of what fails here.
            draw: gives numbers between 0 and 1, for the jitter.
            start: runs the delivery to one alert; by default in a thread of its own.
        """
        self._alerts, self._clock, self._draw, self._start = alerts, clock, draw, start
        self._tracks: dict[str, Track] = {}
        self._busy: set[str] = set()
        self._threads: dict[str, threading.Thread] = {}
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._fault = fault
        self._told = ""

    def step(self) -> int:
        """Begins to deliver to every alert that has something due; returns to how many.

        Raises:
            Unavailable: the database does not answer.
        """
        found, head = self._alerts.every()
        with self._guard:
            busy = set(self._busy)
        for name in self._tracks.keys() - {kept.alert.name for kept in found} - busy:
            del self._tracks[name]
        begun = 0
        for kept in found:
            name = kept.alert.name
            if name in busy:
                continue
            track = self._tracks.get(name)
            if track is None or track.etag != kept.etag or track.standing.cursor < kept.standing.cursor:
                track = self._tracks[name] = Track(kept.etag, kept.standing, kept.standing.cursor)
            if (track.looked >= head and not track.unsaved) or self._clock.monotonic() < track.due:
                continue
            with self._guard:
                self._busy.add(name)
            thread = self._start(lambda name=name, track=track, head=head: self._carry(name, track, head))  # type: ignore[misc]
            if thread is not None:
                self._threads[name] = thread
            begun += 1
        return begun

    def stop(self) -> None:
        """Begins nothing more, and gives what is under way a moment."""
        self._stop.set()
        until = time.monotonic() + LEAVE_SECONDS
        for thread in list(self._threads.values()):
            thread.join(max(0.0, until - time.monotonic()))

    def _carry(self, name: str, track: Track, head: int) -> None:
        """Delivers to one alert what waits for it, until nothing does or one try fails."""
        try:
            track.due = self._clock.monotonic() + FIRST_SECONDS  # should anything unforeseen end this
            while not self._stop.is_set():
                if track.unsaved:
                    self._alerts.keep(name, track.etag, track.standing)
                    track.unsaved = False
                found = self._alerts.next(name, track.etag, max(track.looked, track.standing.cursor))
                if found is None or found[1] is None:
                    track.looked, track.due = max(track.looked, head), 0.0
                    return
                if not self._deliver(found[0], found[1], track):
                    return
        except TandemError as error:
            self._tell(error)
        finally:
            with self._guard:
                self._busy.discard(name)

    def _deliver(self, kept: KeptAlert, entry: Entry, track: Track) -> bool:
        now = self._clock.now()
        try:
            note = self._alerts.send(kept.alert, entry)
        except TandemError as error:
            self._failed(kept, entry, track, error)
            return False
        track.looked = entry.seq
        track.standing = replace(
            track.standing,
            cursor=entry.seq,
            failures=0,
            failing_since=None,
            tried_at=now,
            delivered_at=self._clock.now(),
            error=note[:ERROR_LIMIT],
        )
        self._save(kept.alert.name, track)
        return True

    def _failed(self, kept: KeptAlert, entry: Entry, track: Track, error: TandemError) -> None:
        now = self._clock.now()
        before = track.standing
        track.standing = replace(
            before,
            failures=before.failures + 1,
            failing_since=now if before.failing_since is None else before.failing_since,
            tried_at=now,
            error=str(error)[:ERROR_LIMIT],
        )
        track.due = self._clock.monotonic() + self._pause(track.standing.failures, error.retry_after)
        limit = now - round(PATIENCE_SECONDS * MICROS)
        if entry.at <= limit:
            track.standing = self._alerts.give_up(kept, track.standing, limit)
            track.looked = max(track.looked, track.standing.cursor)
        self._save(kept.alert.name, track)

    def _pause(self, failures: int, asked: float | None) -> float:
        """Seconds until the next try: exponential, of which the upper half is left to chance."""
        longest = min(FIRST_SECONDS * 2.0 ** min(failures - 1, 30), LONGEST_SECONDS)
        return max(longest * (0.5 + self._draw() / 2), min(asked or 0.0, LONGEST_SECONDS))

    def _save(self, name: str, track: Track) -> None:
        """Keeps where it is. While the disk is full that is known here alone, so that nothing is sent again and again."""
        try:
            self._alerts.keep(name, track.etag, track.standing)
            self._told = ""
        except Unavailable as error:
            track.unsaved = True
            self._tell(error)

    def _tell(self, error: TandemError) -> None:
        if str(error) != self._told:
            self._told = str(error)
            self._fault(error)
