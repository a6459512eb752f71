"""Models as the door asks them: ONNX here where that is fast, anything else by a model host, always by a deadline."""

from __future__ import annotations

import asyncio
import math
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from tandem.core.errors import Broken, Forbidden, Invalid, NotFound, TandemError, TimedOut, Unavailable
from tandem.serving.base import Card
from tandem.serving.client import HostClient
from tandem.serving.frames import Answer
from tandem.serving.joined import Joined
from tandem.serving.memory import MIB
from tandem.serving.signature import Cell, Signature

if TYPE_CHECKING:
    from tandem.serving.indoor import Session

T = TypeVar("T")

INLINE = 0.0002
"""Seconds of prediction that may run on the event loop itself; longer ones go to a thread."""
ROWS = 10_000
"""Rows in one call."""
QUEUE = 64
"""Predictions that may wait for a host."""
THREADS = 2
"""That predict with ONNX what takes too long for the event loop."""
KEPT = 1_000
"""ONNX models held in the door at most, however small."""
MEMORY = 256
"""MiB that they may take, about; above it the ones unused longest make room."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds before a host that ended is started again; doubles while none answers."""
_KINDS: dict[str, type[TandemError]] = {
    "untrusted": Forbidden, **{kind.code: kind for kind in (Invalid, NotFound, Broken, Unavailable)}
}  # fmt: skip


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
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two; or none where the answer is a number."""
    card: str = ""
    """`sha256:…` of its card, of a model that was imported; see `frames.Ask`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One answer per row."""

    outputs: list[list[float]]
    """Per row the probability of the positive class; of more classes, that of each; else the numbers."""
    labels: list[str]
    """The class answered per row; empty where the answer is a number."""
    contributions: list[list[float]] | None = None
    """What each column added, as `Runtime.explain` says; only when asked for."""
    base: list[float] | None = None
    """Where that starts."""
    texts: list[list[str]] | None = None
    """As of `frames.Answer`."""
    looks: Mapping[str, Sequence[Cell | None]] | None = None
    """As of `frames.Answer`."""

    @property
    def probabilities(self) -> list[float]:
        """Of the positive class, or of the class answered; else the number."""
        return [max(row) if self.labels else row[0] for row in self.outputs]


class Models:
    """Serves any number of models to one event loop."""

    def __init__(
        self, *, python: str = sys.executable, trust: Sequence[str] = (), host_memory: int | None = None, memory: int = MEMORY
    ) -> None:
        """
        Args:
            trust: words of `base.TRUST`: what a host may execute of models' files.
            host_memory: MiB that a host holds before models leave it; None: as it comes.
            memory: MiB that ONNX models may take here.
        """
        self._python, self._trust, self._host_memory, self._bound = python, trust, host_memory, memory * MIB
        self._sessions: OrderedDict[str, asyncio.Task[Session | None]] = OrderedDict()
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="tandem-onnx")
        self._joined: dict[str, Joined[list[Cell], list[float]]] = {}
        """Of models that are being asked, by their members' directory."""
        self._host: HostClient | None = None
        self._starting: asyncio.Task[HostClient] | None = None
        self._failures = 0
        self._closed = False

    async def predict(self, model: ServedModel, rows: list[list[Cell]], *, explain: bool, deadline: float) -> Prediction:
        """Predicts rows in the order of the signature's fields (NaN = missing).

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
        alone = explain or model.signature.alone
        session = None if alone else await _by(until, self._session(model), model)
        if not alone:
            if session is not None and session.takes(rows) <= INLINE:
                outputs = session.predict(rows)
            else:
                outputs = list(await self._jointly(model, session, rows, until))
            return Prediction(outputs=outputs, labels=_labels(model, outputs))
        answer = await self._ask(model, rows, explain, until)
        return Prediction(
            outputs=answer.outputs,
            labels=_labels(model, answer.outputs),
            contributions=answer.contributions,
            base=answer.base,
            texts=answer.texts,
            looks=answer.looks,
        )

    async def load(self, model: ServedModel, *, deadline: float) -> None:
        """Has a model in memory, so that its next call does not wait for its loading.

        Raises:
            TimedOut, Unavailable, Broken: as `predict`.
        """
        self._refuse_when_closed()
        until = asyncio.get_running_loop().time() + deadline
        if await _by(until, self._session(model), model) is None:
            host = await self._running(until, model)
            loaded = await _by(until, host.load(model.ref, model.members, model.card), model)
            if loaded is None:
                raise Unavailable(f"The model host ended while it loaded {model.ref}.", hint="Try again.")
            _raise(loaded)

    async def unload(self, model: ServedModel) -> None:
        """Has a model in memory no more, here and in the host; its next call loads it again."""
        self._sessions.pop(model.members, None)
        if self._host is not None and self._host.alive:
            await self._host.unload(model.ref, model.members)

    @property
    def held(self) -> int:
        """ONNX models in memory here."""
        return len(self._ready())

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
        loaded = await asyncio.get_running_loop().run_in_executor(self._threads, _open_session, model)
        if loaded is not None:
            self._make_room(loaded.size)
        return loaded

    def _make_room(self, coming: int) -> None:
        """Lets sessions go, the one unused longest first, until the one that comes fits too."""
        ready = self._ready()
        total = sum(session.size for session in ready.values()) + coming
        for members, session in ready.items():
            if total <= self._bound:
                return
            del self._sessions[members]
            total -= session.size

    def _ready(self) -> dict[str, Session]:
        """Sessions that are loaded, the one unused longest first."""
        return {
            members: session
            for members, task in self._sessions.items()
            if task.done() and not task.cancelled() and task.exception() is None and (session := task.result()) is not None
        }

    async def _jointly(
        self, model: ServedModel, session: Session | None, rows: list[list[Cell]], until: float
    ) -> Sequence[list[float]]:
        """By a thread or a host, together with others who ask the same model meanwhile."""
        joined = self._joined.get(model.members)
        if joined is None:
            joined = self._joined[model.members] = self._joining(model, session)
        try:
            return await joined.ask(rows, until)
        finally:
            if joined.idle:
                self._joined.pop(model.members, None)

    def _joining(self, model: ServedModel, session: Session | None) -> Joined[list[Cell], list[float]]:
        if session is None:

            async def by_host(rows: list[list[Cell]], until: float) -> Sequence[list[float]]:
                return (await self._ask(model, rows, False, until)).outputs

            return Joined(by_host)
        run = asyncio.get_running_loop().run_in_executor

        async def by_thread(rows: list[list[Cell]], until: float) -> Sequence[list[float]]:
            return await _by(until, run(self._threads, session.predict, rows), model)

        return Joined(by_thread, at_once=THREADS)

    async def _ask(self, model: ServedModel, rows: list[list[Cell]], explain: bool, until: float) -> Answer:
        """Asks a host; one that ends under the call is replaced once, because predictions change nothing."""
        for _ in range(2):
            host = await self._running(until, model)
            if host.waiting >= QUEUE:
                raise Unavailable(f"{QUEUE} calls already wait for the model host.", hint="Try again.", retry_after=1.0)
            try:
                loaded = await _by(until, host.load(model.ref, model.members, model.card), model)
                if loaded is None:
                    continue
                _raise(loaded)
                op: Literal["explain", "predict"] = "explain" if explain else "predict"
                answer = await _by(until, host.ask(op, model.ref, model.members, rows, until=until, card=model.card), model)
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
        self._host = await HostClient.start(self._python, self._trust, self._host_memory)
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
    if model.signature.pictured or model.signature.sampled or Card.read(members).runtime != "onnx":
        return None
    session: Session = import_module("tandem.serving.indoor").Session.load(members, model.signature)
    return session


def _raise(answer: Answer) -> None:
    if answer.fault is not None:
        raise _KINDS.get(answer.fault.code, Broken)(answer.fault.message, words=answer.fault.words, hint=answer.fault.hint)


def _labels(model: ServedModel, outputs: list[list[float]]) -> list[str]:
    match model.classes:
        case ():
            return []
        case (negative, positive):
            return [positive if row[0] >= model.threshold else negative for row in outputs]
        case classes:
            return [classes[row.index(max(row))] for row in outputs]
