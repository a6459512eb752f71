"""Asks one host once: bytes through, usage read on the way.

Before the first byte goes to the caller a failure is free: `forward` asks the next target. After it, a
failure ends the stream with a typed error frame; truncation never looks like success. The terminal
frame is held until the call is settled and recorded.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from math import isfinite
from typing import cast
from urllib.parse import urlsplit

import msgspec

from tandem.core.endpoint import Target
from tandem.core.errors import Invalid, Rejected, TandemError, Upstream
from tandem.core.money import Usage
from tandem.gateway import translate
from tandem.gateway.asked import FRAMES_BESIDE, Fields, Headers, Prompted, Reply
from tandem.gateway.cache import Cache
from tandem.gateway.call import NOTHING_SENT, UNKNOWN, Call
from tandem.gateway.framing import FRAMINGS, SSE, media
from tandem.gateway.guard import Guarding, let_out
from tandem.gateway.providers.base import Ask, Passing, Verb, Wire, load
from tandem.gateway.routing.plan import Memory
from tandem.gateway.routing.shadow import Shadows
from tandem.gateway.snapshot import Host, Snapshot
from tandem.gateway.sse import Frames, data
from tandem.gateway.tied import DIALECTS, PIECE, Names, Tie, lost
from tandem.gateway.transport import CONNECT, Pool, Response
from tandem.gateway.watched import Watched
from tandem.gateway.wires.base import Letterhead, dialect_of
from tandem.observability.content import Vault

PASSED_BACK = (b"content-type", b"retry-after", b"retry-after-ms", b"request-id", b"x-request-id", b"openai-processing-ms")
_sound = msgspec.json.Decoder(msgspec.Raw)
LONGEST_WAIT = 86_400.0
"""Seconds that a provider can ask to be left alone."""
RETRY_DELAY = re.compile(rb'"retryDelay"\s*:\s*"(\d{1,9}(?:\.\d{1,9})?)s"')
ERROR_BYTES = 1024 * 1024
OPERATIONS: dict[Verb, str] = {"chat": "chat", "embed": "embeddings", "rerank": "rerank"}
"""As OpenTelemetry calls them, where it does."""
SILENT_BYTES = 256 * 1024
"""Of frames that say nothing of an answer yet: what is kept back of them, so that another attempt may take over."""
NOBODY = Letterhead(id="", model="", at=0)
WORDS = 2000
"""Characters of a provider's own message that a caller of another wire hears."""


def _proxy(host: str) -> str | None:
    """Whether the environment's proxy is used: for every host but this machine itself."""
    return None if host == "localhost" or host == "::1" or host.startswith("127.") else "environment"


@dataclass(frozen=True, slots=True)
class Place:
    """Connections to one host, and the path its addresses begin with."""

    pool: Pool
    path: str


