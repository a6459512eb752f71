"""The door: one handler for every path of the one port. Hot routes are answered here, the rest goes to control.

It knows which path is which wire; what a wire says is in `wires/`, what a call is in `call.py`.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.core.endpoint import HOSTED, EndpointKind, Timeouts
from tandem.core.errors import Invalid, NotFound, TandemError, Unavailable, Upstream
from tandem.gateway.asked import Fields
from tandem.gateway.billed import billed
from tandem.gateway.call import Call, Door, open_call
from tandem.gateway.http1 import Reply, Request
from tandem.gateway.routing.board import Board
from tandem.gateway.transport import CONNECT, Pool, Response
from tandem.gateway.wires import anthropic, inference, openai, packed, responses, served
from tandem.gateway.wires.answer import Spoken, answer, told
from tandem.gateway.wires.served import Answering
from tandem.governance.lend import PREFIX

JSON = (b"content-type", b"application/json")
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"te",
        b"trailer",
        b"upgrade",
        b"proxy-authorization",
        b"proxy-connection",
        b"host",
        b"content-length",
        b"expect",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
    }
)
CONTROL_TIMEOUTS = Timeouts(connect=2, first_byte=300, idle=300, total=3600)
BATCH = b"x-tandem-batch"
MESSAGES, COUNT = "/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"
RESPONSES, RERANK = "/v1/responses", "/v1/rerank"
HOT = ("/v1/chat/completions", "/v1/embeddings", RESPONSES, RERANK, MESSAGES, COUNT)
HEALTH = ("/health", "/health/ready")
OWN = frozenset({*HOT, *HEALTH, "/metrics", "/v1/models", "/v2"})
BELOW = ("/v2/", "/v1/decide/", "/v1/models/", f"{RESPONSES}/")
"""Paths that are answered here, and those below which all are."""
CALLS_LIMIT = 4096
"""Calls that may run at once on one worker."""

_MODEL = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?")
_SHELF = re.compile(r"/v2/repository/models/([^/]+)/(load|unload)")


def streams(method: str, path: str) -> bool:
    """Whether a request's body is passed on piece by piece: everything that goes to control."""
    return path not in OWN and not path.startswith(BELOW)


