"""The Anthropic wire: messages, and the count of their tokens. Unmodified Anthropic clients are its test.

Where the provider speaks it too, bytes pass and only what the door must know is decoded; otherwise `AnthropicDialect`
puts a request into the words of a chat, and an answer's deltas into Anthropic's.
Source: Anthropic's API reference for `POST /v1/messages`, its streaming and its errors, as its Python SDK 2.14 reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tandem.core.chat import Chat, Delta
from tandem.core.endpoint import EndpointKind
from tandem.core.errors import Invalid, OverBudget, Rejected, TandemError
from tandem.gateway.asked import Headers, Prompted, Read
from tandem.gateway.http1 import Request
from tandem.gateway.wires import anthropic_chat, anthropic_say
from tandem.gateway.wires.answer import Spoken
from tandem.gateway.wires.anthropic_chat import UNREADABLE, unreadable
from tandem.gateway.wires.anthropic_say import AnthropicWriter, shape, status_of
from tandem.gateway.wires.base import Letterhead
from tandem.gateway.wires.openai import IMAGE_TOKENS, JSON, MAX_TOKENS_LIMIT, OPENING

DOCUMENT_TOKENS = 1_000_000
"""Upper bound of what one document can count for that is no plain text: no model of Anthropic's reads more at once."""
PASSED_ON = (b"traceparent", b"tracestate", b"anthropic-version", b"anthropic-beta")
BYTES_A_TOKEN = 3
"""For an estimate that rather says too much: English has about four bytes a token, a Chinese character has three."""
SEEN_TOKENS = 1_600
"""Of an image of the size that Anthropic recommends: 1.15 megapixels / 750."""
READ_TOKENS = 3_000
"""Of a page of a document."""
PAGE = 50_000
"""Bytes that a page of a document has, as a rule, in base 64."""


class _Metadata(msgspec.Struct):
    user_id: str | None = None


class Messages(msgspec.Struct):
    """The fields of a messages request that the door acts on."""

    model: str
    messages: msgspec.Raw
    max_tokens: int
    stream: bool | None = None
    metadata: _Metadata | None = None


class _Counted(msgspec.Struct):
    model: str
    messages: msgspec.Raw
    system: Any = None
    tools: Any = None
    output_config: Any = None


_messages = msgspec.json.Decoder(Messages)
_counted = msgspec.json.Decoder(_Counted)
_object = msgspec.json.Decoder(dict[str, Any])


def read_messages(body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    """Understands a messages request.

    Raises:
        Invalid: it is none; `field` names where.
    """
    try:
        asked = _messages.decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    if memoryview(asked.messages)[0] != OPENING:
        raise _no_list()
    if not 0 <= asked.max_tokens <= MAX_TOKENS_LIMIT:
        raise Invalid(
            f"max_tokens must be between 0 and {MAX_TOKENS_LIMIT}.", words=f"It is {asked.max_tokens}.", field="max_tokens"
        )
    prompted = Prompted(
        verb="chat",
        body=body,
        stream=bool(asked.stream),
        wants_usage=True,
        edits={},
        tokens_in=_input_bound(body),
        tokens_out=asked.max_tokens,
        headers=headers,
        dialect="anthropic",
    )
    return Read(asked.model, asked.metadata.user_id if asked.metadata is not None else None, prompted)


def _no_list() -> Invalid:
    return Invalid("messages must be a list.", field="messages", hint='Send [{"role": "user", "content": "…"}].')


def _input_bound(body: bytes) -> int:
    """At most one token per UTF-8 byte; images count by rule, for a small file can be a large picture, and so do documents."""
    read = body.count(b'"application/pdf"') + (body.count(b'"document"') if b'"url"' in body else 0)
    return len(body) + body.count(b'"image"') * IMAGE_TOKENS + read * DOCUMENT_TOKENS


def passed_headers(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """Headers of the caller that belong to the upstream: the trace context, and Anthropic's version and switches."""
    fields = request.fields
    return tuple([(name, fields[name]) for name in PASSED_ON if name in fields])


# --- the count of tokens


def read_count(body: bytes) -> tuple[str, int]:
    """Address and estimate of a request to count tokens.

    No model is asked and no vocabulary is known: it is one token for three bytes of the JSON that is said, 1,600 for an
    image, and 3,000 for each 50 kB of a document (at least one page). It tends to be high, and is no bound.

    Raises:
        Invalid: it is none; `field` names where.
    """
    try:
        asked = _counted.decode(body)
        said = msgspec.json.decode(asked.messages)
    except UNREADABLE as error:
        raise unreadable(error) from None
    if not isinstance(said, list):
        raise _no_list()
    by_rule, rest = _looked_at([said, asked.system, asked.tools, asked.output_config])
    return asked.model, by_rule + -(-rest // BYTES_A_TOKEN)


def count(tokens: int) -> bytes:
    """The body of an answer to a request to count tokens."""
    return b'{"input_tokens":%d}' % tokens


def _looked_at(value: Any) -> tuple[int, int]:
    """Tokens by rule, and bytes of the rest."""
    match value:
        case None:
            return 0, 0
        case {"type": "image"}:
            return SEEN_TOKENS, 0
        case {"type": "document", "source": {"type": "base64" | "url", **source}}:
            pages = max(1, -(-len(str(source.get("data", ""))) // PAGE))
            return READ_TOKENS * pages, 0
        case dict():
            sums = [_looked_at(one) for one in value.values()]
            return sum(one for one, _ in sums), sum(one for _, one in sums) + sum(map(_size, value)) + len(value)
        case list():
            sums = [_looked_at(one) for one in value]
            return sum(one for one, _ in sums), sum(one for _, one in sums)
        case _:
            return 0, _size(value)


def _size(value: object) -> int:
    return len(value.encode()) if isinstance(value, str) else len(str(value))


# --- refusals


def refusal(error: TandemError, trace: str) -> tuple[int, Headers, bytes]:
    """An error in Anthropic's shape; what Anthropic wrote itself is passed on as it is."""
    headers: Headers = [JSON, (b"request-id", trace.encode()), (b"x-tandem-trace-id", trace.encode())]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(0, -(-int(error.retry_after * 1000) // 1000))))
    if isinstance(error, Rejected) and _theirs(error.body):
        return error.status, headers, error.body
    status = status_of(error)
    if status == 429 and isinstance(error, OverBudget):
        headers.append((b"x-should-retry", b"false"))  # their clients would try again at once
    return status, headers, msgspec.json.encode(shape(error, status, trace))


def _theirs(body: bytes) -> bool:
    try:
        return _object.decode(body).get("type") == "error"
    except UNREADABLE:
        return False


def _read(kind: EndpointKind, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    return read_messages(body, headers)


SPOKEN = Spoken(read=_read, refusal=refusal)


# --- answers


class AnthropicDialect:
    """Messages, for callers whose endpoint leads to a provider of another wire."""

    name = "anthropic"

    def chat(self, body: bytes) -> Chat:
        return anthropic_chat.read(body)

    def whole(self, deltas: Sequence[Delta], head: Letterhead) -> bytes:
        return anthropic_say.whole(deltas, head)

    def writer(self, head: Letterhead) -> AnthropicWriter:
        return AnthropicWriter(head)
