"""HTTP/1.1 server: accepts connections and runs their requests, in order. Knows no route, no key and no provider."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from math import inf
from pathlib import Path
from typing import Any, cast

import msgspec

from tandem.core.errors import Broken, Invalid
from tandem.gateway.exchange import Headers, Limits, Reply, Request
from tandem.gateway.reader import BODY, HEAD, IDLE, Reader, Refusal, plain_address

__all__ = ["Handler", "Limits", "Reply", "Request", "Server"]

_LINGER_BYTES, _LINGER_SECONDS = 4 * 1024 * 1024, 2.0
_FIRST_SECONDS = 0.5
"""While draining: how long a connection that was just accepted has for its first request, which may be under way."""
"""What is still read and dropped after an early answer, so that a reset does not overtake it."""
_CORK_BYTES = 64 * 1024
"""Of a reply in pieces that may wait for the end of the loop's turn."""
UNSENT_BYTES = 128 * 1024
"""Of a reply that may wait in the kernel's buffers, which else grow by themselves, for a caller who is behind."""
_UNSENT = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux
_LIMITS = Limits()
_JSON: Headers = ((b"content-type", b"application/json"),)

Handler = Callable[[Request, Reply], Coroutine[Any, Any, None] | None]
"""Answers one request; returns None when it has done so at once."""


class Server:
    """Accepts connections and hands their requests to one handler, in order per connection."""

    def __init__(
        self,
        handler: Handler,
        *,
        stream_path: Callable[[str, str], bool],
        limits: Limits = _LIMITS,
        trusted_proxies: frozenset[str] = frozenset(),
        on_fault: Callable[[BaseException], None],
    ) -> None:
        """Prepares; nothing is opened before `listen`.

        Args:
            handler: answers requests.
            stream_path: whether the body of (method, path) goes to the handler in pieces; asked only if there is a body.
            limits: sizes and times.
            trusted_proxies: addresses (or `unix`) whose `x-forwarded-for` and `x-forwarded-proto` are believed.
            on_fault: told what a handler raised; the caller gets a bare 500, or a cut if the reply had begun.
        """
        self.handler = handler
        self.stream_path = stream_path
        self.limits = limits
        self.trusted_proxies = trusted_proxies
        self.on_fault = on_fault
        self.draining = False
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[Any] | None] = set()
        self._listeners: list[asyncio.AbstractServer] = []
        self._quiet: asyncio.Event | None = None
        self._second = 0
        self._date = b""

    @property
    def connections(self) -> int:
        return len(self._open)

    async def listen(self, host: str, port: int, *, ssl: ssl.SSLContext | None = None, reuse_port: bool = False) -> int:
        """Opens a TCP port (0: any free one) and returns its number.

        Raises:
            OSError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(
            lambda: _Connection(self, loop), host, port, ssl=ssl, reuse_port=reuse_port, backlog=2048
        )
        self._listeners.append(listener)
        return int(listener.sockets[0].getsockname()[1])

    async def listen_on(self, sock: socket.socket, *, ssl: ssl.SSLContext | None = None) -> int:
        """Accepts on a TCP socket that listens already, and returns its port; others may accept on it too."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: _Connection(self, loop), sock=sock, ssl=ssl, backlog=2048)
        self._listeners.append(listener)
        return int(sock.getsockname()[1])

    async def listen_unix(self, path: str) -> None:
        """Opens a Unix socket that only its owner may connect to; replaces a stale one.

        Raises:
            OSError: the path cannot be bound.
        """
        loop = asyncio.get_running_loop()
        Path(path).unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            sock.bind(path)
        finally:
            os.umask(mask)
        self._listeners.append(await loop.create_unix_server(lambda: _Connection(self, loop), sock=sock, backlog=2048))

    async def drain(self, seconds: float) -> None:
        """Stops accepting, lets running replies and their handlers end within `seconds`, then cuts the rest."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self._open):
            connection.retire()
        await self._settle(seconds)
        for connection in list(self._open):
            connection.cut(reset=True)
        for task in self._tasks:
            if task is not None:
                asyncio.get_running_loop().call_soon(task.cancel)
        await self._settle(1.0)

    async def _settle(self, seconds: float) -> None:
        """Waits until nothing is open and nothing runs, at most so long."""
        if self._open or self._tasks:
            self._quiet = asyncio.Event()
            try:
                async with asyncio.timeout(seconds):
                    await self._quiet.wait()
            except TimeoutError:
                pass

    def opened(self, connection: _Connection) -> None:
        self._open.add(connection)

    def closed(self, connection: _Connection) -> None:
        self._open.discard(connection)
        self._hush()

    def runs(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)

    def ran(self) -> None:
        """The current task is over."""
        self._tasks.discard(asyncio.current_task())
        if self.draining:
            self._hush()

    def _hush(self) -> None:
        if self._quiet is not None and not self._open and not self._tasks:
            self._quiet.set()

    def date(self) -> bytes:
        """The date header (RFC 9110 6.6.1), made once a second."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")
        return self._date


