"""HTTP/1.1 client: a pool of kept connections to one upstream. All I/O with upstreams, and all translation of its errors.

Knows no provider, no retry policy and no content.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import cast
from urllib.parse import unquote, urlsplit

from tandem.core.endpoint import Timeouts
from tandem.core.errors import Invalid, TimedOut, Unreachable
from tandem.gateway.link import Link, Response, Stale, late

__all__ = ["Pool", "Response"]

_OWN = frozenset({b"content-length", b"transfer-encoding", b"connection", b"accept-encoding", b"expect"})
"""Headers that are this file's business, whatever a caller passes."""
_PLAIN = b"accept-encoding: identity\r\n"
"""Without it a server may encode as it likes; what is not encoded cannot blow up when it is decoded."""
_LINES = 64
"""Request lines kept ready per pool."""
_METHOD = re.compile(r"[A-Z]{1,20}")
_NAME = re.compile(r"[A-Za-z0-9._:-]+")
_TARGET = re.compile(r"/[!-~]*")


CONNECT = "connect"
"""The stage, as errors name it, before which nothing was sent."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be sent again when a kept connection turns out to be closed."""


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
        self._idle: list[Link] = []
        self._links: set[Link] = set()
        self._waiting: deque[asyncio.Future[Link | None]] = deque()
        self._closed = False
        self._retired = False
        self.ssl_context: ssl.SSLContext | None = None
        self._socket = ""
        self._prefix = ""
        self._proxy: tuple[str, int] | None = None
        self._authorization = b""
        self._lines: dict[tuple[str, str], bytes] = {}
        if base_url.startswith("unix:"):
            self._socket, self.where, self._host = base_url[5:], base_url, b"localhost"
            self._host_row = b"host: localhost\r\n"
            return
        scheme, self._name, self._port, path = _address(base_url)
        standard = self._port == (443 if scheme == "https" else 80)
        name = f"[{self._name}]" if ":" in self._name else self._name
        self.where = f"{name}:{self._port}"
        self._host = (name if standard else self.where).encode("ascii")
        self._host_row = b"host: %b\r\n" % self._host
        self._prefix = path.rstrip("/")
        if scheme == "https":
            self.ssl_context = ssl_context or ssl.create_default_context()
        if proxy == "environment":
            proxy = environment_proxy(os.environ, scheme, self._name)
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
            Unreachable: no connection (`field` is "connect": nothing was sent), or it was reset before a reply.
            TimedOut: connect, first byte, idle or total.
            Upstream: `malformed_reply`, `truncated_stream`.
        """
        declared = None if isinstance(body, bytes) else _declared(headers)
        head = self._head(method, path, headers, body, declared)
        until = asyncio.get_running_loop().time() + timeouts.total
        fresh = False
        while True:
            link = self._idle.pop() if self._idle and not fresh else await self._take(timeouts, fresh)
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
                return response if response.headed else await response.begun()
            except Stale as stale:
                if fresh or method not in SAFE:  # the request may have been heard: a second one is the caller's to decide
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

    def retire(self) -> None:
        """Drops the connections that nobody uses, and the others once their exchange is complete."""
        self._retired = True
        for link in list(self._idle):
            link.kill()

    def release(self, link: Link) -> None:
        """Takes back a connection whose exchange is complete."""
        if self._retired and not self._waiting:
            link.kill()
            return
        link.keep()
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(link)
                return
        self._idle.append(link)

    def lost(self, link: Link) -> None:
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

    async def _take(self, timeouts: Timeouts, fresh: bool) -> Link:
        """A kept connection, or a new one, or (at the limit) the next that comes free."""
        if self._closed:
            raise Unreachable(f"The connections to {self.where} are closed.", field=CONNECT)
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

    async def _queue(self, timeouts: Timeouts) -> Link | None:
        """Waits for a connection, or (None) for the place of one."""
        waiter: asyncio.Future[Link | None] = asyncio.get_running_loop().create_future()
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
                    field=CONNECT,
                ) from None
            raise

    async def _connect(self, timeouts: Timeouts) -> Link:
        """A new connection, in a place that is already counted."""
        link = Link(self)
        self._links.add(link)
        try:
            async with asyncio.timeout(timeouts.connect):
                await self._dial(link, timeouts)
        except BaseException as error:
            link.kill()
            if isinstance(error, TimeoutError):
                raise late(self.where, "connect", timeouts.connect) from None
            if isinstance(error, OSError):
                raise Unreachable(
                    f"No connection to {self.where}: {error}.",
                    hint="Check that the address is right and the server runs.",
                    field=CONNECT,
                ) from error
            raise
        return link

    async def _dial(self, link: Link, timeouts: Timeouts) -> None:
        loop = link.loop
        if self._socket:
            await loop.create_unix_connection(lambda: link, self._socket)
        elif self._proxy is None:
            name = self._name if self.ssl_context else None
            await loop.create_connection(lambda: link, self._name, self._port, ssl=self.ssl_context, server_hostname=name)
        else:
            transport, _ = await loop.create_connection(lambda: link, *self._proxy)
            if self.ssl_context is not None:
                await self._dig(link, timeouts)
                secure = await loop.start_tls(transport, link, self.ssl_context, server_hostname=self._name)
                link.connection_made(cast(asyncio.Transport, secure))

    async def _dig(self, link: Link, timeouts: Timeouts) -> None:
        """Asks the proxy for a tunnel (RFC 9110 9.3.6)."""
        link.tunnel = True
        response = link.begin("CONNECT", timeouts, link.loop.time() + timeouts.total)
        target = self.where.encode("ascii")
        link.write(b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, self._authorization))
        await response.begun()
        link.tunnel = False
        if response.status != 200:
            raise Unreachable(f"The proxy refused a tunnel to {self.where} with status {response.status}.", field=CONNECT)

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
        line = self._lines.get((method, path)) or self._line(method, path)
        rows = [line, _PLAIN]
        named = False
        for row in headers:
            if row[0] not in _OWN:
                rows.append(b"%b: %b\r\n" % row)
                named = named or row[0] == b"host"
        if not named:
            rows.append(self._host_row)
        if not isinstance(body, bytes):
            rows.append(b"transfer-encoding: chunked\r\n" if declared is None else b"content-length: %d\r\n" % declared)
        elif body or method not in ("GET", "HEAD", "OPTIONS", "DELETE", "TRACE"):
            rows.append(b"content-length: %d\r\n" % len(body))
        if self._authorization and self.ssl_context is None:
            rows.append(self._authorization)
        block = b"".join(rows)
        if block.count(b"\n") != len(rows) or block.count(b"\r") != len(rows) or b"\0" in block:
            raise Invalid("A header for the upstream holds a line break or a zero byte.")
        return block + b"\r\n"

    def _line(self, method: str, path: str) -> bytes:
        """The request line, kept for the few targets that most requests name."""
        if not _METHOD.fullmatch(method) or not _TARGET.fullmatch(path):
            raise Invalid("The request to the upstream has a method or a path that cannot be sent.")
        target = f"{self._prefix}{path}".encode("ascii")
        if self._proxy is not None and self.ssl_context is None:
            target = b"http://" + self._host + target
        line = b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target)
        if len(self._lines) < _LINES:
            self._lines[method, path] = line
        return line


async def _upload(link: Link, response: Response, body: AsyncIterator[bytes], declared: int | None) -> None:
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


def environment_proxy(environ: Mapping[str, str], scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a host, in the usual variables in either case."""
    exempt = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    for rule in (part.strip().lstrip(".").lower() for part in exempt.split(",")):
        if rule == "*" or (rule and (host == rule or host.endswith("." + rule))):
            return None
    return environ.get(f"{scheme}_proxy") or environ.get(f"{scheme.upper()}_PROXY") or None
