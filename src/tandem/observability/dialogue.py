"""What was said in a chat call: its request and its answer as turns of a conversation. Pure; it asks no model.

Formats: OpenAI chat completions and responses, and Anthropic messages, whole and as streams of server-sent events. What is
none of them has no turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

PIECES = frozenset({"response.output_text.delta", "response.refusal.delta"})
"""Events of a stream of responses that say something."""


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
    tree = _json(request)
    messages, system = _member(tree, "messages"), _member(tree, "system")
    if messages is None and (given := _member(tree, "input")) is not None:
        messages, system = _items(given), _member(tree, "instructions")
    opening = [] if system is None else [_turn({"role": "system", "content": system})]
    return (*opening, *(_turn(message) for message in messages)) if isinstance(messages, list) else ()


def answered(answer: str) -> tuple[Turn, ...]:
    """The choices of a chat answer, or of the pieces of its stream."""
    if answer.lstrip().startswith(("data:", "event:")):
        return _streamed(answer)
    tree = _json(answer)
    if _member(tree, "type") == "message":
        return (_turn(tree),)
    if isinstance(output := _member(tree, "output"), list):
        turns = [_turn(item) for item in _items(output)]
        return (Turn(role="assistant", text="\n".join([turn.text for turn in turns if turn.text])),) if turns else ()
    return tuple(_turn(_member(choice, "message")) for choice in _choices(tree))


def question(request: str) -> str:
    """What the user said last; empty where nobody said anything."""
    return next((turn.text for turn in reversed(asked(request)) if turn.role == "user"), "")


def said(answer: str) -> str:
    """The text of an answer; a refusal is a text too.

    >>> said('data: {"choices": [{"index": 0, "delta": {"content": "Hi"}}]}')
    'Hi'
    """
    return "\n".join(turn.text for turn in answered(answer) if turn.text)


def _streamed(answer: str) -> tuple[Turn, ...]:
    pieces: dict[int, str] = {}
    for line in answer.splitlines():
        tree = _json(line[5:]) if line.startswith("data:") else None
        if _member(tree, "type") == "content_block_delta" and isinstance(text := _member(_member(tree, "delta"), "text"), str):
            pieces[0] = pieces.get(0, "") + text
        if _member(tree, "type") in PIECES and isinstance(text := _member(tree, "delta"), str):
            pieces[0] = pieces.get(0, "") + text
        for choice in _choices(tree):
            index = _member(choice, "index")
            piece = "".join(_texts(_member(choice, "delta")))
            if piece:
                place = index if isinstance(index, int) else 0
                pieces[place] = pieces.get(place, "") + piece
    return tuple(Turn(role="assistant", text=text) for _, text in sorted(pieces.items()))


def _items(given: object) -> list[object]:
    """Items of a response's input or output as messages; thoughts are none."""
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    made: list[object] = []
    for item in given if isinstance(given, list) else ():
        match _member(item, "type"):
            case "function_call":
                made.append({"role": "assistant", "tool_calls": [{"function": item}]})
            case "function_call_output":
                made.append({"role": "tool", "content": _member(item, "output")})
            case "reasoning":
                continue
            case _:
                made.append(item)
    return made


def _choices(value: object) -> list[object]:
    choices = _member(value, "choices")
    return choices if isinstance(choices, list) else []


def _texts(message: object) -> Iterator[str]:
    for name in ("content", "refusal"):
        text = _member(message, name)
        if isinstance(text, str):
            yield text


def _turn(message: object) -> Turn:
    content, calls = _member(message, "content"), _member(message, "tool_calls")
    parts = [_part(part) for part in content] if isinstance(content, list) else list(_texts(message))
    parts += [_tool(call) for call in calls] if isinstance(calls, list) else []
    return Turn(role=str(_member(message, "role") or "unknown"), text="\n".join(part for part in parts if part))


def _part(part: object) -> str:
    text, kind = _member(part, "refusal" if _member(part, "type") == "refusal" else "text"), _member(part, "type")
    if isinstance(text, str):
        return text
    if kind == "tool_use":
        return f"calls {_member(part, 'name')}({msgspec.json.encode(_member(part, 'input')).decode()})"
    if kind == "tool_result":
        return _turn({"role": "tool", "content": _member(part, "content")}).text
    return f"[{kind or 'part'}]"


def _tool(call: object) -> str:
    function = _member(call, "function")
    return f"calls {_member(function, 'name')}({_member(function, 'arguments')})"


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _json(text: str) -> object:
    try:
        found: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found
