"""An answer in the words of OpenAI's Responses API, whole and streamed. Deltas in, bytes out; it reads no request.

Source: OpenAI's API reference for responses and their streaming, as its Python SDK 3.54 reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import msgspec

from tandem.core.chat import Begin, Delta, Finish, RefusalDelta, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import TandemError, Upstream
from tandem.core.money import Usage
from tandem.gateway.wires.anthropic_chat import with_proof
from tandem.gateway.wires.base import Letterhead
from tandem.gateway.wires.responses_chat import UNREADABLE, sealed

Event = tuple[str, dict[str, object]]
"""Its type, and all else that it says but its number."""

CODES = {"rate_limited": "rate_limit_exceeded", "bad_request": "invalid_prompt"}
"""Canonical class of an error → `error.code`; any other is a `server_error`."""
CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons for which an answer is incomplete."""
NONE = msgspec.Raw(b"null")


class _Asked(msgspec.Struct):
    """What an answer repeats of its request, as far as the request was followed in it."""

    instructions: msgspec.Raw = NONE
    max_output_tokens: msgspec.Raw = NONE
    parallel_tool_calls: msgspec.Raw = msgspec.Raw(b"true")
    reasoning: msgspec.Raw = NONE
    temperature: msgspec.Raw = NONE
    text: msgspec.Raw = NONE
    tool_choice: msgspec.Raw = msgspec.Raw(b'"auto"')
    tools: msgspec.Raw = msgspec.Raw(b"[]")
    top_p: msgspec.Raw = NONE


_asked = msgspec.json.Decoder(_Asked)
_encode = msgspec.json.Encoder().encode


def whole(deltas: Sequence[Delta], head: Letterhead) -> bytes:
    """A whole answer's body."""
    said = _Said(head)
    for delta in deltas:
        said.take(delta)
    said.close()
    return _encode(said.response())


def told(usage: Usage) -> dict[str, object]:
    """Usage as this API nests it: parts inside of their wholes."""
    return {
        "input_tokens": usage.total_input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read + usage.cache_read_audio,
            "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        },
        "output_tokens": usage.total_output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total_input + usage.total_output,
    }


@dataclass(slots=True, eq=False)
class _Item:
    """An item that is being said."""

    kind: Literal["message", "reasoning", "function_call"]
    id: str
    index: int
    call: str = ""
    """The call's own id."""
    name: str = ""
    parts: list[tuple[str, list[str]]] = field(default_factory=list)
    """Of a message: each part's type and pieces. Of all others: one part."""
    sealed: str = ""
    closed: bool = False

    def text(self) -> str:
        return "".join(self.parts[-1][1]) if self.parts else ""

    def shown(self, status: str) -> dict[str, object]:
        """The item as far as it has been said."""
        match self.kind:
            case "message":
                content = [_part(kind, "".join(pieces)) for kind, pieces in self.parts]
                return {"id": self.id, "type": "message", "status": status, "role": "assistant", "content": content}
            case "reasoning":
                summary = [{"type": "summary_text", "text": self.text()}] if self.parts else []
                return {"id": self.id, "type": "reasoning", "summary": summary, "encrypted_content": self.sealed or None}
            case "function_call":
                call = {"call_id": self.call, "name": self.name, "arguments": self.text()}
                return {"id": self.id, "type": "function_call", "status": status, **call}
            case kind:
                assert_never(kind)


