"""The door's side of decisions: a few worker processes per decision, each with a deadline.

A worker that passes its deadline, or whose caller is gone, is killed; the next call gets a fresh one.
It knows nothing of what a decision does.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from tandem.core.errors import Broken, TandemError, TimedOut, Unavailable
from tandem.decisions.frames import (
    LENGTH,
    LIMIT,
    TOGETHER,
    AllTold,
    Ask,
    Decide,
    Done,
    Fault,
    Message,
    Prompt,
    Together,
    Told,
    decode,
    encode,
)
from tandem.gateway.target import Answer, Question
from tandem.jobs.apart import bare_environment

WAITING_LIMIT = 256
"""Calls that may wait for a worker, per decision."""


class _Meta(msgspec.Struct):
    entry: str


@dataclass(slots=True)
class Worker:
    """One process and the socket to it."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def kill(self) -> None:
        self.writer.close()
        self.process.kill()
        self.process.wait()

    async def send(self, message: Message) -> None:
        self.writer.write(encode(message))
        await self.writer.drain()

    async def receive(self) -> Message:
        (length,) = LENGTH.unpack(await self.reader.readexactly(LENGTH.size))
        if length > LIMIT:
            raise Broken(f"A decision's answer of {length} bytes is more than {LIMIT}.")
        return decode(await self.reader.readexactly(length))


@dataclass(slots=True)
class Crew:
    """The workers of one decision."""

    slots: asyncio.Semaphore
    idle: list[Worker] = field(default_factory=list)
    waiting: int = 0


class Decisions:
    """Answers decide calls; a `gateway.target.Target`."""

    def __init__(self, *, workers: int, seconds: float) -> None:
        self._seconds = seconds
        self._crews: dict[str, Crew] = defaultdict(lambda: Crew(asyncio.Semaphore(workers)))

    async def answer(self, question: Question) -> Answer:
        """Runs the decision.

        Raises:
            TimedOut: it passed its deadline; its worker was killed.
            Unavailable: too many calls wait.
            TandemError: what the decision itself raised.
        """
        if question.verb != "decide":
            return Answer(body=question.served.meta)
        crew = self._crews[question.served.ref]
        if crew.waiting >= WAITING_LIMIT:
            raise Unavailable(f"{WAITING_LIMIT} calls wait for {question.served.ref} already.", retry_after=1)
        seconds = min(self._seconds, question.seconds)
        crew.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                await crew.slots.acquire()
        except TimeoutError:
            raise Unavailable(f"No worker for {question.served.ref} was free within {seconds:g} s.", retry_after=1) from None
        finally:
            crew.waiting -= 1
        try:
            return await self._run(crew, question, seconds)
        finally:
            crew.slots.release()

    async def _run(self, crew: Crew, question: Question, seconds: float) -> Answer:
        worker = crew.idle.pop() if crew.idle else await _spawn()
        try:
            async with asyncio.timeout(seconds):
                done = await self._converse(worker, question)
        except TimeoutError:
            worker.kill()
            raise TimedOut(
                f"{question.served.ref} did not decide within its deadline of {seconds:g} s; its worker was stopped.",
                hint="Look at the trace's slowest span, or raise decisions.deadline_seconds.",
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            worker.kill()
            raise Broken(
                f"The worker of {question.served.ref} ended with {worker.process.returncode} in the middle of a decision."
            ) from None
        except BaseException:
            worker.kill()
            raise
        crew.idle.append(worker)
        if done.fault is not None:
            raise _error(done.fault)
        if not done.review:
            return Answer(body=done.body)
        return Answer(body=done.body, attributes={"review": len(done.review)}, notes={"review": done.review})

    async def _converse(self, worker: Worker, question: Question) -> Done:
        meta = msgspec.json.decode(question.served.meta, type=_Meta)
        await worker.send(Decide(question.served.members, meta.entry, question.body))
        while True:
            message = await worker.receive()
            if isinstance(message, Done):
                return message
            if isinstance(message, Together):
                told = await asyncio.gather(*(_tell(question, each) for each in message.asks[:TOGETHER]))
                await worker.send(AllTold(told=told))
            else:
                await worker.send(await _tell(question, message))

    async def close(self) -> None:
        for crew in self._crews.values():
            for worker in crew.idle:
                worker.kill()


async def _tell(question: Question, message: Message) -> Told:
    try:
        if isinstance(message, Prompt):
            served = question.prompt(message.ref)
            return Told(body=served.meta, ref=served.ref)
        assert isinstance(message, Ask)
        answer = await question.nested(message.kind, message.address, message.body, message.attributes)
    except TandemError as error:
        return Told(fault=Fault(error.code, error.message, error.hint, error.field, error.status, error.words))
    if answer.status >= 400:
        return Told(fault=_fault(answer))
    return Told(body=answer.body)


def _fault(answer: Answer) -> Fault:
    """What a nested call's refusal says, in whichever shape its wire writes errors."""
    try:
        error = msgspec.json.decode(answer.body)["error"]
        code = str(error.get("code") or "refused")
        return Fault(code, f"The call was refused ({code}).", status=answer.status, words=str(error.get("message")))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError, AttributeError):
        words = answer.body[:500].decode(errors="replace")
        return Fault("refused", f"The call was refused ({answer.status}).", status=answer.status, words=words)


def _error(fault: Fault) -> TandemError:
    return TandemError(fault.message, words=fault.words, hint=fault.hint, field=fault.field, status=fault.status, code=fault.code)


async def _spawn() -> Worker:
    ours, process = _fork()
    reader, writer = await asyncio.open_connection(sock=ours, limit=LIMIT)
    return Worker(process, reader, writer)


def _fork() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tandem.decisions.worker", "--fd", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=bare_environment(),
            start_new_session=True,
        )
    ours.setblocking(False)
    return ours, process
