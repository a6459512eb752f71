"""Gemini's words out: whole replies and the frames of a stream. No socket, no clock, no price.

Source: https://ai.google.dev/api/generate-content, as its Python client (google-genai 3) reads replies. Every
frame repeats the usage so far; a call comes whole, without an id before Gemini 3; calls end with STOP too.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tandem.mock import tokens
from tandem.mock.gemini_wire import GenerateRequest, scripted, signature
from tandem.mock.model import EMPTY, Answer
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault

_FINISH = {"stop": "STOP", "tool_calls": "STOP", "length": "MAX_TOKENS", "content_filter": "SAFETY"}
_json = msgspec.json.Encoder().encode
Json = dict[str, object]


class GenerateReply:
    """The answer to one request, in Gemini's words."""

    def __init__(self, request: GenerateRequest, answer: Answer, cached: int, usage: UsageFault) -> None:
        self._request, self._answer, self._fault = request, answer, usage
        self._thoughts = tokens.split(request.thoughts) if answer is not EMPTY else []
        self.tokens = len(self._thoughts) + answer.tokens
        """What is billed as output: thoughts too."""
        self.prompt_tokens = request.ask.prompt_tokens
        self.cached_tokens = min(cached, self.prompt_tokens)
        self.written_tokens = self.written_hour_tokens = 0

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        parts = [part for part, _ in self._parts(stamp, len(self._answer.pieces) or 1, len(self._thoughts) or 1)]
        return self._reply(stamp, parts, self._answer.tokens, len(self._thoughts), last=True)

    def opening(self, stamp: Stamp) -> list[bytes]:
        """Nothing comes before the first token."""
        return []

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The frames that carry tokens, and how many each carries; `size` in each, but a call comes whole."""
        frames: list[tuple[bytes, int]] = []
        thoughts = said = 0
        for part, count in self._parts(stamp, size, size):
            if "thought" in part:
                thoughts += count
            else:
                said += count
            frames.append((self._frame(self._reply(stamp, [part], said, thoughts, last=False)), count))
        return frames

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The frame that says why the answer ended; nothing comes after it."""
        parts: list[Json] = [{"text": ""}] if self._answer is not EMPTY else []
        last = self._frame(self._reply(stamp, parts, self._answer.tokens, len(self._thoughts), last=True))
        return [last] * (2 if self._fault == "double" else 1)

    def broken(self) -> bytes:
        """An error within a stream."""
        return self._frame(scripted(503))

    def _parts(self, stamp: Stamp, size: int, thought: int) -> Iterator[tuple[Json, int]]:
        for start in range(0, len(self._thoughts), thought):
            group = self._thoughts[start : start + thought]
            yield {"text": "".join(group), "thought": True}, len(group)
        for start in range(0, len(self._answer.pieces), size):
            group = list(self._answer.pieces[start : start + size])
            yield {"text": "".join(group)}, len(group)
        for number, call in enumerate(self._answer.calls):
            text = "".join(call.pieces)
            try:
                args = msgspec.Raw(_json(msgspec.json.decode(text)))
            except msgspec.DecodeError:  # cut by the limit: Gemini gives what it has got, and that is nothing
                args = msgspec.Raw(b"{}")
            made: Json = {"name": call.name, "args": args}
            if self._request.signs:
                made["id"] = f"{stamp.mark}{number}"
            part: Json = {"functionCall": made}
            if self._request.signs and number == 0:
                part["thoughtSignature"] = signature(call.name)
            yield part, tokens.PER_TOOL_CALL + len(call.pieces)

    def _reply(self, stamp: Stamp, parts: list[Json], said: int, thoughts: int, *, last: bool) -> bytes:
        body: Json = {}
        if self._answer is EMPTY and last:
            body["promptFeedback"] = {"blockReason": "SAFETY"}
        else:
            candidate: Json = {"content": {"parts": parts, "role": "model"}, "index": 0}
            if last:
                candidate["finishReason"] = _FINISH[self._answer.finish]
            body["candidates"] = [candidate]
        if self._fault != "missing":
            body["usageMetadata"] = self._usage(said, thoughts)
        return _json({**body, "modelVersion": stamp.model, "responseId": stamp.mark})

    def _usage(self, said: int, thoughts: int) -> Json:
        more = WRONG_BY if self._fault == "wrong" else 0
        prompt, said = self.prompt_tokens + more, said + more
        counts: Json = {"promptTokenCount": prompt, "candidatesTokenCount": said}
        if thoughts:
            counts["thoughtsTokenCount"] = thoughts
        if self.cached_tokens:
            counts["cachedContentTokenCount"] = self.cached_tokens
        return {**counts, "totalTokenCount": prompt + said + thoughts}

    def _frame(self, body: bytes) -> bytes:
        return b"data: %b\r\n\r\n" % body
