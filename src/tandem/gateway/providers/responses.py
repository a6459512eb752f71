"""The Responses API of OpenAI towards an upstream: answers as items, whole and as typed events, and what they used.

Callers who speak it too pass through with only the named fields spliced. Usage rules: cached and cache-written tokens are
part of input_tokens, reasoning tokens are part of output_tokens; a stream tells its usage in its last event alone.
Source: OpenAI's API reference for `POST /v1/responses` and its streaming, as the types of its Python SDK 3.54 encode it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tandem.core.chat import Begin, Chat, Delta, Finish, RefusalDelta, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.openai import JSON, UNREADABLE, OpenAI
from tandem.gateway.providers.responses_put import members, proof
from tandem.gateway.splice import splice

PATH = "/responses"
CODES = {
    "insufficient_quota": "quota",
    "rate_limit_exceeded": "rate_limited",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "context_length_exceeded": "context_exceeded",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "bio_policy": "content_policy",
    "misalignment_policy_violation": "content_policy",
    "image_content_policy_violation": "content_policy",
    "invalid_prompt": "bad_request",
}
"""`error.code` of what fails inside a 200 → canonical class; any other is the provider's own fault."""
FINAL = frozenset({"context_exceeded", "content_policy", "bad_request"})
"""Classes that are the request's own fault, as they are where they come with a status."""
BETWEEN = "\n\n"
"""Between two parts of a summary."""
_openai = OpenAI()


