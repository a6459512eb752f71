"""The door's side of one model host: start it, ask it, notice its end. Knows no model and restarts nothing."""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import Literal, Self

import msgspec

from tandem.core.errors import Unavailable
from tandem.serving.frames import HEAD, LARGEST, Answer, Ask, frame

_decode = msgspec.msgpack.Decoder(Answer).decode


class HostClient:
    """One host process. When it ends, for whatever reason, every open question is answered with None."""

    def __init__(self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._process, self._writer = process, writer
        self._open: dict[int, asyncio.Future[Answer | None]] = {}
        self._ids = itertools.count(1)
        self.loads: dict[str, asyncio.Future[Answer | None]] = {}
        """Members directory → the answer to its loading, shared by all who wait for it."""
        self.alive = True
        self.answered = False
        """Whether it has ever answered: one that never did was not worth starting."""
        self._listening = asyncio.create_task(self._listen(reader))

    @classmethod
    async def start(cls, python: str) -> Self:
        """Starts a host process.

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

    def ask(
        self, op: Literal["load", "predict", "explain"], ref: str, members: str, rows: list[list[float]]
    ) -> asyncio.Future[Answer | None]:
        """Sends a request; the future becomes its answer, or None when the host ends first."""
        future: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
        if not self.alive:
            future.set_result(None)
            return future
        number = next(self._ids)
        self._open[number] = future
        self._writer.write(frame(Ask(number, op, ref, members, rows)))
        return future

    def load(self, ref: str, members: str) -> asyncio.Future[Answer | None]:
        """Has a model loaded once, however many wait for it; a failed loading is tried again by the next."""
        found = self.loads.get(members)
        if found is None or (found.done() and (answer := found.result()) is not None and answer.fault is not None):
            found = self.loads[members] = self.ask("load", ref, members, [])
        return found

    def kill(self) -> None:
        """Ends the process at once; open questions get None."""
        if self.alive:
            self.alive = False
            try:
                self._process.kill()
            except ProcessLookupError:
                pass
            self._writer.close()
        for future in self._open.values():
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
                self.answered = True
                future = self._open.pop(answer.id, None)
                if future is not None and not future.done():
                    future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError, msgspec.DecodeError):
            pass  # the host ended or fell out of step; both are its end
        finally:
            self.kill()
        await self._process.wait()
