"""How each protocol words what is no answer: refusals, faults that were asked for, and the headers of every reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import unquote

from tandem.core.errors import Invalid, TandemError
from tandem.mock import (
    anthropic_wire,
    azure_wire,
    bedrock_wire,
    cohere_wire,
    eventstream,
    gemini_wire,
    mistral_wire,
    openai_wire,
    responses_wire,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One protocol's words; the text beside each is the id of the request."""

    error: Callable[[TandemError, str], bytes]
    scripted: Callable[[int, str], bytes]
    """By a status."""
    too_long: Callable[[int, int], Invalid]
    """By the most tokens that fit, and those that came."""
    blocked: Callable[[], Invalid]
    headers: Callable[[str, int], Mapping[str, str]]
    """By the milliseconds since the request came."""
    unknown: Callable[[bytes, str], dict[str, object]]
    """Members of a body that are read over, by the body and its address."""
    overloaded: int = 503
    media: str = "text/event-stream; charset=utf-8"
    """Of a stream."""
    refusal: Callable[[int, str], Mapping[str, str]] = lambda status, code: {}
    """Further headers of a refusal, by its status and its code."""


OPENAI = Wording(
    error=lambda problem, _: openai_wire.error(problem),
    scripted=lambda status, _: openai_wire.scripted(status),
    too_long=lambda most, size: openai_wire.too_long(most, size, "messages"),
    blocked=openai_wire.blocked,
    headers=lambda id, took: {"x-request-id": id, "openai-version": "2020-10-01", "openai-processing-ms": str(took)},
    unknown=openai_wire.unknown_members,
)
RESPONSES = replace(
    OPENAI,
    too_long=lambda most, size: openai_wire.too_long(most, size, "input"),
    unknown=lambda body, _: responses_wire.unknown_members(body),
)
ANTHROPIC = Wording(
    error=anthropic_wire.error,
    scripted=anthropic_wire.scripted,
    too_long=anthropic_wire.too_long,
    blocked=lambda: Invalid("Output blocked by content filtering policy"),
    headers=lambda id, _: {"request-id": id},
    unknown=lambda body, _: anthropic_wire.unknown_members(body),
    overloaded=anthropic_wire.OVERLOADED,
)
GEMINI = Wording(
    error=lambda problem, _: gemini_wire.error(problem),
    scripted=lambda status, _: gemini_wire.scripted(status),
    too_long=gemini_wire.too_long,
    blocked=gemini_wire.blocked,
    headers=lambda id, took: {"x-request-id": id, "server-timing": f"gfet4t7; dur={took}"},
    unknown=lambda body, path: {},  # it refuses them
)
BEDROCK = Wording(
    error=lambda problem, _: bedrock_wire.error(problem),
    scripted=lambda status, _: bedrock_wire.scripted(status),
    too_long=bedrock_wire.too_long,
    blocked=bedrock_wire.blocked,
    headers=lambda id, _: {"x-amzn-requestid": id},
    unknown=lambda body, path: {},  # it refuses them
    media=eventstream.MEDIA,
    refusal=bedrock_wire.named,
)
AZURE = Wording(
    error=lambda problem, _: azure_wire.error(problem),
    scripted=lambda status, _: azure_wire.scripted(status),
    too_long=OPENAI.too_long,
    blocked=azure_wire.blocked,
    headers=lambda id, _: {"apim-request-id": id, "x-ms-region": "mock"},
    unknown=openai_wire.unknown_members,
)
COHERE = Wording(
    error=cohere_wire.error,
    scripted=cohere_wire.scripted,
    too_long=cohere_wire.too_long,
    blocked=cohere_wire.blocked,
    headers=lambda id, _: {"x-debug-trace-id": id},
    unknown=lambda body, path: {},  # it refuses them
)
MISTRAL = Wording(
    error=lambda problem, _: mistral_wire.error(problem),
    scripted=lambda status, _: mistral_wire.scripted(status),
    too_long=mistral_wire.too_long,
    blocked=OPENAI.blocked,
    headers=lambda id, _: {"mistral-correlation-id": id},
    unknown=lambda body, path: {},  # it refuses them
)


def wording(path: str) -> Wording:
    """The words of an address."""
    if path.startswith("/model/"):
        return BEDROCK
    if path.startswith(azure_wire.ROOT):
        return AZURE
    if path.startswith(cohere_wire.ROOT):
        return COHERE
    if path.startswith(mistral_wire.ROOT):
        return MISTRAL
    if path.startswith(("/anthropic/", "/v1/messages")):
        return ANTHROPIC
    if path.startswith("/v1/responses"):
        return RESPONSES
    return GEMINI if gemini_wire.addresses(unquote(path)) else OPENAI
