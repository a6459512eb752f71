"""HTTP/1.1 server: bytes on a socket become a `Request`, a `Reply` becomes bytes. Knows no route, no key and no provider.

Parsing is llhttp's (through httptools), which is strict about line ends, folding, header tokens and chunk framing.
What it leaves open is closed here: transfer codings other than `chunked`, codings in HTTP/1.0, Host, versions,
bodies behind an upgrade offer, pipelining depth, sizes and times. Method: RFC 9110 and RFC 9112.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from ipaddress import ip_address
from math import inf
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote_to_bytes

import httptools
import msgspec

from tandem.core.errors import Broken, Invalid

Headers = Sequence[tuple[bytes, bytes]]

KIB = 1024
_IDLE, _HEAD, _BODY = 0, 1, 2
"""Where the parser stands: between messages, inside a head, inside a body."""
_INTAKE_BYTES = 256 * KIB
"""Of a streamed body that may wait for its reader before the socket is paused."""
_LINGER_BYTES, _LINGER_SECONDS = 4 * KIB * KIB, 2.0
"""What is still read and dropped after an early answer, so that a reset does not overtake it."""

_NO_BODY, _CHUNKED = -1, -2
"""In place of a declared content-length."""

_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_OFFER = frozenset({b"upgrade", b"http2-settings"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_STATUS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may ask for. Sizes in bytes, times in seconds."""

    target: int = 8 * KIB
    head: int = 64 * KIB
    """Target, header names and values together."""
    headers: int = 100
    body: int = 32 * KIB * KIB
    """Of a body that is collected before its handler starts; a streamed one is bounded by its reader."""
    pipeline: int = 64
    """Whole requests that may wait behind the running one."""
    head_seconds: float = 10.0
    """From the first byte of a head to its end; also from connecting to the first byte."""
    idle_seconds: float = 75.0
    """Between two requests on one connection."""
    body_seconds: float = 30.0
    """Between two pieces of a body."""
    stall_seconds: float = 60.0
    """Without the caller taking a byte of what is written to it."""


class _Refusal(Exception):
    """An answer given before any handler sees the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Intake:
    """The body of a streamed request, on its way from the socket to its reader."""

    __slots__ = ("_connection", "_error", "_pieces", "_size", "_waiter", "done", "expects")

    def __init__(self, connection: _Connection, expects: bool) -> None:
        self._connection = connection
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.expects = expects
        """The caller waits for `100 Continue` before it sends the body."""
        self.done = False

    def feed(self, data: bytes) -> None:
        self.expects = False
        self._pieces.append(data)
        self._size += len(data)
        if self.full:
            self._connection.hold()
        self._wake()

    def finish(self, error: Exception | None = None) -> None:
        if not self.done:
            self.done, self._error = True, error
            self._wake()

    @property
    def full(self) -> bool:
        return self._size > _INTAKE_BYTES

    @property
    def whole(self) -> bool:
        return self.done and self._error is None

    async def take(self) -> bytes:
        """All that has arrived since the last call; empty at the end.

        Raises:
            Invalid: the body ended early, is malformed or came too slowly.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.done:
                return b""
            if self.expects:
                self.expects = False
                self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = self._connection.loop.create_future()
            await self._waiter
        data = b"".join(self._pieces)
        self._pieces.clear()
        full, self._size = self.full, 0
        if full:
            self._connection.unhold()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None


