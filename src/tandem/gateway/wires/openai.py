"""The OpenAI wire: chat completions, embeddings, models. Unmodified OpenAI clients are its test.

Only what the door must know is decoded; every other byte of the request goes through as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from tandem.core.endpoint import HOSTED, EndpointKind
from tandem.core.errors import Invalid, OverBudget, Rejected, TandemError
from tandem.gateway.asked import Fields, Headers, Prompted, Read
from tandem.gateway.call import Call
from tandem.gateway.http1 import Request
from tandem.gateway.providers.openai import UNREADABLE
from tandem.gateway.routing.wishes import Wishes
from tandem.gateway.routing.wishes import read as read_wishes
from tandem.gateway.splice import splice
from tandem.gateway.wires.answer import Spoken

IMAGE_TOKENS = 50_000
"""Upper bound of what one image can count for, whatever its detail."""
MAX_TOKENS_LIMIT = 10_000_000
MOST_CHOICES = 128
OPENING = ord("[")
MOST_DOCUMENTS = 10_000
DOCUMENT = (b'"', b"{")
"""How a document begins."""
JSON = (b"content-type", b"application/json")
CODES = {"context_exceeded": "context_length_exceeded", "content_policy": "content_filter"}
"""What OpenAI calls a failure, where its clients look for the word; another vendor's own words do not reach them."""
PASSED_ON = (b"traceparent", b"tracestate", b"openai-beta")


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class Chat(msgspec.Struct, kw_only=True):
    """The fields of a chat request that the door acts on."""

    model: str | None = None
    messages: msgspec.Raw
    stream: bool | None = None
    stream_options: msgspec.Raw = msgspec.Raw(b"null")
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    models: msgspec.Raw = msgspec.Raw(b"")
    provider: msgspec.Raw = msgspec.Raw(b"")


class Embed(msgspec.Struct):
    """The fields of an embeddings request that the door acts on."""

    model: str
    input: msgspec.Raw
    user: str | None = None


class Rerank(msgspec.Struct):
    """The fields of a request to rank documents that the door acts on."""

    model: str
    query: str
    documents: list[msgspec.Raw]
    top_n: int | None = None
    user: str | None = None


_chat = msgspec.json.Decoder(Chat)
_rerank = msgspec.json.Decoder(Rerank)
_embed = msgspec.json.Decoder(Embed)


