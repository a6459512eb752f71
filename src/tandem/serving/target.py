"""Models as the door asks them: ONNX here where that is fast, anything else by a model host, always by a deadline."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from tandem.core.errors import Broken, Invalid, NotFound, TandemError, TimedOut, Unavailable
from tandem.serving.base import Card
from tandem.serving.client import HostClient
from tandem.serving.frames import Answer
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    from tandem.serving.indoor import Session

T = TypeVar("T")

INLINE = 0.0002
"""Seconds of prediction that may run on the event loop itself; longer ones go to a thread."""
ROWS = 10_000
"""Rows in one call."""
QUEUE = 64
"""Calls that may wait for a host."""
KEPT = 32
"""ONNX models held in the door."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a host that ended is started again; doubles while none answers."""
_KINDS: dict[str, type[TandemError]] = {kind.code: kind for kind in (Invalid, NotFound, Broken)}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A model version where the door can serve it."""

    ref: str
    """`model/tumor@1`."""
    members: str
    """The directory that holds its members; immutable, so that it may be cached by name."""
    signature: Signature
    threshold: float
    """At or above it the positive class is answered."""
    classes: tuple[str, str]
    """Negative, positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer per row."""

    probabilities: list[float]
    """Of the positive class."""
    labels: list[str | int]
    contributions: list[list[float]] | None = None
    """What each column added to the log-odds; only when asked for."""
    base: list[float] | None = None
    """Where the log-odds start; with the contributions they sum to the log-odds of the probability."""


class Models:
    """Serves any number of models to one event loop."""

    def __init__(self, *, python: str = sys.executable) -> None:
        self._python = python
        self._sessions: OrderedDict[str, asyncio.Task[Session | None]] = OrderedDict()
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tandem-onnx")
        self._host: HostClient | None = None
        self._starting: asyncio.Task[HostClient] | None = None
        self._failures = 0
        self._closed = False

    async def predict(self, model: ServedModel, rows: list[list[float]], *, explain: bool, deadline: float) -> Prediction:
        """Predicts rows of numbers in the order of the signature's fields (NaN = missing).

        Args:
            model: What to ask.
            rows: At least one, at most 10,000.
            explain: Whether contributions are wanted; they always come from a host.
            deadline: Seconds from now that the call may take.

        Raises:
            Invalid: a row that the signature refuses, or too many.
            TimedOut: the deadline passed; a host that was at work on the call is killed.
            Unavailable: the host ended twice under this call, or too many wait for it.
            Broken: the model's files are not what they should be.
        """
        if not 0 < len(rows) <= ROWS:
            raise Invalid(f"The call has {len(rows)} rows; 1 to {ROWS:,} are answered.", field="rows", hint="Split the batch.")
        model.signature.check_values(rows)
        self._refuse_when_closed()
        until = asyncio.get_running_loop().time() + deadline
        session = None if explain else await _by(until, self._session(model), model)
        if session is not None:
            chances = await self._indoor(session, rows, until, model)
            return Prediction(probabilities=chances, labels=_labels(model, chances))
        answer = await self._ask(model, rows, explain, until)
        return Prediction(
            probabilities=answer.probabilities,
            labels=_labels(model, answer.probabilities),
            contributions=answer.contributions,
            base=answer.base,
        )

    @property
    def host_pid(self) -> int | None:
        """Of the host that runs now."""
        return self._host.pid if self._host is not None and self._host.alive else None

    async def close(self) -> None:
        """Ends the host and the threads; calls still open get Unavailable."""
        self._closed = True
        if self._starting is not None:
            await asyncio.gather(self._starting, return_exceptions=True)
        if self._host is not None:
            await self._host.close()
        await asyncio.gather(*self._sessions.values(), return_exceptions=True)
        self._threads.shutdown()

    def _session(self, model: ServedModel) -> asyncio.Task[Session | None]:
        """The ONNX session of a model, loaded once; None for a model that ONNX does not serve."""
        task = self._sessions.get(model.members)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = asyncio.create_task(self._load(model))
            self._sessions[model.members] = task
            if len(self._sessions) > KEPT:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(model.members)
        return task

    async def _load(self, model: ServedModel) -> Session | None:
        return await asyncio.get_running_loop().run_in_executor(self._threads, _open_session, model)

    async def _indoor(self, session: Session, rows: list[list[float]], until: float, model: ServedModel) -> list[float]:
        if session.seconds * len(rows) <= INLINE:
            return session.predict(rows)
        return await _by(until, asyncio.get_running_loop().run_in_executor(self._threads, session.predict, rows), model)

    async def _ask(self, model: ServedModel, rows: list[list[float]], explain: bool, until: float) -> Answer:
        """Asks a host; one that ends under the call is replaced once, because predictions change nothing."""
        for _ in range(2):
            host = await self._running(until, model)
            if host.waiting >= QUEUE:
                raise Unavailable(f"{QUEUE} calls already wait for the model host.", hint="Try again.", retry_after=1.0)
            try:
                loaded = await _by(until, host.load(model.ref, model.members), model)
                if loaded is None:
                    continue
                _raise(loaded)
                op: Literal["explain", "predict"] = "explain" if explain else "predict"
                answer = await _by(until, host.ask(op, model.ref, model.members, rows, until=until), model)
            except TimedOut:
                if host.overdue(asyncio.get_running_loop().time()):
                    host.kill()  # the calls that waited behind the one that hangs are asked again
                raise
            if answer is not None:
                self._failures = 0
                _raise(answer)
                return answer
        raise Unavailable(f"The model host ended twice while {model.ref} was asked.", hint="See its traceback in the door's log.")

    async def _running(self, until: float, model: ServedModel) -> HostClient:
        self._refuse_when_closed()
        if self._host is not None and self._host.alive:
            return self._host
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(self._start())
        return await _by(until, self._starting, model)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise Unavailable("The door is closing.", hint="Try again in a moment.")

    async def _start(self) -> HostClient:
        if self._failures:
            await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * math.pow(2, min(self._failures, 16) - 1)))
        self._refuse_when_closed()
        self._failures += 1  # until one of its answers says otherwise
        self._host = await HostClient.start(self._python)
        return self._host


async def _by(until: float, waited: asyncio.Future[T], model: ServedModel) -> T:
    """The result if it is there in time; what others wait for too is left running.

    Raises:
        TimedOut: it is not.
    """
    if not waited.done():
        left = until - asyncio.get_running_loop().time()
        await asyncio.wait({waited}, timeout=max(0.0, left))
        if not waited.done():
            raise TimedOut(f"{model.ref} did not answer in time.", hint="Allow more time, or send fewer rows.")
    return waited.result()


def _open_session(model: ServedModel) -> Session | None:
    """In a thread: the first import of numpy and onnxruntime takes long."""
    members = Path(model.members)
    if Card.read(members).runtime != "onnx":
        return None
    session: Session = import_module("tandem.serving.indoor").Session.load(members, len(model.signature.fields))
    return session


def _raise(answer: Answer) -> None:
    if answer.fault is not None:
        raise _KINDS.get(answer.fault.code, Broken)(answer.fault.message, hint=answer.fault.hint)


def _labels(model: ServedModel, chances: list[float]) -> list[str | int]:
    negative, positive = model.classes
    return [positive if chance >= model.threshold else negative for chance in chances]
