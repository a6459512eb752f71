"""What was said in a chat call: its request and its answer as turns of a conversation. Pure; it asks no model.

Formats: OpenAI chat completions, whole and as a stream of server-sent events. What is neither has no turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from tandem.console.words import laid_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message: who spoke, and what."""

    role: str
    text: str


def asked(request: str) -> tuple[Turn, ...]:
    """The messages of a chat request.

    >>> asked('{"messages": [{"role": "user", "content": "Hello"}]}')
    (Turn(role='user', text='Hello'),)
    """
    messages = _member(_json(request), "messages")
    return tuple(_turn(message) for message in messages) if isinstance(messages, list) else ()


def answered(answer: str) -> tuple[Turn, ...]:
    """The choices of a chat answer, or of the pieces of its stream."""
    if answer.lstrip().startswith("data:"):
        return _streamed(answer)
    choices = _member(_json(answer), "choices")
    return tuple(_turn(_member(choice, "message")) for choice in choices) if isinstance(choices, list) else ()


def readable(text: str) -> str:
    """JSON indented; everything else as it is."""
    value = _json(text)
    return text if value is None else laid_out(text.encode())


def _streamed(answer: str) -> tuple[Turn, ...]:
    said: dict[int, str] = {}
    for line in answer.splitlines():
        choices = _member(_json(line[5:]), "choices") if line.startswith("data:") else None
        for choice in choices if isinstance(choices, list) else ():
            index, piece = _member(choice, "index"), _member(_member(choice, "delta"), "content")
            if isinstance(piece, str) and isinstance(index, int):
                said[index] = said.get(index, "") + piece
    return tuple(Turn(role="assistant", text=text) for _, text in sorted(said.items()))


def _turn(message: object) -> Turn:
    content, calls = _member(message, "content"), _member(message, "tool_calls")
    parts = [content] if isinstance(content, str) else [_part(part) for part in content] if isinstance(content, list) else []
    parts += [_tool(call) for call in calls] if isinstance(calls, list) else []
    return Turn(role=str(_member(message, "role") or "unknown"), text="\n".join(part for part in parts if part))


def _part(part: object) -> str:
    text = _member(part, "text")
    return text if isinstance(text, str) else f"[{_member(part, 'type') or 'part'}]"


def _tool(call: object) -> str:
    function = _member(call, "function")
    return f"calls {_member(function, 'name')}({_member(function, 'arguments')})"


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _json(text: str) -> object:
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, Mapping | Iterable) and not isinstance(value, str) else None
