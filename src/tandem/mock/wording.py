"""How each protocol words what is no answer: refusals, faults that were asked for, and the headers of every reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from tandem.core.errors import Invalid, TandemError
from tandem.mock import anthropic_wire, gemini_wire, openai_wire


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


OPENAI = Wording(
    error=lambda problem, _: openai_wire.error(problem),
    scripted=lambda status, _: openai_wire.scripted(status),
    too_long=lambda most, size: openai_wire.too_long(most, size, "messages"),
    blocked=openai_wire.blocked,
    headers=lambda id, took: {"x-request-id": id, "openai-version": "2020-10-01", "openai-processing-ms": str(took)},
    unknown=openai_wire.unknown_members,
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


def wording(path: str) -> Wording:
    """The words of an address."""
    if path.startswith(("/anthropic/", "/v1/messages")):
        return ANTHROPIC
    return GEMINI if gemini_wire.addresses(unquote(path)) else OPENAI
