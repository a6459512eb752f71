"""AWS's signature, version 4: headers that prove who asks, for one request at one moment. It reads no clock and sends nothing.

Method: "Create a signed AWS API request" of the AWS IAM user guide, with the path encoded a second time, as every service
but S3 wants it; botocore's `SigV4Auth` is its judge.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, urlsplit

from tandem.core.clock import MICROS

ALGORITHM = "AWS4-HMAC-SHA256"
PORTS = {"http": 80, "https": 443}
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who signs."""

    access_key: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)
    """Of a session, where the other two are lent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Where a signature holds, besides its day."""

    region: str
    service: str


def sign(
    credentials: Credentials, scope: Scope, *, method: str, url: str, headers: Sequence[Header], body: bytes, now: int
) -> tuple[Header, ...]:
    """The headers to add to a request; they prove its method, its address, these headers, its `host` and its body.

    Args:
        url: whole, percent-encoded, as it is going to be asked.
        headers: those that shall be signed; names in lower case.
        now: UTC microseconds. AWS takes a signature for five minutes.

    >>> made = sign(Credentials(access_key="AK", secret="s"), Scope(region="us-east-1", service="bedrock"),
    ...     method="POST", url="https://h.example/model/a%3A0/converse", headers=(), body=b"{}", now=0)
    >>> made[0], made[-1][1][:60]
    ((b'x-amz-date', b'19700101T000000Z'), b'AWS4-HMAC-SHA256 Credential=AK/19700101/us-east-1/bedrock/aw')
    """
    moment = datetime.fromtimestamp(now // MICROS, UTC).strftime("%Y%m%dT%H%M%SZ")
    added: list[Header] = [(b"x-amz-date", moment.encode())]
    if credentials.token:
        added.append((b"x-amz-security-token", credentials.token.encode()))
    rows = _rows([*headers, *added, (b"host", _host(url))])
    names = ";".join(rows)
    parts = urlsplit(url)
    request = "\n".join(
        (
            method,
            quote(_plain(parts.path), safe="/~"),
            "&".join("=".join(pair) for pair in sorted(_pair(each) for each in parts.query.split("&"))) if parts.query else "",
            *(f"{name}:{value}" for name, value in rows.items()),
            "",
            names,
            sha256(body).hexdigest(),
        )
    )
    day = moment[:8]
    place = f"{day}/{scope.region}/{scope.service}/aws4_request"
    words = f"{ALGORITHM}\n{moment}\n{place}\n{sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret}".encode()
    for step in (day, scope.region, scope.service, "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    proof = hmac.digest(key, words.encode(), "sha256").hex()
    told = f"{ALGORITHM} Credential={credentials.access_key}/{place}, SignedHeaders={names}, Signature={proof}"
    return (*added, (b"authorization", told.encode()))


def _rows(headers: Sequence[Header]) -> dict[str, str]:
    """Headers by name, in order; values without needless blanks, those of a repeated one joined."""
    rows: dict[str, list[str]] = {}
    for name, value in headers:
        rows.setdefault(name.decode("ascii"), []).append(b" ".join(value.split()).decode())
    return {name: ",".join(rows[name]) for name in sorted(rows)}


def _host(url: str) -> bytes:
    """The header `host` as the transport writes it: without the scheme's own port."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    name = f"[{name}]" if ":" in name else name
    return (name if parts.port in (None, PORTS.get(parts.scheme)) else f"{name}:{parts.port}").encode("ascii")


def _plain(path: str) -> str:
    """A path without empty steps and without steps that lead back (RFC 3986, 5.2.4)."""
    steps: list[str] = []
    for step in path.split("/"):
        if step == "..":
            del steps[-1:]
        elif step not in ("", "."):
            steps.append(step)
    return "/" + "/".join(steps) + ("/" if steps and path.endswith("/") else "")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value
