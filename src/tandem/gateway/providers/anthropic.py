"""The Anthropic protocol towards an upstream: messages, whole and streamed, and what they used.

Callers who speak it too pass through with only the named fields spliced. Usage rules: input_tokens, cache_read_input_tokens
and cache_creation_input_tokens are disjoint; the counts of a message_delta are cumulative and replace those of message_start.
Source: Anthropic's API reference for `POST /v1/messages`, its streaming and its errors, as the types of its Python SDK 2.14
encode it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from tandem.core.chat import Begin, Chat, Delta, Finish, Reason, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.anthropic_put import members
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.splice import splice

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
VERSION = (b"anthropic-version", b"2023-06-01")
"""The version in which sampling parameters still reach the models that have them."""
JSON = (b"content-type", b"application/json")
PATH = "/messages"
REASONS: dict[str, Reason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "refusal": "refusal",
}
FAULTS: dict[str, str] = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "quota",
    "not_found_error": "not_found",
    "request_too_large": "context_exceeded",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
    "api_error": "upstream_5xx",
    "timeout_error": "upstream_5xx",
}
"""`error.type` → canonical class; `invalid_request_error` says by its message alone what it is."""
STATUSES = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    413: "context_exceeded",
    429: "rate_limited",
    529: "overloaded",
}
TOO_LONG = ("prompt is too long", "exceed context limit", "exceeds the context window", "exceed the context window")
UNPAID = ("credit balance is too low", "usage limits", "spend limit")
POLICY = ("content filtering policy", "usage policy")

READ = frozenset({"text", "thinking", "redacted_thinking", "tool_use"})
"""Types of blocks that are read; all others (server tools, and what they found) are passed over, whatever they hold."""
NONE = msgspec.Raw(b"null")


class _Thought(msgspec.Struct):
    thinking_tokens: int | None = None


class _Written(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class _Searched(msgspec.Struct):
    web_search_requests: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _Written | None = None
    """Which part of what was written is kept for an hour."""
    server_tool_use: _Searched | None = None
    output_tokens: int | None = None
    output_tokens_details: _Thought | None = None


class _Used(msgspec.Struct):
    usage: _Usage | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Block(msgspec.Struct):
    """A block of a type that is read."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Piece(msgspec.Struct):
    """A delta of a block, or of the message."""

    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None
    id: str = ""
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: _Usage | None = None


class _Fault(msgspec.Struct):
    type: str | None = None
    message: str | None = None


class _FaultReply(msgspec.Struct):
    error: _Fault | str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: msgspec.Raw = NONE
    delta: _Piece | None = None
    usage: _Usage | None = None
    error: _Fault | None = None


_used = msgspec.json.Decoder(_Used)
_kind = msgspec.json.Decoder(_Kind)
_block = msgspec.json.Decoder(_Block)
_whole = msgspec.json.Decoder(_Message)
_event = msgspec.json.Decoder(_Event)
_fault = msgspec.json.Decoder(_FaultReply)


class _Count:
    """The counters of one answer, each as it was last said."""

    __slots__ = ("_cache_read", "_cache_write", "_hour", "_input", "_output", "_searches", "_thought")

    def __init__(self) -> None:
        self._input = self._cache_read = self._cache_write = self._hour = self._output = self._thought = self._searches = 0

    def take(self, usage: _Usage) -> None:
        """Replaces what this one says; a counter it leaves out keeps its value."""
        self._input = _or(usage.input_tokens, self._input)
        self._cache_read = _or(usage.cache_read_input_tokens, self._cache_read)
        self._cache_write = _or(usage.cache_creation_input_tokens, self._cache_write)
        self._output = _or(usage.output_tokens, self._output)
        if usage.cache_creation is not None:
            self._hour = _or(usage.cache_creation.ephemeral_1h_input_tokens, self._hour)
        if usage.server_tool_use is not None:
            self._searches = _or(usage.server_tool_use.web_search_requests, self._searches)
        if usage.output_tokens_details is not None:
            self._thought = _or(usage.output_tokens_details.thinking_tokens, self._thought)

    def usage(self) -> Usage:
        thought, hour = min(self._thought, self._output), min(self._hour, self._cache_write)
        return Usage(
            input=self._input,
            cache_read=self._cache_read,
            cache_write=self._cache_write - hour,
            cache_write_1h=hour,
            searches=self._searches,
            output=self._output - thought,
            reasoning=thought,
            source="provider",
        )


