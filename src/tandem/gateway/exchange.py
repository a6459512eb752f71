"""One HTTP exchange as a handler sees it: the `Request` that came, the `Reply` that goes. Knows no socket and no parser.

Header names are in lower case throughout, in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

Headers = Sequence[tuple[bytes, bytes]]

KIB = 1024
_INTAKE_BYTES = 256 * KIB
"""Of a streamed body that may wait for its reader before the socket is paused."""
_SPECIAL = frozenset({b"content-length", b"transfer-encoding", b"connection", b"date"})
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


class Line(Protocol):
    """What an exchange needs of the connection it runs on."""

    loop: asyncio.AbstractEventLoop

    def write(self, data: bytes) -> None:
        """Sends at once, behind whatever was corked."""

    def cork(self, data: bytes) -> None:
        """Sends together with what else is written in this turn of the loop: a system call costs more than a chunk."""

    async def drained(self) -> None:
        """Waits while the caller takes less than is written."""

    def hold(self) -> None:
        """Reads no more until `unhold`."""

    def unhold(self) -> None: ...

    def common(self) -> bytes:
        """Header lines that every reply bears."""
        ...

    def stays(self) -> bool:
        """Whether the connection may serve another request."""
        ...

    def finished(self, keep: bool) -> None:
        """The running reply is complete."""

    def cut(self, *, reset: bool) -> None:
        """Ends the connection; with `reset`, so that the caller sees an error and not an end."""


class Intake:
    """The body of a streamed request, on its way from the socket to its reader."""

    __slots__ = ("_error", "_line", "_pieces", "_size", "_waiter", "done", "expects")

    def __init__(self, line: Line, expects: bool) -> None:
        self._line = line
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.expects = expects
        """The caller waits for `100 Continue` before it sends the body."""
        self.done = False

    @property
    def full(self) -> bool:
        return self._size > _INTAKE_BYTES

    @property
    def whole(self) -> bool:
        """All of the body has arrived."""
        return self.done and self._error is None

    def feed(self, data: bytes) -> None:
        self.expects = False
        self._pieces.append(data)
        self._size += len(data)
        if self.full:
            self._line.hold()
        self._wake()

    def finish(self, error: Exception | None = None) -> None:
        if not self.done:
            self.done, self._error = True, error
            self._wake()

    async def take(self) -> bytes:
        """All that has arrived since the last call; empty at the end."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self.done:
                return b""
            if self.expects:
                self.expects = False
                self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._waiter = self._line.loop.create_future()
            await self._waiter
        data = b"".join(self._pieces)
        self._pieces.clear()
        full, self._size = self.full, 0
        if full:
            self._line.unhold()
        return data

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._waiter = None


@dataclass(slots=True)
class Request:
    """One request. Not frozen, for speed; nobody writes to it once a handler has it."""

    method: str
    path: str
    """Percent-decoded, without the query; holds no control characters."""
    raw_target: bytes
    """As it stood in the request line."""
    query: str
    headers: list[tuple[bytes, bytes]]
    """Order kept."""
    peer: str
    """The caller's address; `unix` on a Unix socket."""
    scheme: str
    body: bytes = b""
    intake: Intake | None = field(default=None, repr=False)
    _fields: dict[bytes, bytes] | None = field(default=None, repr=False)

    @property
    def fields(self) -> dict[bytes, bytes]:
        """The first value of every header by its name; made once, when first asked for."""
        if self._fields is None:
            self._fields = dict(reversed(self.headers))
        return self._fields

    def header(self, name: bytes) -> str | None:
        """The first value of a header, read as Latin-1."""
        value = self.fields.get(name)
        return None if value is None else value.decode("latin-1")

    async def stream(self) -> AsyncIterator[bytes]:
        """The body in pieces as they arrive; the socket is paused while the reader is behind.

        Raises:
            Invalid: the body ended early (`truncated_body`), is malformed or came too slowly (status 408).
        """
        if self.intake is None:
            if self.body:
                yield self.body
            return
        while data := await self.intake.take():
            yield data


