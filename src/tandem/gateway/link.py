"""One connection to an upstream: sends a request, reads the reply, keeps the times. Knows no pool and no address.

Parsing is llhttp's (through httptools). Method: RFC 9112.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from math import inf
from typing import Any, Protocol

import httptools

from tandem.core.endpoint import Timeouts
from tandem.core.errors import TandemError, TimedOut, Unreachable, Upstream

KIB = 1024
_HIGH = 256 * KIB
"""Bytes that may wait for their reader before the socket is paused."""
WINDOW_BYTES = 512 * KIB
"""What an upstream may send ahead of its reader into the kernel's buffers, which else grow by themselves."""
_WINDOW = getattr(socket, "TCP_WINDOW_CLAMP", None)  # Linux
_HEAD_BYTES, _HEAD_ROWS = 512 * KIB, 256
"""At most of a head, in the reads that it came in; a read is 256 KiB at most."""
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_KEPT_SECONDS = 50.0
"""How long an unused connection is kept: less than the 60 to 75 s after which servers commonly close theirs."""
_AT_HEAD, _AT_PIECE, _AT_END = 0, 1, 2
"""What a reader of a response waits for."""
_DEFAULTS = Timeouts()


class Owner(Protocol):
    """Who made a connection and gets it back."""

    where: str
    """The upstream's address, for messages."""

    def release(self, link: Link) -> None:
        """The exchange is complete and the connection can carry another."""

    def lost(self, link: Link) -> None:
        """The connection is no more; told once."""


class Stale(Unreachable):
    """A kept connection turned out to be dead before a byte of the reply came: worth one fresh try."""


class Response:
    """A reply whose head is complete. Read it to its end or close it; else its connection waits for its deadline."""

    __slots__ = ("_at", "_done", "_error", "_limit", "_link", "_pieces", "_size", "_waiter", "headed", "headers", "status")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit = 0
        self._at = _AT_HEAD
        self._done = False
        self._error: TandemError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        """Names in lower case; order kept."""
        self.headed = False
        """Status and headers are complete."""

    def header(self, name: bytes) -> str | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    def arrived(self) -> bytes:
        """The whole body, where all of it is here already; else nothing, and `read` waits for it."""
        return self._take() if self._done else b""

    async def read(self, limit: int = 64 * KIB * KIB) -> bytes:
        """The whole body, or what is left of it.

        Raises:
            Upstream: cut short (`truncated_stream`), not HTTP (`malformed_reply`), over `limit` bytes (`reply_too_large`).
            TimedOut: the idle or the total time is over.
        """
        if not self._done:
            self._at, self._limit = _AT_END, limit
            self._link.resume()
            while not self._done and self._error is None and self._size <= limit:
                await self.wait()
            if self._error is not None:
                raise self._error
        if self._size > limit:
            self.close()
            raise Upstream(f"The reply of {self._link.where} is larger than {limit} bytes.", code="reply_too_large")
        return self._take()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """All that has arrived since the last piece. Raises what `read` raises, after the last whole piece."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._done:
                raise StopAsyncIteration
            self._at = _AT_PIECE
            self._link.resume()
            await self.wait()
        return self._take()

    def close(self) -> None:
        """Gives up the rest: drops the connection, which tells the upstream to stop. After the end it does nothing."""
        if not self._done and self._error is None:
            self._link.kill(Upstream(f"The reply of {self._link.where} was closed before its end.", code="closed"))

    def body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)

    def finish(self, error: TandemError | None = None) -> None:
        if error is None:
            self._done = True
        else:
            self._error = error
        self.wake()

    @property
    def over(self) -> bool:
        """More waits than the reader wants to have waiting."""
        return self._size > (self._limit if self._at == _AT_END else _HIGH)

    def wake(self) -> None:
        """Wakes the reader if what it waits for is there."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        ready = self.headed if self._at == _AT_HEAD else bool(self._pieces) if self._at == _AT_PIECE else self.over
        if ready or self._done or self._error is not None:
            self._waiter = None
            waiter.set_result(None)

    async def wait(self) -> None:
        self._waiter = waiter = self._link.loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.close()
            raise

    async def begun(self) -> Response:
        """This response, when its head is complete. Whoever gives up waiting must close it."""
        while not self.headed:
            if self._error is not None:
                raise self._error
            self._waiter = self._link.loop.create_future()
            await self._waiter
        return self

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces, self._size = [], 0
        return data