def _part(kind: str, text: str) -> dict[str, object]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class _Said:
    """What an answer has said: its items, and the events that tell of each step.

    One item is said at a time, as OpenAI does; only calls of tools go on until their arguments are complete, for the pieces
    of several may alternate.
    """

    def __init__(self, head: Letterhead) -> None:
        self._head = head
        self._asked = _repeated(head.asked)
        self._items: list[_Item] = []
        self._calls: dict[int, _Item] = {}
        self._open: _Item | None = None
        """The message or thought that is being said."""
        self._finish = Finish(reason="stop")
        self._usage: Usage | None = None
        self._failed: dict[str, object] | None = None

    def response(self, status: str = "") -> dict[str, object]:
        """The response as far as it has been said; at its end, where no other status is told."""
        reason = CUT.get(self._finish.reason)
        done = not status
        status = status or ("incomplete" if reason else "completed")
        usage = self._usage if done else None
        return {
            "id": f"resp_{self._head.id}",
            "object": "response",
            "created_at": self._head.at,
            "status": status,
            "error": self._failed,
            "incomplete_details": {"reason": reason} if done and reason else None,
            "metadata": {},
            "model": self._head.model,
            "output": [item.shown("completed" if item.closed else "incomplete") for item in self._items],
            **self._asked,
            "previous_response_id": None,
            "store": False,
            "usage": told(usage) if usage is not None else None,
        }

    def take(self, delta: Delta) -> list[Event]:
        """Adds what a delta says.

        Raises:
            Upstream: a call goes on after its end (malformed_stream).
        """
        match delta:
            case TextDelta():
                return self._words("output_text", delta.text) if delta.text else []
            case RefusalDelta():
                return self._words("refusal", delta.text) if delta.text else []
            case ThinkingDelta():
                return self._thought(delta)
            case ToolDelta():
                return self._called(delta)
            case Used():
                self._usage = delta.usage
            case Finish():
                self._finish = delta
            case Begin():
                pass
            case _:
                assert_never(delta)
        return []

    def close(self) -> list[Event]:
        """The ends of everything that is open."""
        events = self._settle()
        for item in self._calls.values():
            if not item.closed:
                if not item.text():  # nothing is no JSON
                    events += self._argued(item, "{}")
                events += self._done(item)
        return events

    def fail(self, code: str, message: str) -> None:
        self._failed = {"code": code, "message": message}

    # --- items

    def _begin(self, kind: Literal["message", "reasoning", "function_call"], prefix: str) -> _Item:
        index = len(self._items)
        item = _Item(kind=kind, id=f"{prefix}_{self._head.id}_{index}", index=index)
        self._items.append(item)
        return item

    def _added(self, item: _Item) -> Event:
        return "response.output_item.added", {"output_index": item.index, "item": item.shown("in_progress")}

    def _words(self, kind: str, text: str) -> list[Event]:
        events: list[Event] = []
        if self._open is None or self._open.kind != "message":
            events += self._settle()
            self._open = self._begin("message", "msg")
            events.append(self._added(self._open))
        item = self._open
        if not item.parts or item.parts[-1][0] != kind:
            events += self._part_done(item)
            item.parts.append((kind, []))
            events.append(("response.content_part.added", {**self._place(item), "part": _part(kind, "")}))
        item.parts[-1][1].append(text)
        more: dict[str, object] = {"logprobs": []} if kind == "output_text" else {}
        events.append((f"response.{kind}.delta", {**self._place(item), "delta": text, **more}))
        return events

    def _thought(self, delta: ThinkingDelta) -> list[Event]:
        events: list[Event] = []
        if not (delta.text or delta.signature or delta.hidden):
            return events
        content = sealed(delta.signature, delta.hidden)
        if self._open is None or self._open.kind != "reasoning" or (delta.hidden and self._open.parts):
            events += self._settle()
            self._open = self._begin("reasoning", "rs")
            events.append(self._added(self._open))
        item = self._open
        place: dict[str, object] = {"item_id": item.id, "output_index": item.index, "summary_index": 0}
        if delta.text:
            if not item.parts:
                item.parts.append(("summary_text", []))
                part = {"type": "summary_text", "text": ""}
                events.append(("response.reasoning_summary_part.added", {**place, "part": part}))
            item.parts[-1][1].append(delta.text)
            events.append(("response.reasoning_summary_text.delta", {**place, "delta": delta.text}))
        if content:
            item.sealed = content
            events += self._settle()
        return events

    def _called(self, delta: ToolDelta) -> list[Event]:
        events: list[Event] = []
        item = self._calls.get(delta.place)
        if item is None:
            events += self._settle()
            item = self._calls[delta.place] = self._begin("function_call", "fc")
            item.call = with_proof(delta.id or f"call_{self._head.id}_{delta.place}", delta.signature)
            item.name = delta.name
            item.parts.append(("arguments", []))
            events.append(self._added(item))
        return events + self._argued(item, delta.arguments)

    def _argued(self, item: _Item, arguments: str) -> list[Event]:
        if not arguments:
            return []
        if item.closed:
            if not arguments.strip():
                return []
            raise Upstream(
                "The provider went on with a tool call that was complete.", hint="Look at what it sends.", code="malformed_stream"
            )
        item.parts[-1][1].append(arguments)
        place = {"item_id": item.id, "output_index": item.index}
        return [("response.function_call_arguments.delta", {**place, "delta": arguments})]

    def _settle(self) -> list[Event]:
        """Ends the message or thought that was being said, and the calls whose arguments are whole."""
        events: list[Event] = []
        if self._open is not None:
            events += self._done(self._open)
            self._open = None
        for item in self._calls.values():
            if not item.closed and _is_json(item.text()):
                events += self._done(item)
        return events

    def _done(self, item: _Item) -> list[Event]:
        item.closed = True
        place: dict[str, object] = {"item_id": item.id, "output_index": item.index}
        events: list[Event] = []
        match item.kind:
            case "message":
                events += self._part_done(item)
            case "reasoning":
                if item.parts:
                    text, nth = item.text(), {**place, "summary_index": 0}
                    events.append(("response.reasoning_summary_text.done", {**nth, "text": text}))
                    part = {"type": "summary_text", "text": text}
                    events.append(("response.reasoning_summary_part.done", {**nth, "part": part}))
            case "function_call":
                done = {**place, "name": item.name, "arguments": item.text()}
                events.append(("response.function_call_arguments.done", done))
            case kind:
                assert_never(kind)
        events.append(("response.output_item.done", {"output_index": item.index, "item": item.shown("completed")}))
        return events

    def _part_done(self, item: _Item) -> list[Event]:
        if not item.parts:
            return []
        kind, text = item.parts[-1][0], item.text()
        said: dict[str, object] = {"refusal": text} if kind == "refusal" else {"text": text, "logprobs": []}
        return [
            (f"response.{kind}.done", {**self._place(item), **said}),
            ("response.content_part.done", {**self._place(item), "part": _part(kind, text)}),
        ]

    def _place(self, item: _Item) -> dict[str, object]:
        return {"item_id": item.id, "output_index": item.index, "content_index": max(0, len(item.parts) - 1)}


