"""HTTP/1.1 client: a pool of kept connections to one upstream. All I/O with upstreams, and all translation of its errors.

Knows no provider, no retry policy and no content. Parsing is llhttp's (through httptools). Method: RFC 9112.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from math import inf
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import httptools

from tandem.core.endpoint import Timeouts
from tandem.core.errors import Invalid, TandemError, TimedOut, Unreachable, Upstream

KIB = 1024
_HIGH = 256 * KIB
"""Bytes that may wait for their reader before the socket is paused."""
_HEAD_BYTES, _HEAD_ROWS = 128 * KIB, 256
_KEPT_SECONDS = 50.0
"""How long an unused connection is kept: less than the 60 to 75 s after which servers commonly close theirs."""
_OWN = frozenset({b"content-length", b"transfer-encoding", b"connection", b"accept-encoding", b"expect"})
"""Headers that are this file's business, whatever a caller passes."""
_METHOD = re.compile(r"[A-Z]{1,20}")
_NAME = re.compile(r"[A-Za-z0-9._:-]+")
_TARGET = re.compile(r"/[!-~]*")
_AT_HEAD, _AT_PIECE, _AT_END = 0, 1, 2
"""What a reader of a response waits for."""


class _Stale(Unreachable):
    """A kept connection turned out to be dead before a byte of the reply came: worth one fresh try."""


class Response:
    """A reply whose head is complete. Read it to its end or close it; else its connection waits for its deadline."""

    __slots__ = ("_at", "_done", "_error", "_limit", "_link", "_pieces", "_size", "_waiter", "headed", "headers", "status")

    def __init__(self, link: _Link) -> None:
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
        """This response, when its head is complete."""
        while not self.headed:
            if self._error is not None:
                raise self._error
            await self.wait()
        return self

    def _take(self) -> bytes:
        pieces = self._pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces, self._size = [], 0
        return data