class Link(asyncio.Protocol):
    """One connection to the upstream: sends a request, parses its reply, keeps the times."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.where = owner.where
        self.loop = asyncio.get_running_loop()
        self._parser: Any = None
        self._response: Response | None = None
        self._transport: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._by = self._total_by = inf
        self._timeouts = _DEFAULTS
        self._stage = ""
        self._drained: asyncio.Future[None] | None = None
        self._stuck = self._held = self._mute = self._keep = self._begun = self._framed = False
        self._whole = self._rogue = self._interim = False
        self._size = 0
        self._rows: list[tuple[bytes, bytes]] = []
        """Header lines as they come; behind the head, trailers."""
        self.uploading = False
        """The request is not yet wholly sent."""
        self.tunnel = False
        """Still talking to a proxy; not for the pool."""
        self.used = False
        """Has carried a reply before."""
        self.dead = False

    # The pool's side.

    def begin(self, method: str, timeouts: Timeouts, until: float) -> Response:
        """Makes ready for one exchange that must be over at the loop time `until`."""
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._response = response = Response(self)
        self._mute = method == "HEAD" or method == "CONNECT"
        self._begun = self._framed = self._whole = self._interim = False
        self._size = 0
        self._rows = []
        self._timeouts = timeouts
        self._total_by = until
        self.await_reply()
        return response

    def await_reply(self) -> None:
        self._set("first_byte", self._timeouts.first_byte)

    def keep(self) -> None:
        """Unused from now on; closes itself after a while."""
        self._total_by = inf
        self._set("kept", _KEPT_SECONDS)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drained(self) -> None:
        """Waits while the upstream takes nothing of what is written to it."""
        while self._stuck and not self.dead:
            self._set("idle", self._timeouts.idle)
            self._drained = self.loop.create_future()
            await self._drained

    def resume(self) -> None:
        if self._held and not self.dead:
            self._held = False
            self._transport.resume_reading()
            self._set("idle", self._timeouts.idle)

    def kill(self, error: TandemError | None = None) -> None:
        """Drops the connection at once; whoever reads from it gets `error`."""
        self._bury()
        if self._transport is not None:
            self._transport.abort()
        response, self._response = self._response, None
        if response is not None:
            response.finish(error or Unreachable(f"The connection to {self.where} was closed here."))

    def _bury(self) -> None:
        if not self.dead:
            self.dead = True
            if self._timer is not None:
                self._timer.cancel()
            self._owner.lost(self)
            self._loosen()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if _WINDOW is not None:
                sock.setsockopt(socket.IPPROTO_TCP, _WINDOW, WINDOW_BYTES)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.kill()
            return
        self._begun = True
        if not response.headed:
            self._size += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._whole:
                self.kill(_malformed(self.where, str(error.__context__ or error)))
                return
            self._rogue = True
        if self._whole:
            self._complete(response)
            return
        if self._rows or not response.headed:
            self._weigh(response.headed)
            if self.dead or not response.headed:
                return
        if response.over:
            self._held, self._by = True, inf
            self._transport.pause_reading()
        else:
            self._set("idle", self._timeouts.idle)
        response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bury()
        response, self._response = self._response, None
        if response is None:
            return
        if not self._begun:
            kind = Stale if self.used else Unreachable
            why = f": {exc}" if exc else ""
            response.finish(kind(f"{self.where} closed the connection before it answered{why}."))
        elif response.headed and not self._framed and exc is None:
            response.finish()
        else:
            response.finish(Upstream(f"The reply of {self.where} broke off before its end.", code="truncated_stream"))

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self._loosen()

    def _loosen(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _complete(self, response: Response) -> None:
        self._response = None
        if self._mute:
            self._parser = None
        response.finish()
        if self.tunnel:
            return
        self.used = True
        if self._keep and not self._rogue and not self.uploading and not self.dead:
            self._owner.release(self)
        else:
            self.kill()

    # Times: one timer per connection, moved only when a nearer deadline comes.

    def _set(self, stage: str, seconds: float) -> None:
        self._stage, self._by = stage, self.loop.time() + seconds
        at = min(self._by, self._total_by)
        if at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at, self._timer = at, self.loop.call_at(at, self._tick)

    def _tick(self) -> None:
        now = self.loop.time()
        at = min(self._by, self._total_by)
        if now < at:
            self._timer, self._timer_at = (None, inf) if at == inf else (self.loop.call_at(at, self._tick), at)
            return
        stage = "total" if now >= self._total_by else self._stage
        self.kill(late(self.where, stage, getattr(self._timeouts, stage)) if self._response is not None else None)

    # The parser's side.

    def on_message_begin(self) -> None:
        self._rogue = self._whole

    def on_header(self, name: bytes, value: bytes) -> None:
        self._rows.append((name.lower(), value.rstrip()))

    def on_headers_complete(self) -> None:
        if self._whole:
            return
        parser, rows, self._rows = self._parser, self._rows, []
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("it changes the protocol")
            self._interim = True
            return
        response = self._response
        assert response is not None
        self._check(rows)
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise ValueError("its version is another")
        response.status, response.headers, response.headed = status, rows, True
        self._size = 0
        self._keep = parser.should_keep_alive()
        self._whole = self._mute

    def _check(self, rows: list[tuple[bytes, bytes]]) -> None:
        framing = [row for row in rows if row[0] in _FRAMING]
        self._framed = bool(framing)
        if len(framing) > 1:
            raise ValueError("its body is framed twice")
        if framing and framing[0][0] == b"transfer-encoding" and framing[0][1].lower() != b"chunked":
            raise ValueError("its transfer coding is not 'chunked'")
        if len(rows) > _HEAD_ROWS or self._size > _HEAD_BYTES:
            raise ValueError("its head is too large")

    def _weigh(self, trailing: bool) -> None:
        """Bounds a head, or trailers, of which only a part has come."""
        if trailing:
            self._size += sum([len(name) + len(value) + 4 for name, value in self._rows])
            self._rows.clear()
        if self._size > _HEAD_BYTES:
            self.kill(_malformed(self.where, "its head is too large" if not trailing else "its trailers are too large"))

    def on_body(self, data: bytes) -> None:
        if self._whole or self._response is None:
            self._rogue = True
        else:
            self._response.body(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._whole = True


def _malformed(where: str, why: str) -> Upstream:
    return Upstream(f"The reply of {where} is not HTTP/1.1: {why}.", code="malformed_reply")


_WAITS = {
    "connect": "did not accept a connection",
    "first_byte": "did not begin its reply",
    "idle": "sent or took nothing",
    "total": "did not complete the exchange",
}


def late(where: str, stage: str, seconds: float) -> TimedOut:
    return TimedOut(
        f"{where} {_WAITS[stage]} within {seconds:g} s (stage: {stage}).",
        hint=f"Raise `timeouts.{stage}` if the upstream is slow on purpose.",
        field=stage,
    )
