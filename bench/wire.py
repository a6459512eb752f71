"""CPU of the bare wire per proxied request: the door's HTTP server in front of its HTTP client, nothing between.

    python bench/wire.py [--seconds 5] [--connections 16]

Needs `wrk` and Linux. Three processes on loopback: wrk, a proxy of `Server` and `Pool`, an upstream of `Server`. The figure is
the proxy's own user and system time from /proc, divided by the requests wrk counted. Bodies: 2 kB up, 600 bytes down, as of
a small chat call; the stream is 20 events of one chunk each, which pass the frame scanner.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop

from tandem.core.endpoint import Timeouts
from tandem.gateway.http1 import Handler, Reply, Request, Server
from tandem.gateway.splice import splice
from tandem.gateway.sse import Frames
from tandem.gateway.transport import Pool

ASK = b'{"model":"assistant","messages":[{"role":"user","content":"%b"}],"temperature":0.2}' % (b"How do I splice a rope? " * 82)
ANSWER = b'{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"content":"%b"}}]}' % (b"Over, under. " * 40)
EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word "}}]}\n\n'
EVENTS = 20
TICKS = os.sysconf("SC_CLK_TCK")
PATHS = ("/echo", "/splice", "/stream")
"""Passed through; with the model's name spliced; 20 events."""


def answer(request: Request, reply: Reply) -> None:
    """The upstream: answers at once."""
    if request.path != "/stream":
        reply.send(200, [(b"content-type", b"application/json")], ANSWER)
        return
    reply.begin(200, [(b"content-type", b"text/event-stream")])
    for _ in range(EVENTS):
        reply.write(EVENT)
    reply.end()


def proxy(upstream: str) -> Handler:
    """The proxy: passes requests on and replies back."""
    pool = Pool(upstream)
    timeouts = Timeouts()
    headers = [(b"content-type", b"application/json"), (b"authorization", b"Bearer sk-0123456789abcdef0123456789abcdef")]
    edits = {"model": b'"gpt-4o-mini"'}

    async def forward(request: Request, reply: Reply) -> None:
        body = splice(request.body, edits) if request.path == "/splice" else request.body
        response = await pool.ask("POST", request.path, headers, body, timeouts=timeouts)
        fields = [(b"content-type", response.header(b"content-type").encode())]  # type: ignore[union-attr]
        if request.path != "/stream":
            reply.send(response.status, fields, await response.read())
            return
        frames = Frames()
        reply.begin(response.status, fields)
        async for piece in response:
            for frame in frames.feed(piece):
                reply.write(frame)
            await reply.drain()
        reply.end()

    return forward


async def serve(handler: Handler) -> None:
    server = Server(handler, stream_path=lambda *_: False, on_fault=lambda error: print(repr(error), file=sys.stderr))
    print(await server.listen("127.0.0.1", 0), flush=True)
    await asyncio.Event().wait()


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[int, str]]:
    """A role in a process of its own: its pid and URL."""
    process = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.pid, f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def cpu(pid: int) -> float:
    """Seconds of user and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def measure(pid: int, url: str, seconds: int, connections: int) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f'wrk.method="POST" wrk.body=[[{ASK.decode()}]] wrk.headers["content-type"]="application/json"')
        script.flush()
        command = ["wrk", "-t1", f"-c{connections}", "--latency", "-s", script.name, url]
        subprocess.run([*command, "-d1"], check=True, capture_output=True)
        before = cpu(pid)
        text = subprocess.run([*command, f"-d{seconds}"], check=True, capture_output=True, text=True).stdout
        used = cpu(pid) - before
    found = re.search(r"(\d+) requests in", text)
    assert found is not None
    assert "Non-2xx" not in text
    assert "Socket errors" not in text, text
    count = int(found[1])
    latency = " ".join(f"p{name} {value}" for name, value in re.findall(r"(50|99)% +(\S+)", text))
    return f"{used / count * 1e6:6.1f} µs CPU, {count / seconds:8.0f} requests/s, {latency}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--role", choices=("upstream", "proxy"), help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role:
        uvloop.run(serve(answer if options.role == "upstream" else proxy(options.url)))
        return
    with started("--role", "upstream") as (upstream_pid, upstream), started("--role", "proxy", "--url", upstream) as (pid, door):
        print(f"{'server':8} {measure(upstream_pid, upstream + '/echo', options.seconds, options.connections)}")
        for path in PATHS:
            print(f"{path[1:]:8} {measure(pid, door + path, options.seconds, options.connections)}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
