"""Cohere's Chat API v2 towards an upstream: chats for callers of every dialect. Nobody's bytes pass through it.

Source: https://docs.cohere.com/v2/reference/chat and /v2/docs/streaming, as the SDK cohere 7 reads replies. What is billed is
told beside what was counted, and is what the books hold; a plan to call tools is a thought; a stream ends with message-end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import assert_never

import msgspec

from tandem.core.chat import Begin, Chat, Delta, Finish, Reason, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.cohere_put import SEVERAL, members
from tandem.gateway.splice import splice

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
JSON = (b"content-type", b"application/json")
REASONS: dict[str, Reason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
"""Ends of an answer; any other one, such as ERROR and TIMEOUT, is a failure of the model."""
FAULTS = {
    401: "auth",
    402: "quota",  # no payment method, or the key's own limit of it
    403: "auth",
    404: "not_found",
    498: "content_policy",  # a token that stands on a list of forbidden ones, in the request or the answer
    499: "upstream_5xx",  # cancelled, and not by us, who would not hear of it
    501: "bad_request",
    503: "overloaded",
}
"""Status → canonical class, where the message adds nothing."""
_TOO_LONG = re.compile(r"too many tokens(?!: max tokens)|exceeds? .*context|context length", re.IGNORECASE)
_SPENT = re.compile(r"calls / month|monthly|billing", re.IGNORECASE)
_DONE = b"[DONE]"


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None


class _Message(msgspec.Struct):
    content: list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None


class _Piece(msgspec.Struct):
    """Of a message: at most one of these. Where an answer begins, they are empty lists."""

    content: _Content | list[_Content] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None


class _Counts(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None


class _Usage(msgspec.Struct):
    billed_units: _Counts | None = None
    tokens: _Counts | None = None
    cached_tokens: float | None = None


class _Delta(msgspec.Struct):
    message: _Piece | None = None
    finish_reason: str | None = None
    usage: _Usage | None = None
    error: str | None = None


class _Event(msgspec.Struct):
    type: str
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    finish_reason: str | None = None
    message: _Message | None = None
    usage: _Usage | None = None


class _Used(msgspec.Struct):
    usage: _Usage | None = None
    meta: _Usage | None = None
    """Where it ranked documents."""


class _Fault(msgspec.Struct):
    message: str | None = None


_event = msgspec.json.Decoder(_Event)
_answer = msgspec.json.Decoder(_Answer)
_used = msgspec.json.Decoder(_Used)
_fault = msgspec.json.Decoder(_Fault)


class CohereReader:
    """One streamed answer, event by event."""

    __slots__ = ("_calls", "_silent", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._calls: dict[int, int] = {}
        """Index of a call → its place."""
        self._silent: set[int] = set()
        """Places of calls whose arguments have not begun."""

    def feed(self, payload: bytes) -> list[Delta]:
        if payload == _DONE or not payload:
            return []
        try:
            event = _event.decode(payload)
        except UNREADABLE:
            raise _malformed("Cohere sent an event that cannot be read.", "malformed_stream") from None
        return list(self._read(event))

    def _read(self, event: _Event) -> Iterator[Delta]:
        delta = event.delta or _Delta()
        piece = delta.message or _Piece()
        match event.type:
            case "message-start":
                yield Begin(id=event.id or "")
            case "content-start" | "content-delta":
                if isinstance(piece.content, _Content):
                    yield from _said(piece.content)
            case "tool-plan-delta":
                if piece.tool_plan:
                    yield ThinkingDelta(text=piece.tool_plan)
            case "tool-call-start" | "tool-call-delta":
                if isinstance(piece.tool_calls, _Call):
                    yield from self._call(event.index or 0, piece.tool_calls)
            case "tool-call-end":
                place = self._calls.get(event.index or 0)
                if place in self._silent:
                    self._silent.discard(place)
                    yield ToolDelta(place=place, arguments="{}")  # nothing was said, and nothing is no JSON
            case "message-end":
                usage = _canonical(delta.usage)
                if usage is not None:
                    yield Used(usage=usage)
                self.ended = True
                yield _finished(delta.finish_reason, delta.error)
            case _:  # citations, which have no word here; the prompt as a debugger sees it; what is yet to be invented
                return

    def _call(self, index: int, call: _Call) -> Iterator[Delta]:
        told = call.function or _Function()
        place = self._calls.get(index)
        if place is None:
            place = self._calls[index] = len(self._calls)
            self._silent.add(place)
            yield ToolDelta(place=place, id=call.id or "", name=told.name or "")
        if told.arguments:
            self._silent.discard(place)
            yield ToolDelta(place=place, arguments=told.arguments)


class Cohere:
    """Chats as Cohere's v2 has them."""

    name = "cohere"
    dialect = ""

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        match verb:
            case "chat":
                raise Invalid("No caller speaks Cohere's protocol; a chat is translated.", field="protocol")
            case "embed":  # its vectors depend on what they are for, which OpenAI's callers do not say
                raise Invalid(
                    "Embeddings are not translated for Cohere.",
                    hint="Use its compatibility address: protocol = 'openai', base_url = 'https://api.cohere.ai/compatibility/v1'.",
                    field="model",
                )
            case "rerank":  # the form that callers and others share is Cohere's
                return Ask(path="/rerank", headers=_headers(key), body=splice(body, edits))
            case _:
                assert_never(verb)

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        body, dropped = members(chat, model)
        try:
            encoded = msgspec.json.encode(body)
        except (TypeError, ValueError, RecursionError):
            raise Invalid(
                "The chat cannot be written as JSON.", hint="Texts must be UTF-8, and nothing may hold itself."
            ) from None
        return Ask(path="/chat", headers=_headers(key), body=encoded, dropped=dropped, single=SEVERAL in dropped)

    def whole(self, body: bytes) -> list[Delta]:
        try:
            answer = _answer.decode(body)
        except UNREADABLE:
            raise _malformed("Cohere sent an answer that cannot be read.", "malformed_reply") from None
        if answer.message is None or answer.finish_reason is None:
            raise _malformed("Cohere sent an answer without a message, or without its end.", "malformed_reply")
        deltas: list[Delta] = [Begin(id=answer.id or ""), *_spoken(answer.message)]
        usage = _canonical(answer.usage)
        if usage is not None:
            deltas.append(Used(usage=usage))
        return [*deltas, _finished(answer.finish_reason, None)]

    def reader(self) -> CohereReader:
        return CohereReader()

    def usage(self, body: bytes) -> Usage | None:
        try:
            told = _used.decode(body)
            return _canonical(told.usage or told.meta)
        except UNREADABLE:
            return None

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            said = _fault.decode(body).message or ""
        except UNREADABLE:
            said = ""
        if status == 429:
            return "quota" if _SPENT.search(said) else "rate_limited"
        if status in FAULTS:
            return FAULTS[status]
        if status >= 500:
            return "upstream_5xx"
        return "context_exceeded" if _TOO_LONG.search(said) else "bad_request"


