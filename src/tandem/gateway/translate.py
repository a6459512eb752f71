"""A call whose caller and provider speak different protocols: the request and the answer go through words.

Before the first word goes to the caller a failure is free; after it the stream ends with the caller's own form of an error.
What the provider's protocol has no place for is refused where it would change the answer, else named in a header.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import msgspec

from tandem.core.chat import Begin, Delta, Finish, RefusalDelta, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.clock import MICROS
from tandem.core.errors import Invalid, TandemError, Upstream
from tandem.core.money import Usage
from tandem.gateway.asked import FRAMES_BESIDE, Headers, Prompted, Reply
from tandem.gateway.call import UNKNOWN, Call
from tandem.gateway.framing import FRAMINGS, media
from tandem.gateway.guard import Guarding, note
from tandem.gateway.providers.base import Ask, Wire
from tandem.gateway.providers.openai import UNREADABLE, OpenAI
from tandem.gateway.splice import splice
from tandem.gateway.transport import Response
from tandem.gateway.wires.base import Dialect, Letterhead, dialect_of
from tandem.gateway.wires.openai_chat import OpenAIDialect
from tandem.scorers.guards.channel import Argued, Plain
from tandem.scorers.guards.detect import automaton

DROPPED = b"x-tandem-dropped"
"""Names the fields that were left out because the provider's protocol has no place for them."""
FIELD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NAMED = 32
"""Fields that the header names at most."""
REFUSED: dict[str, tuple[object, ...]] = {
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},), "modalities": (["text"],), "audio": (),
    "web_search_options": (), "functions": ([],), "function_call": ("none",), "mcp_servers": ([],),
    "container": (), "context_management": (),
}  # fmt: skip
"""Fields of a caller's wire without which the answer would be another one → values with which they ask for nothing."""
NOTHING: tuple[object, ...] = (False, [], {}, "")
"""Values with which any other field asks for nothing."""
TOOLS = 256
"""Calls of tools in one answer; far more than any has."""
JSON = (b"content-type", b"application/json")
EVENTS = (b"content-type", b"text/event-stream")
_OPENAI = OpenAI()
_KEPT = OpenAIDialect()
"""The form in which every translated answer is kept."""


def put(wire: Wire, dialect: Dialect, asked: Prompted, model: str, key: str | None) -> Ask:
    """The caller's request as the provider's protocol asks it.

    Raises:
        Invalid: it holds what cannot be carried across; `field` names it.
    """
    try:
        chat = dialect.chat(splice(asked.body, asked.edits))
    except UNREADABLE as error:
        raise Invalid("The request cannot be read.", words=f"{error}.") from None
    left: list[str] = []
    for name, value in chat.rest.items():
        if any(type(value) is type(plain) and value == plain for plain in REFUSED.get(name, NOTHING)):
            continue
        if name in REFUSED:
            raise Invalid(
                f"{name} cannot be carried to a provider that speaks {wire.name}.",
                field=name,
                code="not_carried",
                hint="Leave it out, or name a model whose provider speaks your protocol.",
            )
        left.append(name)
    if chat.max_output is None:  # what was reserved is what may be said
        chat = replace(chat, max_output=asked.tokens_out)
    try:
        ask = wire.put(replace(chat, rest={}), model, key)
    except Invalid as error:
        error.code = "not_carried"  # another target may speak a protocol that has a place for it
        raise
    return msgspec.structs.replace(ask, dropped=tuple(dict.fromkeys([*ask.dropped, *left])))


class Single:
    """Lets the first call of a tool pass, and no other: for those who forbade several where the provider cannot be told."""

    def __init__(self) -> None:
        self._place: int | None = None

    def pass_on(self, deltas: list[Delta]) -> list[Delta]:
        return [delta for delta in deltas if not isinstance(delta, ToolDelta) or self._is_first(delta)]

    def _is_first(self, call: ToolDelta) -> bool:
        if self._place is None:
            self._place = call.place
        return call.place == self._place


