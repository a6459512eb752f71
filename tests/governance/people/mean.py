"""A provider of sign-ins on loopback that says whatever a test wants it to, with keys of its own."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

KEY = RSAKey.generate_key(2048, parameters={"kid": "one"})
OTHER = RSAKey.generate_key(2048, parameters={"kid": "two"})
SHARED = OctKey.import_key("a-secret-of-the-client-which-is-long-enough")


@dataclass
class Mean:
    """What it answers, and what it was asked."""

    port: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    """What is told otherwise in the discovery document."""
    published: list[RSAKey] = field(default_factory=lambda: [KEY])
    token: Callable[[], dict[str, Any]] = dict
    userinfo: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    """Path, form and authorization of every request."""

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str) -> dict[str, Any]:
        match path:
            case "/.well-known/openid-configuration":
                return {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/auth?tenant=1",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/jwks",
                    "userinfo_endpoint": f"{self.issuer}/me",
                    **self.facts,
                }
            case "/jwks":
                return {"keys": [key.as_dict(private=False) for key in self.published]}
            case "/token":
                return self.token()
            case _:
                return self.userinfo


def signed(claims: dict[str, Any], key: RSAKey | OctKey = KEY, alg: str = "RS256") -> str:
    """An ID token."""
    kid = {} if isinstance(key, OctKey) else {"kid": str(key.kid)}
    return jwt.encode({"alg": alg, **kid}, claims, key, algorithms=[alg])


@contextmanager
def mean() -> Iterator[Mean]:
    """It runs in a thread of its own."""
    made = Mean()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._say({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
            self._say({name: values[0] for name, values in parse_qs(body).items()})

        def _say(self, form: dict[str, str]) -> None:
            path = urlsplit(self.path).path
            made.asked.append((path, form, self.headers.get("authorization", "")))
            told = json.dumps(made.answer(path)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
