"""OpenAI's words out: whole replies, frames of a stream, lists of models. No socket, no clock, no price.

Source: the OpenAI API reference, as its Python client (openai 3) reads replies.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal
from zlib import crc32

import msgspec

from tandem.mock import embed, prices, tokens
from tandem.mock.model import Answer
from tandem.mock.openai_wire import ChatRequest, EmbeddingRequest, scripted

UsageFault = Literal["", "missing", "wrong", "double"]

WRONG_BY = 1000
"""Tokens that the fault `usage=wrong` adds to either count."""
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What makes one reply unlike another."""

    mark: str
    """The part that all its ids share."""
    created: int
    """Seconds since 1970."""
    model: str


_USAGE = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
    b'"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
)


def fingerprint(model: str) -> str:
    """The `system_fingerprint` of a model.

    >>> fingerprint("gpt-4o-mini")
    'fp_00f698c54e'
    """
    return f"fp_{crc32(model.encode()):010x}"


class ChatReply:
    """The answers to one chat request, in OpenAI's words."""

    written_tokens = written_hour_tokens = 0

    def __init__(self, request: ChatRequest, answers: Sequence[Answer], cached: int, usage: UsageFault) -> None:
        self.answers = answers
        self.tokens = sum(answer.tokens for answer in answers)
        self.prompt_tokens = request.ask.prompt_tokens
        self.cached_tokens = min(cached, self.prompt_tokens)
        self._include_usage = request.include_usage
        self._fault = usage

    def _usage(self) -> bytes:
        more = WRONG_BY if self._fault == "wrong" else 0
        prompt, completion = self.prompt_tokens + more, self.tokens + more
        return _USAGE % (prompt, completion, prompt + completion, self.cached_tokens)

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        choices = b",".join([self._choice(stamp, at, answer) for at, answer in enumerate(self.answers)])
        usage = b"" if self._fault == "missing" else b'"usage":%b,' % self._usage()
        return b'{"id":"chatcmpl-%b","object":"chat.completion","created":%d,"model":%b,"choices":[%b],%b%b%b' % (
            stamp.mark.encode(),
            stamp.created,
            _json(stamp.model),
            choices,
            usage,
            usage if self._fault == "double" else b"",
            b'"service_tier":"default","system_fingerprint":"%b"}' % fingerprint(stamp.model).encode(),
        )

    def _choice(self, stamp: Stamp, at: int, answer: Answer) -> bytes:
        if answer.calls:
            calls = [
                _called(self.call_id(stamp, at, number), call.name, "".join(call.pieces))
                for number, call in enumerate(answer.calls)
            ]
            content, called = b"null", b',"tool_calls":%b' % _json(calls)
        else:
            content, called = _json("".join(answer.pieces)), b""
        return (
            b'{"index":%d,"message":{"role":"assistant","content":%b%b,"refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"%b"}'
            % (at, content, called, answer.finish.encode())
        )

    def _frame(self, stamp: Stamp) -> tuple[bytes, bytes]:
        """What stands before and after the delta of a chunk."""
        head = (
            b'data: {"id":"chatcmpl-%b","object":"chat.completion.chunk","created":%d,"model":%b,'
            b'"service_tier":"default","system_fingerprint":"%b","choices":['
            % (stamp.mark.encode(), stamp.created, _json(stamp.model), fingerprint(stamp.model).encode())
        )
        return head, b'],"usage":null}\n\n' if self._shown else b"]}\n\n"

    @property
    def _shown(self) -> bool:
        return self._include_usage and self._fault != "missing"

    def opening(self, stamp: Stamp) -> list[bytes]:
        """The frames before the first token: one role for each choice."""
        head, tail = self._frame(stamp)
        return [
            b'%b{"index":%d,"delta":{"role":"assistant","content":%b,"refusal":null},"logprobs":null,"finish_reason":null}%b'
            % (head, at, b"null" if answer.calls else b'""', tail)
            for at, answer in enumerate(self.answers)
        ]

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The frames that carry tokens, `size` in each where the channel has so many, and how many each carries."""
        head, tail = self._frame(stamp)
        streams = [self._deltas(stamp, at, answer, size) for at, answer in enumerate(self.answers)]
        rows = zip(streams[0], strict=True) if len(streams) == 1 else zip_longest(*streams)
        after = b'},"logprobs":null,"finish_reason":null}' + tail
        frames: list[tuple[bytes, int]] = []
        for row in rows:
            for at, delta in enumerate(row):
                if delta is not None:
                    frames.append((b'%b{"index":%d,"delta":{%b%b' % (head, at, delta[0], after), delta[1]))
        return frames

    def _deltas(self, stamp: Stamp, at: int, answer: Answer, size: int) -> Iterator[tuple[bytes, int]]:
        for start in range(0, len(answer.pieces), size):
            group = answer.pieces[start : start + size]
            yield b'"content":' + _json("".join(group)), len(group)
        for number, call in enumerate(answer.calls):
            opened = {"index": number, **_called(self.call_id(stamp, at, number), call.name, "")}
            yield b'"tool_calls":[%b]' % _json(opened), tokens.PER_TOOL_CALL
            for start in range(0, len(call.pieces), size):
                group = call.pieces[start : start + size]
                yield b'"tool_calls":[{"index":%d,"function":{"arguments":%b}}]' % (number, _json("".join(group))), len(group)

    def call_id(self, stamp: Stamp, at: int, number: int) -> str:
        """How a call of a tool is named."""
        return f"call_{stamp.mark}{at}x{number}"

    def broken(self) -> bytes:
        """An error within a stream, as compatible hosts send it."""
        return b"data: %b\n\n" % scripted(503)

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The frames after the last token: one finish for each choice, the usage where it was asked for, `[DONE]`."""
        head, tail = self._frame(stamp)
        frames = [
            b'%b{"index":%d,"delta":{},"logprobs":null,"finish_reason":"%b"}%b' % (head, at, answer.finish.encode(), tail)
            for at, answer in enumerate(self.answers)
        ]
        if self._shown:
            frames += [b'%b],"usage":%b}\n\n' % (head, self._usage())] * (2 if self._fault == "double" else 1)
        return [*frames, b"data: [DONE]\n\n"]


