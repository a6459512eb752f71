"""Calls of one model that arrive while a prediction is under way are joined into the next one. Knows no model and no host.

Where nothing is under way, a call is asked at once and alone: there is no window in which to wait for others. So a door with
little to do is not slower, and one with much to do predicts many rows for the price of one round trip.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tandem.core.errors import TandemError, TimedOut, Unavailable

Row = TypeVar("Row")
Said = TypeVar("Said")

ROWS = 256
"""Rows of calls that are joined; a call of more rows is asked alone."""
WAITING = 1024
"""Calls of one model that may wait for the prediction under way."""


@dataclass(slots=True, eq=False)
class _Call(Generic[Row, Said]):
    """One caller who waits."""

    rows: Sequence[Row]
    until: float
    said: asyncio.Future[Sequence[Said]] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    left: bool = False


class Joined(Generic[Row, Said]):
    """The calls of one model."""

    def __init__(self, predict: Callable[[list[Row], float], Awaitable[Sequence[Said]]], *, at_once: int = 1) -> None:
        """
        Args:
            predict: rows and a deadline (loop time) in, one answer per row out, in their order.
            at_once: predictions that may be under way together.
        """
        self._predict, self._at_once = predict, at_once
        self._running = 0
        self._waiting: deque[_Call[Row, Said]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def idle(self) -> bool:
        return not self._running and not self._waiting

    async def ask(self, rows: list[Row], until: float) -> Sequence[Said]:
        """The answers to these rows, by the deadline (loop time).

        Raises:
            TimedOut: the deadline passed, whatever becomes of those it was joined with.
            Unavailable: too many wait.
            TandemError: as `predict`, about these rows alone.
        """
        if self._running < self._at_once:
            self._running += 1
            try:
                return await self._predict(rows, until)
            finally:
                self._ended()
        if len(self._waiting) >= WAITING:
            raise Unavailable(f"{WAITING} calls already wait for this model.", hint="Try again.", retry_after=1.0)
        call = _Call[Row, Said](rows, until)
        self._waiting.append(call)
        try:
            async with asyncio.timeout_at(until):
                return await call.said
        except TimeoutError:
            raise TimedOut("The model did not answer in time.", hint="Allow more time, or send fewer rows.") from None
        finally:
            call.left = True

    def _ended(self) -> None:
        """A prediction is over: those who wait are next."""
        self._running -= 1
        while self._running < self._at_once and (calls := self._next()):
            self._running += 1
            task = asyncio.get_running_loop().create_task(self._together(calls))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> list[_Call[Row, Said]]:
        """The calls of the next prediction, in the order of their arrival."""
        calls: list[_Call[Row, Said]] = []
        rows = 0
        while self._waiting:
            call = self._waiting[0]
            if calls and rows + len(call.rows) > ROWS and not call.left:
                break
            self._waiting.popleft()
            if not call.left:
                calls.append(call)
                rows += len(call.rows)
        return calls

    async def _together(self, calls: list[_Call[Row, Said]]) -> None:
        try:
            try:
                said = await self._predict([row for call in calls for row in call.rows], max(call.until for call in calls))
            except TimedOut as error:
                _fail(calls, error)
            except TandemError as error:
                if len(calls) == 1:
                    _fail(calls, error)
                else:
                    await self._apart(calls)
            else:
                _share(calls, said)
        finally:
            _fail(calls, Unavailable("The prediction was given up.", hint="Try again."))
            self._ended()

    async def _apart(self, calls: list[_Call[Row, Said]]) -> None:
        """Each for itself, so that only those fail whose rows make it fail."""
        for call in calls:
            if call.left:
                continue
            try:
                _share([call], await self._predict(list(call.rows), call.until))
            except TandemError as error:
                _fail([call], error)


def _share(calls: Sequence[_Call[Row, Said]], said: Sequence[Said]) -> None:
    at = 0
    for call in calls:
        if not call.said.done():
            call.said.set_result(said[at : at + len(call.rows)])
        at += len(call.rows)


def _fail(calls: Sequence[_Call[Row, Said]], error: TandemError) -> None:
    """Tells those who have heard nothing yet."""
    for call in calls:
        if not call.said.done():
            call.said.set_exception(error)
            call.said.exception()  # looked at, for whoever has left will not
