"""Anthropic's words out: whole messages and the events of a stream. No socket, no clock, no price.

Source: the Anthropic API reference for messages and their streaming, as its Python client (anthropic 2.14) reads replies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.mock import tokens
from tandem.mock.anthropic_wire import KINDS, OVERLOADED, signature
from tandem.mock.model import Answer
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault

THOUGHT = "I look for what was asked, and repeat what the request holds."
"""What the mock thinks where it is asked to."""
STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """The prompt's tokens, and which of them a cache gave or took."""

    tokens: int
    read: int = 0
    written: int = 0
    """For five minutes."""
    written_hour: int = 0


class MessageReply:
    """The answer to one messages request, in Anthropic's words."""

    def __init__(self, answer: Answer, prompt: Prompted, thought: Sequence[str], usage: UsageFault) -> None:
        self.answer = answer
        self.thought = thought
        self.tokens = answer.tokens + len(thought)
        self.prompt_tokens = prompt.tokens
        self.cached_tokens = prompt.read
        self.written_tokens = prompt.written + prompt.written_hour
        self.written_hour_tokens = prompt.written_hour
        self._fault = usage

    def _usage(self, output: int) -> dict[str, Any]:
        """The two counters of the cache are no part of `input_tokens`."""
        if self._fault == "missing":
            return {}
        more = WRONG_BY if self._fault == "wrong" else 0
        five = self.written_tokens - self.written_hour_tokens
        usage: dict[str, Any] = {
            "input_tokens": self.prompt_tokens - self.cached_tokens - self.written_tokens + more,
            "cache_creation_input_tokens": self.written_tokens,
            "cache_read_input_tokens": self.cached_tokens,
            "cache_creation": {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": self.written_hour_tokens},
            "output_tokens": output + more,
            "service_tier": "standard",
        }
        if self.thought:
            usage["output_tokens_details"] = {"thinking_tokens": len(self.thought)}
        return {"usage": usage}

    def _ending(self) -> dict[str, Any]:
        answer = self.answer
        reason = STOPS.get(answer.finish) or ("stop_sequence" if answer.sequence else "end_turn")
        return {"stop_reason": reason, "stop_sequence": (answer.sequence or None) if reason == "stop_sequence" else None}

    def _message(self, stamp: Stamp, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": f"msg_{stamp.mark}", "type": "message", "role": "assistant", "model": stamp.model, "content": content}

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        content: list[dict[str, Any]] = []
        if self.thought:
            said = "".join(self.thought)
            content.append({"type": "thinking", "thinking": said, "signature": signature(said)})
        if self.answer.pieces:
            content.append({"type": "text", "text": "".join(self.answer.pieces), "citations": None})
        for number, call in enumerate(self.answer.calls):
            text = "".join(call.pieces).encode()
            content.append({**_called(stamp, number, call.name), "input": _input(text)})
        body = _json({**self._message(stamp, content), **self._ending(), **self._usage(self.tokens)})
        if self._fault == "double":
            return body[:-1] + b"," + _json(self._usage(self.tokens))[1:]
        return body

    def opening(self, stamp: Stamp) -> list[bytes]:
        """The events before the first token; the count of output has only begun."""
        message = {**self._message(stamp, []), "stop_reason": None, "stop_sequence": None, **self._usage(1)}
        return [_event("message_start", {"message": message}), _event("ping", {})]

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The events that carry tokens, `size` in each, and how many; a block's start and stop go with its first and last."""
        frames: list[tuple[bytes, int]] = []
        index = 0
        start: dict[str, Any]
        if self.thought:
            said = "".join(self.thought)
            start = {"type": "thinking", "thinking": "", "signature": ""}
            signed = _delta(index, {"type": "signature_delta", "signature": signature(said)})
            frames += _block(index, start, [("thinking", piece) for piece in _groups(self.thought, size)], signed)
            index += 1
        if self.answer.pieces:
            start = {"type": "text", "text": ""}
            frames += _block(index, start, [("text", piece) for piece in _groups(self.answer.pieces, size)])
            index += 1
        for number, call in enumerate(self.answer.calls):
            start = {**_called(stamp, number, call.name), "input": {}}
            opened = _event("content_block_start", {"index": index, "content_block": start})
            frames.append((opened + _delta(index, {"type": "input_json_delta", "partial_json": ""}), tokens.PER_TOOL_CALL))
            frames += _block(index, None, [("partial_json", piece) for piece in _groups(call.pieces, size)])
            index += 1
        return frames

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The events after the last token: why it ended and the whole count of output, and the end."""
        told = _event("message_delta", {"delta": self._ending(), **self._usage(self.tokens)})
        return [*[told] * (2 if self._fault == "double" else 1), _event("message_stop", {})]

    def broken(self) -> bytes:
        """An error within a stream."""
        kind, message = KINDS[OVERLOADED]
        return _event("error", {"error": {"type": kind, "message": message}})


_DELTAS = {"thinking": "thinking_delta", "text": "text_delta", "partial_json": "input_json_delta"}


def _block(
    index: int, start: dict[str, Any] | None, pieces: Sequence[tuple[str, list[str]]], last: bytes = b""
) -> list[tuple[bytes, int]]:
    frames = [(_delta(index, {"type": _DELTAS[name], name: "".join(piece)}), len(piece)) for name, piece in pieces]
    stop = last + _event("content_block_stop", {"index": index})
    if not frames:
        frames = [(b"", 0)]
    if start is not None:
        frames[0] = (_event("content_block_start", {"index": index, "content_block": start}) + frames[0][0], frames[0][1])
    frames[-1] = (frames[-1][0] + stop, frames[-1][1])
    return frames


def _groups(pieces: Sequence[str], size: int) -> list[list[str]]:
    return [list(pieces[at : at + size]) for at in range(0, len(pieces), size)]


def _delta(index: int, delta: dict[str, Any]) -> bytes:
    return _event("content_block_delta", {"index": index, "delta": delta})


def _event(kind: str, members: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind, **members}))


def _called(stamp: Stamp, number: int, name: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{stamp.mark}x{number}", "name": name}


def _input(text: bytes) -> Any:
    """Arguments as an object; of those that the limit cut, what can be read: nothing."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