@dataclass(slots=True)
class Request:
    """One request as the door sees it. Not frozen, for speed; nobody writes to it after it was made."""

    method: str
    path: str
    """Percent-decoded, without the query; holds no control characters."""
    raw_target: bytes
    """As it stood in the request line."""
    query: str
    headers: list[tuple[bytes, bytes]]
    """Names in lower case; order kept."""
    peer: str
    """The caller's address; `unix` on a Unix socket."""
    scheme: str
    body: bytes = b""
    intake: _Intake | None = field(default=None, repr=False)

    def header(self, name: bytes) -> str | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive; the socket is paused while the reader is behind.

        Raises:
            Invalid: the body ended early, is malformed or came too slowly.
        """
        if self.intake is None:
            if self.body:
                yield self.body
            return
        while data := await self.intake.take():
            yield data


class Reply:
    """What goes back to the caller. After the caller has gone every method does nothing."""

    __slots__ = ("_chunked", "_connection", "_keep", "_left", "_mute", "_old", "ended", "gone", "intake", "started")

    def __init__(self, connection: _Connection, *, mute: bool, old: bool, keep: bool) -> None:
        self._connection = connection
        self.intake: _Intake | None = None
        """The body of the request, if it is still on its way."""
        self._mute = mute
        """HEAD: the head of the reply and nothing else."""
        self._old = old
        """HTTP/1.0."""
        self._keep = keep
        self._chunked = False
        self._left: int | None = None
        """Bytes that the declared content-length still owes."""
        self.gone = False
        """The caller vanished before the reply was complete."""
        self.started = False
        self.ended = False

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """A whole reply in one write; content-length is added.

        Raises:
            ValueError: a header would break the reply in two, or the reply has begun before.
        """
        if self.gone:
            return
        head = self._head(status, headers)
        if status not in (204, 304) and not (self._mute and b"\r\ncontent-length:" in head):
            if b"\r\ncontent-length:" in head:
                if int(dict(headers)[b"content-length"]) != len(body):
                    raise ValueError("The declared content-length is not the length of the body.")
            else:
                head += b"content-length: %d\r\n" % len(body)
        self.started = True
        if self._mute or status in (204, 304):
            body = b""
        self._connection.write(b"%b\r\n%b" % (head, body))
        self._finish()

    def begin(self, status: int, headers: Headers) -> None:
        """Starts a reply whose pieces follow: by the declared content-length, else chunked, else (HTTP/1.0) until the end.

        Raises:
            ValueError: a header would break the reply in two, or the reply has begun before.
        """
        if self.gone:
            return
        if self._old and not any(name == b"content-length" for name, _ in headers):
            self._keep = False
        head = self._head(status, headers)
        if status in (204, 304):
            self._mute = True
        elif b"\r\ncontent-length:" in head:
            self._left = int(dict(headers)[b"content-length"])
        elif not self._old:
            self._chunked = not self._mute
            head += b"transfer-encoding: chunked\r\n"
        self.started = True
        self._connection.write(head + b"\r\n")

    def write(self, data: bytes) -> None:
        """One piece of a reply that has begun.

        Raises:
            ValueError: more than the declared content-length.
        """
        if not data or self.gone or self.ended or self._mute:
            return
        if self._chunked:
            self._connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if self._left is not None:
            if len(data) > self._left:
                raise ValueError("The reply is longer than its declared content-length.")
            self._left -= len(data)
        self._connection.write(data)

    async def drain(self) -> None:
        """Waits while the caller is behind: only above the transport's high-water mark."""
        await self._connection.drained()

    def end(self) -> None:
        """Completes a reply that has begun; one that owes bytes is cut instead."""
        if self.gone or self.ended:
            return
        if self._left and not self._mute:
            self.abort()
            return
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self._finish()

    def abort(self) -> None:
        """Cuts the connection such that the caller cannot mistake the truncation for success.

        What was written still goes out where the framing shows that the end is missing.
        """
        if self.gone or self.ended:
            return
        self.ended = True
        self._connection.cut(reset=self.started and not self._chunked and self._left is None)

    def _head(self, status: int, headers: Headers) -> bytes:
        if self.started:
            raise ValueError("The reply has begun before.")
        line = _STATUS.get(status) or f"HTTP/1.1 {status} \r\n".encode("ascii")
        head = line + b"".join([b"%b: %b\r\n" % pair for pair in headers])
        rows = len(headers) + 1
        if head.count(b"\n") != rows or head.count(b"\r") != rows or b"\0" in head:
            raise ValueError("A header of the reply holds a line break or a zero byte.")
        if b"\r\ndate:" not in head:
            head += self._connection.server.date()
        if self._connection.server.draining or not (self.intake is None or self.intake.whole):
            self._keep = False
        if not self._keep:
            return head + b"connection: close\r\n"
        return head + b"connection: keep-alive\r\n" if self._old else head

    def _finish(self) -> None:
        self.ended = True
        self._connection.finished(self._keep)