def read_chat(body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    """Understands a chat request.

    Raises:
        Invalid: it is not a chat request; `field` names where.
    """
    try:
        chat = _chat.decode(body)
    except UNREADABLE as error:
        raise _invalid(error) from None
    address, wishes = addressed(chat.model, read_wishes(chat.models, chat.provider))
    if memoryview(chat.messages)[0] != OPENING:
        raise Invalid("messages must be a list.", field="messages", hint='Send [{"role": "user", "content": "…"}].')
    edits: dict[str, bytes] = {}
    stream, wants_usage = bool(chat.stream), False
    if stream:
        given = bytes(chat.stream_options) != b"null"
        wants_usage = given and _options(chat.stream_options)
        if not given:
            edits["stream_options"] = b'{"include_usage":true}'
        elif not wants_usage:  # the caller's other options stay as they are
            edits["stream_options"] = splice(bytes(chat.stream_options), {"include_usage": b"true"})
    declared = chat.max_completion_tokens if chat.max_completion_tokens is not None else chat.max_tokens
    if declared is not None and not 1 <= declared <= MAX_TOKENS_LIMIT:
        raise _beyond("max_tokens", declared, MAX_TOKENS_LIMIT)
    if chat.n is not None and not 1 <= chat.n <= MOST_CHOICES:
        raise _beyond("n", chat.n, MOST_CHOICES)
    asked = Prompted(
        verb="chat",
        body=body,
        stream=stream,
        wants_usage=wants_usage,
        edits=edits,
        tokens_in=_input_bound(body),
        tokens_out=(declared or 0) * (chat.n or 1),
        headers=headers,
    )
    return Read(address, chat.safety_identifier or chat.user, asked, declared is not None, chat.n or 1, wishes)


def addressed(model: str | None, wishes: Wishes | None) -> tuple[str, Wishes | None]:
    """Where a request wants to go, and what else it wishes: the first of its models stands for one that is not named.

    Raises:
        Invalid: it names none.
    """
    if model is not None:
        return model, wishes
    if wishes is None or not wishes.models:
        raise Invalid("The request is not valid.", words="It has no model.", field="model", hint="Name an endpoint as model.")
    return wishes.models[0], msgspec.structs.replace(wishes, models=wishes.models[1:])


def _beyond(name: str, value: int, top: int) -> Invalid:
    return Invalid(f"{name} must be between 1 and {top}.", words=f"It is {value}.", field=name)


def read_embed(body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    """Understands an embeddings request.

    Raises:
        Invalid: it is not one; `field` names where.
    """
    try:
        embed = _embed.decode(body)
    except UNREADABLE as error:
        raise _invalid(error) from None
    asked = Prompted(
        verb="embed", body=body, stream=False, wants_usage=False, edits={}, tokens_in=len(body), tokens_out=0, headers=headers
    )
    return Read(embed.model, embed.user, asked)


def read_rerank(body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    """Understands a request to rank documents, in the form that Cohere, Jina and vLLM share.

    Raises:
        Invalid: it is not one; `field` names where.
    """
    try:
        rank = _rerank.decode(body)
    except UNREADABLE as error:
        raise _invalid(error) from None
    if not 1 <= len(rank.documents) <= MOST_DOCUMENTS:
        raise Invalid(f"documents must be 1 to {MOST_DOCUMENTS}.", words=f"They are {len(rank.documents)}.", field="documents")
    if not all(memoryview(each)[:1].tobytes() in DOCUMENT for each in rank.documents):
        raise Invalid("A document is a text, or an object with a text.", field="documents")
    if rank.top_n is not None and rank.top_n < 1:
        raise Invalid("top_n must be at least 1.", words=f"It is {rank.top_n}.", field="top_n")
    again = len(rank.query.encode()) * (len(rank.documents) - 1)  # the query is read with every document
    asked = Prompted(
        verb="rerank",
        body=body,
        stream=False,
        wants_usage=False,
        edits={},
        tokens_in=len(body) + again,
        tokens_out=0,
        headers=headers,
    )
    return Read(rank.model, rank.user, asked)


def _options(raw: msgspec.Raw) -> bool:
    try:
        return bool(msgspec.json.decode(raw, type=_StreamOptions).include_usage)
    except UNREADABLE:
        raise Invalid("stream_options must be an object.", field="stream_options") from None


def _input_bound(body: bytes) -> int:
    """At most one token per UTF-8 byte; an image that is only referred to counts by rule."""
    images = body.count(b'"image_url"')
    return len(body) + images * IMAGE_TOKENS


def _invalid(error: Exception) -> Invalid:
    text = str(error)
    field = text.rpartition("`$.")[2].rstrip("`") if "`$." in text else None
    if "missing required field" in text:
        field = text.split("`")[1]
    return Invalid(
        "The request is not valid.", words=f"{text}.", field=field, hint="Send the JSON that OpenAI's API reference describes."
    )


def refusal(error: TandemError, trace: str = "") -> tuple[int, Headers, bytes]:
    """An error in OpenAI's shape; what a provider wrote itself is passed on as it is."""
    headers: Headers = [JSON, (b"x-tandem-trace-id", trace.encode())] if trace else [JSON]
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % max(0, -(-int(error.retry_after * 1000) // 1000))))
    if isinstance(error, Rejected) and error.body:
        return error.status, headers, error.body
    if error.status == 429 and isinstance(error, OverBudget):
        headers.append((b"x-should-retry", b"false"))  # their clients would try again at once
    code = CODES.get(error.code, error.code)
    body = {"error": {"message": str(error), "type": _type(error), "param": error.field, "code": code}}
    return error.status, headers, msgspec.json.encode(body)


def _type(error: TandemError) -> str:
    kinds: dict[int, Literal["invalid_request_error", "authentication_error", "permission_error", "rate_limit_error"]] = {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "invalid_request_error",
        409: "invalid_request_error",
        413: "invalid_request_error",
        422: "invalid_request_error",
        429: "rate_limit_error",
    }
    return kinds.get(error.status, "api_error")


def passed_headers(request: Request) -> tuple[tuple[bytes, bytes], ...]:
    """Headers of the caller that belong to the upstream: the trace context and OpenAI's own switches."""
    fields = request.fields
    return tuple([(name, fields[name]) for name in PASSED_ON if name in fields])


READ: dict[EndpointKind, Callable[[bytes, Fields], Read]] = {"chat": read_chat, "embed": read_embed, "rerank": read_rerank}
"""Kind → how its requests are read."""


def _read(kind: EndpointKind, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> Read:
    return READ[kind](body, headers)


SPOKEN = Spoken(read=_read, refusal=refusal)


def models(call: Call, name: str | None) -> tuple[int, bytes]:
    """The endpoints this caller may reach, as OpenAI's model list, or one of them.

    Raises:
        NotFound: there is no such endpoint for this caller.
    """
    assert call.principal is not None
    if name is not None:
        endpoint = call.snapshot.endpoints.get(name)
        kind: EndpointKind = endpoint.kind if endpoint is not None else "chat"
        found = call.snapshot.enter(name, call.principal, kind)
        return 200, msgspec.json.encode(_model(found.name, call.snapshot.compiled_at))
    allowed = call.principal.endpoints
    rows = [
        _model(endpoint.name, call.snapshot.compiled_at)
        for endpoint in call.snapshot.endpoints.values()
        if endpoint.kind in HOSTED
        and (not allowed or endpoint.name in allowed)
        and endpoint.team in ("default", call.principal.team)
        and call.snapshot.answers(endpoint, call.principal)
    ]
    return 200, msgspec.json.encode({"object": "list", "data": rows})


def _model(name: str, created: int) -> dict[str, object]:
    return {"id": name, "object": "model", "created": created // 1_000_000, "owned_by": "tandem"}