def _called(id: str, name: str, arguments: str) -> dict[str, object]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


class EmbeddingReply:
    """The vectors of one embedding request, in OpenAI's words."""

    tokens = 0
    cached_tokens = written_tokens = written_hour_tokens = 0

    def __init__(self, request: EmbeddingRequest, usage: UsageFault) -> None:
        self._request = request
        self.prompt_tokens = request.prompt_tokens
        self._fault = usage

    def whole(self, stamp: Stamp) -> bytes:
        """The body of the reply."""
        rows = []
        for at, text in enumerate(self._request.inputs):
            vector = embed.vector(text, self._request.dimensions)
            shown = b64encode(vector.tobytes()).decode() if self._request.base64 else vector.tolist()
            rows.append({"object": "embedding", "index": at, "embedding": shown})
        count = self.prompt_tokens + (WRONG_BY if self._fault == "wrong" else 0)
        usage = b"" if self._fault == "missing" else b',"usage":{"prompt_tokens":%d,"total_tokens":%d}' % (count, count)
        return b'{"object":"list","data":%b,"model":%b%b%b}' % (
            _json(rows),
            _json(stamp.model),
            usage,
            usage if self._fault == "double" else b"",
        )


def models() -> bytes:
    """The body of `GET /v1/models`."""
    return _json({"object": "list", "data": [_model(row) for row in prices.TABLE.values()]})


def model(row: prices.Row) -> bytes:
    """The body of `GET /v1/models/{id}`."""
    return _json(_model(row))


def _model(row: prices.Row) -> dict[str, object]:
    return {"id": row.model, "object": "model", "created": row.created, "owned_by": "tandem-mock"}