class Heard:
    """An answer under guards: each text in it is a channel, which lets go of what can no longer become a match."""

    def __init__(self, call: Call, guards: Guarding) -> None:
        self._call, self._guards = call, guards
        self._automaton = automaton(guards.out_rules)
        self._texts: dict[type[Delta], Plain] = {}
        self._tools: dict[int, Plain] = {}

    def pass_on(self, deltas: Sequence[Delta]) -> tuple[list[Delta], list[Delta]]:
        """What of these may leave: as it is kept, and as the caller hears it. `Finish` brings what was held.

        Raises:
            Blocked: a guard does not let it out.
        """
        kept: list[Delta] = []
        said: list[Delta] = []
        for delta in deltas:
            for one, two in self._pass(delta):
                kept.append(one)
                said.append(two)
        note(self._call, self._guards)
        self._guards.stop("out")
        return kept, said

    def _pass(self, delta: Delta) -> list[tuple[Delta, Delta]]:
        match delta:
            case TextDelta() | RefusalDelta() | ThinkingDelta():
                kept, said = self._text(type(delta)).feed(delta.text)
                beside = isinstance(delta, ThinkingDelta) and (delta.signature or delta.hidden)
                if beside:  # a thought's proof is its end, and what was held of it stands before
                    last = self._texts.pop(ThinkingDelta).end()
                    kept, said = kept + last[0], said + last[1]
                return [(replace(delta, text=kept), replace(delta, text=said))] if kept or said or beside else []
            case ToolDelta():
                kept, said = self._tool(delta.place).feed(delta.arguments)
                name = self._guards.once(delta.name) if delta.name else ("", "")
                if not (kept or said or delta.id or delta.name or delta.signature):
                    return []
                return [(replace(delta, name=name[0], arguments=kept), replace(delta, name=name[1], arguments=said))]
            case Finish():
                return [*self._rest(), (delta, delta)]
            case Begin() | Used():
                return [(delta, delta)]

    def _text(self, kind: type[TextDelta] | type[RefusalDelta] | type[ThinkingDelta]) -> Plain:
        channel = self._texts.get(kind)
        if channel is None:
            made = Argued if kind is TextDelta and "content" in self._guards.written else Plain
            channel = self._texts[kind] = made(self._automaton, self._guards.on_the_way_out)
        return channel

    def _tool(self, place: int) -> Plain:
        channel = self._tools.get(place)
        if channel is None:
            if len(self._tools) >= TOOLS:
                raise Upstream(f"The answer calls more than {TOOLS} tools.", code="malformed_stream")
            channel = self._tools[place] = Argued(self._automaton, self._guards.on_the_way_out)
        return channel

    def _rest(self) -> list[tuple[Delta, Delta]]:
        """What the channels still held."""
        made: list[tuple[Delta, Delta]] = []
        for kind, channel in self._texts.items():
            kept, said = channel.end()
            if kept or said:
                made.append((kind(text=kept), kind(text=said)))  # type: ignore[call-arg]  # the three that hold text
        for place, channel in self._tools.items():
            kept, said = channel.end()
            if kept or said:
                made.append((ToolDelta(place=place, arguments=kept), ToolDelta(place=place, arguments=said)))
        self._texts.clear()
        self._tools.clear()
        return made