Handler = Callable[[Request, Reply], Coroutine[Any, Any, None] | None]
"""Answers one request; returns None when it has done so at once."""


class Server:
    """Accepts connections and hands their requests to one handler, in order per connection."""

    def __init__(
        self,
        handler: Handler,
        *,
        stream_path: Callable[[str, str], bool],
        limits: Limits = Limits(),
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
        self.open: set[_Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[asyncio.AbstractServer] = []
        self._second = 0
        self._date = b""

    @property
    def connections(self) -> int:
        return len(self.open)

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
        """Stops accepting, lets running replies end within `seconds`, then cuts the rest."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        for connection in list(self.open):
            connection.retire()
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (self.open or self.tasks) and loop.time() < until:
            await asyncio.sleep(min(0.01, seconds))
        for connection in list(self.open):
            connection.cut(reset=True)
        await asyncio.sleep(0)
        if self.tasks:
            await asyncio.wait(list(self.tasks), timeout=1.0)

    def date(self) -> bytes:
        """The date header, made once a second."""
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, f"date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")
        return self._date


class _Connection(asyncio.Protocol):
    """One accepted socket: parses requests, runs them one after the other, keeps the times."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self.loop = server, loop
        self._limits = server.limits
        self._parser: Any = httptools.HttpRequestParser(self)
        self._queue: deque[tuple[Request, Reply]] = deque()
        self._reply: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        self._refusal: _Refusal | None = None
        self._intake: _Intake | None = None
        self._drained: list[asyncio.Future[None]] = []
        self._stage = _IDLE
        self._deaf = False
        """Whatever still arrives is dropped."""
        self._last = False
        """The request read last is the last one of this connection."""
        self._stuck = False
        """The transport is above its high-water mark."""
        self._held = False
        """Reading is paused."""
        self._expects = self._offers = self._spread = False
        self._dropped = self._unsent = self._fed = 0
        self._read_by = self._write_by = self._timer_at = inf
        self._timer: asyncio.TimerHandle | None = None

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock.family == socket.AF_UNIX:
            self._peer = "unix"
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer = _address(transport.get_extra_info("peername")[0]) or ""
        self._scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        self._trusted = self._peer in self.server.trusted_proxies
        self.server.open.add(self)
        self._wait(self._limits.head_seconds)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop(len(data))
            return
        self._fed = len(data)
        try:
            self._feed(data)
            if self._stage is not _IDLE:
                self._partial()
        except _Refusal as refusal:
            self._refuse(refusal)
        if self._reply is None:
            self._advance()
        elif self._queue:
            self.hold()

    def eof_received(self) -> None:
        """A half-closed socket counts as gone: nothing tells it from a caller that was killed."""
        if self._reply is not None:
            self._vanish()
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._vanish()
        self._deaf = True
        self._queue.clear()
        self._parser = None
        if self._timer is not None:
            self._timer.cancel()
        self.server.open.discard(self)

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
            if self._task is not None:
                self._task.cancel()
        if self._intake is not None:
            self._intake.finish(Invalid("The request body ended early.", code="truncated_body"))
        self._stuck = False
        self._wake()

    def _wake(self) -> None:
        waiters, self._drained = self._drained, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # What a reply, a body or the server asks for.

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drained(self) -> None:
        while self._stuck:
            waiter = self.loop.create_future()
            self._drained.append(waiter)
            await waiter

    def hold(self) -> None:
        """Reads no more until `unhold`."""
        if not self._held and not self._transport.is_closing():
            self._held, self._read_by = True, inf
            self._transport.pause_reading()

    def unhold(self) -> None:
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()
            if self._stage is _BODY:
                self._wait(self._limits.body_seconds)

    def finished(self, keep: bool) -> None:
        """The running reply is complete; its handler may still be at work for itself."""
        self._reply = self._task = None
        if not keep:
            self._leave(linger=self._stage is not _IDLE or self._refusal is not None)
            return
        self._wait((self._limits.idle_seconds, self._limits.head_seconds, self._limits.body_seconds)[self._stage])
        if self._queue or self._refusal is not None or self._stage is _BODY:
            self.loop.call_soon(self._advance)
        elif self._held:
            self.unhold()

    def retire(self) -> None:
        """Closes now if idle, else after the running reply."""
        if self._reply is None and not self._queue and self._stage is _IDLE:
            self._leave(linger=False)

    def cut(self, *, reset: bool) -> None:
        """Ends the connection; with `reset`, so that the caller sees an error and not an end."""
        if not reset:
            self._leave(linger=False)
            return
        self._deaf = True
        if self._peer != "unix":
            sock = self._transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # Requests, one after the other.

    def _advance(self) -> None:
        """Starts what is next in line; handlers that answer at once run in a loop, not by recursion."""
        while self._reply is None and self._queue and not self._stuck and not self._transport.is_closing():
            request, reply = self._queue.popleft()
            if self._held and not self._queue and not (reply.intake is not None and reply.intake.full):
                self.unhold()
            self._start(request, reply)
        if self._reply is not None or self._queue or self._transport.is_closing():
            return
        if self._refusal is not None:
            self._answer(self._refusal)
        elif self._stage is _BODY and self._expects and not self._pieces:
            self._expects = False
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start(self, request: Request, reply: Reply) -> None:
        self._reply = reply
        if reply.intake is None or reply.intake.done:
            self._read_by = inf
        try:
            work = self.server.handler(request, reply)
        except Exception as error:  # noqa: BLE001  the border: whatever a handler raises becomes a reply and a report
            self._fault(error, reply)
            return
        if work is not None:
            task = self.loop.create_task(self._run(work, reply))
            self.server.tasks.add(task)
            if self._reply is reply:
                self._task = task
        elif not reply.ended:
            self._fault(Broken("The handler returned without a reply."), reply)

    async def _run(self, work: Coroutine[Any, Any, None], reply: Reply) -> None:
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
            self.server.tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _fault(self, error: Exception, reply: Reply) -> None:
        self.server.on_fault(error)
        if reply.started:
            reply.abort()
        else:
            reply.send(500, _JSON, _error("The request failed here; it is not your fault.", "server_error", "broken"))

    def _refuse(self, refusal: _Refusal) -> None:
        """Stops listening; the caller is told after the replies it still awaits."""
        self._deaf, self._read_by = True, inf
        if self._stage is _BODY and self._intake is not None:
            self._intake.finish(Invalid(refusal.message, status=refusal.status, code=refusal.code))
        else:
            self._refusal = refusal

    def _answer(self, refusal: _Refusal) -> None:
        reply = self._reply = Reply(self, mute=self._parser.get_method() == b"HEAD", old=False, keep=False)
        reply.send(refusal.status, _JSON, _error(refusal.message, "invalid_request_error", refusal.code))

    def _leave(self, *, linger: bool) -> None:
        """Closes after what is written has gone out; lingers for a caller that may still be sending."""
        self._deaf = True
        self._queue.clear()
        if linger and self._transport.can_write_eof():
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
        if self._deaf:
            self._transport.abort()
        elif self._stage is _IDLE:
            self._leave(linger=False)
        else:
            part = "head" if self._stage is _HEAD else "body"
            self._refuse(_Refusal(408, "request_timeout", f"The {part} of the request did not arrive in time."))
            self._advance()

    def _partial(self) -> None:
        """After a read that ended inside a message: sizes, and the time by which more must come."""
        if self._stage is _HEAD:
            if self._spread:
                self._size += self._fed
            if self._size > self._limits.head:
                raise _Refusal(431, "head_too_large", f"The head of the request is larger than {self._limits.head} bytes.")
            if not self._spread and self._reply is None:
                self._wait(self._limits.head_seconds)
            self._spread = True
        elif not self._held and (self._reply is None or self._reply.intake is self._intake is not None):
            self._wait(self._limits.body_seconds)

    # The parser's side.

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            # llhttp would pass over the body of a request that offers an upgrade. The offer is declined by reading the
            # request again without it.
            head = self._without_offer()
            self._parser = httptools.HttpRequestParser(self)
            self._feed(head + data[offer.args[0] :])
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _Refusal):
                raise error.__context__ from None
            if not self._last:
                raise _Refusal(400, "malformed_request", f"The request is not HTTP/1.1: {error}.") from None
            self._deaf = True

    def _without_offer(self) -> bytes:
        lines = [self._parser.get_method() + b" " + self._url + b" HTTP/" + self._parser.get_http_version().encode("ascii")]
        for name, value in self._headers:
            if name == b"connection":
                value = b", ".join(token for token in value.lower().replace(b" ", b"").split(b",") if token not in _OFFER)
            if name not in _OFFER:
                lines.append(name + b": " + value)
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def on_message_begin(self) -> None:
        self._stage = _HEAD
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._pieces: list[bytes] = []
        self._size = self._hosts = 0
        self._length = _NO_BODY
        self._host = b""
        self._expects = self._offers = self._spread = False
        self._intake = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target:
            raise _Refusal(414, "target_too_long", f"The request target is longer than {self._limits.target} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if self._stage is _BODY:
            self._trailer(name, value)
            return
        headers = self._headers
        headers.append((name, value))
        if name in _SPECIAL:
            self._special(name, value)
        if len(headers) > self._limits.headers:
            raise _Refusal(431, "too_many_headers", f"The request has more than {self._limits.headers} headers.")

    def _special(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._host = value
            if not _HOST.fullmatch(value):
                raise _Refusal(400, "bad_host", "The Host header is not a host.")
        elif name == b"content-length":
            if self._length != _NO_BODY or not value.isdigit() or len(value) > 18:
                raise _Refusal(400, "bad_framing", "The length of the body is not declared once and plainly.")
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._length != _NO_BODY or value.lower() != b"chunked":
                raise _Refusal(400, "bad_framing", "The body is framed otherwise than by 'chunked' alone.")
            self._length = _CHUNKED
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise _Refusal(417, "expectation_failed", "Only '100-continue' can be expected.")
            self._expects = True
        else:
            self._offers = True

    def _trailer(self, name: bytes, value: bytes) -> None:
        """Trailers are read past; those that would frame or route are refused, as RFC 9110 6.5.1 forbids them."""
        self._spent += len(name) + len(value) + 4
        if name in _SPECIAL or self._spent > self._limits.head:
            raise _Refusal(400, "bad_trailer", "The body is followed by trailers that cannot stand there.")

    def on_headers_complete(self) -> None:
        parser = self._parser
        method = parser.get_method().decode("ascii")
        if self._offers and method != "CONNECT" and parser.should_upgrade():
            return
        self._offers = False
        version = parser.get_http_version()
        self._check(method, version)
        path, query = _target(method, self._url, self._host)
        keep = parser.should_keep_alive()
        self._last = not keep
        self._stage = _BODY
        self._size = self._spent = 0
        peer, scheme = self._forwarded() if self._trusted else (self._peer, self._scheme)
        request = Request(method, path, self._url, query, self._headers, peer, scheme)
        reply = Reply(self, mute=method == "HEAD", old=version == "1.0", keep=keep)
        self._next = (request, reply)
        if self._length != _NO_BODY and self._length != 0 and self.server.stream_path(method, path):
            request.intake = reply.intake = self._intake = _Intake(self, self._expects)
            self._queue.append(self._next)
        elif self._length > self._limits.body:
            raise _Refusal(413, "body_too_large", f"The body of the request is larger than {self._limits.body} bytes.")

    def _check(self, method: str, version: str) -> None:
        if version not in ("1.1", "1.0"):
            raise _Refusal(505, "bad_version", "The request is neither HTTP/1.1 nor HTTP/1.0.")
        if method == "CONNECT":
            raise _Refusal(405, "no_tunnels", "This server opens no tunnels.")
        if self._hosts > 1 or (not self._hosts and version == "1.1"):
            raise _Refusal(400, "bad_host", "The request does not name its host exactly once.")
        if version == "1.0":
            self._expects = False
            if self._length == _CHUNKED:
                raise _Refusal(400, "bad_framing", "HTTP/1.0 has no transfer codings.")
        if self._spread or self._fed > self._limits.head:
            size = len(self._url) + sum(len(name) + len(value) for name, value in self._headers)
            if size > self._limits.head:
                raise _Refusal(431, "head_too_large", f"The head of the request is larger than {self._limits.head} bytes.")

    def on_body(self, data: bytes) -> None:
        if self._intake is not None:
            self._intake.feed(data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limits.body:
            raise _Refusal(413, "body_too_large", f"The body of the request is larger than {self._limits.body} bytes.")

    def on_message_complete(self) -> None:
        if self._offers:
            return
        self._stage = _IDLE
        if self._intake is not None:
            self._intake.finish()
            return
        if self._pieces:
            self._next[0].body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._queue.append(self._next)
        if len(self._queue) > self._limits.pipeline:
            raise _Refusal(400, "pipeline_too_deep", f"More than {self._limits.pipeline} requests wait on one connection.")

    def _forwarded(self) -> tuple[str, str]:
        """Caller and scheme as trusted proxies tell them: the nearest address that is not one of them."""
        hops: list[bytes] = []
        peer, scheme = self._peer, self._scheme
        for name, value in self._headers:
            if name == b"x-forwarded-for":
                hops += value.split(b",")
            elif name == b"x-forwarded-proto" and value.lower() in (b"http", b"https"):
                scheme = value.lower().decode("ascii")
        for hop in reversed(hops):
            address = _address(hop.strip().decode("latin-1"))
            if address is None:
                break
            peer = address
            if peer not in self.server.trusted_proxies:
                break
        return peer, scheme


def _address(text: str) -> str | None:
    """The canonical form of an IP address; an IPv4 address in IPv6 clothes is undressed."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _target(method: str, raw: bytes, host: bytes) -> tuple[str, str]:
    """Path (decoded) and query of a request target in origin form, absolute form or `*`."""
    origin, _, query = raw.partition(b"?")
    if origin[:1] != b"/":
        if raw == b"*" and method == "OPTIONS":
            return "*", ""
        absolute = _ABSOLUTE.fullmatch(raw)
        if absolute is None or absolute[1].lower() != host.lower():
            raise _Refusal(400, "bad_target", "The request target is neither a path nor an address of the host it names.")
        origin = absolute[2] or b"/"
    try:
        if b"%" not in origin:
            path = origin.decode("ascii")
        elif _BAD_ESCAPE.search(origin):
            raise ValueError
        else:
            path = unquote_to_bytes(origin).decode("utf-8")
        if _CONTROL.search(path) or b"#" in raw:
            raise ValueError
        return path, query.decode("ascii")
    except ValueError:
        raise _Refusal(400, "bad_target", "The request target holds what no path may hold.") from None


_JSON: Headers = ((b"content-type", b"application/json"),)


def _error(message: str, kind: str, code: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": code}})