@dataclass(slots=True)
class Hosts:
    """Pools, wires and keys of the hosts of the current snapshot, and what is remembered of their answers."""

    vault: Vault
    cache: Cache | None = None
    places: dict[tuple[str, str], Place] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    shadows: Shadows = field(default_factory=Shadows)
    names: Names = field(init=False)
    _keys: dict[bytes, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = Names(self.vault)

    def place(self, host: Host) -> Place:
        """Where a host is reached; made when it is first asked."""
        place = self.places.get((host.name, host.base_url))
        if place is None:
            parts = urlsplit(host.base_url)
            secure = ssl.create_default_context() if parts.scheme == "https" else None
            pool = Pool(f"{parts.scheme}://{parts.netloc}", ssl_context=secure, proxy=_proxy(parts.hostname or ""))
            place = Place(pool, parts.path.rstrip("/"))
            self.places[host.name, host.base_url] = place
        return place

    def wire(self, host: Host) -> Wire:
        wire = self.wires.get(host.protocol)
        if wire is None:
            wire = self.wires[host.protocol] = load(host.protocol)
        return wire

    def key(self, host: Host, place: int) -> str | None:
        """The key at a place among the host's; None where it has none."""
        if not host.keys:
            return None
        return self._opened(host, host.keys[place % len(host.keys)])

    def place_of(self, host: Host, printed: bytes) -> int:
        """Where the key of that print stands among the host's.

        Raises:
            Invalid: the host has it no more.
        """
        if not printed and not host.keys:
            return 0
        for place, sealed in enumerate(host.keys):
            if self.names.print(self._opened(host, sealed)) == printed:
                return place
        raise lost("The key it was asked with is the provider's no more.")

    def _opened(self, host: Host, sealed: bytes) -> str:
        key = self._keys.get(sealed)
        if key is None:
            key = self._keys[sealed] = self.vault.open("provider", sealed, host.name.encode()).decode()
        return key

    async def refresh(self, snapshot: Snapshot) -> None:
        """Lets go of the pools of hosts that are gone or moved, lets go of keys that are no longer theirs, reads routers."""
        sealed = {key for host in snapshot.hosts.values() for key in host.keys}
        self._keys = {key: opened for key, opened in self._keys.items() if key in sealed}
        alive = {(host.name, host.base_url) for host in snapshot.hosts.values()}
        for key in [key for key in self.places if key not in alive]:
            self.places.pop(key).pool.retire()  # who is being answered from there is answered to the end
        await self.memory.shelf.refresh(snapshot)

    async def close(self) -> None:
        await self.shadows.close()
        if self.cache is not None:
            self.cache.close()
        for place in self.places.values():
            await place.pool.close()
        self.places.clear()


async def attempt(
    hosts: Hosts, call: Call, asked: Prompted, target: Target, host: Host, key: int, reply: Reply, guards: Guarding | None
) -> None:
    """Asks one target once, with the key of that place, and passes its answer on.

    Raises:
        TandemError: nothing was sent to the caller yet, or the call is closed.
    """
    name, _, model = target.target.partition("/")
    assert call.endpoint is not None
    wire = hosts.wire(host)
    # Guards know the streams of one wire, and words; what else passes as it is, they read as words.
    passes = asked.verb != "chat" or (wire.dialect == asked.dialect and (guards is None or asked.dialect == "openai"))
    secret = hosts.key(host, key)
    ask = _ask(wire, asked, model, secret, passes=passes)
    tie = None
    if passes and asked.dialect in DIALECTS:
        assert call.principal is not None
        tie = Tie(hosts.names, call.principal.team, target.target, hosts.names.print(secret), asked.follows)
    call.attributes.pop("tandem.dropped", None)  # what another target left out
    if ask.dropped:
        call.attributes["tandem.dropped"] = translate.named(ask)
        if asked.wishes is not None and asked.wishes.require_parameters:
            raise Invalid(
                f"{target.target} has no place for {', '.join(translate.named(ask))}, and the caller requires every parameter.",
                field="provider.require_parameters",
                code="not_carried",
            )
    running = call.begin(
        target.target,
        f"{asked.verb} {model}",
        {
            "gen_ai.operation.name": OPERATIONS[asked.verb],
            "gen_ai.provider.name": name,
            "gen_ai.request.model": model,
        },
    )
    response: Response | None = None
    try:
        if ask.bound is not None:
            ask = ask.bound(ask, host.base_url, call.door.clock.now())
        headers = _headers(call, asked, ask, running.number, passes=passes)
        place = hosts.place(host)
        response = await place.pool.ask("POST", place.path + ask.path, headers, ask.body, timeouts=call.endpoint.timeouts)
        if (response.header(b"content-encoding") or "identity") != "identity":
            raise Upstream(f"The provider '{host.name}' encodes its answer, which nobody asked for.", code="malformed_reply")
        if response.status >= 400:
            await _rejected(host, wire, response, same=wire.dialect == asked.dialect)
        kind = media(response.header(b"content-type")) if asked.stream else ""
        if not passes:
            answer = translate.stream if kind in FRAMINGS else translate.whole
            await answer(wire, dialect_of(asked.dialect), call, asked, ask, response, reply, guards)
        elif kind == SSE:
            await _stream(cast(Passing, wire), call, asked, response, reply, guards, tie)  # only chats stream
        else:
            await _whole(wire, call, response, reply, guards, tie)
    except Rejected as error:
        if asked.kept is not None:  # what the provider says of its own id is said of the caller's
            error.body = error.body.replace(asked.kept.id.encode(), asked.follows.encode())
        _end(call, error.code, NOTHING_SENT, error)
        raise
    except TandemError as error:  # timed out or broken after the question was out: it may have been answered, and billed
        _end(call, error.code, NOTHING_SENT if error.field == CONNECT else UNKNOWN, error)
        raise
    finally:
        if response is not None:
            response.close()  # without effect after the end; before it, this is what cancels the upstream


def _ask(wire: Wire, asked: Prompted, model: str, key: str | None, *, passes: bool) -> Ask:
    """The request as it goes out: the caller's own bytes where the provider speaks the same, else its words."""
    if passes:
        return wire.ask(asked.verb, asked.body, {**asked.edits, "model": msgspec.json.encode(model)}, key)
    return translate.put(wire, dialect_of(asked.dialect), asked, model, key)


def _headers(call: Call, asked: Prompted, ask: Ask, number: int, *, passes: bool) -> list[tuple[bytes, bytes]]:
    """The protocol's headers, the caller's where it speaks the same, and ours."""
    own = asked.headers if passes else _trace(asked)
    headers = [
        *[(name, value) for name, value in ask.headers if all(name != theirs for theirs, _ in own)],
        *_context(call, own),
        (b"x-tandem-call", call.id.encode()),
        (b"x-tandem-attempt", b"%d" % number),
    ]
    if asked.stream and all(name != b"accept" for name, _ in ask.headers):
        headers.append((b"accept", SSE.encode()))
    return headers


def _trace(asked: Prompted) -> Fields:
    """Of the caller's headers, those that no protocol owns."""
    return tuple(pair for pair in asked.headers if pair[0] in (b"traceparent", b"tracestate"))


def _context(call: Call, own: Fields) -> Fields:
    """The caller's headers for the upstream, with a W3C trace context of ours when it sent none."""
    if any(name == b"traceparent" for name, _ in own):
        return own
    parent = f"00-{call.w3c}-{call.door.dice.getrandbits(64):016x}-01"
    return (*own, (b"traceparent", parent.encode()))


def _end(call: Call, outcome: str, usage: Usage, error: TandemError) -> None:
    if not call.closed and call.running:
        call.end(outcome, usage, error.message)


async def _rejected(host: Host, wire: Wire, response: Response, *, same: bool) -> None:
    body = await response.read(ERROR_BYTES)
    fault = wire.fault(response.status, response.headers, body)
    retry_after = _seconds(response, body)
    same = same and not _foreign(body)
    if fault == "auth":
        raise Rejected(
            f"The provider '{host.name}' refused the platform's own key.",
            code="provider_auth",
            status=502,
            hint=f"Set a working key for it; `tandem provider test {host.name}` checks it.",
        )
    error = Rejected(
        f"The provider '{host.name}' answered {response.status} ({fault}).",
        words="" if same else _words(body),
        code=fault,
        status=response.status,
        retry_after=retry_after,
    )
    if same:
        error.body = body
    raise error


def _foreign(body: bytes) -> bool:
    """Whether a refusal has a form of its own, although the rest is the caller's: Mistral's has no `error`."""
    try:
        return "error" not in msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def _words(body: bytes) -> str:
    """What a provider says of its refusal, for a caller who speaks another wire and hears ours."""
    try:
        tree = msgspec.json.decode(body)
        error = tree.get("error", tree)
        said = error["message"] if isinstance(error, dict) else error
        return (said if isinstance(said, str) else msgspec.json.encode(said).decode())[:WORDS]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError, KeyError):
        return ""


