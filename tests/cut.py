"""A TCP line between a client and a server of this machine that a test can cut and mend."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import pytest

How = Literal["silence", "reset"]
"""How a line is cut.

silence: no packet arrives any more, in no direction, and new connections find nobody: a pulled cable.
reset: every connection breaks at once, and new ones are refused: a restarted firewall.
"""
ATTACH_FILTER, DETACH_FILTER = 26, 27
NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)
"""The socket filter `return 0`: the kernel drops every packet before TCP sees it, so that it is not acknowledged either."""
NO_LINGER = struct.pack("ii", 1, 0)
needed = pytest.mark.skipif(sys.platform != "linux", reason="a silent line needs Linux's socket filters")


class Line:
    """Passes bytes on to a port of 127.0.0.1 until it is cut; lives in a thread of its own."""

    def __init__(self, server: int) -> None:
        self.server, self.port = server, 0
        """Where it leads, and where it begins."""
        self.lost = threading.Event()
        """Set when a reply was lost as `lose_reply` asked for."""
        self._awaited, self._how, self._ends = b"", "reset", set[End]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._thread.start()
        self.mend()

    def cut(self, how: How = "silence") -> None:
        """Cuts the line; when it returns, the cut holds for every connection."""
        asyncio.run_coroutine_threadsafe(self._cut(how), self._loop).result()

    def mend(self) -> None:
        """Lets everything pass again; connections that are left go on."""
        asyncio.run_coroutine_threadsafe(self._mend(), self._loop).result()

    def lose_reply(self, to: bytes) -> None:
        """Once: what a client says with `to` in it reaches the server, and its connection breaks instead of the answer."""
        self.lost.clear()
        self._awaited = to

    def close(self) -> None:
        self.cut("reset")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cut(self, how: How) -> None:
        self._how = how
        if how == "silence":
            for each in self._sockets():
                _deafen(each)
            return
        self._listening.close()
        for end in list(self._ends):
            end.reset()

    async def _mend(self) -> None:
        if self._how == "silence":
            for each in self._sockets():
                with suppress(FileNotFoundError):  # it has no filter
                    each.setsockopt(socket.SOL_SOCKET, DETACH_FILTER, 0)
        elif self._how == "reset":
            self._listening = await self._loop.create_server(lambda: End(self, None), "127.0.0.1", self.port)
            self.port = self._listening.sockets[0].getsockname()[1]
        self._how = ""

    def _sockets(self) -> list[socket.socket]:
        return [*self._listening.sockets, *[end.socket for end in self._ends]]

    # --- what the ends of connections tell

    def begun(self, end: End) -> None:
        self._ends.add(end)
        if self._how == "silence":
            _deafen(end.socket)

    def ended(self, end: End) -> None:
        self._ends.discard(end)

    async def join(self, client: End) -> None:
        """Opens the other half of a connection that a client has begun."""
        try:
            await self._loop.create_connection(lambda: End(self, client), "127.0.0.1", self.server)
        except OSError:
            client.reset()

    def loses(self, data: bytes) -> bool:
        """Whether the answer to this is to be lost."""
        if not self._awaited or self._awaited not in data:
            return False
        self._awaited = b""
        return True


class End(asyncio.Protocol):
    """One end of a connection; what it hears is said at the other."""

    def __init__(self, line: Line, client: End | None) -> None:
        self._line, self._other = line, client
        self._doomed = False
        """Whether the connection breaks at the next word from the server."""
        self._joining: asyncio.Task[None] | None = None

    @property
    def socket(self) -> socket.socket:
        found: socket.socket = self._transport.get_extra_info("socket")
        return found

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._line.begun(self)
        if self._other is None:
            transport.pause_reading()
            self._joining = asyncio.ensure_future(self._line.join(self))
        else:
            self._other._other = self
            self._other._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        other = self._other
        assert other is not None
        if self._doomed:
            self._line.lost.set()
            self.reset()
            other.reset()
            return
        if self._joining is not None and self._line.loses(data):
            other._doomed = True
        other._transport.write(data)

    def eof_received(self) -> bool:
        if self._other is not None and not self._other._transport.is_closing():
            self._other._transport.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._line.ended(self)
        if self._other is not None:
            self._other._transport.close()

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._transport.abort()


def _deafen(each: socket.socket) -> None:
    program = ctypes.create_string_buffer(NOTHING)
    each.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


@contextmanager
def line(port: int) -> Iterator[Line]:
    """A line to a port of this machine, for the block."""
    made = Line(port)
    try:
        yield made
    finally:
        made.close()