def _headers(key: str | None) -> tuple[tuple[bytes, bytes], ...]:
    return (JSON, (b"authorization", b"Bearer " + key.encode())) if key else (JSON,)


# --- what was said


def _spoken(message: _Message) -> Iterator[Delta]:
    """What a whole message says: its plan, its thoughts and words, its calls."""
    if message.tool_plan:
        yield ThinkingDelta(text=message.tool_plan)
    for content in message.content or ():
        yield from _said(content)
    for place, call in enumerate(message.tool_calls or ()):
        told = call.function or _Function()
        yield ToolDelta(place=place, id=call.id or "", name=told.name or "", arguments=told.arguments or "{}")


def _said(content: _Content) -> Iterator[Delta]:
    if content.thinking:
        yield ThinkingDelta(text=content.thinking)
    if content.text:
        yield TextDelta(text=content.text)


def _finished(said: str | None, error: str | None) -> Finish:
    """The end of an answer.

    Raises:
        Upstream: it is none.
    """
    reason = REASONS.get(said or "")
    if reason is None:
        shown = said if said and re.fullmatch(r"[A-Z_]{1,64}", said) else "for a reason it did not name"
        raise Upstream(f"Cohere could not finish its answer: {shown}.", words=f"It said: {error}" if error else "")
    return Finish(reason=reason)


def _canonical(usage: _Usage | None) -> Usage | None:
    """What is billed; where that is not told, what was counted, with what the cache held."""
    if usage is None:
        return None
    billed = usage.billed_units
    if billed is not None and {billed.input_tokens, billed.output_tokens, billed.search_units} != {None}:
        return Usage(
            input=_count(billed.input_tokens),
            output=_count(billed.output_tokens),
            searches=ceil(max(0.0, billed.search_units or 0)),
            source="provider",
        )
    counted = usage.tokens
    if counted is None or counted.input_tokens is None:
        return None
    cached = min(_count(usage.cached_tokens), _count(counted.input_tokens))
    return Usage(
        input=_count(counted.input_tokens) - cached,
        cache_read=cached,
        output=_count(counted.output_tokens),
        source="provider",
    )


def _count(told: float | None) -> int:
    return max(0, round(told or 0))


def _malformed(message: str, code: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends.", code=code)
