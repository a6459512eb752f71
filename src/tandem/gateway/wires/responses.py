"""The Responses wire of OpenAI: answers as items. Unmodified OpenAI clients are its test.

Where the provider speaks it too, bytes pass and only what the door must know is decoded; otherwise `ResponsesDialect` puts a
request into the words of a chat, and an answer's deltas into items and events. Nothing is kept here: no answer is fetched,
deleted or gone on from but where the provider has kept it.
Source: OpenAI's API reference for `POST /v1/responses`, its streaming and its errors, as its Python SDK 3.54 reads them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tandem.core.chat import Chat, Delta
from tandem.core.endpoint import EndpointKind
from tandem.core.errors import Invalid, NotFound
from tandem.gateway.asked import Prompted, Read
from tandem.gateway.routing.wishes import read as read_wishes
from tandem.gateway.wires import responses_chat, responses_say
from tandem.gateway.wires.answer import Spoken
from tandem.gateway.wires.base import Letterhead
from tandem.gateway.wires.openai import IMAGE_TOKENS, MAX_TOKENS_LIMIT, addressed, passed_headers, refusal
from tandem.gateway.wires.responses_chat import UNREADABLE, unreadable
from tandem.gateway.wires.responses_say import ResponsesWriter

__all__ = ["SPOKEN", "ResponsesDialect", "passed_headers", "read_responses", "refusal"]

CONTEXT_TOKENS = 1_100_000
"""Upper bound of what is read of a file, or of a conversation that the provider keeps: no model of OpenAI's reads more."""
STARTS = (b"[", b'"')


class Asked(msgspec.Struct):
    """The fields of a request that the door acts on."""

    model: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    stream: bool | None = None
    max_output_tokens: int | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = msgspec.Raw(b"null")
    prompt: msgspec.Raw = msgspec.Raw(b"null")
    background: bool | None = None
    user: str | None = None
    safety_identifier: str | None = None
    models: msgspec.Raw = msgspec.Raw(b"")
    provider: msgspec.Raw = msgspec.Raw(b"")


_asked = msgspec.json.Decoder(Asked)


def read_responses(body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    """Understands a request for a response.

    Raises:
        Invalid: it is none; `field` names where.
    """
    try:
        asked = _asked.decode(body)
    except UNREADABLE as error:
        raise unreadable(error) from None
    address, wishes = addressed(asked.model, read_wishes(asked.models, asked.provider))
    given, elsewhere = bytes(asked.input), bytes(asked.prompt) != b"null" or bytes(asked.conversation) != b"null"
    if given[:1] not in STARTS and not (given == b"null" and elsewhere):
        raise Invalid(
            "input must be a text or a list of items.", field="input", hint='Send "…" or [{"role": "user", "content": "…"}].'
        )
    if asked.max_output_tokens is not None and not 1 <= asked.max_output_tokens <= MAX_TOKENS_LIMIT:
        raise Invalid(
            f"max_output_tokens must be between 1 and {MAX_TOKENS_LIMIT}.",
            words=f"It is {asked.max_output_tokens}.",
            field="max_output_tokens",
        )
    if asked.background and not asked.stream:
        raise Invalid(
            "An answer in the background has to be fetched later, and none can be fetched here.",
            field="background",
            hint="Leave it out, or ask for a stream.",
        )
    follows = asked.previous_response_id or ""
    prompted = Prompted(
        verb="chat",
        body=body,
        stream=bool(asked.stream),
        wants_usage=True,
        edits={},
        tokens_in=_input_bound(body) + (CONTEXT_TOKENS if follows or elsewhere else 0),
        tokens_out=asked.max_output_tokens or 0,
        headers=headers,
        dialect="responses",
        bound="max_output_tokens",
        follows=follows,
        changes=bytes(asked.conversation) != b"null",
    )
    return Read(address, asked.safety_identifier or asked.user, prompted, asked.max_output_tokens is not None, wishes=wishes)


def _input_bound(body: bytes) -> int:
    """At most one token per UTF-8 byte; images and files, and items that are only named, count by rule."""
    elsewhere = body.count(b'"input_file"') + body.count(b'"item_reference"')
    return len(body) + body.count(b'"input_image"') * IMAGE_TOKENS + elsewhere * CONTEXT_TOKENS


def not_kept(method: str, path: str) -> NotFound:
    """What is said of everything below `/v1/responses/`."""
    return NotFound(
        f"{method} {path} is nothing here: answers are not kept by the door, and can be neither fetched, cancelled nor deleted.",
        hint="POST /v1/responses answers, whole or as a stream; previous_response_id goes on from an answer.",
    )


def _read(kind: EndpointKind, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    return read_responses(body, headers)


SPOKEN = Spoken(read=_read, refusal=refusal)


class ResponsesDialect:
    """Responses, for callers whose endpoint leads to a provider of another wire, or whose words are guarded."""

    name = "responses"

    def chat(self, body: bytes) -> Chat:
        return responses_chat.read(body)

    def whole(self, deltas: Sequence[Delta], head: Letterhead) -> bytes:
        return responses_say.whole(deltas, head)

    def writer(self, head: Letterhead) -> ResponsesWriter:
        return ResponsesWriter(head)