def _seconds(response: Response, body: bytes) -> float | None:
    """How long the provider asks to be left alone: in its headers, or in the body, as Google's errors say it."""
    for name, unit in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        value = response.header(name)
        if value is not None:
            try:
                asked = float(value) / unit
            except ValueError:  # an HTTP date: rare among model hosts, and never worth a wait
                return None
            return min(max(0.0, asked), LONGEST_WAIT) if isfinite(asked) else None
    told = RETRY_DELAY.search(body)
    return None if told is None else min(float(told[1]), LONGEST_WAIT)


def _passed_back(call: Call, response: Response) -> Headers:
    headers = [(name, value) for name, value in response.headers if name in PASSED_BACK]
    headers.append((b"x-tandem-trace-id", call.trace.encode()))
    dropped = call.attributes.get("tandem.dropped")
    if isinstance(dropped, list):  # what its provider does not know, although it speaks the same
        headers.append((translate.DROPPED, ", ".join(dropped).encode()))
    return headers


async def _whole(
    wire: Wire, call: Call, response: Response, reply: Reply, guards: Guarding | None, tie: Tie | None = None
) -> None:
    body = kept = response.arrived() or await response.read()
    usage = wire.usage(body) or UNKNOWN
    if tie is not None:
        body = kept = _tied(wire, call, tie, body, usage)
    if guards is not None and call.kind in ("chat", "rerank"):
        try:
            kept, body = await let_out(call, guards, body)
        except TandemError as error:
            _end(call, error.code, usage, error)  # it was answered, and is paid for
            raise
    call.keep(kept)
    call.end("ok", usage)
    call.close("ok", response.status)
    reply.send(response.status, _passed_back(call, response), body)


