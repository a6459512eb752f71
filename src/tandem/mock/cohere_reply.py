"""Cohere's words out: whole answers and the events of a stream. No socket, no clock, no price.

Source: https://docs.cohere.com/v2/docs/streaming and /tool-use-streaming, as the SDK cohere 7 reads replies. What is billed are
the tokens of the caller's words; what is counted holds Cohere's own prompt too, which nobody pays for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tandem.mock import tokens
from tandem.mock.model import EMPTY, Answer
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault

OWN_PROMPT = 482
"""Tokens that Cohere puts before a prompt."""
OWN_ANSWER = 2
"""Tokens around an answer."""
PLAN = "I will call a tool for this."
_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "ERROR"}
_json = msgspec.json.Encoder().encode
Json = dict[str, Any]


class CohereReply:
    """The answer to one request, in Cohere's words."""

    written_tokens = written_hour_tokens = 0

    def __init__(self, answer: Answer, prompt: int, cached: int, thought: Sequence[str], usage: UsageFault) -> None:
        self.answer = answer
        self.thought = thought
        """What it thinks; where it calls tools, what it plans."""
        self.tokens = answer.tokens + len(thought)
        self.prompt_tokens = prompt
        self.cached_tokens = min(cached, prompt)
        self._fault = usage

    def _usage(self) -> Json:
        if self._fault == "missing":
            return {}
        more = WRONG_BY if self._fault == "wrong" else 0
        billed, said = self.prompt_tokens + more, self.tokens + more
        return {
            "usage": {
                "billed_units": {"input_tokens": billed, "output_tokens": said},
                "tokens": {"input_tokens": billed + OWN_PROMPT, "output_tokens": said + OWN_ANSWER},
                "cached_tokens": self.cached_tokens,
            }
        }

    def _ending(self) -> Json:
        finish = "STOP_SEQUENCE" if self.answer.sequence else _FINISH[self.answer.finish]
        return {"finish_reason": finish, **({"error": "the answer was blocked"} if self.answer is EMPTY else {})}

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        message: Json = {"role": "assistant"}
        thought, said = "".join(self.thought), "".join(self.answer.pieces)
        if self.answer.calls:
            message["tool_calls"] = [
                {**_called(stamp, number, call.name), "function": {"name": call.name, "arguments": "".join(call.pieces)}}
                for number, call in enumerate(self.answer.calls)
            ]
            message |= {"tool_plan": thought} if thought else {}
        else:
            blocks: list[Json] = [{"type": "thinking", "thinking": thought}] if thought else []
            message["content"] = [*blocks, {"type": "text", "text": said}] if said else blocks
        ending = self._ending()
        ending.pop("error", None)
        body = _json({"id": _id(stamp), "message": message, **ending, **self._usage()})
        if self._fault == "double":
            return body[:-1] + b"," + _json(self._usage())[1:]
        return body

    def opening(self, stamp: Stamp) -> list[bytes]:
        """The event before the first token."""
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        return [_event("message-start", {"id": _id(stamp), "delta": {"message": empty}})]

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The events that carry tokens, `size` in each, and how many; a block's start and end go with its first and last."""
        frames: list[tuple[bytes, int]] = []
        if self.answer.calls:
            frames += [(_delta("tool-plan-delta", {"tool_plan": text}), count) for text, count in _groups(self.thought, size)]
        else:
            blocks = [(kind, pieces) for kind, pieces in (("thinking", self.thought), ("text", self.answer.pieces)) if pieces]
            for index, (kind, pieces) in enumerate(blocks):
                frames += _block(index, kind, pieces, size)
        for number, call in enumerate(self.answer.calls):
            opened = {**_called(stamp, number, call.name), "function": {"name": call.name, "arguments": ""}}
            frames.append((_delta("tool-call-start", {"tool_calls": opened}, number), tokens.PER_TOOL_CALL))
            for text, count in _groups(call.pieces, size):
                frames.append((_delta("tool-call-delta", {"tool_calls": {"function": {"arguments": text}}}, number), count))
            last, count = frames.pop()
            frames.append((last + _event("tool-call-end", {"index": number}), count))
        return frames

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The event after the last token: why it ended, and what it used."""
        return [_event("message-end", {"delta": {**self._ending(), **self._usage()}})] * (2 if self._fault == "double" else 1)

    def broken(self) -> bytes:
        """An end that is a failure."""
        return _event("message-end", {"delta": {"finish_reason": "ERROR", "error": "the model is overloaded"}})


def _block(index: int, kind: str, pieces: Sequence[str], size: int) -> list[tuple[bytes, int]]:
    frames = [(_delta("content-delta", {"content": {kind: text}}, index), count) for text, count in _groups(pieces, size)]
    start = _delta("content-start", {"content": {"type": kind, kind: ""}}, index)
    frames[0] = (start + frames[0][0], frames[0][1])
    frames[-1] = (frames[-1][0] + _event("content-end", {"index": index}), frames[-1][1])
    return frames


def _groups(pieces: Sequence[str], size: int) -> list[tuple[str, int]]:
    groups = [pieces[at : at + size] for at in range(0, len(pieces), size)]
    return [("".join(group), len(group)) for group in groups]


def _delta(kind: str, message: Json, index: int | None = None) -> bytes:
    return _event(kind, {**({} if index is None else {"index": index}), "delta": {"message": message}})


def _event(kind: str, members: Json) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind, **members}))


def _called(stamp: Stamp, number: int, name: str) -> Json:
    return {"id": f"{name}_{stamp.mark[-12:]}{number}", "type": "function"}


def _id(stamp: Stamp) -> str:
    return stamp.mark
