"""Shadows: targets that hear a call too, after it was answered, and whose answer nobody waits for.

A shadow's call is a call like any other: admitted, traced below the call it heard, priced. It is paid for by the team whose
endpoint it is, never by the caller, and reported as `shadow/ENDPOINT`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tandem.core.endpoint import Target
from tandem.core.errors import TandemError
from tandem.gateway.asked import Headers
from tandem.gateway.call import Call, open_nested
from tandem.gateway.routing.plan import narrowed

MOST = 64
"""Shadows that run at once on one worker; beyond them none is begun."""
Ask = Callable[[Call], Awaitable[None]]
"""Asks the one target that the call's endpoint leads to, and closes the call when it has answered."""


class Nowhere:
    """A reply that nobody reads; the call keeps what it needs for its record."""

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        return

    def begin(self, status: int, headers: Headers) -> None:
        return

    def write(self, data: bytes) -> None:
        return

    async def drain(self) -> None:
        return

    def end(self) -> None:
        return


@dataclass(slots=True)
class Shadows:
    """Those that run on one worker."""

    running: set[asyncio.Task[None]] = field(default_factory=set)
    left_out: int = 0
    """Not begun, because there were too many."""

    async def close(self) -> None:
        """Ends them; what they may have used is booked as it is for every call that is cut."""
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)


def begin(shadows: Shadows, heard: Call, target: Target, ask: Ask) -> None:
    """Begins a shadow of a call that is over, if there is room."""
    if len(shadows.running) >= MOST:
        shadows.left_out += 1
        return
    task = asyncio.get_running_loop().create_task(_run(heard, target, ask))
    shadows.running.add(task)
    task.add_done_callback(shadows.running.discard)


async def _run(heard: Call, target: Target, ask: Ask) -> None:
    endpoint = heard.endpoint
    assert endpoint is not None
    call = open_nested(heard, heard.kind, {"tandem.route.role": "shadow"})
    call.address, call.endpoint = heard.address, narrowed(endpoint, target)
    call.paid_by, call.reported = ("org", f"team/{endpoint.team}"), "shadow"
    try:
        await ask(call)
    except TandemError as error:
        call.close(error.code, error.status, error)
    finally:
        call.close("gone", 499)
