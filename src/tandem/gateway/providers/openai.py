"""The OpenAI protocol towards an upstream: chat completions and embeddings, and every host that is compatible.

The wire in and the wire out are the same here, so the caller's bytes go through with only the named
fields spliced. Usage rules: https://platform.openai.com/docs/api-reference/chat/object (cached tokens
are part of prompt_tokens, reasoning tokens are part of completion_tokens).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tandem.core.money import Usage
from tandem.gateway.providers.base import Ask, Verb
from tandem.gateway.splice import splice

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not JSON, not UTF-8, or nested too deeply."""
JSON = (b"content-type", b"application/json")
PATHS: dict[Verb, str] = {"chat": "/chat/completions", "embed": "/embeddings"}


class _Details(msgspec.Struct):
    cached_tokens: int | None = 0
    reasoning_tokens: int | None = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Reply(msgspec.Struct):
    usage: _Usage | None = None
    choices: list[msgspec.Raw] | None = None


class _Fault(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None
    message: str | None = None


class _FaultReply(msgspec.Struct):
    error: _Fault | str | None = None


class _Used(msgspec.Struct):
    usage: _Usage | None = None


_used = msgspec.json.Decoder(_Used)
_reply = msgspec.json.Decoder(_Reply)
_fault = msgspec.json.Decoder(_FaultReply)


class OpenAIMeter:
    """What a stream of chunks used: the last one that says so counts, for some hosts say it on every chunk."""

    __slots__ = ("usage",)

    def __init__(self) -> None:
        self.usage: Usage | None = None

    def frame(self, payload: bytes) -> tuple[bool, bool]:
        if payload == b"[DONE]":
            return False, True
        if b'"usage"' not in payload:
            return False, False
        try:
            reply = _reply.decode(payload)
        except UNREADABLE:
            return False, False
        usage = _canonical(reply.usage)
        self.usage = usage or self.usage
        return usage is not None and reply.choices == [], False


class OpenAI:
    """Chat and embeddings as OpenAI speaks them."""

    name = dialect = "openai"

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        headers = (JSON, (b"authorization", b"Bearer " + key.encode())) if key else (JSON,)
        return Ask(path=PATHS[verb], headers=headers, body=splice(body, edits))

    def usage(self, body: bytes) -> Usage | None:
        try:
            return _canonical(_used.decode(body).usage)
        except UNREADABLE:
            return None

    def meter(self) -> OpenAIMeter:
        return OpenAIMeter()

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        try:
            error = _fault.decode(body).error
        except UNREADABLE:
            error = None
        code = str(error.code or error.type or "") if isinstance(error, _Fault) else ""
        if status in (401, 403):
            return "content_policy" if "content" in code else "auth"
        if status == 429:
            return "quota" if code == "insufficient_quota" else "rate_limited"
        if status == 404:
            return "not_found"
        if status in (503, 529):
            return "overloaded"
        if status >= 500:
            return "upstream_5xx"
        if code == "context_length_exceeded":
            return "context_exceeded"
        if code in ("content_filter", "content_policy_violation"):
            return "content_policy"
        return "bad_request"


def _canonical(usage: _Usage | None) -> Usage | None:
    """The disjoint counters of OpenAI's nested ones; a part larger than its whole is cut to it."""
    if usage is None or usage.prompt_tokens is None:
        return None
    prompt, completion = max(0, usage.prompt_tokens), max(0, usage.completion_tokens or 0)
    cached = reasoning = 0
    if usage.prompt_tokens_details is not None:
        cached = min(max(0, usage.prompt_tokens_details.cached_tokens or 0), prompt)
    if usage.completion_tokens_details is not None:
        reasoning = min(max(0, usage.completion_tokens_details.reasoning_tokens or 0), completion)
    return Usage(input=prompt - cached, cache_read=cached, output=completion - reasoning, reasoning=reasoning, source="provider")
