"""The words of OpenAI's Responses API out: whole responses and the events of a stream. No socket, no clock, no price.

Source: the OpenAI API reference for responses and their streaming, as its Python client (openai 3) reads replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tandem.mock import tokens
from tandem.mock.model import Answer, Turn
from tandem.mock.openai_reply import WRONG_BY, Stamp, UsageFault
from tandem.mock.responses_wire import Kept, ResponsesRequest, seal

CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete."""
_json = msgspec.json.Encoder().encode
_Event = tuple[str, dict[str, Any]]


class ResponsesReply:
    """The answer to one request, as items."""

    written_tokens = written_hour_tokens = 0

    def __init__(self, request: ResponsesRequest, answer: Answer, thought: Sequence[str], cached: int, usage: UsageFault) -> None:
        self.answer = answer
        self.thought = thought
        self.tokens = answer.tokens + len(thought)
        self.prompt_tokens = request.ask.prompt_tokens
        self.cached_tokens = min(cached, self.prompt_tokens)
        self._request = request
        self._fault = usage
        self._events = 0
        """Events of the stream before its end."""

    def kept(self, mark: str) -> Kept:
        """What the next request may go on from."""
        said = "".join(self.answer.pieces)
        turns = [*self._request.ask.turns, *([Turn(role="assistant", text=said)] if said else [])]
        calls = frozenset(_call_id(mark, number) for number in range(len(self.answer.calls)))
        return Kept(turns=turns, tokens=self.prompt_tokens + self.tokens - tokens.PER_REQUEST, calls=calls)

    def _usage(self) -> dict[str, Any] | None:
        if self._fault == "missing":
            return None
        more = WRONG_BY if self._fault == "wrong" else 0
        prompt, answer = self.prompt_tokens + more, self.tokens + more
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": self.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": answer,
            "output_tokens_details": {"reasoning_tokens": len(self.thought)},
            "total_tokens": prompt + answer,
        }

    def _response(self, stamp: Stamp, status: str) -> dict[str, Any]:
        done, body = status not in ("in_progress", "queued"), self._request.body
        reason = CUT.get(self.answer.finish)
        return {
            "id": f"resp_{stamp.mark}",
            "object": "response",
            "created_at": stamp.created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": {"reason": reason} if done and reason else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": stamp.model,
            "output": self._items(stamp.mark) if done else [],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": body.reasoning,
            "service_tier": "default",
            "store": body.store is not False,
            "temperature": 1.0 if body.temperature is None else body.temperature,
            "text": {"format": (body.text and body.text.format) or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_p": 1.0 if body.top_p is None else body.top_p,
            "truncation": "disabled",
            "usage": self._usage() if done else None,
        }

    @property
    def _status(self) -> str:
        return "incomplete" if self.answer.finish in CUT else "completed"

    def _items(self, mark: str) -> list[dict[str, Any]]:
        items = [self._reasoning(mark)] if self.thought else []
        if self.answer.pieces:
            items.append(_message(mark, self._status, [_text("".join(self.answer.pieces))]))
        return items + [
            _called(mark, number, call.name, "".join(call.pieces), "completed") for number, call in enumerate(self.answer.calls)
        ]

    def _reasoning(self, mark: str, *, begun: bool = False) -> dict[str, Any]:
        id, text = f"rs_{mark}", "".join(self.thought)
        summary = [{"type": "summary_text", "text": text}] if self._request.sums and not begun else []
        sealed = {"encrypted_content": seal(id)} if self._request.seals else {}
        return {"id": id, "type": "reasoning", "summary": summary, **sealed}

    def whole(self, stamp: Stamp) -> bytes:
        """The body of a reply that is not streamed."""
        body = _json(self._response(stamp, self._status))
        if self._fault == "double":
            return body[:-1] + b',"usage":' + _json(self._usage()) + b"}"
        return body

    def opening(self, stamp: Stamp) -> list[bytes]:
        """The events before the first token."""
        response = {"response": self._response(stamp, "in_progress")}
        return [_framed(0, "response.created", response), _framed(1, "response.in_progress", response)]

    def deltas(self, stamp: Stamp, size: int) -> list[tuple[bytes, int]]:
        """The events that carry tokens, `size` in each, and how many; those around them go with the next or the last."""
        frames: list[tuple[bytes, int]] = []
        number = 2
        for index, steps in enumerate(self._steps(stamp.mark, size)):
            for events, count in steps:
                numbered = [_framed(number + at, kind, {"output_index": index, **told}) for at, (kind, told) in enumerate(events)]
                number += len(events)
                frames.append((b"".join(numbered), count))
        self._events = number
        return frames

    def _steps(self, mark: str, size: int) -> Iterator[list[tuple[list[_Event], int]]]:
        """Of each item, its events by the deltas they go with."""
        if self.thought:
            yield self._thinking(mark, size)
        if self.answer.pieces:
            yield self._saying(mark, size)
        for number, call in enumerate(self.answer.calls):
            place = {"item_id": f"fc_{mark}{number}"}
            added = ("response.output_item.added", {"item": _called(mark, number, call.name, "", "in_progress")})
            steps: list[tuple[list[_Event], int]] = [([added], tokens.PER_TOOL_CALL)]
            steps += [
                ([("response.function_call_arguments.delta", {**place, "delta": "".join(group)})], len(group))
                for group in _groups(call.pieces, size)
            ]
            text = "".join(call.pieces)
            done = {**place, "name": call.name, "arguments": text}
            steps[-1][0].append(("response.function_call_arguments.done", done))
            steps[-1][0].append(("response.output_item.done", {"item": _called(mark, number, call.name, text, "completed")}))
            yield steps

    def _thinking(self, mark: str, size: int) -> list[tuple[list[_Event], int]]:
        place, text = {"item_id": f"rs_{mark}", "summary_index": 0}, "".join(self.thought)
        first: _Event = ("response.output_item.added", {"item": self._reasoning(mark, begun=True)})
        last: _Event = ("response.output_item.done", {"item": self._reasoning(mark)})
        if not self._request.sums:
            return [([first, last], len(self.thought))]
        part = {"type": "summary_text", "text": ""}
        steps: list[tuple[list[_Event], int]] = [
            ([("response.reasoning_summary_text.delta", {**place, "delta": "".join(group)})], len(group))
            for group in _groups(self.thought, size)
        ]
        steps[0][0][:0] = [first, ("response.reasoning_summary_part.added", {**place, "part": part})]
        steps[-1][0].append(("response.reasoning_summary_text.done", {**place, "text": text}))
        steps[-1][0].append(("response.reasoning_summary_part.done", {**place, "part": {**part, "text": text}}))
        steps[-1][0].append(last)
        return steps

    def _saying(self, mark: str, size: int) -> list[tuple[list[_Event], int]]:
        place, text = {"item_id": f"msg_{mark}", "content_index": 0}, "".join(self.answer.pieces)
        steps: list[tuple[list[_Event], int]] = [
            ([("response.output_text.delta", {**place, "delta": "".join(group), "logprobs": []})], len(group))
            for group in _groups(self.answer.pieces, size)
        ]
        added = {"item": _message(mark, "in_progress", [])}
        steps[0][0][:0] = [
            ("response.output_item.added", added),
            ("response.content_part.added", {**place, "part": _text("")}),
        ]
        steps[-1][0].append(("response.output_text.done", {**place, "text": text, "logprobs": []}))
        steps[-1][0].append(("response.content_part.done", {**place, "part": _text(text)}))
        steps[-1][0].append(("response.output_item.done", {"item": _message(mark, self._status, [_text(text)])}))
        return steps

    def closing(self, stamp: Stamp) -> list[bytes]:
        """The event after the last token, which says everything once more, usage and all."""
        last = _framed(self._events or 2, f"response.{self._status}", {"response": self._response(stamp, self._status)})
        return [last] * (2 if self._fault == "double" else 1)

    def broken(self) -> bytes:
        """An error within a stream."""
        message = "Our servers are currently overloaded. Please try again later."
        return _framed(self._events or 2, "error", {"code": "server_is_overloaded", "message": message, "param": None})


def _framed(number: int, kind: str, members: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _json({"type": kind, "sequence_number": number, **members}))


def _groups(pieces: Sequence[str], size: int) -> list[Sequence[str]]:
    return [pieces[at : at + size] for at in range(0, len(pieces), size)]


def _text(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _message(mark: str, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": f"msg_{mark}", "type": "message", "status": status, "content": content, "role": "assistant"}


def _call_id(mark: str, number: int) -> str:
    return f"call_{mark}x{number}"


def _called(mark: str, number: int, name: str, arguments: str, status: str) -> dict[str, Any]:
    call = {"arguments": arguments, "call_id": _call_id(mark, number), "name": name}
    return {"id": f"fc_{mark}{number}", "type": "function_call", "status": status, **call}
