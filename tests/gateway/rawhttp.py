"""Raw sockets against the door's HTTP server, and raw upstreams against its client, on the loop the door runs on."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tandem.gateway.http1 import Handler, Limits, Reply, Request, Server

WAIT = 5.0
"""Seconds after which a test that waits for bytes gives up."""


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Runs a test on uvloop, with a bound on its time."""

    @functools.wraps(test)
    def run(*args: Any, **given: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(20):
                await test(*args, **given)

        uvloop.run(bounded())

    return run


@dataclass
class Answer:
    """One reply as it stood on the wire."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True
    """False when the framing shows that the end is missing."""

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


@dataclass
class Caller:
    """A client that sends what it is told, byte for byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(WAIT):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = text.split("\r\n")[:-2]
        names = [line.partition(":")[0] for line in lines]
        assert len(names) == len(set(names)), text
        return int(first.split(" ")[1]), {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def answer(self, *, mute: bool = False) -> Answer:
        """The next reply; `mute` for the reply to a HEAD."""
        status, headers = await self.head()
        if mute or status < 200 or status in (204, 304):
            return Answer(status, headers, b"")
        try:
            async with asyncio.timeout(WAIT):
                if "content-length" in headers:
                    return Answer(status, headers, await self.reader.readexactly(int(headers["content-length"])))
                if headers.get("transfer-encoding") == "chunked":
                    return Answer(status, headers, await self.chunks())
                return Answer(status, headers, await self.reader.read())
        except asyncio.IncompleteReadError as error:
            return Answer(status, headers, error.partial, whole=False)

    async def chunks(self) -> bytes:
        body = b""
        while True:
            size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
            piece = await self.reader.readexactly(size + 2)
            assert piece.endswith(b"\r\n")
            if not size:
                return body
            body += piece[:-2]

    async def rest(self) -> bytes:
        """Everything up to the end of the connection; a reset counts as an end."""
        out = b""
        try:
            async with asyncio.timeout(WAIT):
                while data := await self.reader.read(65536):
                    out += data
        except ConnectionError:
            pass
        return out

    async def ask(self, data: bytes, *, mute: bool = False) -> Answer:
        await self.send(data)
        return await self.answer(mute=mute)

    def vanish(self) -> None:
        self.writer.transport.abort()

    def reset(self) -> None:
        """Ends the connection with an error for the other side."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass
class Site:
    """A running server and what its handler saw."""

    server: Server
    port: int
    requests: list[Request] = field(default_factory=list)
    faults: list[BaseException] = field(default_factory=list)
    callers: list[Caller] = field(default_factory=list)

    async def caller(self) -> Caller:
        caller = Caller(*await asyncio.open_connection("127.0.0.1", self.port))
        self.callers.append(caller)
        return caller

    async def once(self, data: bytes) -> Answer:
        return await (await self.caller()).ask(data)


def echo(request: Request, reply: Reply) -> None:
    """Method, path and body of the request."""
    reply.send(200, [(b"content-type", b"text/plain")], f"{request.method} {request.path} ".encode() + request.body)


@asynccontextmanager
async def serving(
    handler: Handler = echo,
    *,
    limits: Limits = Limits(),  # noqa: B008  frozen
    stream: str = "/stream",
    trusted: frozenset[str] = frozenset(),
    faultless: bool = True,
) -> AsyncIterator[Site]:
    """A server on a free port; paths that begin with `stream` get their bodies in pieces."""
    seen: list[Request] = []
    faults: list[BaseException] = []

    def noting(request: Request, reply: Reply) -> Coroutine[Any, Any, None] | None:
        seen.append(request)
        return handler(request, reply)

    def streams(_method: str, path: str) -> bool:
        return path.startswith(stream)

    server = Server(noting, stream_path=streams, limits=limits, trusted_proxies=trusted, on_fault=faults.append)
    site = Site(server, await server.listen("127.0.0.1", 0), seen, faults)
    try:
        yield site
        if faultless:
            assert faults == []
    finally:
        await server.drain(0)
        for caller in site.callers:
            caller.vanish()
        await asyncio.sleep(0)


Talk = Callable[[Caller], Awaitable[None]]


@asynccontextmanager
async def upstream(*talks: Talk) -> AsyncIterator[tuple[str, list[Caller]]]:
    """A raw server that talks to its first caller as the first function says, and so on; then the last again."""
    callers: list[Caller] = []
    tasks: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = Caller(reader, writer)
        callers.append(caller)
        talk = talks[min(len(callers), len(talks)) - 1]
        try:
            await talk(caller)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.get_running_loop().create_task(accept(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", callers
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for caller in callers:
            caller.vanish()
        await asyncio.sleep(0)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something has happened elsewhere on the loop."""
    async with asyncio.timeout(WAIT):
        while not condition():  # noqa: ASYNC110  what is waited for sets no event
            await asyncio.sleep(0.001)


def certified(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for `localhost` with a fresh certificate: the server's side, and a client's side that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))