def _or(said: int | None, before: int) -> int:
    return before if said is None else max(0, said)


SILENT = re.compile(rb'"type"\s*:\s*"(?:message_start|ping)"|"content_block_start".*?"text"\s*:\s*""', re.DOTALL)


class AnthropicMeter:
    """What a stream used: nothing is known before a message_delta, since message_start counts an answer not yet written."""

    __slots__ = ("_count", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self._count = _Count()

    def tells(self, frame: bytes) -> bool:
        return b'"message_' in frame or b'"error"' in frame

    def opens(self, frame: bytes) -> bool:
        """That a message or a text begins is no word of it."""
        return SILENT.search(frame) is None and not frame.startswith(b":")

    def frame(self, payload: bytes) -> tuple[bool, bool]:
        try:
            event = _event.decode(payload)
        except UNREADABLE:
            return False, False
        if event.type == "message_start" and event.message is not None and event.message.usage is not None:
            self._count.take(event.message.usage)
        elif event.type == "message_delta" and event.usage is not None:
            self._count.take(event.usage)
            self.usage = self._count.usage()
        elif event.type == "error":
            raise _told(event.error)
        return False, event.type == "message_stop"


class AnthropicReader:
    """One streamed answer, event by event.

    Blocks that are not the caller's (server tools and what they found) are passed over, and take no place among the calls.
    """

    __slots__ = ("_blocks", "_calls", "_count", "_finish", "_silent", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._blocks: dict[int, int | None] = {}
        """Open block → the place of its call; None for one that is none."""
        self._silent: set[int] = set()
        """Open blocks of calls whose arguments have not begun."""
        self._calls = 0
        self._count = _Count()
        self._finish: Finish | None = None

    def feed(self, payload: bytes) -> list[Delta]:
        try:
            return self._read(_event.decode(payload))
        except UNREADABLE as error:
            raise _malformed("The provider sent an event that cannot be read.") from error

    def _read(self, event: _Event) -> list[Delta]:
        match event.type:
            case "content_block_delta":
                return self._piece(event.index, event.delta)
            case "content_block_start":
                return self._open(event.index, event.content_block)
            case "content_block_stop":
                return self._close(event.index)
            case "message_start":
                return self._begin(event.message)
            case "message_delta":
                return self._turn(event)
            case "message_stop":
                self.ended = True
                return [self._finish or Finish(reason="stop")]
            case "error":
                raise _told(event.error)
            case _:  # ping, and what is yet to be invented
                return []

    def _begin(self, message: _Message | None) -> list[Delta]:
        if message is None:
            raise _malformed("The provider sent a message_start without a message.")
        if message.usage is not None:
            self._count.take(message.usage)
        return [Begin(id=message.id, model=message.model)]

    def _open(self, index: int, raw: msgspec.Raw) -> list[Delta]:
        block = _known(raw)
        self._blocks[index] = None
        if block is None or block.type != "tool_use":
            return [] if block is None else _spoken(block)
        place = self._blocks[index] = self._calls
        self._calls += 1
        arguments = bytes(block.input).decode()
        if arguments in ("{}", "null"):
            arguments = ""
            self._silent.add(index)
        return [_called(block, place, arguments)]

    def _close(self, index: int) -> list[Delta]:
        place = self._blocks.pop(index, None)
        if place is None or index not in self._silent:
            return []
        self._silent.discard(index)
        return [ToolDelta(place=place, arguments="{}")]  # nothing was said, and nothing is no JSON

    def _piece(self, index: int, piece: _Piece | None) -> list[Delta]:
        if piece is None:
            raise _malformed("The provider sent a content_block_delta without a delta.")
        match piece.type:
            case "text_delta":
                return [TextDelta(text=piece.text)] if piece.text else []
            case "input_json_delta":
                place = self._blocks.get(index)
                if place is None or not piece.partial_json:
                    return []
                self._silent.discard(index)
                return [ToolDelta(place=place, arguments=piece.partial_json)]
            case "thinking_delta":
                return [ThinkingDelta(text=piece.thinking)] if piece.thinking else []
            case "signature_delta":
                return [ThinkingDelta(signature=piece.signature)] if piece.signature else []
            case _:  # a citation belongs to text that has been said, and has no word of its own
                return []

    def _turn(self, event: _Event) -> list[Delta]:
        if event.delta is not None and event.delta.stop_reason is not None:
            self._finish = _finished(event.delta.stop_reason, event.delta.stop_sequence)
        if event.usage is None:
            return []
        self._count.take(event.usage)
        return [Used(usage=self._count.usage())]


class Anthropic:
    """Messages as Anthropic speaks them."""

    name = dialect = "anthropic"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        _chat_only(verb)
        return Ask(path=PATH, headers=_headers(key), body=splice(body, edits))

    def usage(self, body: bytes) -> Usage | None:
        try:
            used = _used.decode(body).usage
        except UNREADABLE:
            return None
        return _canonical(used)

    def meter(self) -> AnthropicMeter:
        return AnthropicMeter()

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        body, dropped = members(chat, model)
        return Ask(path=PATH, headers=_headers(key), body=msgspec.json.encode(body), dropped=dropped)

    def whole(self, body: bytes) -> list[Delta]:
        try:
            message = _whole.decode(body)
            blocks = [block for raw in message.content or () if (block := _known(raw)) is not None]
        except UNREADABLE as error:
            raise _malformed("The provider sent an answer that cannot be read.") from error
        if message.content is None:
            raise _malformed("The provider sent an answer without content.")
        deltas: list[Delta] = [Begin(id=message.id, model=message.model)]
        calls = 0
        for block in blocks:
            if block.type == "tool_use":
                deltas.append(_called(block, calls, bytes(block.input).decode()))
                calls += 1
            else:
                deltas += _spoken(block)
        usage = _canonical(message.usage)
        if usage is not None:
            deltas.append(Used(usage=usage))
        deltas.append(_finished(message.stop_reason or "end_turn", message.stop_sequence))
        return deltas

    def reader(self) -> AnthropicReader:
        return AnthropicReader()

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            error = _fault.decode(body).error
        except UNREADABLE:
            error = None
        kind = (error.type or "") if isinstance(error, _Fault) else ""
        said = ((error.message if isinstance(error, _Fault) else error) or "").lower()
        return _canon(kind, said) or STATUSES.get(status) or ("upstream_5xx" if status >= 500 else "bad_request")


def _headers(key: str | None) -> tuple[tuple[bytes, bytes], ...]:
    return (JSON, VERSION, (b"x-api-key", key.encode())) if key else (JSON, VERSION)


def _chat_only(verb: Verb) -> None:
    if verb != "chat":
        what = {"embed": "embeddings", "rerank": "reranking"}[verb]
        raise Invalid(f"Anthropic has no {what}.", hint=f"Choose a provider that has, for an endpoint of the kind {verb}.")


def _canonical(usage: _Usage | None) -> Usage | None:
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    count = _Count()
    count.take(usage)
    return count.usage()


def _known(raw: msgspec.Raw) -> _Block | None:
    """A block of a type that is read; None for one that is passed over."""
    return _block.decode(raw) if _kind.decode(raw).type in READ else None


def _called(block: _Block, place: int, arguments: str) -> ToolDelta:
    return ToolDelta(place=place, id=block.id, name=block.name, arguments=arguments)


def _spoken(block: _Block) -> list[Delta]:
    """What a block that is no call says at once."""
    match block.type:
        case "text":
            return [TextDelta(text=block.text)] if block.text else []
        case "thinking":
            said = block.thinking or block.signature
            return [ThinkingDelta(text=block.thinking, signature=block.signature)] if said else []
        case "redacted_thinking":
            return [ThinkingDelta(hidden=block.data)]
        case _:
            return []


def _finished(reason: str, sequence: str | None) -> Finish:
    return Finish(reason=REASONS.get(reason, "stop"), sequence=sequence or "")


def _canon(kind: str, said: str) -> str:
    """The canonical class of an error by its type and its message in lower case; empty where they do not say."""
    if kind in ("invalid_request_error", ""):
        if any(words in said for words in TOO_LONG):
            return "context_exceeded"
        if any(words in said for words in UNPAID):
            return "quota"
        return "content_policy" if any(words in said for words in POLICY) else ""
    return FAULTS.get(kind, "")


def _told(error: _Fault | None) -> Upstream:
    """An error that came within a stream, after its 200."""
    kind, said = ((error.type or ""), (error.message or "")) if error is not None else ("", "")
    bad = "bad_request" if kind == "invalid_request_error" else "upstream_5xx"
    return Upstream(
        "The provider broke its answer off with an error.",
        words=f"It said: {said}" if said else "",
        hint="Ask again.",
        code=_canon(kind, said.lower()) or bad,
    )


def _malformed(message: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends.", code="malformed_stream")