class _Connection(asyncio.Protocol):
    """One accepted socket: runs its requests one after the other and keeps the times."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._server = server
        self._limits = limits = server.limits
        self._pauses = (limits.idle_seconds, limits.head_seconds, limits.body_seconds)
        """How long the caller may be silent in each stage of the reader."""
        self._reply: Reply | None = None
        """The one that is running."""
        self._task: asyncio.Task[None] | None = None
        self._refusal: Refusal | None = None
        """What the caller is told after the replies it still awaits."""
        self._asked = False
        """Whether anything was asked here yet."""
        self._corked: list[bytes] = []
        self._corked_size = 0
        self._drained: list[asyncio.Future[None]] = []
        self._deaf = False
        """Whatever still arrives is dropped."""
        self._stuck = False
        """The transport is above its high-water mark."""
        self._held = False
        """Reading is paused."""
        self._dropped = self._unsent = 0
        self._read_by = self._write_by = self._timer_at = inf
        self._timer: asyncio.TimerHandle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        self._unix = sock.family == socket.AF_UNIX
        peer = "unix"
        if not self._unix:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _UNSENT is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _UNSENT, UNSENT_BYTES)
            peer = plain_address((transport.get_extra_info("peername") or ("",))[0]) or ""
        scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        server = self._server
        self._reader = Reader(self, self._limits, server.stream_path, peer=peer, scheme=scheme, trusted=server.trusted_proxies)
        server.opened(self)
        self._wait(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop(len(data))
            return
        reader = self._reader
        fresh = reader.stage is not HEAD
        try:
            reader.feed(data)
        except Refusal as refusal:
            self._refuse(refusal)
        if self._reply is None:
            self._advance()
        elif reader.queue:
            self.hold()
        if reader.stage is not IDLE and not self._deaf and not self._held:
            self._await_more(fresh)

    def eof_received(self) -> None:
        """A half-closed socket counts as gone: nothing tells it from a caller that was killed."""
        if self._reply is not None:
            self._vanish()
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._vanish()
        self._deaf = True
        if self._reader.intake is not None:
            self._reader.intake.finish(Invalid("The request body ended early.", code="truncated_body"))
        self._reader.close()
        if self._timer is not None:
            self._timer.cancel()
        self._server.closed(self)

    def pause_writing(self) -> None:
        self._stuck = True
        self._watch_writing()

    def resume_writing(self) -> None:
        self._stuck = False
        self._write_by = inf
        self._wake()
        self._advance()

    def _vanish(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.gone = True
            if reply.intake is not None:
                reply.intake.finish(Invalid("The request body ended early.", code="truncated_body"))
            if self._task is not None:
                if reply.begun:
                    self._task.cancel()
                else:  # a handler that was never begun would leave no trace
                    self.loop.call_soon(self._task.cancel)
        self._stuck = False
        self._corked.clear()
        self._wake()

    def _wake(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What an exchange calls.

    def write(self, data: bytes) -> None:
        if self._corked:
            self._uncork()
        self._transport.write(data)

    def cork(self, data: bytes) -> None:
        if not self._corked:
            self.loop.call_soon(self._uncork)
        self._corked.append(data)
        self._corked_size += len(data)
        if self._corked_size > _CORK_BYTES:
            self._uncork()

    def _uncork(self) -> None:
        if self._corked:
            data = b"".join(self._corked)
            self._corked.clear()
            self._corked_size = 0
            self._transport.write(data)

    async def drained(self) -> None:
        while self._stuck:
            waiter = self.loop.create_future()
            self._drained.append(waiter)
            await waiter

    def hold(self) -> None:
        if not self._held and not self._transport.is_closing():
            self._held, self._read_by = True, inf
            self._transport.pause_reading()

    def unhold(self) -> None:
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()
            if self._reader.stage is BODY:
                self._wait(self._limits.body_seconds)

    def common(self) -> bytes:
        return self._server.date()

    def stays(self) -> bool:
        return not self._server.draining

    def finished(self, keep: bool) -> None:
        self._uncork()
        self._reply = self._task = None
        reader = self._reader
        if not keep:
            self._leave(linger=reader.stage is not IDLE)
            return
        if self._held and not reader.queue:
            self.unhold()
        self._read_by = self.loop.time() + self._pauses[reader.stage]
        if self._read_by < self._timer_at:
            self._arm()
        if reader.queue or self._refusal is not None or reader.stage is BODY:
            self.loop.call_soon(self._advance)

    def cut(self, *, reset: bool) -> None:
        if not reset:
            self._leave(linger=False)
            return
        self._deaf = True
        self._corked.clear()
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self._unix:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # Requests, one after the other.

    def retire(self) -> None:
        """Closes now if idle, else after the running reply; a new connection after its first, if it comes soon."""
        if self._reply is not None or self._reader.queue or self._reader.stage is not IDLE:
            return
        if self._asked:
            self._leave(linger=False)
        else:
            self._wait(_FIRST_SECONDS)

    def _advance(self) -> None:
        """Starts what is next in line; handlers that answer at once run in a loop, not by recursion."""
        queue = self._reader.queue
        while self._reply is None and queue and not self._stuck and not self._transport.is_closing():
            request, reply = queue.popleft()
            if self._held and not queue and not (reply.intake is not None and reply.intake.full):
                self.unhold()
            self._start(request, reply)
        if self._reply is not None or queue or self._transport.is_closing():
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._reader.starved:
            self._reader.go_on()
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start(self, request: Request, reply: Reply) -> None:
        self._reply, self._asked = reply, True
        if reply.intake is None or reply.intake.done:
            self._read_by = inf
        try:
            work = self._server.handler(request, reply)
        except Exception as error:  # noqa: BLE001  the border: whatever a handler raises becomes a reply and a report
            self._fault(error, reply)
            return
        if work is not None:
            task = self.loop.create_task(self._run(work, reply))
            self._server.runs(task)
            if self._reply is reply:
                self._task = task
        elif not reply.ended:
            self._fault(Broken("The handler returned without a reply."), reply)

    async def _run(self, work: Coroutine[Any, Any, None], reply: Reply) -> None:
        reply.begun = True
        try:
            await work
            if not reply.ended and not reply.gone:
                self._fault(Broken("The handler returned without a reply."), reply)
        except asyncio.CancelledError:
            reply.abort()
            raise
        except Exception as error:  # noqa: BLE001  the border: whatever a handler raises becomes a reply and a report
            self._fault(error, reply)
        finally:
            self._server.ran()

    def _fault(self, error: Exception, reply: Reply) -> None:
        self._server.on_fault(error)
        if reply.started:
            reply.abort()
        else:
            reply.send(500, _JSON, _error("The request failed here; it is not your fault.", "server_error", "broken"))

    def _refuse(self, refusal: Refusal) -> None:
        self._deaf, self._read_by = True, inf
        if self._reader.stage is not BODY or self._reader.intake is None:
            self._refusal = refusal

    def _answer(self, refusal: Refusal) -> None:
        self._refusal = None
        reply = self._reply = Reply(self, mute=self._reader.mute, old=False, keep=False)
        reply.send(refusal.status, _JSON, _error(refusal.message, "invalid_request_error", refusal.code))

    def _leave(self, *, linger: bool) -> None:
        """Closes after what is written has gone out; lingers for a caller that may still be sending."""
        self._uncork()
        self._deaf = True
        self._reader.queue.clear()
        self._read_by = inf
        if linger and self._transport.can_write_eof() and not self._transport.is_closing():
            if self._held:
                self._held = False
                self._transport.resume_reading()
            self._transport.write_eof()
            self._wait(_LINGER_SECONDS)
        else:
            self._transport.close()
        self._watch_writing()

    def _drop(self, size: int) -> None:
        self._dropped += size
        if self._dropped > _LINGER_BYTES:
            self._transport.abort()

    # Times: one timer per connection, moved only when a nearer deadline comes.

    def _await_more(self, fresh: bool) -> None:
        """After a read that ended inside a request. The time for a head is not renewed by its pieces."""
        if self._reader.stage is HEAD:
            if fresh and self._reply is None:
                self._wait(self._limits.head_seconds)
        elif self._reply is None or self._reply.intake is self._reader.intake is not None:
            self._wait(self._limits.body_seconds)

    def _wait(self, seconds: float) -> None:
        """Sets the time by which the caller must have sent something."""
        self._read_by = self.loop.time() + seconds
        self._arm()

    def _watch_writing(self) -> None:
        """Sets the time by which the caller must have taken something, if anything is left to take."""
        self._unsent = self._transport.get_write_buffer_size()
        self._write_by = self.loop.time() + self._limits.stall_seconds if self._unsent else inf
        self._arm()

    def _arm(self) -> None:
        at = min(self._read_by, self._write_by)
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at, self._timer = at, self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, inf
        now = self.loop.time()
        if now >= self._write_by:
            if self._transport.get_write_buffer_size() >= self._unsent:
                self._transport.abort()
                return
            self._watch_writing()
        if now >= self._read_by:
            self._read_by = inf
            self._late()
        self._arm()

    def _late(self) -> None:
        reader = self._reader
        if self._deaf:
            self._transport.abort()
        elif reader.stage is IDLE:
            self._leave(linger=False)
        else:
            part = "head" if reader.stage is HEAD else "body"
            refusal = Refusal(408, "request_timeout", f"The {part} of the request did not arrive in time.")
            if reader.intake is not None:
                reader.intake.finish(Invalid(refusal.message, status=refusal.status, code=refusal.code))
            self._refuse(refusal)
            self._advance()


def _error(message: str, kind: str, code: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": code}})