def _tied(wire: Wire, call: Call, tie: Tie, body: bytes, usage: Usage) -> bytes:
    """A whole answer with its name; one that failed inside of its 200 is a failure."""
    try:
        if b'"failed"' in body:
            wire.whole(body)
        return tie.whole(body)
    except TandemError as error:
        _end(call, error.code, usage, error)  # it was answered, and is paid for
        raise


def _check(payload: bytes | None) -> None:
    """That what passes can be read; a caller's client would break over it, and has been told nothing yet.

    Raises:
        Upstream: `malformed_stream`.
    """
    if payload is None or payload == b"[DONE]":
        return
    try:
        _sound.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Upstream("The provider sent an event that is no JSON.", code="malformed_stream") from None


async def _stream(
    wire: Passing, call: Call, asked: Prompted, response: Response, reply: Reply, guards: Guarding | None, tie: Tie | None = None
) -> None:
    """Passes frames on as they come; the commit point is the first one that is sent, which is one that says something."""
    frames, meter, started = Frames(), wire.meter(), False
    watched = None if guards is None else Watched(call, guards)
    spare = asked.tokens_out + FRAMES_BESIDE if call.capped else None
    held = b""
    out: list[bytes] = []
    opened = False
    try:
        async for piece in response:
            for frame in frames.feed(piece):
                if held:  # some hosts say once more that it is over
                    continue
                if tie is not None:
                    frame = tie.frame(frame)
                payload = data(frame)
                _check(payload)
                if not meter.tells(frame):
                    out.append(frame)
                    if spare is not None:  # a frame holds at least a token, so more frames than tokens pass the bound
                        spare -= tie is None or PIECE in frame
                        if spare < 0:
                            raise Upstream("The provider went on beyond the output it was allowed.", code="reservation_used_up")
                    continue
                alone, last = (False, False) if payload is None else meter.frame(payload)
                if last:
                    held += frame
                elif not (alone and not asked.wants_usage):
                    out.append(frame)
            opened = opened or any(map(meter.opens, out)) or sum(map(len, out)) > SILENT_BYTES
            if not held and not (opened and out):
                continue
            if watched is None:
                chunk = b"".join(out)
                call.keep(chunk)
            else:
                chunk = watched.pass_on(out, last=bool(held))
            out = []
            if not chunk:
                continue
            if not started:
                started = True
                call.first_byte()
                reply.begin(response.status, _passed_back(call, response))
            reply.write(chunk)
            await reply.drain()
        rest = frames.rest() if watched is None else b""
        if not held:
            raise Upstream("The provider's stream ended without its terminal frame.", code="truncated_stream")
    except TandemError as error:
        if not started:
            raise
        _end(call, error.code, meter.usage or UNKNOWN, error)
        call.close(error.code, response.status, error)
        reply.write(dialect_of(asked.dialect).writer(NOBODY).fail(error))
        reply.end()
        return
    call.end("ok", meter.usage or UNKNOWN)
    call.close("ok", response.status)
    if not started:
        reply.begin(response.status, _passed_back(call, response))
    reply.write(held + rest)
    reply.end()
