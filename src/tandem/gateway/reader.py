"""Reads HTTP/1.x requests out of bytes. Knows no socket, no time and no handler.

Parsing is llhttp's (through httptools), which is strict about line ends, folding, header tokens, a length declared twice
and chunk framing. What it leaves open is closed here: codings other than `chunked` alone, codings in HTTP/1.0, Host,
versions, methods, targets, trailers, bodies behind an upgrade offer, numbers and sizes. Method: RFC 9110, RFC 9112.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote_to_bytes

import httptools

from tandem.core.errors import Invalid
from tandem.gateway.exchange import Intake, Limits, Line, Reply, Request

IDLE, HEAD, BODY = 0, 1, 2
"""Where the reader stands: between requests, inside a head, inside a body."""
_NO_BODY, _CHUNKED = -1, -2
"""In place of a declared content-length."""

_TARGETS = 8
"""Targets kept decoded per connection."""
_METHODS = {name.encode("ascii"): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")}
_SPECIAL = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
_OFFER = frozenset({b"upgrade", b"http2-settings"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+;=%:\[\]-]+")
_ABSOLUTE = re.compile(rb"https?://([^/?]+)(/[^?]*)?(\?.*)?", re.IGNORECASE)


class Refusal(Exception):
    """An answer given before any handler sees the request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Reader:
    """The requests of one connection. A request joins `queue` when it is whole, a streamed one when its head is."""

    def __init__(
        self,
        line: Line,
        limits: Limits,
        stream_path: Callable[[str, str], bool],
        *,
        peer: str,
        scheme: str = "http",
        trusted: frozenset[str] = frozenset(),
    ) -> None:
        self._line, self._limits, self._stream_path = line, limits, stream_path
        self._peer, self._scheme, self._trusted = peer, scheme, trusted
        self._believes = peer in trusted
        self._parser: Any = httptools.HttpRequestParser(self)
        self._fed = self._spent = 0
        self._targets: dict[bytes, tuple[str, str]] = {}
        self._good_host: bytes | None = None
        self._expects = self._offers = self._spread = self._first = False
        self.queue: deque[tuple[Request, Reply]] = deque()
        self.intake: Intake | None = None
        """The body of the request that is being read, if it is streamed."""
        self.last = False
        """After the request read last, the caller wants the connection closed."""
        self.on_message_begin()
        self.stage = IDLE

    def feed(self, data: bytes) -> None:
        """Reads on.

        Raises:
            Refusal: nothing more can be read from this connection.
        """
        self._fed = len(data)
        self._first = self.stage is IDLE
        try:
            try:
                self._parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as trouble:
                self._overcome(trouble, data)
            if self.stage is not IDLE:
                self._weigh()
        except Refusal as refusal:
            if self.stage is BODY and self.intake is not None:
                self.intake.finish(Invalid(refusal.message, status=refusal.status, code=refusal.code))
            raise

    @property
    def starved(self) -> bool:
        """The caller waits for `100 Continue` before it sends a body that is to be collected."""
        return self.stage is BODY and self._expects and not self._pieces

    def go_on(self) -> None:
        """The caller has been told to continue."""
        self._expects = False

    @property
    def mute(self) -> bool:
        """The request that is being read is a HEAD, whose reply has no body."""
        return bool(self._parser.get_method() == b"HEAD")

    def close(self) -> None:
        """Lets go of everything; breaks the circle with the parser."""
        self.queue.clear()
        self._parser = None

    def _overcome(self, trouble: Exception, data: bytes) -> None:
        """Reads on behind an offer to change the protocol; refuses whatever else stopped the parser."""
        if isinstance(trouble.__context__, Refusal):
            raise trouble.__context__ from None
        if not isinstance(trouble, httptools.HttpParserUpgrade):
            if self.last and self.stage is IDLE:
                return
            raise Refusal(400, "malformed_request", f"The request is not HTTP/1.1: {trouble}.") from None
        # llhttp would pass over the body of a request that offers an upgrade. The offer is declined by reading the
        # request again without it.
        data = self._without_offer() + data[trouble.args[0] :]
        self._parser = httptools.HttpRequestParser(self)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as again:
            self._overcome(again, data)

    def _without_offer(self) -> bytes:
        rows = [self._parser.get_method() + b" " + self._url + b" HTTP/" + self._parser.get_http_version().encode("ascii")]
        for name, value in self._rows:
            if name == b"connection":
                tokens = [token.strip() for token in value.lower().split(b",")]
                value = b", ".join(token for token in tokens if token not in _OFFER)
            if name not in _OFFER:
                rows.append(name + b": " + value)
        return b"\r\n".join(rows) + b"\r\n\r\n"

    def _weigh(self) -> None:
        """After a read that ended inside a request: bounds what has come of its head, or of its trailers."""
        if self.stage is HEAD:
            if self._spread or self._first:
                self._size += self._fed
            self._spread = True
            if self._size > self._limits.head:
                raise self._too_large()
        elif self._rows:
            self._check_trailers()

    def _too_large(self) -> Refusal:
        return Refusal(431, "head_too_large", f"The head of the request is larger than {self._limits.head} bytes.")

    # What llhttp calls.

    def on_message_begin(self) -> None:
        self.stage = HEAD
        self._url = b""
        self._rows: list[tuple[bytes, bytes]] = []
        """Header lines as they come; behind the head, trailers."""
        self._pieces: list[bytes] = []
        self._size = self._hosts = 0
        self._length = _NO_BODY
        self._host = b""
        self._expects = self._offers = self._spread = False
        self.intake = None

    def on_url(self, url: bytes) -> None:
        self._url += url
        if len(self._url) > self._limits.target:
            raise Refusal(414, "target_too_long", f"The request target is longer than {self._limits.target} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._rows.append((name.lower(), value.rstrip()))

    def _special(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
            self._host = value
            if value == self._good_host:
                return
            if not _HOST.fullmatch(value):
                raise Refusal(400, "bad_host", "The Host header is not a host.")
            self._good_host = value
        elif name == b"content-length":
            if self._length != _NO_BODY or not value.isdigit() or len(value) > 18:
                raise Refusal(400, "bad_framing", "The length of the body is not declared once and plainly.")
            self._length = int(value)
        elif name == b"transfer-encoding":
            if self._length != _NO_BODY or value.lower() != b"chunked":
                raise Refusal(400, "bad_framing", "The body is framed otherwise than by 'chunked' alone.")
            self._length = _CHUNKED
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Refusal(417, "expectation_failed", "Only '100-continue' can be expected.")
            self._expects = True
        else:
            self._offers = True

    def _check_trailers(self) -> None:
        """Trailers are read past; those that would frame or route are refused, as RFC 9110 6.5.1 forbids them."""
        rows = self._rows
        self._spent += sum([len(name) + len(value) + 4 for name, value in rows])
        if self._spent > self._limits.head or any(name in _SPECIAL for name, _ in rows):
            raise Refusal(400, "bad_trailer", "The body is followed by trailers that cannot stand there.")
        rows.clear()

    def on_headers_complete(self) -> None:
        parser, headers, url = self._parser, self._rows, self._url
        for name, value in headers:
            if name in _SPECIAL:
                self._special(name, value)
        method = _METHODS.get(parser.get_method(), "")
        if self._offers and method and parser.should_upgrade():
            return
        self._offers = False
        version = parser.get_http_version()
        if version != "1.1" or not method or self._hosts != 1:
            self._check(method, version)
        if self._spread or self._fed > self._limits.head or len(headers) > self._limits.headers:
            self._check_size(headers)
        known = self._targets.get(url)
        path, query = known if known is not None else self._locate(method, url)
        keep = parser.should_keep_alive()
        self.last = not keep
        self.stage = BODY
        self._size = self._spent = 0
        self._rows = []
        peer, scheme = self._forwarded(headers) if self._believes else (self._peer, self._scheme)
        request = Request(method, path, url, query, headers, peer, scheme)
        reply = Reply(self._line, mute=method == "HEAD", old=version == "1.0", keep=keep)
        self._next = (request, reply)
        if self._length != _NO_BODY and self._length != 0 and self._stream_path(method, path):
            request.intake = reply.intake = self.intake = Intake(self._line, self._expects)
            self._expects = False
            self._append()
        elif self._length > self._limits.body:
            raise self._too_long()

    def _locate(self, method: str, url: bytes) -> tuple[str, str]:
        """Path and query; kept for the few targets that a connection names again and again."""
        found = _target(method, url, self._host)
        if url.startswith(b"/") and len(self._targets) < _TARGETS:
            self._targets[url] = found
        return found

    def _check(self, method: str, version: str) -> None:
        if version not in ("1.1", "1.0"):
            raise Refusal(505, "bad_version", "The request is neither HTTP/1.1 nor HTTP/1.0.")
        if not method:
            raise Refusal(501, "bad_method", "The method of the request is not served here.")
        if self._hosts > 1 or (not self._hosts and version == "1.1"):
            raise Refusal(400, "bad_host", "The request does not name its host exactly once.")
        if version == "1.0":
            self._expects = False
            if self._length == _CHUNKED:
                raise Refusal(400, "bad_framing", "HTTP/1.0 has no transfer codings.")

    def _check_size(self, headers: list[tuple[bytes, bytes]]) -> None:
        if len(headers) > self._limits.headers:
            raise Refusal(431, "too_many_headers", f"The request has more than {self._limits.headers} headers.")
        if len(self._url) + sum([len(name) + len(value) for name, value in headers]) > self._limits.head:
            raise self._too_large()

    def on_body(self, data: bytes) -> None:
        if self.intake is not None:
            self.intake.feed(data)
            return
        self._pieces.append(data)
        self._size += len(data)
        if self._size > self._limits.body:
            raise self._too_long()

    def _too_long(self) -> Refusal:
        return Refusal(413, "body_too_large", f"The body of the request is larger than {self._limits.body} bytes.")

    def on_message_complete(self) -> None:
        if self._offers:
            return
        if self._rows:
            self._check_trailers()
        self.stage = IDLE
        self._first = False
        if self.intake is not None:
            self.intake.finish()
            return
        if self._pieces:
            self._next[0].body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._append()

    def _append(self) -> None:
        self.queue.append(self._next)
        if len(self.queue) > self._limits.pipeline:
            raise Refusal(400, "pipeline_too_deep", f"More than {self._limits.pipeline} requests wait on one connection.")

    def _forwarded(self, headers: list[tuple[bytes, bytes]]) -> tuple[str, str]:
        """Caller and scheme as trusted proxies tell them: the nearest address that is not one of them."""
        hops: list[bytes] = []
        peer, scheme = self._peer, self._scheme
        for name, value in headers:
            if name == b"x-forwarded-for":
                hops += value.split(b",")
            elif name == b"x-forwarded-proto" and value.lower() in (b"http", b"https"):
                scheme = value.lower().decode("ascii")
        for hop in reversed(hops):
            address = plain_address(hop.strip().decode("latin-1"))
            if address is None:
                break
            peer = address
            if peer not in self._trusted:
                break
        return peer, scheme


def plain_address(text: str) -> str | None:
    """The canonical form of an IP address; an IPv4 address in IPv6 clothes is undressed.

    >>> plain_address("::ffff:10.0.0.1"), plain_address("FE80::1%eth0"), plain_address("unknown")
    ('10.0.0.1', 'fe80::1', None)
    """
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
            raise Refusal(400, "bad_target", "The request target is neither a path nor an address of the host it names.")
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
        raise Refusal(400, "bad_target", "The request target holds what no path may hold.") from None