class Reply:
    """What goes back to the caller. After the caller has gone every method does nothing."""

    __slots__ = ("_chunked", "_keep", "_left", "_line", "_mute", "_old", "begun", "ended", "gone", "intake", "started")

    def __init__(self, line: Line, *, mute: bool, old: bool, keep: bool) -> None:
        self._line = line
        self._mute = mute
        """The head and nothing else: HEAD, 204, 304."""
        self._old = old
        """The caller speaks HTTP/1.0."""
        self._keep = keep
        self._chunked = False
        self._left: int | None = None
        """Bytes that a declared content-length still owes."""
        self.intake: Intake | None = None
        """The body of the request, if it is streamed."""
        self.begun = False
        """Its handler has taken its first step."""
        self.gone = False
        """The caller vanished before the reply was complete."""
        self.started = False
        self.ended = False

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """A whole reply in one write; the content-length is added.

        Raises:
            ValueError: a header that cannot stand there, or the reply has begun before.
        """
        if self.gone:
            return
        head, declared = self._head(status, headers)
        if declared is None:
            if status not in (204, 304):
                head += b"content-length: %d\r\n" % len(body)
        elif declared != len(body) and not self._mute:
            raise ValueError(f"The reply declares {declared} bytes and has {len(body)}.")
        self.started = True
        self._line.write(head + b"\r\n" if self._mute else b"%b\r\n%b" % (head, body))
        self.ended = True
        self._line.finished(self._keep)

    def begin(self, status: int, headers: Headers) -> None:
        """Starts a reply whose pieces follow: up to a declared content-length, else chunked, else (HTTP/1.0) until the end.

        Raises:
            ValueError: a header that cannot stand there, or the reply has begun before.
        """
        if self.gone:
            return
        if self._old and not any(name == b"content-length" for name, _ in headers):
            self._keep = False
        head, self._left = self._head(status, headers)
        self._chunked = not self._old and self._left is None and status not in (204, 304)
        if self._chunked:
            head += b"transfer-encoding: chunked\r\n"
        self.started = True
        self._line.cork(head + b"\r\n")

    def write(self, data: bytes) -> None:
        """One piece of a reply that has begun.

        Raises:
            ValueError: more than the declared content-length, or the reply has not begun.
        """
        if not data or self.gone or self.ended:
            return
        if not self.started:
            raise ValueError("The reply has not begun.")
        if self._mute:
            return
        if self._chunked:
            self._line.cork(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if self._left is not None:
            if len(data) > self._left:
                raise ValueError("The reply is longer than it declares.")
            self._left -= len(data)
        self._line.cork(data)

    async def drain(self) -> None:
        """Waits while the caller is behind: only above the transport's high-water mark."""
        await self._line.drained()

    def end(self) -> None:
        """Completes a reply that has begun; one that owes declared bytes is cut instead."""
        if self.gone or self.ended:
            return
        if not self.started or (self._left and not self._mute):
            self.abort()
            return
        if self._chunked and not self._mute:
            self._line.cork(b"0\r\n\r\n")
        self.ended = True
        self._line.finished(self._keep)

    def abort(self) -> None:
        """Cuts the connection so that the caller cannot mistake the truncation for success.

        What was written still goes out where the framing shows that the end is missing; else the connection is reset.
        """
        if self.gone or self.ended:
            return
        self.ended = True
        self._line.cut(reset=self.started and not self._chunked and not self._left)

    def _head(self, status: int, headers: Headers) -> tuple[bytes, int | None]:
        """Status line and header lines, and the content-length among them."""
        if self.started:
            raise ValueError("The reply has begun before.")
        line = self._line
        head = b"".join([_STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status, *[b"%b: %b\r\n" % pair for pair in headers]])
        rows = len(headers) + 1
        if head.count(b"\n") != rows or head.count(b"\r") != rows or b"\0" in head:
            raise ValueError("A header of the reply holds a line break or a zero byte.")
        declared = None
        dated = False
        for name, value in headers:
            if name in _SPECIAL:
                if name == b"content-length":
                    declared = int(value)
                elif name == b"date":
                    dated = True
                else:
                    raise ValueError("The framing of a reply is not the handler's business.")
        if not dated:
            head += line.common()
        if self._keep and (not line.stays() or not (self.intake is None or self.intake.whole)):
            self._keep = False
        if not self._keep:
            head += b"connection: close\r\n"
        elif self._old:
            head += b"connection: keep-alive\r\n"
        if status in (204, 304):
            self._mute = True
        return head, declared
