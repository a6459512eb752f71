"""The socket: HTTP/1.1 in and out, keep-alive and pipelining, nothing awaited. It knows no protocol above HTTP.

One `Connection` per client. It hands each request, whole, to the `App` in the order they came and waits with
the next until `finish()`.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, cast

import httptools

LARGEST_BODY = 64 * 1024 * 1024
"""Bytes of a request body; a larger one gets 413."""
LARGEST_HEAD = 256 * 1024
"""Bytes of all headers and of the URL; larger ones get 431."""
DEEPEST_PIPELINE = 256
"""Requests that may wait on one connection."""

_STATUS: dict[int, bytes] = {int(status): f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode() for status in HTTPStatus}
_NO_UPGRADE = "This server upgrades to no other protocol."
_TEXT = {"content-type": "text/plain; charset=utf-8"}


@dataclass(slots=True, eq=False)
class Request:
    """One request, whole."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """By lower-case name; of a repeated header the values joined by a comma."""
    body: bytes = b""
    keep_alive: bool = True
    http_1_0: bool = False


class App(Protocol):
    """What stands behind the socket."""

    def accept(self, connection: Connection) -> bool:
        """Says whether to keep a new connection; False resets it."""
        ...

    def receive(self, request: Request, connection: Connection) -> None:
        """Answers, now or later; ends with `connection.finish`."""
        ...

    def lost(self, connection: Connection) -> None:
        """The client is gone, or was closed."""
        ...


def head(status: int, headers: Mapping[str, str], request: Request) -> bytes:
    """Status line and headers of a reply, with what HTTP wants about the connection."""
    lines = [_STATUS.get(status) or f"HTTP/1.1 {status} Mocked\r\n".encode()]
    lines += [f"{name}: {value}\r\n".encode("latin-1", "replace") for name, value in headers.items()]
    if not request.keep_alive:
        lines.append(b"connection: close\r\n")
    elif request.http_1_0:
        lines.append(b"connection: keep-alive\r\n")
    return b"".join([*lines, b"\r\n"])


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._pumping = False
        self._drained: asyncio.Future[None] | None = None
        self.transport: asyncio.Transport
        self.gone = False
        """True once nothing can be sent any more."""
        self._start()

    def _start(self) -> None:
        self._request = Request()
        self._url = b""
        self._chunks: list[bytes] = []
        self._size = 0
        self._head_size = 0

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._app.accept(self):
            self.reset()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(501, _NO_UPGRADE)
        except httptools.HttpParserError as error:
            self._refuse(400, f"This is no HTTP request: {error}.")

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._waiting.clear()
        self._app.lost(self)

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    # httptools calls these

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(len(name) + len(value))
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", "replace")
        headers = self._request.headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        if self._parser.should_upgrade():
            self._refuse(501, _NO_UPGRADE)
        elif self._request.headers.get("expect", "").lower() == "100-continue" and not self._busy:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > LARGEST_BODY:
            self._refuse(413, f"The body is larger than {LARGEST_BODY} bytes.")
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self.gone:
            return
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        path, _, query = self._url.partition(b"?")
        request.path, request.query = path.decode("latin-1"), query.decode("latin-1")
        request.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        request.keep_alive = self._parser.should_keep_alive()
        request.http_1_0 = self._parser.get_http_version() == "1.0"
        self._start()
        self._waiting.append(request)
        if len(self._waiting) > DEEPEST_PIPELINE:
            self._refuse(400, f"More than {DEEPEST_PIPELINE} requests wait on this connection.")
        else:
            self._pump()

    def _grow(self, size: int) -> None:
        self._head_size += size
        if self._head_size > LARGEST_HEAD:
            self._refuse(431, f"The headers are larger than {LARGEST_HEAD} bytes.")

    def _pump(self) -> None:
        """Hands the waiting requests over, one at a time; not from inside itself."""
        if self._pumping:
            return
        self._pumping = True
        while self._waiting and not self._busy and not self.gone:
            self._busy = True
            self._app.receive(self._waiting.popleft(), self)
        self._pumping = False

    def _refuse(self, status: int, message: str) -> None:
        """Answers what cannot be read as a request, and closes."""
        if not self.gone and not self.transport.is_closing():
            body = f"{message}\n".encode()
            closing = Request(keep_alive=False)
            if not self._busy:
                self.transport.write(head(status, {**_TEXT, "content-length": str(len(body))}, closing) + body)
            self._waiting.clear()
            self.transport.close()
        self.gone = True

    # the app calls these

    def send(self, data: bytes) -> None:
        """Writes, unless the client is gone."""
        if not self.gone:
            self.transport.write(data)

    async def drain(self) -> None:
        """Waits while the client reads more slowly than we write."""
        if self._drained is not None:
            await self._drained

    def finish(self, request: Request, *, close: bool = False) -> None:
        """The reply to `request` is written; goes on to the next one, or closes."""
        self._busy = False
        if close or not request.keep_alive:
            self.gone = True
            self.transport.close()
        else:
            self._pump()

    def reset(self) -> None:
        """Ends the connection with RST instead of FIN: without lingering, what was not sent is thrown away."""
        self.gone = True
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