@dataclass(slots=True, kw_only=True)
class Handler:
    """Answers every request of one worker."""

    door: Door
    answering: Answering
    control: Pool
    board: Board | None = None
    """Where this worker tells of targets that rest."""
    loopback_metrics: bool = True
    running: int = 0
    draining: bool = False

    def __call__(self, request: Request, reply: Reply) -> Coroutine[Any, Any, None]:
        path, method = request.path, request.method
        if method == "POST":
            if path == "/v1/chat/completions":
                return self._counted(self._spoken("chat", openai.SPOKEN, openai.passed_headers(request), request, reply))
            if path == RESPONSES:
                return self._counted(self._spoken("chat", responses.SPOKEN, responses.passed_headers(request), request, reply))
            if path == "/v1/embeddings":
                return self._counted(self._spoken("embed", openai.SPOKEN, openai.passed_headers(request), request, reply))
            if path == RERANK:
                return self._counted(self._spoken("rerank", openai.SPOKEN, openai.passed_headers(request), request, reply))
            if path == MESSAGES:
                return self._counted(self._spoken("chat", anthropic.SPOKEN, anthropic.passed_headers(request), request, reply))
            if path == COUNT:
                return self._count(request, reply)
            if path.startswith("/v1/decide/"):
                return self._counted(self._served("decide", "decide", path[11:], request, reply))
        elif path in HOT or path.startswith("/v1/decide/"):
            return self._wrong_method(request, reply, "POST")
        if path in HEALTH:
            return self._health(request, reply)
        if path == "/metrics":
            return self._metrics(request, reply)
        if path == "/v1/models" or path.startswith("/v1/models/"):
            return self._models(request, reply) if method == "GET" else self._wrong_method(request, reply, "GET")
        if path.startswith(f"{RESPONSES}/"):
            return self._not_kept(request, reply)
        if path == "/v2" or path.startswith("/v2/"):
            return self._counted(self._v2(request, reply))
        return self._control(request, reply)

    async def _counted(self, work: Coroutine[Any, Any, None]) -> None:
        self.running += 1
        try:
            await work
        finally:
            self.running -= 1

    def _busy(self) -> None:
        if self.running > CALLS_LIMIT:
            raise _too_many()

    async def _spoken(self, kind: EndpointKind, spoken: Spoken, passed: Fields, request: Request, reply: Reply) -> None:
        """A call of a language model, in the words of one wire."""
        call = open_call(self.door, kind, attributes=_origin(request))
        call.subject, call.anew = request.header(b"x-tandem-subject"), _anew(request)
        call.billed = billed(request.fields)
        error = _too_many() if self.running > CALLS_LIMIT else _encoded() if b"content-encoding" in request.fields else None
        if error is not None:
            status, headers, body = spoken.refusal(error, call.trace)
            headers += told(error)
            call.close(error.code, status, error)
            reply.send(status, headers, body)
            return
        own = self.answering.from_documents
        await answer(self.answering.hosts, spoken, call, bearer(request), request.body, passed, reply, own)

    async def _not_kept(self, request: Request, reply: Reply) -> None:
        """Says of a stored answer that there is none."""
        call = open_call(self.door, "chat", request.path, attributes=_origin(request))
        try:
            call.identify(bearer(request))
            raise responses.not_kept(request.method, request.path)
        except TandemError as error:
            self._refuse(call, error, reply)

    async def _count(self, request: Request, reply: Reply) -> None:
        """Estimates the tokens of a request for who may send it; nobody is asked, and nothing is booked."""
        call = open_call(self.door, "chat", request.path, attributes=_origin(request))
        try:
            call.identify(bearer(request))
            address, tokens = anthropic.read_count(request.body)
            call.enter(address)
            call.close("ok", 200)
            reply.send(200, [JSON, (b"x-tandem-trace-id", call.trace.encode())], anthropic.count(tokens))
        except TandemError as error:
            status, headers, body = anthropic.refusal(error, call.trace)
            call.close(error.code, status, error)
            reply.send(status, headers, body)
        finally:
            call.close("gone", 499)

    def _refuse(self, call: Call, error: TandemError, reply: Reply, *, allow: str | None = None) -> None:
        status, headers, body = (openai if call.kind in HOSTED else served).refusal(error, call.trace)
        if allow is not None:
            headers.append((b"allow", allow.encode()))
        headers += told(error)
        call.close(error.code, status, error)
        reply.send(status, headers, body)

    async def _served(self, kind: EndpointKind, verb: str, address: str, request: Request, reply: Reply) -> None:
        call = open_call(self.door, kind, address, attributes=_origin(request))
        call.subject, call.billed = request.header(b"x-tandem-subject"), billed(request.fields)
        try:
            self._busy()
            call.identify(bearer(request))
            fields, body, header = request.fields, request.body, None
            if kind == "predict":
                if b"content-encoding" in fields:
                    body = await packed.opened(body, request.header(b"content-encoding") or "")
                header = inference.header(request.header(inference.HEADER))
            answer = await self.answering.ask(call, verb, address, body, header)
            call.close("ok", answer.status)
            headers = [(b"content-type", answer.content_type), (b"x-tandem-trace-id", call.trace.encode()), *answer.headers]
            body = answer.body
            if kind == "predict" and b"accept-encoding" in fields:
                body, encoding = await packed.packed(body, request.header(b"accept-encoding"))
                if encoding is not None:
                    headers.append((b"content-encoding", encoding.encode()))
            reply.send(answer.status, headers, body)
        except TandemError as error:
            self._refuse(call, error, reply)
        finally:
            call.close("gone", 499)

    async def _v2(self, request: Request, reply: Reply) -> None:
        """Open Inference Protocol v2: https://github.com/kserve/open-inference-protocol."""
        path = request.path.rstrip("/")
        match = _MODEL.fullmatch(path)
        if match is not None:
            name, version, tail = match.groups()
            address = name if version is None else f"model/{name}@{version}"
            verb = {"/infer": "infer", "/ready": "ready", None: "metadata"}[tail]
            if (request.method == "POST") == (verb == "infer"):
                await self._served("predict", verb, address, request, reply)
                return
        call = open_call(self.door, "predict", path, attributes=_origin(request))
        try:
            call.identify(bearer(request))
            body: object = None
            if request.method == "GET":
                body = self._told_by_server(call, path)
            elif request.method == "POST" and path == "/v2/repository/index":
                body = inference.index(call, request.body)
            elif request.method == "POST" and (moved := _SHELF.fullmatch(path)) is not None:
                await self.answering.all_of(call, moved[2], moved[1])
                body = {}
            if body is None:
                raise NotFound(f"{request.method} {request.path} is nothing here.", hint="POST /v2/models/NAME/infer predicts.")
            call.close("ok", 200)
            reply.send(200, [JSON, (b"x-tandem-trace-id", call.trace.encode())], msgspec.json.encode(body))
        except TandemError as error:
            self._refuse(call, error, reply)
        finally:
            call.close("gone", 499)

    def _told_by_server(self, call: Call, path: str) -> object:
        """What the protocol's server says of itself; None where it says nothing."""
        if path == "/v2":
            return inference.SERVER
        if path in ("/v2/health/live", "/v2/health/ready"):
            if path.endswith("ready") and self.draining:
                raise Unavailable("This worker is ending.", retry_after=1, hint="Try again.")
            return {path.rpartition("/")[2]: True}
        return inference.models(call) if path == "/v2/models" else None

    async def _models(self, request: Request, reply: Reply) -> None:
        call = open_call(self.door, "chat", request.path, attributes=_origin(request))
        try:
            call.identify(bearer(request))
            status, body = openai.models(call, request.path[11:] or None)
            call.close("ok", status)
            reply.send(status, [JSON, (b"x-tandem-trace-id", call.trace.encode())], body)
        except TandemError as error:
            self._refuse(call, error, reply)
        finally:
            call.close("gone", 499)

    async def _wrong_method(self, request: Request, reply: Reply, allowed: str) -> None:
        kind: EndpointKind = "decide" if request.path.startswith("/v1/decide/") else "chat"
        call = open_call(self.door, kind, request.path, attributes=_origin(request))
        try:
            call.identify(bearer(request))
            raise Invalid(f"This path takes {allowed} only.", status=405, code="method_not_allowed")
        except TandemError as error:
            self._refuse(call, error, reply, allow=allowed if error.status == 405 else None)

    async def _health(self, request: Request, reply: Reply) -> None:
        replica = self.door.replica
        age = round(replica.age(), 3)
        serving = replica.snapshot.version > 0 and not self.draining
        body: dict[str, object] = {"status": "ok" if serving else "starting", "snapshot": replica.snapshot.version, "age_s": age}
        if request.path != "/health":
            parts = {
                "snapshot": "ok" if serving else "none yet",
                "journal": self.door.journal.fault or "ok",
                "control": await self._control_state(),
            }
            body["parts"] = parts
            serving = all(state == "ok" for state in parts.values())
        reply.send(200 if serving else 503, [JSON], msgspec.json.encode(body))

    async def _control_state(self) -> str:
        try:
            response = await self.control.ask(
                "GET",
                "/internal/health",
                [(b"host", b"control")],
                b"",
                timeouts=Timeouts(connect=1, first_byte=1, idle=1, total=1),
            )
            await response.read()
        except TandemError as error:
            return error.message
        return "ok" if response.status == 200 else f"answers {response.status}"

    async def _metrics(self, request: Request, reply: Reply) -> None:
        try:
            if not (self.loopback_metrics and request.peer in ("127.0.0.1", "::1", "")):
                self.door.replica.identify(bearer(request), request.peer)
        except TandemError as error:
            status, headers, body = served.refusal(error, "")
            reply.send(status, headers, body)
            return
        gauges = {
            "tandem_calls_running": float(self.running),
            "tandem_snapshot_age_seconds": self.door.replica.age(),
            "tandem_snapshot_version": float(self.door.replica.snapshot.version),
            "tandem_shadows_running": float(len(self.answering.hosts.shadows.running)),
            "tandem_shadows_left_out": float(self.answering.hosts.shadows.left_out),
            "tandem_targets_resting": float(len(self.answering.hosts.memory.health.resting(self.door.clock.now()))),
        }
        reply.send(200, [(b"content-type", b"text/plain; version=0.0.4")], self.door.metrics.text(gauges).encode())

    async def _control(self, request: Request, reply: Reply) -> None:
        """Hands a request to the control process and its answer back, piece by piece."""
        response: Response | None = None
        try:
            response = await self._ask_control(request)
            fields = [(name, value) for name, value in response.headers if name not in HOP_BY_HOP]
            if response.header(b"content-length") is not None or request.method == "HEAD":
                reply.send(response.status, fields, await response.read())
                return
            reply.begin(response.status, fields)
            async for piece in response:
                reply.write(piece)
                await reply.drain()
            reply.end()
        except TandemError as error:
            if reply.started:
                reply.abort()  # a cut tells the caller that the rest is missing
            else:
                self._excuse(error, request.path, reply)
        finally:
            if response is not None:
                response.close()

    async def _ask_control(self, request: Request) -> Response:
        if request.path.startswith("/internal"):
            raise NotFound(f"{request.path} is nothing here.")
        headers = [(name, value) for name, value in request.headers if name not in HOP_BY_HOP]
        headers += [
            (b"host", (request.header(b"host") or "control").encode("latin-1")),
            (b"x-forwarded-for", request.peer.encode()),
            (b"x-forwarded-proto", request.scheme.encode()),
        ]
        length = request.header(b"content-length")
        body: Any = b""
        if length is not None or request.header(b"transfer-encoding") is not None:
            body = request.stream()
            if length is not None:
                headers.append((b"content-length", length.encode()))
        target = request.raw_target.decode("latin-1")
        if not target.startswith("/"):  # the absolute form, which only proxies are asked in
            target = "/" + target.partition("//")[2].partition("/")[2]
        return await self.control.ask(request.method, target, headers, body, timeouts=CONTROL_TIMEOUTS)

    def _excuse(self, error: TandemError, path: str, reply: Reply) -> None:
        """Tells why there is no answer of control's, in the shape that its own errors have."""
        if isinstance(error, Upstream):
            error = Unavailable(
                f"The control process does not answer ({error.said})",
                retry_after=1 if error.field == CONNECT else None,  # later than that, it may have been done
                hint="Calls to endpoints go on; it is started again by itself. `tandem doctor` tells more.",
            )
        if path.startswith("/v1/"):
            reply.send(*openai.refusal(error))
            return
        fields = [JSON]
        if error.retry_after is not None:
            fields.append((b"retry-after", b"%d" % max(0, round(error.retry_after + 0.5))))
        body = {"code": error.code, "message": error.said, "hint": error.hint, "field": error.field}
        reply.send(error.status, fields, msgspec.json.encode({"error": body}))


