"""A platform that answers what it was told to, on loopback, for tests of code that uses this client. Standard library only.

with FakePlatform() as platform:
    platform.on("GET", "/api/v1/whoami", {"name": "ci"})
    assert Client(platform.url, "tdm_any").whoami().name == "ci"
    assert platform.asked[-1].headers["authorization"] == "Bearer tdm_any"
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import parse_qsl, unquote, urlsplit

KEPT_BYTES = 1 << 20
"""Bytes of a request's body that are remembered; all of it is counted and digested."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canned:
    """One answer."""

    body: object = None
    """JSON, or bytes that are sent as they are."""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False
    """Close the connection after `body` without ending the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    """Decoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    """The first `KEPT_BYTES`."""
    length: int
    sha256: str

    def json(self) -> object:
        return json.loads(self.body)


class FakePlatform:
    """An HTTP server on a free port of 127.0.0.1. What it was not told of, it answers with 404 in Tandem's shape."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], list[Canned]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, method: str, path: str, *answers: object) -> None:
        """Answers a method and path with these, one after the other; the last one stays. JSON values mean status 200."""
        self._answers[(method, path)] = [answer if isinstance(answer, Canned) else Canned(body=answer) for answer in answers]

    def take(self, asked: Asked) -> Canned:
        """Remembers a request and gives its answer."""
        self.asked.append(asked)
        answers = self._answers.get((asked.method, asked.path))
        if not answers:
            message = f"{asked.method} {asked.path} is nothing here."
            return Canned(status=404, body={"error": {"code": "not_found", "message": message, "hint": None, "field": None}})
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> FakePlatform:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def _handler(platform: FakePlatform) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._answer()

        do_POST = do_PUT = do_DELETE = do_GET  # names of the standard library

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def _answer(self) -> None:
            split = urlsplit(self.path)
            kept, length, digest = self._body()
            canned = platform.take(
                Asked(
                    method=self.command, path=unquote(split.path), query=dict(parse_qsl(split.query)),
                    headers={name.lower(): value for name, value in self.headers.items()}, body=kept, length=length,
                    sha256=digest,
                )
            )  # fmt: skip
            body = canned.body if isinstance(canned.body, bytes) else json.dumps(canned.body).encode()
            self.send_response(canned.status)
            headers = {"content-type": "application/json", "content-length": str(len(body) + canned.hang_up), **canned.headers}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = self.close_connection or canned.hang_up

        def _body(self) -> tuple[bytes, int, str]:
            left, kept, digest, length = int(self.headers.get("content-length", "0")), bytearray(), hashlib.sha256(), 0
            while left > 0 and (piece := self.rfile.read(min(left, 1 << 16))):
                left -= len(piece)
                length += len(piece)
                digest.update(piece)
                kept += piece[: KEPT_BYTES - len(kept)]
            return bytes(kept), length, digest.hexdigest()

    return Handler
