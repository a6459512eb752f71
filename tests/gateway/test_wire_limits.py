"""What one caller or one provider can make the door hold: connections, bytes, pieces. Each is bounded, and told clearly."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx2
import pytest

from tandem.core.endpoint import Endpoint, Target
from tandem.gateway.snapshot import Host
from tandem.gateway.worker import take_files
from tests.gateway.conftest import KEY, House

ASK = {"model": "assistant", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
BODY = json.dumps(ASK).encode()
IDLE = 1000
STALLED = 24
MOST = 12 * 1024 * 1024
"""Bytes of one stream that may be on their way to a caller who takes none: the door's buffers, the kernel's, and the two
that the test itself brings along, which it keeps small."""
SMALL = 64 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def provider(door: House, serve: Serve) -> AsyncIterator[None]:
    """`assistant` leads to a server of the test's own."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host = Host(name="own", protocol="openai", base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    door.publish(
        hosts={"own": host},
        endpoints={"assistant": Endpoint(name="assistant", kind="chat", route=(Target(target="own/gpt-4o-mini"),), retries=0)},
    )
    try:
        yield
    finally:
        server.close()


async def ask(door: House, content: bytes = BODY, **headers: str) -> httpx2.Response:
    sent = {"authorization": f"Bearer {KEY}", "content-type": "application/json", **headers}
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(f"{door.url}/v1/chat/completions", content=content, headers=sent)


def address(door: House) -> tuple[str, int]:
    host, _, port = door.url.removeprefix("http://").partition(":")
    return host, int(port)


def test_a_worker_takes_the_files_it_may_have() -> None:
    """Most systems begin with 1,024, which is 500 calls."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2000));"
        "from tandem.gateway.worker import take_files; print(take_files(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "2000 (2000, 2000)\n"


@pytest.mark.skipif(take_files() < 3 * IDLE, reason="this system lets a process open too few files")
async def test_a_thousand_idle_connections_keep_nobody_out(door: House) -> None:
    host, port = address(door)
    head = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    idle = []
    for _ in range(IDLE):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(head)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        idle.append(writer)
    try:
        assert (await ask(door)).status_code == 200
    finally:
        for writer in idle:
            writer.close()


async def test_a_caller_who_takes_nothing_is_not_read_ahead_for(door: House) -> None:
    """Each stalled stream holds a bounded number of bytes, however much the provider would send."""
    sent: dict[int, int] = {}
    frame = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 1000 + b'"}}]}\n\n'

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(sent)
        sent[place] = 0
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
        try:
            while sent[place] < 64 * 1024 * 1024:
                writer.write(frame)
                sent[place] += len(frame)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    host, port = address(door)
    body = json.dumps({**ASK, "stream": True, "max_tokens": 1_000_000}).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % (KEY.encode(), len(body))
    )
    async with provider(door, talkative):
        stalled = []
        for _ in range(STALLED):
            own = socket.socket()
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
            own.setblocking(False)
            await asyncio.get_running_loop().sock_connect(own, (host, port))
            _, writer = await asyncio.open_connection(sock=own, limit=1024)
            writer.write(head + body)
            stalled.append(writer)
        before: dict[int, int] = {}
        while len(sent) < STALLED or sent != before or not all(sent.values()):  # until nobody moves any more
            before = dict(sent)
            await asyncio.sleep(0.3)
        assert max(sent.values()) < MOST
        for writer in stalled:
            writer.transport.abort()


async def test_a_provider_that_compresses_what_nobody_asked_for_is_an_error_and_no_bomb(door: House) -> None:
    asked: list[bytes] = []
    bomb = gzip.compress(b"0" * 50_000_000)

    async def compressing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
            % len(bomb)
        )
        writer.write(bomb)
        await writer.drain()
        writer.close()

    async with provider(door, compressing):
        reply = await ask(door)
    assert b"accept-encoding: identity\r\n" in asked[0]
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "malformed_reply"
    assert "encodes its answer" in reply.json()["error"]["message"]


async def test_a_compressed_request_is_refused_and_not_decoded(door: House) -> None:
    reply = await ask(door, gzip.compress(b"0" * 10_000_000), **{"content-encoding": "gzip"})
    assert reply.status_code == 415
    assert reply.json()["error"]["code"] == "encoded_body"
    assert reply.headers["x-tandem-fault"] == "caller.encoded_body"
    assert door.mock.requests() == []


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"a":' * 100_000, '{"model":"assistant","messages":' + "[" * 50_000])
async def test_json_that_is_too_deep_is_refused(door: House, deep: str) -> None:
    reply = await ask(door, deep.encode())
    assert reply.status_code == 400
    assert door.mock.requests() == []


async def test_an_answer_beyond_what_is_read_is_an_error(door: House) -> None:
    async def vast(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n")
        try:
            while True:
                writer.write(b" " * 1_000_000)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()

    async with provider(door, vast):
        reply = await ask(door)
    assert reply.status_code == 502
    assert reply.json()["error"]["code"] == "reply_too_large"