def _encoded() -> Invalid:
    return Invalid(
        "The body is encoded, and is not decoded here.",
        status=415,
        code="encoded_body",
        field="content-encoding",
        hint="Send it as it is, without content-encoding.",
    )


def _too_many() -> Unavailable:
    return Unavailable(f"This worker runs {CALLS_LIMIT} calls already.", retry_after=1, hint="Try again, or start more workers.")


def bearer(request: Request) -> str | None:
    """The caller's key, from `Authorization: Bearer` or `x-api-key`."""
    value = request.header(b"authorization")
    if value is not None and value[:7].lower() == "bearer ":
        return value[7:].strip()
    return request.header(b"x-api-key")


def _anew(request: Request) -> bool:
    """Whether the caller wants no answer that was given before."""
    return b"cache-control" in request.fields and "no-cache" in (request.header(b"cache-control") or "").lower()


def _origin(request: Request) -> dict[str, object]:
    attributes: dict[str, object] = {"client.address": request.peer, "url.path": request.path}
    parent = request.header(b"traceparent")
    if parent is not None and len(parent) <= 256:
        attributes["traceparent"] = parent
    batch = request.header(BATCH)
    if batch is not None and (bearer(request) or "").startswith(PREFIX):  # else anybody could say so
        attributes["tandem.batch"] = batch
    return attributes
