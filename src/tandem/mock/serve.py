"""The mock as a server: how it starts and stops, and the handle of whoever started it. What it answers is the app's."""

from __future__ import annotations

import asyncio
import errno
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop

from tandem.core.clock import Clock, SystemClock
from tandem.core.errors import Conflict, Invalid
from tandem.mock.app import Mock
from tandem.mock.bill import Row
from tandem.mock.http import Connection
from tandem.mock.settings import MockSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class MockHandle:
    """A running mock, for whoever started it in the same process."""

    url: str
    """Such as `http://127.0.0.1:9101`; the base URL of OpenAI clients is this and `/v1`."""
    host: str
    port: int
    mock: Mock

    def bill(self, call: str | None = None) -> list[Row]:
        """The closed rows, all or those of one call."""
        return self.mock.bill.of(call)

    def faults(self, specs: Sequence[str]) -> None:
        """Replaces the fault script.

        Raises:
            Invalid: where a fault cannot be read; then the old script stays.
        """
        self.mock.script.replace(specs)

    def requests(self) -> list[dict[str, object]]:
        """The requests to `/v1` that are remembered, oldest first, without their keys."""
        return [self.mock.shown(one) for one in self.mock.seen]


@asynccontextmanager
async def running(settings: MockSettings, clock: Clock | None = None) -> AsyncIterator[MockHandle]:
    """Serves on the running loop until the block ends; requests still open then are booked as `stopped`.

    Raises:
        Conflict: where the port is taken.
    """
    mock = Mock(settings, clock or SystemClock())
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: Connection(mock), settings.host, settings.port, backlog=2048)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise Invalid(f"The mock cannot listen on {settings.host}:{settings.port}: {error}.", field="host") from None
        raise Conflict(
            f"Port {settings.port} on {settings.host} is in use.", hint="Choose another port; 0 takes a free one."
        ) from None
    port = server.sockets[0].getsockname()[1]
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        yield MockHandle(url=f"http://{shown}:{port}", host=settings.host, port=port, mock=mock)
    finally:
        server.close()
        for connection, exchange in list(mock.connections.items()):
            if exchange is not None:
                exchange.gone("stopped")
            connection.gone = True
            connection.transport.abort()
        await server.wait_closed()


def run(settings: MockSettings, started: Callable[[MockHandle], None] | None = None) -> None:
    """Serves until SIGINT or SIGTERM; `started` is called once the port is bound.

    Raises:
        Conflict: where the port is taken.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with running(settings) as handle:
            if started is not None:
                started(handle)
            await stop.wait()

    uvloop.run(main())
