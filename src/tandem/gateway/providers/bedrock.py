"""Amazon Bedrock's Converse towards an upstream: chats for callers of every dialect. Nobody's bytes pass through it.

Source: the service model of `bedrock-runtime` (2023-09-30), as botocore 1.44 reads it. Tokens read from a cache and written to
it are counted beside the input; a stream says why it ended, then what it used, and nothing after that; an error may come
within it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import assert_never
from urllib.parse import quote

import msgspec

from tandem.core.chat import Begin, Chat, Delta, Finish, Reason, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import Invalid, Upstream
from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.providers.bedrock_key import proven
from tandem.gateway.providers.bedrock_put import SEVERAL, members

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
JSON = (b"content-type", b"application/json")
STREAMED = (b"accept", b"application/vnd.amazon.eventstream")
REASONS: dict[str, Reason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
"""Ends of an answer; any other one, such as malformed_tool_use, is a failure of the model."""
FAULTS = {
    "accessdenied": "auth",
    "unrecognizedclient": "auth",
    "invalidsignature": "auth",
    "incompletesignature": "auth",
    "missingauthenticationtoken": "auth",
    "expiredtoken": "auth",
    "invalidclienttokenid": "auth",
    "servicequotaexceeded": "quota",
    "throttling": "rate_limited",
    "toomanyrequests": "rate_limited",
    "modelnotready": "overloaded",
    "serviceunavailable": "overloaded",
    "resourcenotfound": "not_found",
    "internalserver": "upstream_5xx",
    "internalfailure": "upstream_5xx",
    "modelerror": "upstream_5xx",
    "modelstreamerror": "upstream_5xx",
    "modeltimeout": "upstream_5xx",
}
"""Name of an exception, without its end and in lower case → canonical class; a validation says by its message what it is."""
STATUSES = {401: "auth", 403: "auth", 404: "not_found", 408: "upstream_5xx", 424: "upstream_5xx", 429: "rate_limited"}
_TOO_LONG = re.compile(
    r"(?:input|prompt) is too long|exceeds? (?:the )?(?:\w+ )?context|too many input tokens|maximum (?:number of )?input tokens",
    re.IGNORECASE,
)
_SPENT = re.compile(r"tokens per day|daily", re.IGNORECASE)
_BLOCKED = re.compile(r"content (?:filter|polic)|blocked by", re.IGNORECASE)
_NOTHING = msgspec.Raw(b"{}")


class _Kept(msgspec.Struct, rename="camel"):
    ttl: str | None = None
    input_tokens: int | None = None


class _Counts(msgspec.Struct, rename="camel"):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[_Kept] | None = None
    """Of what was written, by how long it is kept."""


class _Call(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = _NOTHING
    """An object, of a whole answer; of a stream a string, which is the next piece of one."""
    type: str | None = None
    """`server_tool_use` where it is not the caller's to answer."""