class _Link(asyncio.Protocol):
    """One connection to the upstream: sends a request, parses its reply, keeps the times."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.where = pool.where
        self.loop = asyncio.get_running_loop()
        self._parser: Any = None
        self._response: Response | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._by = self._total_by = inf
        self._timeouts = Timeouts()
        self._stage = ""
        self._drained: asyncio.Future[None] | None = None
        self._stuck = self._held = self._mute = self._keep = self._begun = self._framed = False
        self._whole = self._rogue = self._interim = False
        self._size = 0
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
        cast(asyncio.Transport, self._transport).write(data)

    async def drained(self) -> None:
        """Waits while the upstream takes nothing of what is written to it."""
        while self._stuck and not self.dead:
            self._set("idle", self._timeouts.idle)
            self._drained = self.loop.create_future()
            await self._drained

    def resume(self) -> None:
        if self._held and not self.dead:
            self._held = False
            cast(asyncio.Transport, self._transport).resume_reading()
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
            self._pool.lost(self)
            self._loosen()

    # The transport's side.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            self.kill()
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.kill(_malformed(self.where, str(error.__context__ or error)))
            return
        if self._whole:
            self._complete(response)
            return
        if not response.headed:
            self._size += len(data)
            if self._size > 2 * _HEAD_BYTES:
                self.kill(_malformed(self.where, "its head is too large"))
            return
        if response.over:
            self._held, self._by = True, inf
            cast(asyncio.Transport, self._transport).pause_reading()
        else:
            self._set("idle", self._timeouts.idle)
        response.wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._bury()
        response, self._response = self._response, None
        if response is None:
            return
        if not self._begun:
            kind = _Stale if self.used else Unreachable
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
            self._pool.release(self)
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
        self.kill(_late(self.where, stage, getattr(self._timeouts, stage)) if self._response is not None else None)

    # The parser's side.

    def on_message_begin(self) -> None:
        self._rogue = self._whole

    def on_header(self, name: bytes, value: bytes) -> None:
        response = self._response
        if response is None or self._whole:
            return
        if response.headed:
            self._size += len(name) + len(value)
        else:
            name = name.lower()
            response.headers.append((name, value))
            if name == b"content-length":
                self._framed = True
            elif name == b"transfer-encoding":
                self._framed = True
                if value.lower() != b"chunked":
                    raise ValueError("its transfer coding is not 'chunked'")
        if len(response.headers) > _HEAD_ROWS or self._size > _HEAD_BYTES:
            raise ValueError("its head is too large")

    def on_headers_complete(self) -> None:
        response = cast(Response, self._response)
        status = self._parser.get_status_code()
        if self._whole:
            return
        if status < 200:
            if status == 101:
                raise ValueError("it changes the protocol")
            self._interim = True
            response.headers.clear()
            self._framed = False
            return
        if sum([len(name) + len(value) for name, value in response.headers]) > _HEAD_BYTES:
            raise ValueError("its head is too large")
        response.status, response.headed = status, True
        self._keep = self._parser.should_keep_alive()
        self._whole = self._mute

    def on_body(self, data: bytes) -> None:
        if self._whole:
            self._rogue = True
        else:
            cast(Response, self._response).body(data)

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        else:
            self._whole = True


class Pool:
    """Connections to one upstream: kept, reused newest first, never more than `limit`."""

    def __init__(
        self, base_url: str, *, limit: int = 256, ssl_context: ssl.SSLContext | None = None, proxy: str | None = None
    ) -> None:
        """Prepares; nothing is opened before `ask`.

        Args:
            base_url: `http://HOST[:PORT][/PREFIX]`, `https://…`, or `unix:/path.sock`.
            limit: connections at most; further calls wait for one, within their connect time.
            ssl_context: for https; by default the system's authorities.
            proxy: `http://[USER:PASSWORD@]HOST:PORT`, or `environment` for HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

        Raises:
            Invalid: an address cannot be used.
        """
        self._limit = limit
        self._open = 0
        self._idle: list[_Link] = []
        self._links: set[_Link] = set()
        self._waiting: deque[asyncio.Future[_Link | None]] = deque()
        self._closed = False
        self._ssl: ssl.SSLContext | None = None
        self._socket = ""
        self._prefix = ""
        self._proxy: tuple[str, int] | None = None
        self._authorization = b""
        if base_url.startswith("unix:"):
            self._socket, self.where, self._host = base_url[5:], base_url, b"localhost"
            return
        scheme, self._name, self._port, path = _address(base_url)
        standard = self._port == (443 if scheme == "https" else 80)
        name = f"[{self._name}]" if ":" in self._name else self._name
        self.where = f"{name}:{self._port}"
        self._host = (name if standard else self.where).encode("ascii")
        self._prefix = path.rstrip("/")
        if scheme == "https":
            self._ssl = ssl_context or ssl.create_default_context()
        if proxy == "environment":
            proxy = _proxy(os.environ, scheme, self._name)
        if proxy:
            self._set_proxy(proxy)

    async def ask(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        *,
        timeouts: Timeouts,
        on_sent: Callable[[], None] | None = None,
    ) -> Response:
        """Sends one request and returns its reply as soon as the head is there.

        A kept connection that dies before a byte of the reply is replaced once, if the body can be sent again.

        Args:
            method: in capitals.
            path: with the query, percent-encoded; put behind the prefix of the base URL.
            headers: names in lower case. `host` is added if missing; framing is not the caller's business, except that
                a `content-length` beside a body in pieces is kept and held to.
            body: whole, or in pieces.
            timeouts: seconds for each stage.
            on_sent: called once, when the first bytes have been given to a connected socket.

        Raises:
            Invalid: method, path or a header cannot stand in a request.
            Unreachable: no connection, or it was reset before a reply.
            TimedOut: connect, first byte, idle or total.
            Upstream: `malformed_reply`, `truncated_stream`.
        """
        declared = None if isinstance(body, bytes) else _declared(headers)
        head = self._head(method, path, headers, body, declared)
        until = asyncio.get_running_loop().time() + timeouts.total
        fresh = False
        while True:
            link = await self._take(timeouts, fresh)
            response = link.begin(method, timeouts, until)
            try:
                if isinstance(body, bytes):
                    link.write(head + body)
                    if on_sent is not None:
                        on_sent()
                else:
                    link.uploading = True
                    link.write(head)
                    if on_sent is not None:
                        on_sent()
                    await _upload(link, response, body, declared)
                return await response.begun()
            except _Stale as stale:
                if fresh or not isinstance(body, bytes):
                    raise Unreachable(stale.message) from None
                fresh, on_sent = True, None
            except BaseException:
                response.close()
                raise

    async def close(self) -> None:
        """Drops all connections; whoever reads from one gets Unreachable."""
        self._closed = True
        for link in list(self._links):
            link.kill()
        await asyncio.sleep(0)

    def release(self, link: _Link) -> None:
        """Takes back a connection whose exchange is complete."""
        link.keep()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._idle.append(link)

    def lost(self, link: _Link) -> None:
        """Forgets a connection; its place goes to the first who waits for one."""
        if link in self._idle:
            self._idle.remove(link)
        self._links.discard(link)
        self._vacate()

    def _vacate(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._open -= 1

    async def _take(self, timeouts: Timeouts, fresh: bool) -> _Link:
        """A kept connection, or a new one, or (at the limit) the next that comes free."""
        if self._closed:
            raise Unreachable(f"The connections to {self.where} are closed.")
        if self._idle and not fresh:
            return self._idle.pop()
        if self._idle and self._open >= self._limit:
            self._idle[0].kill()
        if self._open < self._limit:
            self._open += 1
            return await self._connect(timeouts)
        link = await self._queue(timeouts)
        if link is None:
            return await self._connect(timeouts)
        if not link.dead and not fresh:
            return link
        link.kill()
        return await self._take(timeouts, fresh)

    async def _queue(self, timeouts: Timeouts) -> _Link | None:
        """Waits for a connection, or (None) for the place of one."""
        waiter: asyncio.Future[_Link | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(timeouts.connect):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                link = waiter.result()
                if link is None:
                    self._vacate()
                elif not link.dead:
                    self.release(link)
            if isinstance(error, TimeoutError):
                raise TimedOut(
                    f"All {self._limit} connections to {self.where} were busy for {timeouts.connect:g} s (stage: connect).",
                    hint="Raise the limit of connections, or send less at once.",
                ) from None
            raise

    async def _connect(self, timeouts: Timeouts) -> _Link:
        """A new connection, in a place that is already counted."""
        link = _Link(self)
        self._links.add(link)
        try:
            async with asyncio.timeout(timeouts.connect):
                await self._dial(link, timeouts)
        except BaseException as error:
            link.kill()
            if isinstance(error, TimeoutError):
                raise _late(self.where, "connect", timeouts.connect) from None
            if isinstance(error, OSError):
                raise Unreachable(
                    f"No connection to {self.where}: {error}.", hint="Check that the address is right and the server runs."
                ) from error
            raise
        return link

    async def _dial(self, link: _Link, timeouts: Timeouts) -> None:
        loop = link.loop
        if self._socket:
            await loop.create_unix_connection(lambda: link, self._socket)
        elif self._proxy is None:
            name = self._name if self._ssl else None
            await loop.create_connection(lambda: link, self._name, self._port, ssl=self._ssl, server_hostname=name)
        else:
            transport, _ = await loop.create_connection(lambda: link, *self._proxy)
            if self._ssl is not None:
                await self._dig(link, timeouts)
                secure = await loop.start_tls(transport, link, self._ssl, server_hostname=self._name)
                link.connection_made(cast(asyncio.Transport, secure))

    async def _dig(self, link: _Link, timeouts: Timeouts) -> None:
        """Asks the proxy for a tunnel (RFC 9110 9.3.6)."""
        link.tunnel = True
        response = link.begin("CONNECT", timeouts, link.loop.time() + timeouts.total)
        target = self.where.encode("ascii")
        link.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, self._authorization))
        await response.begun()
        link.tunnel = False
        if response.status != 200:
            raise Unreachable(f"The proxy refused a tunnel to {self.where} with status {response.status}.")

    def _set_proxy(self, proxy: str) -> None:
        scheme, host, port, _ = _address(proxy)
        if scheme != "http":
            raise Invalid(f"A proxy with scheme '{scheme}' is not supported.", hint="Give http://HOST:PORT.")
        self._proxy = (host, port)
        parts = urlsplit(proxy)
        if parts.username:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._authorization = b"proxy-authorization: basic " + base64.b64encode(pair) + b"\r\n"

    def _head(
        self,
        method: str,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes | AsyncIterator[bytes],
        declared: int | None,
    ) -> bytes:
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(path):
            raise Invalid("The request to the upstream has a method or a path that cannot be sent.")
        target = f"{self._prefix}{path}".encode("ascii")
        rows = [b"%b: %b\r\n" % pair for pair in headers if pair[0] not in _OWN]
        if not any(name == b"host" for name, _ in headers):
            rows.append(b"host: %b\r\n" % self._host)
        if not isinstance(body, bytes):
            rows.append(b"transfer-encoding: chunked\r\n" if declared is None else b"content-length: %d\r\n" % declared)
        elif body or method not in ("GET", "HEAD", "OPTIONS", "DELETE", "TRACE"):
            rows.append(b"content-length: %d\r\n" % len(body))
        block = b"".join(rows)
        if block.count(b"\n") != len(rows) or block.count(b"\r") != len(rows) or b"\0" in block:
            raise Invalid("A header for the upstream holds a line break or a zero byte.")
        if self._proxy is not None and self._ssl is None:
            target = b"http://" + self._host + target
            block += self._authorization
        return b"%b %b HTTP/1.1\r\n%b\r\n" % (method.encode("ascii"), target, block)


async def _upload(link: _Link, response: Response, body: AsyncIterator[bytes], declared: int | None) -> None:
    """Sends a body in pieces; stops early if the upstream has answered already."""
    left = declared
    async for piece in body:
        if response.headed or link.dead:
            return
        if not piece:
            continue
        if left is None:
            link.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        else:
            left -= len(piece)
            if left < 0:
                break
            link.write(piece)
        await link.drained()
    if left:
        raise Invalid("The body of the request is not as long as its content-length.", field="content-length")
    if left is None:
        link.write(b"0\r\n\r\n")
    link.uploading = False
    link.await_reply()


def _declared(headers: Sequence[tuple[bytes, bytes]]) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit():
                raise Invalid("The content-length of the request is not a number.", field="content-length")
            return int(value)
    return None


def _address(url: str) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of an http or https URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid(f"'{url}' is not an address.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        hint = "Write http://HOST[:PORT][/PATH], https://… or unix:/PATH."
        raise Invalid(f"'{url}' is not an address of an upstream.", hint=hint)
    if not _NAME.fullmatch(parts.hostname) or (parts.path and not _TARGET.fullmatch(parts.path)):
        raise Invalid(f"'{url}' holds characters that cannot stand in a request.")
    return parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), parts.path


def _proxy(environ: Mapping[str, str], scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host, in the usual variables in either case."""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for rule in (part.strip().lstrip(".").lower() for part in exempt.split(",")):
        if rule == "*" or (rule and (host == rule or host.endswith("." + rule))):
            return None
    return environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY") or None


def _malformed(where: str, why: str) -> Upstream:
    return Upstream(f"The reply of {where} is not HTTP/1.1: {why}.", code="malformed_reply")


_WAITS = {
    "connect": "did not accept a connection",
    "first_byte": "did not begin its reply",
    "idle": "sent or took nothing",
    "total": "did not complete the exchange",
}


def _late(where: str, stage: str, seconds: float) -> TimedOut:
    return TimedOut(
        f"{where} {_WAITS[stage]} within {seconds:g} s (stage: {stage}).",
        hint=f"Raise `timeouts.{stage}` if the upstream is slow on purpose.",
    )
