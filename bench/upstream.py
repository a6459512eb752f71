"""An upstream that is faster than any proxy before it: canned replies in OpenAI's form, after a delay, and a count of them.

    python -m bench.upstream [--port 0] [--delay 0] [--deltas 64] [--delta-delay 20]

`tandem mock` thinks about each answer, which costs as much as some proxies do; here a reply is one write. A request that says
`"stream":true` gets events, each with the word TICK in it. `GET /count` tells how many requests were answered and the last
body, `DELETE /count` begins anew. It reads what our own load and the measured proxies send, and is no HTTP server for others.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

from bench import stage
from bench.stage import Failed, Target

TICK = b"zephyr"
"""In every delta of a stream, and nowhere else."""
ASKED, SAID = 30, 24
"""Tokens that every answer tells."""
MODEL = "gpt-4o-mini"
_SPENT = f'{{"prompt_tokens":{ASKED},"completion_tokens":{SAID},"total_tokens":{ASKED + SAID}}}'
_TEXT = "The nightly report is ready; you will find it in the shared folder of the team."
_WHOLE = (
    f'{{"id":"chatcmpl-bench","object":"chat.completion","created":1790000000,"model":"{MODEL}","choices":[{{"index":0,'
    f'"message":{{"role":"assistant","content":"{_TEXT}"}},"logprobs":null,"finish_reason":"stop"}}],"usage":{_SPENT}}}'
).encode()
_CHUNK = 'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1790000000,"model":"' + MODEL + '","choices":['
_ROLE = f'{_CHUNK}{{"index":0,"delta":{{"role":"assistant","content":""}},"finish_reason":null}}]}}\n\n'.encode()
_DELTA = f'{_CHUNK}{{"index":0,"delta":{{"content":"{TICK.decode()} "}},"finish_reason":null}}]}}\n\n'.encode()
_END = (
    f'{_CHUNK}{{"index":0,"delta":{{}},"finish_reason":"stop"}}]}}\n\n{_CHUNK}],"usage":{_SPENT}}}\n\ndata: [DONE]\n\n'
).encode()
_BEGIN = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(slots=True, kw_only=True)
class Canned:
    """What is answered, and how much of it has been."""

    delay: float = 0.0
    """Seconds before the first byte."""
    deltas: int = 64
    delta_delay: float = 0.02
    """Seconds between the deltas of a stream."""
    served: int = 0
    last: bytes = b""


def reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


WHOLE = reply(_WHOLE)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Connection(asyncio.Protocol):
    """One connection: a request, its reply, the next request."""

    def __init__(self, canned: Canned) -> None:
        self._canned = canned
        self._loop = asyncio.get_running_loop()
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found or self._transport is None:
            return
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            if not body.endswith(b"0\r\n\r\n"):
                return
        else:
            place = lower.find(b"\r\ncontent-length:")
            length = 0 if place < 0 else int(lower[place + 17 :].split(b"\r\n", 1)[0])
            if len(body) < length:
                return
        self._data = b""
        if head.startswith(b"POST"):
            self._answer(body)
        else:
            self._tell(head)

    def _answer(self, body: bytes) -> None:
        canned = self._canned
        canned.served += 1
        canned.last = body
        streamed = b'"stream":true' in body or b'"stream": true' in body
        begin = self._stream if streamed else self._whole
        if canned.delay:
            self._loop.call_later(canned.delay, begin)
        else:
            begin()

    def _whole(self) -> None:
        if self._transport is not None:
            self._transport.write(WHOLE)

    def _stream(self) -> None:
        if self._transport is not None:
            self._transport.write(_BEGIN + chunk(_ROLE + _DELTA))
            self._next(self._loop.time(), 1)

    def _next(self, begun: float, number: int) -> None:
        """Sends delta `number` when it is due, however late the one before was."""
        if number < self._canned.deltas:
            self._loop.call_at(begun + number * self._canned.delta_delay, self._delta, begun, number)
        elif self._transport is not None:
            self._transport.write(chunk(_END) + b"0\r\n\r\n")

    def _delta(self, begun: float, number: int) -> None:
        if self._transport is not None:
            self._transport.write(chunk(_DELTA))
            self._next(begun, number + 1)

    def _tell(self, head: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"DELETE"):
            self._canned.served = 0
        told = {"served": self._canned.served, "last": self._canned.last.decode(errors="replace")}
        self._transport.write(reply(json.dumps(told).encode()))


async def serve(port: int, canned: Canned) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(canned), "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


@contextmanager
def running(
    folder: Path, name: str, *, delay_ms: float = 0, deltas: int = 64, delta_ms: float = 20, cores: str = ""
) -> Iterator[Target]:
    """The upstream in a process of its own.

    Raises:
        Failed: it does not start.
    """
    port, log = stage.free_port(), folder / f"{name}.log"
    words = [sys.executable, "-m", "bench.upstream", "--port", str(port), "--delay", f"{delay_ms:g}"]
    words += ["--deltas", str(deltas), "--delta-delay", f"{delta_ms:g}"]
    with stage.process(words, log, cores=cores) as child:
        stage.wait_for(f"http://127.0.0.1:{port}/count", child, log)
        yield Target(name=name, url=f"http://127.0.0.1:{port}", model=MODEL, key=stage.UPSTREAM_KEY, pid=child.pid)


def served(upstream: Target, *, anew: bool = False) -> int:
    """Requests it has answered since it last began anew."""
    return int(_count(upstream, "DELETE" if anew else "GET")["served"])


def last_body(upstream: Target) -> str:
    """The body of the last request that reached it."""
    return str(_count(upstream, "GET")["last"])


def _count(upstream: Target, method: str) -> dict[str, object]:
    request = urllib.request.Request(f"{upstream.url}/count", method=method)
    with urllib.request.urlopen(request, timeout=stage.PATIENCE_SECONDS) as answer:
        told = json.load(answer)
    if not isinstance(told, dict):
        raise Failed(f"{upstream.name} tells {told}.")
    return told


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(prog="python -m bench.upstream", description="Answers with canned replies.")
    found.add_argument("--port", type=int, default=0)
    found.add_argument("--delay", type=float, default=0.0, help="milliseconds before the first byte")
    found.add_argument("--deltas", type=int, default=64, help="of a stream")
    found.add_argument("--delta-delay", type=float, default=20.0, help="milliseconds between them")
    return found


def main() -> None:
    given = parser().parse_args()
    canned = Canned(delay=given.delay / 1e3, deltas=given.deltas, delta_delay=given.delta_delay / 1e3)
    uvloop.run(serve(given.port, canned))


if __name__ == "__main__":
    main()