class _Proven(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _Thought(msgspec.Struct, rename="camel"):
    """Of a whole answer the first or the last member, of a stream any of the others."""

    reasoning_text: _Proven | None = None
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Cited(msgspec.Struct):
    text: str | None = None


class _Citations(msgspec.Struct):
    content: list[_Cited] | None = None


class _Block(msgspec.Struct, rename="camel"):
    """A block, the start of one, or a piece of it; what has no word here is passed over."""

    text: str | None = None
    tool_use: _Call | None = None
    reasoning_content: _Thought | None = None
    citations_content: _Citations | None = None


class _Place(msgspec.Struct, rename="camel"):
    content_block_index: int = 0
    start: _Block | None = None
    delta: _Block | None = None


class _More(msgspec.Struct):
    stop_sequence: str | None = None


class _Stop(msgspec.Struct, rename="camel"):
    stop_reason: str | None = None
    additional_model_response_fields: _More | None = None


class _Metadata(msgspec.Struct):
    usage: _Counts | None = None


class _Told(msgspec.Struct, frozen=True):
    message: str | None = None


class _Exception(msgspec.Struct):
    type: str
    told: _Told = _Told()


class _Event(msgspec.Struct, rename="camel"):
    """An event of a stream: one of these."""

    message_start: object = None
    content_block_start: _Place | None = None
    content_block_delta: _Place | None = None
    content_block_stop: _Place | None = None
    message_stop: _Stop | None = None
    metadata: _Metadata | None = None
    exception: _Exception | None = None


class _Message(msgspec.Struct):
    content: list[_Block] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Answer(_Stop, rename="camel"):
    output: _Output | None = None
    usage: _Counts | None = None


class _Fault(msgspec.Struct):
    message: str | None = None
    Message: str | None = None
    type: str | None = msgspec.field(default=None, name="__type")


_event = msgspec.json.Decoder(_Event)
_answer = msgspec.json.Decoder(_Answer)
_metadata = msgspec.json.Decoder(_Metadata)
_fault = msgspec.json.Decoder(_Fault)
_text = msgspec.json.Decoder(str)


class BedrockReader:
    """One streamed answer, event by event. What tools of the provider's own do takes no place among the calls."""

    __slots__ = ("_blocks", "_calls", "_silent", "_stopped", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._blocks: dict[int, int] = {}
        """Open block → the place of its call."""
        self._silent: set[int] = set()
        """Open blocks of calls whose arguments have not begun."""
        self._calls = 0
        self._stopped = False

    def feed(self, payload: bytes) -> list[Delta]:
        try:
            event = _event.decode(payload)
            return self._read(event)
        except UNREADABLE:
            raise _malformed("Bedrock sent an event that cannot be read.", "malformed_stream") from None

    def _read(self, event: _Event) -> list[Delta]:
        if event.content_block_delta is not None:
            return self._piece(event.content_block_delta)
        if event.exception is not None:
            raise _told(event.exception)
        if event.message_start is not None:
            return [Begin()]
        if event.content_block_start is not None:
            return self._open(event.content_block_start)
        if event.content_block_stop is not None:
            return self._close(event.content_block_stop.content_block_index)
        if event.message_stop is not None:
            self._stopped = True
            return [_finished(event.message_stop)]
        if event.metadata is not None:
            self.ended = self._stopped
            usage = _canonical(event.metadata.usage)
            return [] if usage is None else [Used(usage=usage)]
        return []  # what is yet to be invented

    def _open(self, place: _Place) -> list[Delta]:
        call = place.start.tool_use if place.start is not None else None
        if call is None or call.type is not None:
            return []
        at = self._blocks[place.content_block_index] = self._calls
        self._silent.add(place.content_block_index)
        self._calls += 1
        return [ToolDelta(place=at, id=call.tool_use_id, name=call.name)]

    def _piece(self, place: _Place) -> list[Delta]:
        delta = place.delta
        if delta is None:
            raise _malformed("Bedrock sent a contentBlockDelta without a delta.", "malformed_stream")
        if delta.text is not None:
            return [TextDelta(text=delta.text)] if delta.text else []
        if delta.reasoning_content is not None:
            return _thought(delta.reasoning_content)
        at = self._blocks.get(place.content_block_index)
        if delta.tool_use is None or at is None:
            return []
        written = _text.decode(delta.tool_use.input)
        if not written:
            return []
        self._silent.discard(place.content_block_index)
        return [ToolDelta(place=at, arguments=written)]

    def _close(self, index: int) -> list[Delta]:
        at = self._blocks.pop(index, None)
        if at is None or index not in self._silent:
            return []
        self._silent.discard(index)
        return [ToolDelta(place=at, arguments="{}")]  # nothing was said, and nothing is no JSON


class Bedrock:
    """Chats as Bedrock's Converse has them."""

    name = "bedrock"
    dialect = ""

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        match verb:
            case "chat":
                raise Invalid("No caller speaks Bedrock's protocol; a chat is translated.", field="protocol")
            case "embed":  # each maker's model wants another body, and Converse knows none of them
                raise Invalid(
                    "Embeddings are not translated for Bedrock.",
                    hint="Choose a provider that speaks OpenAI's protocol, for an endpoint of the kind embed.",
                    field="model",
                )
            case "rerank":
                raise Invalid(
                    "The provider's protocol has no reranking.",
                    hint="Choose a provider that speaks OpenAI's protocol and has /rerank, for an endpoint of the kind rerank.",
                    field="model",
                )
            case _:
                assert_never(verb)

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        body, dropped = members(chat, model)
        verb = "converse-stream" if chat.stream else "converse"
        asked = Ask(
            path=f"/model/{quote(model, safe='')}/{verb}",
            headers=(JSON, STREAMED) if chat.stream else (JSON,),
            body=_encoded(body),
            dropped=dropped,
            single=SEVERAL in dropped,
        )
        return proven(asked, key)

    def whole(self, body: bytes) -> list[Delta]:
        try:
            answer = _answer.decode(body)
        except UNREADABLE:
            raise _malformed("Bedrock sent an answer that cannot be read.", "malformed_reply") from None
        message = answer.output.message if answer.output is not None else None
        if message is None or answer.stop_reason is None:
            raise _malformed("Bedrock sent an answer without a message, or without its end.", "malformed_reply")
        deltas: list[Delta] = [Begin(), *_spoken(message.content or ())]
        usage = _canonical(answer.usage)
        if usage is not None:
            deltas.append(Used(usage=usage))
        return [*deltas, _finished(answer)]

    def reader(self) -> BedrockReader:
        return BedrockReader()

    def usage(self, body: bytes) -> Usage | None:
        try:
            return _canonical(_metadata.decode(body).usage)
        except UNREADABLE:
            return None

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            failed = _fault.decode(body)
        except UNREADABLE:
            failed = _Fault()
        named = next((value.decode("latin-1") for name, value in headers if name == b"x-amzn-errortype"), failed.type or "")
        return _class(named, failed.message or failed.Message or "", status)


def _encoded(body: dict[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError):
        raise Invalid("The chat cannot be written as JSON.", hint="Texts must be UTF-8, and nothing may hold itself.") from None


# --- what was said


def _spoken(blocks: Sequence[_Block]) -> Iterator[Delta]:
    """What the blocks of a whole answer say."""
    calls = 0
    for block in blocks:
        if block.text:
            yield TextDelta(text=block.text)
        elif block.reasoning_content is not None:
            yield from _thought(block.reasoning_content)
        elif block.citations_content is not None:  # words of the answer, with where they come from
            yield from (TextDelta(text=each.text) for each in block.citations_content.content or () if each.text)
        elif block.tool_use is not None and block.tool_use.type is None:
            call = block.tool_use
            yield ToolDelta(place=calls, id=call.tool_use_id, name=call.name, arguments=bytes(call.input).decode())
            calls += 1


def _thought(thought: _Thought) -> list[Delta]:
    if thought.redacted_content:
        return [ThinkingDelta(hidden=thought.redacted_content)]
    whole = thought.reasoning_text
    text = (whole.text if whole is not None else thought.text) or ""
    signature = (whole.signature if whole is not None else thought.signature) or ""
    return [ThinkingDelta(text=text, signature=signature)] if text or signature else []


def _finished(stop: _Stop) -> Finish:
    """The end of an answer.

    Raises:
        Upstream: it is none.
    """
    said = stop.stop_reason or ""
    reason = REASONS.get(said)
    if reason is None:
        shown = said if re.fullmatch(r"[a-z_]{1,64}", said) else "for a reason it did not name"
        raise Upstream(f"Bedrock could not finish its answer: {shown}.")
    more = stop.additional_model_response_fields
    return Finish(reason=reason, sequence=(more.stop_sequence or "") if more is not None else "")


def _canonical(counts: _Counts | None) -> Usage | None:
    """The disjoint counters; a part larger than its whole is cut to it."""
    if counts is None or counts.input_tokens is None:
        return None
    written = max(0, counts.cache_write_input_tokens or 0)
    hour = sum(max(0, each.input_tokens or 0) for each in counts.cache_details or () if each.ttl == "1h")
    hour = min(hour, written)
    return Usage(
        input=max(0, counts.input_tokens),
        cache_read=max(0, counts.cache_read_input_tokens or 0),
        cache_write=written - hour,
        cache_write_1h=hour,
        output=max(0, counts.output_tokens or 0),
        source="provider",
    )


def _class(named: str, said: str, status: int) -> str:
    """The canonical class of an error by its name (`ns#ThrottlingException:http://…`), its message and its status."""
    name = re.sub(r"exception$", "", named.partition(":")[0].rpartition("#")[2].lower())
    found = FAULTS.get(name)
    if found == "rate_limited" and _SPENT.search(said):
        return "quota"
    if found is not None:
        return found
    if _TOO_LONG.search(said):
        return "context_exceeded"
    if name == "validation" or status == 400:
        return "content_policy" if _BLOCKED.search(said) else "bad_request"
    if status == 503:
        return "overloaded"
    return STATUSES.get(status) or ("upstream_5xx" if status >= 500 else "bad_request")


def _told(failed: _Exception) -> Upstream:
    """An error that came within a stream, after its 200."""
    said = failed.told.message or ""
    return Upstream(
        "Bedrock broke its answer off with an error.",
        words=f"It said: {said}" if said else "",
        hint="Ask again.",
        code=_class(failed.type, said, 500),
    )


def _malformed(message: str, code: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends.", code=code)