def _head(call: Call, asked: Prompted) -> Letterhead:
    return Letterhead(id=call.trace, model=call.address, at=call.start // MICROS, wants_usage=asked.wants_usage, asked=asked.body)


def _headers(call: Call, ask: Ask, first: tuple[bytes, bytes]) -> Headers:
    fields = [first, (b"x-tandem-trace-id", call.trace.encode())]
    if ask.dropped:
        fields.append((DROPPED, ", ".join(named(ask)).encode()))
    return fields


def named(ask: Ask) -> list[str]:
    """What was left out, as it can stand in a header; a caller may call a field anything."""
    return list(dict.fromkeys(name if FIELD.fullmatch(name) else "?" for name in ask.dropped[:NAMED]))


def _used(deltas: Sequence[Delta]) -> Usage | None:
    return next((delta.usage for delta in reversed(deltas) if isinstance(delta, Used)), None)


class Collected:
    """A reply that is kept instead of sent."""

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None:
        self.status, self.body = status, body

    def begin(self, status: int, headers: Headers) -> None:
        self.status = status

    def write(self, data: bytes) -> None:
        self.body += data

    async def drain(self) -> None:
        return

    def end(self) -> None:
        return


async def through_openai(
    own: Callable[[Call, Prompted, Reply, Guarding | None], Awaitable[None]],
    call: Call,
    asked: Prompted,
    reply: Reply,
    guards: Guarding | None,
) -> None:
    """Has a call of another wire answered by what speaks OpenAI's alone.

    Raises:
        TandemError: nothing was sent to the caller yet.
    """
    dialect = dialect_of(asked.dialect)
    body = _OPENAI.put(replace(dialect.chat(asked.body), stream=False, rest={}), call.address, None).body
    collected = Collected()
    await own(call, msgspec.structs.replace(asked, body=body, stream=False, dialect="openai"), collected, guards)
    deltas, head = _OPENAI.whole(collected.body), _head(call, asked)
    if asked.stream:
        writer = dialect.writer(head)
        reply.begin(200, [EVENTS, (b"x-tandem-trace-id", call.trace.encode())])
        reply.write(writer.feed(deltas) + writer.end())
        reply.end()
    else:
        reply.send(200, [JSON, (b"x-tandem-trace-id", call.trace.encode())], dialect.whole(deltas, head))


async def whole(
    wire: Wire, dialect: Dialect, call: Call, asked: Prompted, ask: Ask, response: Response, reply: Reply, guards: Guarding | None
) -> None:
    """Reads a whole answer and writes it in the caller's words; as a stream, where the caller asked for one.

    Raises:
        TandemError: nothing was sent to the caller yet.
    """
    body = response.arrived() or await response.read()
    usage = wire.usage(body) or UNKNOWN
    try:
        deltas = Single().pass_on(wire.whole(body)) if ask.single else wire.whole(body)
        kept, said = (deltas, deltas) if guards is None else Heard(call, guards).pass_on(deltas)
    except TandemError as error:
        call.end(error.code, usage, error.message)  # it was answered, and is paid for
        raise
    head = _head(call, asked)
    call.keep(_KEPT.whole(kept, head))
    call.end("ok", usage)
    call.close("ok", 200)
    if asked.stream:
        writer = dialect.writer(head)
        reply.begin(200, _headers(call, ask, EVENTS))
        reply.write(writer.feed(said) + writer.end())
        reply.end()
    else:
        reply.send(200, _headers(call, ask, JSON), dialect.whole(said, head))


async def stream(
    wire: Wire, dialect: Dialect, call: Call, asked: Prompted, ask: Ask, response: Response, reply: Reply, guards: Guarding | None
) -> None:
    """Passes an answer on piece by piece, in the caller's words; the commit point is the first of them.

    Raises:
        TandemError: nothing was sent to the caller yet.
    """
    framing = FRAMINGS[media(response.header(b"content-type"))]()
    reader, head = wire.reader(), _head(call, asked)
    writer, keeper = dialect.writer(head), _KEPT.writer(head)
    heard = None if guards is None else Heard(call, guards)
    single = Single() if ask.single else None
    spare = asked.tokens_out + FRAMES_BESIDE if call.capped else None
    waiting: list[Delta] = []
    usage: Usage | None = None
    started = finished = False
    try:
        async for piece in response:
            deltas = [delta for payload in framing.feed(piece) for delta in reader.feed(payload)]
            usage = _used(deltas) or usage
            finished = finished or any(isinstance(delta, Finish) for delta in deltas)
            if spare is not None:  # a delta holds at least a token, so more of them than tokens pass the bound
                spare -= sum(isinstance(delta, TextDelta | RefusalDelta | ThinkingDelta | ToolDelta) for delta in deltas)
                if spare < 0:
                    raise Upstream("The provider went on beyond the output it was allowed.", code="reservation_used_up")
            if single is not None:
                deltas = single.pass_on(deltas)
            kept, said = (deltas, deltas) if heard is None else heard.pass_on(deltas)
            call.keep(keeper.feed(kept))
            waiting += said
            if not started and all(isinstance(delta, Begin | Used) for delta in waiting):
                continue
            chunk = writer.feed(waiting)
            waiting = []
            if not chunk:
                continue
            if not started:
                started = True
                call.first_byte()
                reply.begin(200, _headers(call, ask, EVENTS))
            reply.write(chunk)
            await reply.drain()
        if not (reader.ended and finished):
            raise Upstream("The provider's stream ended without its terminal frame.", code="truncated_stream")
    except TandemError as error:
        if not started:
            raise
        if not call.closed and call.running:
            call.end(error.code, usage or UNKNOWN, error.message)
        call.close(error.code, 200, error)
        reply.write(writer.fail(error))
        reply.end()
        return
    call.keep(keeper.end())
    call.end("ok", usage or UNKNOWN)
    call.close("ok", 200)
    if not started:
        reply.begin(200, _headers(call, ask, EVENTS))
    reply.write(writer.feed(waiting) + writer.end())
    reply.end()
