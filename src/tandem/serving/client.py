"""The door's side of one model host: start it, ask it, notice its end. Knows no model and restarts nothing."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Sequence
from typing import Self

import msgspec

from tandem.core.errors import Unavailable
from tandem.jobs.apart import bare_environment
from tandem.serving.frames import HEAD, LARGEST, Answer, Ask, Op, frame
from tandem.serving.signature import Cell

LOADING = 120.0
"""Seconds that loading a model may take, whatever the deadline of the call that wanted it first."""
_decode = msgspec.msgpack.Decoder(Answer).decode


class HostClient:
    """One host process. When it ends, for whatever reason, every open question is answered with None."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process, self._writer = process, writer
        self._open: dict[int, tuple[asyncio.Future[Answer | None], float]] = {}
        self._ids = itertools.count(1)
        self.loads: dict[str, asyncio.Future[Answer | None]] = {}
        """Members directory → the answer to its loading, shared by all who wait for it."""
        self.alive = True
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def start(cls, python: str, trust: Sequence[str] = (), memory: int | None = None) -> Self:
        """Starts a host process, which sees no secret of ours; what may be executed in models' files, `trust` says.

        Args:
            memory: MiB that it holds before models leave it; None: as it comes.

        Raises:
            Unavailable: the process cannot be started.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    python,
                    "-m",
                    "tandem.serving.host",
                    "--fd",
                    str(theirs.fileno()),
                    *(("--trust", ",".join(trust)) if trust else ()),
                    *(("--memory", str(memory)) if memory is not None else ()),
                    env=bare_environment(),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
        except OSError as error:
            ours.close()
            raise Unavailable(
                f"A model host cannot be started: {error}.", hint="Check that the `ml` extra is installed."
            ) from None
        ours.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(process, reader, writer)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def waiting(self) -> int:
        """Questions not yet answered."""
        return len(self._open)

    def overdue(self, now: float) -> bool:
        """Whether the host is at work on a question that should have been answered by now (loop time).

        A question that only waited behind others does not count: a host under load is not a host that hangs.
        """
        first = next(iter(self._open.values()), None)
        return first is not None and first[1] <= now

    def ask(
        self,
        op: Op,
        ref: str,
        members: str,
        rows: list[list[Cell]],
        *,
        until: float,
        card: str = "",
    ) -> asyncio.Future[Answer | None]:
        """Sends a request that should be answered `until` then (loop time).

        The future becomes its answer, or None when the host ends first.
        """
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        if not self.alive:
            future.set_result(None)
            return future
        number = next(self._ids)
        self._open[number] = (future, until)
        self._writer.write(frame(Ask(number, op, ref, members, rows, card)))
        return future

    def load(self, ref: str, members: str, card: str = "") -> asyncio.Future[Answer | None]:
        """Has a model loaded once, however many wait for it; a failed loading is tried again by the next."""
        found = self.loads.get(members)
        if found is None or (found.done() and (answer := found.result()) is not None and answer.fault is not None):
            until = asyncio.get_running_loop().time() + LOADING
            found = self.loads[members] = self.ask("load", ref, members, [], until=until, card=card)
        return found

    async def unload(self, ref: str, members: str) -> None:
        """Has a model forgotten, if it was ever loaded."""
        if self.loads.pop(members, None) is not None:
            await self.ask("unload", ref, members, [], until=asyncio.get_running_loop().time() + LOADING)

    def kill(self) -> None:
        """Ends the process at once; open questions get None."""
        if self.alive:
            self.alive = False
            try:
                self._process.kill()
            except ProcessLookupError:
                pass
            self._writer.close()
        for future, _ in self._open.values():
            if not future.done():
                future.set_result(None)
        self._open.clear()

    async def close(self) -> None:
        """Ends the process and waits until it is gone."""
        self.kill()
        await self._process.wait()
        await self._listening

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(HEAD), "big")
                if size > LARGEST:
                    break
                answer = _decode(await reader.readexactly(size))
                future, _ = self._open.pop(answer.id, (None, 0.0))
                if future is not None and not future.done():
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            pass  # the host ended or fell out of step; both are its end
        finally:
            self.kill()
        await self._process.wait()
