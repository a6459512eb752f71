"""Converse's words out: whole answers and the events of a stream. No socket, no clock, no price.

Source: the service model of `bedrock-runtime` (2023-09-30), as botocore 1.44 reads replies. A text has no start of a block;
every event of a stream bears `p`, which pads it; what was used comes after the end of the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tandem.mock import tokens
from tandem.mock.anthropic_reply import Prompted
from tandem.mock.anthropic_wire import signature
from tandem.mock.eventstream import event, exception
from tandem.mock.model import Answer
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault

STOPS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}
OVERLOADED = "The model is overloaded. Try again later."
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_json = msgspec.json.Encoder().encode
Json = dict[str, Any]


class ConverseReply:
    """The answer to one request, in Converse's words."""

    def __init__(
        self, answer: Answer, prompt: Prompted, thought: Sequence[str], usage: UsageFault, *, tells_sequence: bool = False
    ) -> None:
        self.answer = answer
        self.thought = thought
        self.tokens = answer.tokens + len(thought)
        self.prompt_tokens = prompt.tokens
        self.cached_tokens = prompt.read
        self.written_tokens = prompt.written + prompt.written_hour
        self.written_hour_tokens = prompt.written_hour
        self._fault = usage
        self._tells_sequence = tells_sequence

    def _usage(self) -> Json:
        """The two counters of the cache are no part of `inputTokens`."""
        if self._fault == "missing":
            return {}
        more = WRONG_BY if self._fault == "wrong" else 0
        five = self.written_tokens - self.written_hour_tokens
        read = self.prompt_tokens - self.cached_tokens - self.written_tokens + more
        kept = [{"ttl": ttl, "inputTokens": count} for ttl, count in (("5m", five), ("1h", self.written_hour_tokens)) if count]
        usage: Json = {
            "inputTokens": read,
            "outputTokens": self.tokens + more,
            "totalTokens": self.prompt_tokens + self.tokens + 2 * more,
            "cacheReadInputTokens": self.cached_tokens,
            "cacheWriteInputTokens": self.written_tokens,
            "serverToolUsage": {},
        }
        return {"usage": {**usage, **({"cacheDetails": kept} if kept else {})}}

    def _ending(self) -> Json:
        answer = self.answer
        reason = STOPS.get(answer.finish) or ("stop_sequence" if answer.sequence else "end_turn")
        if self._tells_sequence and reason == "stop_sequence":
            return {"stopReason": reason, "additionalModelResponseFields": {"stop_sequence": answer.sequence}}
        return {"stopReason": reason}

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        content: list[Json] = []
        if self.thought:
            said = "".join(self.thought)
            content.append({"reasoningContent": {"reasoningText": {"text": said, "signature": signature(said)}}})
        if self.answer.pieces:
            content.append({"text": "".join(self.answer.pieces)})
        for number, call in enumerate(self.answer.calls):
            content.append({"toolUse": {**_called(stamp, number, call.name), "input": _input("".join(call.pieces).encode())}})
        output = {"output": {"message": {"role": "assistant", "content": content}}}
        body = _json({**output, **self._ending(), **self._usage(), "metrics": {"latencyMs": 1}})
        if self._fault == "double":
            return body[:-1] + b"," + _json(self._usage())[1:]
        return body

    def opening(self, stamp: Stamp) -> list[bytes]:
        """The event before the first token."""
        return [_event("messageStart", {"role": "assistant"})]

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The events that carry tokens, `size` in each, and how many; a block's start and stop go with its first and last."""
        frames: list[tuple[bytes, int]] = []
        index = 0
        if self.thought:
            said = "".join(self.thought)
            pieces = [({"reasoningContent": {"text": "".join(piece)}}, len(piece)) for piece in _groups(self.thought, size)]
            frames += _block(index, [*pieces, ({"reasoningContent": {"signature": signature(said)}}, 0)])
            index += 1
        if self.answer.pieces:
            frames += _block(index, [({"text": "".join(piece)}, len(piece)) for piece in _groups(self.answer.pieces, size)])
            index += 1
        for number, call in enumerate(self.answer.calls):
            start = {"start": {"toolUse": _called(stamp, number, call.name)}, "contentBlockIndex": index}
            frames.append((_event("contentBlockStart", start), tokens.PER_TOOL_CALL))
            pieces = [({"toolUse": {"input": "".join(piece)}}, len(piece)) for piece in _groups(call.pieces, size)]
            frames += _block(index, pieces)
            index += 1
        return frames

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The events after the last token: why it ended, and what it used."""
        told = _event("metadata", {**self._usage(), "metrics": {"latencyMs": 1}})
        return [_event("messageStop", self._ending()), *[told] * (2 if self._fault == "double" else 1)]

    def broken(self) -> bytes:
        """An error within a stream."""
        return exception("serviceUnavailableException", _json({"message": OVERLOADED}))


def _block(index: int, pieces: Sequence[tuple[Json, int]]) -> list[tuple[bytes, int]]:
    frames = [(_event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index}), count) for delta, count in pieces]
    frames = frames or [(b"", 0)]
    frames[-1] = (frames[-1][0] + _event("contentBlockStop", {"contentBlockIndex": index}), frames[-1][1])
    return frames


def _groups(pieces: Sequence[str], size: int) -> list[list[str]]:
    return [list(pieces[at : at + size]) for at in range(0, len(pieces), size)]


def _event(kind: str, members: Json) -> bytes:
    plain = _json(members)
    return event(kind, _json({**members, "p": _PADDING[: 1 + len(plain) % len(_PADDING)]}))


def _called(stamp: Stamp, number: int, name: str) -> Json:
    return {"toolUseId": f"tooluse_{stamp.mark}x{number}", "name": name}


def _input(text: bytes) -> Any:
    """Arguments as an object; of those that the limit cut, what can be read: nothing."""
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