def _repeated(body: bytes) -> dict[str, object]:
    """The members that an answer repeats; null where the API has another default counts as not said."""
    try:
        asked = _asked.decode(body) if body else _Asked()
    except UNREADABLE:
        asked = _Asked()
    plain = _Asked()
    return {name: getattr(plain if bytes(getattr(asked, name)) == b"null" else asked, name) for name in _Asked.__struct_fields__}


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode(), type=dict[str, Any])
    except (*UNREADABLE, UnicodeError):
        return False
    return True


class ResponsesWriter:
    """One streamed answer: events with a number each; the last one says all of it once more."""

    def __init__(self, head: Letterhead) -> None:
        self._said = _Said(head)
        self._begun = False
        self._number = 0

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Frames for these.

        Raises:
            Upstream: they cannot follow what was said (malformed_stream).
        """
        events = self._begin() if deltas else []
        for delta in deltas:
            events += self._said.take(delta)
        return self._frames(events)

    def end(self) -> bytes:
        events = [*self._begin(), *self._said.close()]
        response = self._said.response()
        return self._frames([*events, (f"response.{response['status']}", {"response": response})])

    def fail(self, error: TandemError) -> bytes:
        """A response that failed; before it has begun, as where the provider's own events passed, an error alone."""
        code = CODES.get(error.code, "server_error")
        if not self._begun:
            return self._frames([("error", {"code": error.code, "message": str(error), "param": error.field})])
        self._said.fail(code, str(error))
        return self._frames([("response.failed", {"response": self._said.response("failed")})])

    def _begin(self) -> list[Event]:
        if self._begun:
            return []
        self._begun = True
        response = self._said.response("in_progress")
        return [("response.created", {"response": response}), ("response.in_progress", {"response": response})]

    def _frames(self, events: Sequence[Event]) -> bytes:
        frames: list[bytes] = []
        for kind, members in events:
            body = _encode({"type": kind, "sequence_number": self._number, **members})
            frames.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), body))
            self._number += 1
        return b"".join(frames)
