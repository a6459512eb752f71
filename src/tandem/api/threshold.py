"""The threshold of the control process: who calls is known before a byte of a body is read, and a body has an end."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tandem.api.wire import because, fault, identify
from tandem.core.errors import TandemError
from tandem.governance.audit import BECAUSE

BODY_BYTES = 16 * 1024 * 1024
"""The largest body of a route that does not say otherwise: they are held in memory as a whole."""

KNOWN = ("/api/", "/v1/")
"""Where nobody is answered before it is known who asks."""
OPEN = frozenset({("POST", "/api/v1/session"), ("POST", "/api/v1/invitations/redeem")})
"""But for these: they are how somebody becomes known."""
OPEN_BYTES = 8 * 1024
"""The largest body that somebody unknown may send."""


class Threshold:
    """ASGI middleware before every route of ours. A route that takes more raises its own `request.state.body_bytes`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["body_bytes"] = BODY_BYTES
        told: Mapping[str, object] = {}
        if (scope["method"], scope["path"]) in OPEN:
            state["body_bytes"] = OPEN_BYTES
        elif scope["path"].startswith(KNOWN):
            try:
                state["by"] = await run_in_threadpool(identify, Request(scope))
                told = await run_in_threadpool(because, Request(scope))
            except TandemError as error:
                await fault(error, scope["path"])(scope, receive, send)
                return
        came = 0

        async def bounded() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > state["body_bytes"]:
                raise HTTPException(413, f"The body of the request is larger than {state['body_bytes']} bytes.")
            return message

        token = BECAUSE.set(told)
        try:
            await self._app(scope, bounded, send)
        finally:
            BECAUSE.reset(token)
