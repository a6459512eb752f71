"""The life of one door worker process: listen, keep the policy fresh and the purse tidy, drain, end."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tandem.core.collector import settle
from tandem.core.errors import Unavailable
from tandem.gateway.door import Handler, streams
from tandem.gateway.http1 import Server

FILES = 65_536
"""Open files that a worker asks for: connections of callers and to upstreams."""
REFRESH_SECONDS = 0.05
TEND_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Where a worker listens."""

    host: str
    port: int
    socket: int | None = None
    """Descriptor of a listening socket that all workers share; without it the worker opens the port itself."""
    cert: str | None = None
    key: str | None = None
    trusted_proxies: frozenset[str] = frozenset()
    drain_seconds: float = 20.0


def take_files() -> int:
    """Raises this process's own limit of open files as far as it may: a call holds two. Returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


async def serve(handler: Handler, bind: Bind, *, ready: Callable[[], None], fault: Callable[[BaseException], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains. `ready` is called once the worker accepts."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = Server(handler, stream_path=streams, trusted_proxies=bind.trusted_proxies, on_fault=fault)
    secure = None
    if bind.cert is not None:
        secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.minimum_version = ssl.TLSVersion.TLSv1_2
        secure.load_cert_chain(Path(bind.cert), Path(bind.key) if bind.key else None)
    if bind.socket is None:
        await server.listen(bind.host, bind.port, ssl=secure)
    else:
        await server.listen_on(socket.socket(fileno=bind.socket), ssl=secure)
    await handler.answering.hosts.refresh(handler.door.replica.snapshot)
    settle()
    ready()
    upkeep = [asyncio.create_task(_refresh(handler)), asyncio.create_task(_tend(handler, fault))]
    try:
        await stop.wait()
        handler.draining = True
        await server.drain(bind.drain_seconds)
    finally:
        for task in upkeep:
            task.cancel()
        await asyncio.gather(*upkeep, return_exceptions=True)
        await handler.answering.close()
        await handler.control.close()
        handler.door.purse.close()
        left = handler.door.journal.close()
        if left:
            fault(Unavailable(f"The disk took {left} bytes of the journal no more; their calls are booked at their reservation."))


async def _refresh(handler: Handler) -> None:
    while True:
        if handler.door.replica.refresh():
            await handler.answering.hosts.refresh(handler.door.replica.snapshot)
        await asyncio.sleep(REFRESH_SECONDS)


async def _tend(handler: Handler, fault: Callable[[BaseException], None]) -> None:
    door, told = handler.door, ""
    while True:
        try:
            await door.purse.tend()
            told = ""
        except Unavailable as error:  # what could not be handed back ends with its lease; the next round tries again
            if str(error) != told:
                told = str(error)
                fault(error)
        if door.journal.fault is not None:
            door.journal.flush()
        if handler.board is not None:
            handler.board.tend(handler.answering.hosts.memory.health, door.clock.now())
        await asyncio.sleep(TEND_SECONDS)