class _Heard(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _Thought(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    input_tokens_details: _Heard | None = None
    output_tokens: int | None = None
    output_tokens_details: _Thought | None = None


class _Searched(msgspec.Struct):
    num_requests: int | None = None


class _Tools(msgspec.Struct):
    web_search: _Searched | None = None


class _Used(msgspec.Struct):
    usage: _Usage | None = None
    tool_usage: _Tools | None = None


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""
    refusal: str = ""


class _Item(msgspec.Struct):
    """An item of a type that is read."""

    type: str = ""
    id: str | None = None
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    content: list[_Part] | None = None
    summary: list[_Part] | None = None
    encrypted_content: str | None = None


class _Kind(msgspec.Struct):
    type: str = ""


class _Fault(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _Cut(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    id: str = ""
    model: str = ""
    status: str | None = None
    output: list[msgspec.Raw] | None = None
    error: _Fault | None = None
    incomplete_details: _Cut | None = None
    usage: _Usage | None = None
    tool_usage: _Tools | None = None


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: str = ""
    arguments: str = ""
    item: msgspec.Raw = msgspec.Raw(b"null")
    response: _Response | None = None
    error: _Fault | None = None
    code: str | int | None = None
    message: str | None = None


READ = frozenset({"message", "function_call", "reasoning"})
"""Types of items that are read; all others (the provider's own tools, and what they found) are passed over."""
SILENT = re.compile(rb'"type"\s*:\s*"response\.(?:created|in_progress|queued)"')
"""Events that say nothing of an answer yet."""
ENDS = frozenset({"response.completed", "response.incomplete"})
_used = msgspec.json.Decoder(_Used)
_kind = msgspec.json.Decoder(_Kind)
_item = msgspec.json.Decoder(_Item)
_whole = msgspec.json.Decoder(_Response)
_event = msgspec.json.Decoder(_Event)


class ResponsesMeter:
    """What a stream used: its last event tells."""

    __slots__ = ("usage",)

    def __init__(self) -> None:
        self.usage: Usage | None = None

    def tells(self, frame: bytes) -> bool:
        return b'"response"' in frame or b'"error"' in frame

    def opens(self, frame: bytes) -> bool:
        """What the door writes of it aside, an answer begins behind the events that say that it will."""
        return SILENT.search(frame) is None and not frame.startswith(b":")

    def frame(self, payload: bytes) -> tuple[bool, bool]:
        try:
            kind = _kind.decode(payload).type
            if kind in ("error", "response.failed"):
                event = _event.decode(payload)
            else:
                event = _event.decode(payload) if kind in ENDS else _Event()
        except UNREADABLE:
            return False, False
        if event.response is not None:
            self.usage = _canonical(event.response) or self.usage
        if event.type in ("error", "response.failed"):
            raise _told(event)
        return False, event.type in ENDS


class ResponsesReader:
    """One streamed answer, event by event.

    Hosts differ in what they stream; what an item did not say piece by piece is taken from its end.
    """

    __slots__ = ("_begun", "_calls", "_refused", "_said", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._begun = False
        self._calls: dict[int, int] = {}
        """Index of an item → the place of its call."""
        self._said: set[int] = set()
        """Items of which a piece has come."""

    def feed(self, payload: bytes) -> list[Delta]:
        try:
            return self._read(_event.decode(payload))
        except UNREADABLE as error:
            raise _malformed("The provider sent an event that cannot be read.") from error

    def _read(self, event: _Event) -> list[Delta]:
        match event.type:
            case "response.output_text.delta":
                return self._piece(event, TextDelta(text=event.delta))
            case "response.refusal.delta":
                return self._piece(event, RefusalDelta(text=event.delta))
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                return self._piece(event, ThinkingDelta(text=event.delta))
            case "response.function_call_arguments.delta":
                place = self._calls.get(event.output_index)
                if place is None:
                    raise _malformed("The provider sent arguments of a call that has not begun.")
                return self._piece(event, ToolDelta(place=place, arguments=event.delta))
            case "response.reasoning_summary_part.added":
                return [ThinkingDelta(text=BETWEEN)] if event.summary_index and event.output_index in self._said else []
            case "response.output_item.added":
                return self._open(event)
            case "response.output_item.done":
                return self._close(event)
            case "response.created" | "response.in_progress" | "response.queued":
                return self._begin(event.response)
            case "response.completed" | "response.incomplete":
                return self._end(event.response)
            case "response.failed" | "error":
                raise _told(event)
            case _:  # ends of what was said piece by piece, annotations, and what is yet to be invented
                return []

    def _begin(self, response: _Response | None) -> list[Delta]:
        if self._begun or response is None:
            return []
        self._begun = True
        return [Begin(id=response.id, model=response.model)]

    def _piece(self, event: _Event, delta: Delta) -> list[Delta]:
        if not event.delta:
            return []
        self._said.add(event.output_index)
        return [delta]

    def _open(self, event: _Event) -> list[Delta]:
        item = _known(event.item)
        if item is None or item.type != "function_call":
            return []
        place = self._calls[event.output_index] = len(self._calls)
        if item.arguments:
            self._said.add(event.output_index)
        return [ToolDelta(place=place, id=item.call_id, name=item.name, arguments=item.arguments)]

    def _close(self, event: _Event) -> list[Delta]:
        item = _known(event.item)
        if item is None:
            return []
        silent = event.output_index not in self._said
        if item.type == "function_call":
            place = self._calls.get(event.output_index)
            if place is None:
                return [*self._open(event)] if item.arguments else [*self._open(event), *self._nothing(event.output_index)]
            if not silent:
                return []
            return [ToolDelta(place=place, arguments=item.arguments)] if item.arguments else self._nothing(event.output_index)
        if item.type == "reasoning":
            return [*(_thoughts(item) if silent else ()), *_sealed(item)]
        return list(_words(item)) if silent else []

    def _nothing(self, index: int) -> list[Delta]:
        """A call without arguments; nothing is no JSON."""
        return [ToolDelta(place=self._calls[index], arguments="{}")]

    def _end(self, response: _Response | None) -> list[Delta]:
        if response is None:
            raise _malformed("The provider ended its stream without saying what it had answered.")
        self.ended = True
        usage = _canonical(response)
        used: list[Delta] = [] if usage is None else [Used(usage=usage)]
        return [*self._begin(response), *used, _finished(response, called=bool(self._calls))]


class Responses:
    """Responses as OpenAI speaks them."""

    name = dialect = "responses"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        if verb != "chat":
            what = {"embed": "embeddings", "rerank": "reranking"}[verb]
            raise Invalid(
                f"A provider that speaks responses has no {what}.",
                hint=f"Set it up once more with the protocol openai, and name that one for an endpoint of the kind {verb}.",
            )
        return Ask(path=PATH, headers=_headers(key), body=splice(body, edits))

    def usage(self, body: bytes) -> Usage | None:
        try:
            return _canonical(_used.decode(body))
        except UNREADABLE:
            return None

    def meter(self) -> ResponsesMeter:
        return ResponsesMeter()

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        body, dropped = members(chat, model)
        return Ask(path=PATH, headers=_headers(key), body=msgspec.json.encode(body), dropped=dropped)

    def whole(self, body: bytes) -> list[Delta]:
        try:
            response = _whole.decode(body)
            items = [item for raw in response.output or () if (item := _known(raw)) is not None]
        except UNREADABLE as error:
            raise _malformed("The provider sent an answer that cannot be read.") from error
        if response.status == "failed" or response.error is not None:
            raise _told(_Event(response=response))
        if response.output is None or response.status in ("queued", "in_progress", "cancelled"):
            raise _malformed("The provider sent an answer that is not complete.")
        deltas: list[Delta] = [Begin(id=response.id, model=response.model)]
        calls = 0
        for item in items:
            if item.type == "function_call":
                deltas.append(ToolDelta(place=calls, id=item.call_id, name=item.name, arguments=item.arguments or "{}"))
                calls += 1
            elif item.type == "reasoning":
                deltas += [*_thoughts(item), *_sealed(item)]
            else:
                deltas += _words(item)
        usage = _canonical(response)
        used: list[Delta] = [] if usage is None else [Used(usage=usage)]
        return [*deltas, *used, _finished(response, called=calls > 0)]

    def reader(self) -> ResponsesReader:
        return ResponsesReader()

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        return _openai.fault(status, headers, body)  # errors have the form of OpenAI's other protocol


def _headers(key: str | None) -> tuple[tuple[bytes, bytes], ...]:
    return (JSON, (b"authorization", b"Bearer " + key.encode())) if key else (JSON,)


def _known(raw: msgspec.Raw) -> _Item | None:
    """An item of a type that is read; None for one that is passed over, whatever it holds."""
    return _item.decode(raw) if _kind.decode(raw).type in READ else None


def _words(item: _Item) -> Iterable[Delta]:
    """What a whole message says."""
    for part in item.content or ():
        if part.type == "output_text" and part.text:
            yield TextDelta(text=part.text)
        elif part.type == "refusal" and part.refusal:
            yield RefusalDelta(text=part.refusal)


def _thoughts(item: _Item) -> list[Delta]:
    """A whole thought as far as it can be read: what hosts of open models tell of it, else its summary."""
    told = BETWEEN.join([part.text for part in item.content or item.summary or () if part.text])
    return [ThinkingDelta(text=told)] if told else []


def _sealed(item: _Item) -> list[Delta]:
    if not item.encrypted_content:
        return []
    return [ThinkingDelta(signature=proof(item.id or "", item.encrypted_content))]


def _finished(response: _Response, *, called: bool) -> Finish:
    if response.status != "incomplete" and response.incomplete_details is None:
        return Finish(reason="tool_calls" if called else "stop")
    reason = response.incomplete_details.reason if response.incomplete_details is not None else None
    return Finish(reason="content_filter" if reason == "content_filter" else "length")


def _told(event: _Event) -> Upstream:
    """An error that came within an answer, after its 200; hosts nest it in one of three ways."""
    nested = event.error or (event.response.error if event.response is not None else None)
    fault = nested or _Fault(code=event.code, message=event.message)
    code = str(fault.code or fault.type or "")
    canonical = CODES.get(code, "upstream")
    message, words = "The provider ended the answer with an error.", f"{fault.message}." if fault.message else ""
    return Upstream(message, words=words, code=canonical, status=400 if canonical in FINAL else None)


def _malformed(message: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends.", code="malformed_stream")


def _canonical(told: _Used | _Response) -> Usage | None:
    """The disjoint counters of the nested ones; a part larger than its whole is cut to it."""
    usage = told.usage
    if usage is None or (usage.input_tokens is None and usage.output_tokens is None):
        return None
    prompt, answer = max(0, usage.input_tokens or 0), max(0, usage.output_tokens or 0)
    heard, thought = usage.input_tokens_details or _Heard(), usage.output_tokens_details or _Thought()
    cached = min(max(0, heard.cached_tokens or 0), prompt)
    written = min(max(0, heard.cache_write_tokens or 0), prompt - cached)
    reasoning = min(max(0, thought.reasoning_tokens or 0), answer)
    searched = told.tool_usage.web_search if told.tool_usage is not None else None
    return Usage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output=answer - reasoning,
        reasoning=reasoning,
        searches=max(0, (searched.num_requests or 0) if searched is not None else 0),
        source="provider",
    )
