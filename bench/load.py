"""Load: `wrk` as fast as it goes, or one caller at a steady pace."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.stage import Failed, Target, pinned

SCRIPT = Path(__file__).with_name("load.lua")
CHAT = "/v1/chat/completions"
PROMPT = "Please tell the team in one friendly sentence that the nightly report is ready and where they can find it."
TAIL_SECONDS = 1
"""After the last request is sent, for the replies that are still under way."""

TIMEOUT_SECONDS = 1
"""Beyond the tail, until a reply counts as broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What wrk saw."""

    requests: int
    per_second: float
    p50: float
    """Microseconds."""
    p99: float
    refused: int
    broken: int
    sent: int = 0
    """Requests that were begun within the time; those still under way at its end are as many as the connections."""


def chat(model: str, *, deltas: int = 0) -> bytes:
    """A short chat request with an answer of at most 32 tokens; with `deltas`, a stream of exactly so many tokens."""
    if not deltas:
        return json.dumps({"model": model, "max_tokens": 32, "messages": [{"role": "user", "content": PROMPT}]}).encode()
    order = f"{PROMPT}\nx-mock-tokens: {deltas}"
    body = {"model": model, "max_tokens": deltas, "stream": True, "messages": [{"role": "user", "content": order}]}
    return json.dumps(body).encode()


def streamed(model: str) -> bytes:
    """A request for a stream of as many tokens as the upstream likes to send."""
    body = {"model": model, "max_tokens": 200, "stream": True, "messages": [{"role": "user", "content": PROMPT}]}
    return json.dumps(body).encode()


def address(target: Target) -> tuple[str, int]:
    """Where its socket is."""
    parts = urlsplit(target.url)
    assert parts.hostname is not None
    return parts.hostname, parts.port or 80


def request(target: Target, path: str, body: bytes) -> bytes:
    """One POST as it stands on the wire."""
    more = "".join(f"{name}: {value}\r\n" for name, value in target.headers)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {urlsplit(target.url).netloc}\r\nauthorization: Bearer {target.key}\r\n{more}"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def burst(
    target: Target, path: str, body: bytes, *, connections: int, seconds: int, tail: int = TAIL_SECONDS, cores: str = ""
) -> Burst:
    """POSTs the body again and again for `seconds`, over so many kept connections; every call sent is answered.

    Args:
        tail: seconds that are waited for the last replies; a slow target needs more.
        cores: where the load runs; empty: everywhere.

    Raises:
        Failed: wrk is not installed, or says nothing.
    """
    if shutil.which("wrk") is None:
        raise Failed("wrk is not installed (Debian: apt-get install wrk).")
    lines = "".join(f"{name}: {value}\n" for name, value in target.headers)
    environment = {**os.environ, "KEY": target.key, "BODY": body.decode(), "SECONDS": str(seconds), "HEADERS": lines}
    limits = [f"-d{seconds + tail}s", "--timeout", f"{tail + TIMEOUT_SECONDS}s"]
    words = ["wrk", "-t1", f"-c{connections}", *limits, "-s", str(SCRIPT), target.url + path]
    done = subprocess.run(pinned(words, cores), env=environment, capture_output=True, text=True, check=False)
    told = [line for line in done.stdout.splitlines() if line.startswith("FIGURES ")]
    if not told:
        raise Failed(f"wrk gave no figures: {done.stdout}{done.stderr}")
    raw = json.loads(told[0].removeprefix("FIGURES "))
    return Burst(per_second=raw["requests"] / seconds, **raw)


class Caller:
    """One kept connection that sends the same request; blocking, and as thin as Python allows."""

    def __init__(self, target: Target, path: str, body: bytes) -> None:
        self._socket = socket.create_connection(address(target), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = request(target, path, body)

    def call(self, other: bytes = b"") -> bytes:
        """Sends its request, or another one; the body of the reply, which must have a content-length.

        Raises:
            Failed: the reply is not a 200, or the connection ended.
        """
        self._socket.sendall(other or self._request)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        length = content_length(head)
        while len(body) < length:
            body += self._more()
        return body

    def _more(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise Failed("The connection was closed before its reply was complete.")
        return piece

    def close(self) -> None:
        self._socket.close()


def content_length(head: bytes) -> int:
    """Of a reply's head.

    Raises:
        Failed: the reply is not a 200, or has none.
    """
    line, _, rest = head.partition(b"\r\n")
    for row in rest.split(b"\r\n"):
        name, _, value = row.partition(b":")
        if name.lower() == b"content-length" and line.split(b" ")[1] == b"200":
            return int(value)
    raise Failed(f"The reply began with {head[:200]!r}.")


def paced(callers: Sequence[Caller], *, per_second: float, seconds: float) -> list[list[float]]:
    """Calls each caller in turn, each `per_second` times a second: the latencies, in microseconds, caller by caller.

    A latency counts from when the call was due if the caller was still busy then (a slow reply is charged to the calls that
    it held up), else from when it was sent: how late this process itself was woken is not the target's.
    """
    latencies: list[list[float]] = [[] for _ in callers]
    step = 1 / (per_second * len(callers))
    begun = free = time.perf_counter()
    for number in range(int(seconds / step)):
        due = begun + number * step
        now = time.perf_counter()
        if now < due:
            time.sleep(due - now)
        start = due if free > due else time.perf_counter()
        callers[number % len(callers)].call()
        free = time.perf_counter()
        latencies[number % len(callers)].append((free - start) * 1e6)
    return latencies
