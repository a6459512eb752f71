"""An answer in Anthropic's words, whole and streamed, and its errors. Deltas in, bytes out; it reads no request.

Source: Anthropic's API reference for messages, their streaming and errors, as its Python SDK 2.14 reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, assert_never

import msgspec

from tandem.core.chat import Begin, Delta, Finish, RefusalDelta, TextDelta, ThinkingDelta, ToolDelta, Used
from tandem.core.errors import TandemError, Upstream
from tandem.core.money import Usage
from tandem.gateway.wires.anthropic_chat import UNREADABLE, with_proof
from tandem.gateway.wires.base import Letterhead

LARGEST_HELD = 4 * 1024 * 1024
"""Characters of later blocks that wait until an earlier call is complete."""
OVERLOADED = 529
KINDS: dict[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}
"""Status → `error.type`; any other is an `api_error`."""
STOPS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "paused": "pause_turn",
}
_OUTSIDE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')
_encode = msgspec.json.Encoder().encode
_object = msgspec.json.Decoder(dict[str, Any])


def status_of(error: TandemError) -> int:
    """The status by which Anthropic's clients know an error."""
    return OVERLOADED if error.code == "overloaded" else error.status


def shape(error: TandemError, status: int, trace: str) -> dict[str, object]:
    """An error's body."""
    said = f"{error.field}: {error}" if error.field else str(error)
    told = {"type": KINDS.get(status, "api_error"), "message": said, "details": {"error_code": error.code}}
    return {"type": "error", "error": told, **({"request_id": trace} if trace else {})}


def whole(deltas: Sequence[Delta], head: Letterhead) -> bytes:
    """A whole answer's body."""
    said = _Said(head)
    blocks: list[Block] = []
    for delta in deltas:
        block = said.take(delta, blocks[-1] if blocks else None)
        if block is None:
            continue
        if block not in blocks:
            blocks.append(block)
        block.take(delta)
    body = {**_opening(head), "content": [block.whole() for block in blocks], **said.ending(), "usage": _usage(said.usage)}
    return _encode(body)


def _opening(head: Letterhead) -> dict[str, object]:
    return {"id": head.id, "type": "message", "role": "assistant", "model": head.model}


def _usage(usage: Usage) -> dict[str, object]:
    """Anthropic's counters: those of the cache stand outside of the input's, thoughts inside of the output's."""
    counters: dict[str, object] = {
        "input_tokens": usage.input + usage.input_audio + usage.input_image,
        "cache_creation_input_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_read_input_tokens": usage.cache_read + usage.cache_read_audio,
        "output_tokens": usage.total_output,
    }
    if usage.cache_write_1h:
        counters["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.searches:
        counters["server_tool_use"] = {"web_search_requests": usage.searches}
    if usage.reasoning:
        counters["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return counters


@dataclass(slots=True, eq=False)
class Block:
    """A block that is being said."""

    kind: Literal["text", "thinking", "redacted_thinking", "tool_use"]
    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    """Text, thoughts, hidden thoughts, or the JSON of arguments."""
    signature: str = ""
    complete: bool = False
    """Whether nothing of the same block can follow: a signed thought, a whole object of arguments."""
    closed: bool = False
    """Whether its end has been said."""
    _depth: int = 0
    _quoted: bool = False
    _escaped: bool = False

    def take(self, delta: Delta) -> None:
        """Adds what a delta says to the block it belongs to."""
        match delta:
            case TextDelta() | RefusalDelta():
                self.pieces.append(delta.text)
            case ThinkingDelta():
                self.pieces.append(delta.hidden or delta.text)
                self.signature += delta.signature
                self.complete = bool(self.signature or delta.hidden)
            case ToolDelta():
                self.pieces.append(delta.arguments)
                self._follow(delta.arguments)
            case _:
                pass

    def _follow(self, piece: str) -> None:
        """Follows the brackets of the arguments, wherever they are cut."""
        at = 0
        while at < len(piece):
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            mark = (_IN_STRING if self._quoted else _OUTSIDE).search(piece, at)
            if mark is None:
                return
            at = mark.end()
            match mark[0]:
                case '"':
                    self._quoted = not self._quoted
                case "\\":
                    self._escaped = True
                case "{" | "[":
                    self._depth += 1
                case _:
                    self._depth -= 1
                    self.complete = self.complete or self._depth <= 0

    def start(self) -> dict[str, object]:
        """The block before anything of it is said."""
        match self.kind:
            case "text":
                return {"type": "text", "text": ""}
            case "thinking":
                return {"type": "thinking", "thinking": "", "signature": ""}
            case "redacted_thinking":
                return {"type": "redacted_thinking", "data": "".join(self.pieces)}
            case "tool_use":
                return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}
            case kind:
                assert_never(kind)

    def whole(self) -> dict[str, object]:
        said = "".join(self.pieces)
        match self.kind:
            case "text":
                return {"type": "text", "text": said}
            case "thinking":
                return {"type": "thinking", "thinking": said, "signature": self.signature}
            case "redacted_thinking":
                return self.start()
            case "tool_use":
                return {**self.start(), "input": _input(said)}
            case kind:
                assert_never(kind)


def _input(said: str) -> msgspec.Raw | dict[str, str]:
    """Arguments as an object; those that are none, such as cut ones, stand in one, as Anthropic advises."""
    if not said.strip():
        return {}
    try:
        _object.decode(said)
    except (*UNREADABLE, UnicodeError):
        return {"INVALID_JSON": said}
    return msgspec.Raw(said.encode())


class _Said:
    """What an answer has said of itself, and to which of its blocks a delta belongs."""

    __slots__ = ("_calls", "_finish", "_head", "_refused", "usage")

    def __init__(self, head: Letterhead) -> None:
        self._head = head
        self._calls: dict[int, Block] = {}
        self._finish = Finish(reason="stop")
        self._refused = False
        self.usage = Usage()

    def take(self, delta: Delta, last: Block | None) -> Block | None:
        """The block that a delta goes on or begins; None where it says nothing. `last` is the one said before."""
        match delta:
            case TextDelta() | RefusalDelta():
                self._refused = self._refused or isinstance(delta, RefusalDelta)
                return _same(last, "text") if delta.text else None
            case ThinkingDelta():
                if delta.hidden:
                    return Block(kind="redacted_thinking")
                return _same(last, "thinking") if delta.text or delta.signature else None
            case ToolDelta():
                call = self._calls.get(delta.place)
                if call is None:
                    id = delta.id or f"toolu_{self._head.id}_{delta.place}"
                    call = Block(kind="tool_use", id=with_proof(id, delta.signature), name=delta.name)
                    self._calls[delta.place] = call
                return call
            case Used():
                self.usage = delta.usage
            case Finish():
                self._finish = delta
            case Begin():
                pass
            case _:
                assert_never(delta)
        return None

    def ending(self) -> dict[str, object]:
        """Why it ended. Some providers call it a plain stop although they have called a tool, or refused."""
        reason, sequence = self._finish.reason, self._finish.sequence
        if reason == "stop":
            reason = "tool_calls" if self._calls else "refusal" if self._refused else "stop"
        return {
            "stop_reason": STOPS.get(reason) or ("stop_sequence" if sequence else "end_turn"),
            "stop_sequence": sequence or None,
        }


def _same(last: Block | None, kind: Literal["text", "thinking"]) -> Block:
    """The last block where it is of this kind and goes on, else a new one."""
    return last if last is not None and last.kind == kind and not last.complete else Block(kind=kind)


class AnthropicWriter:
    """One streamed answer.

    Anthropic's blocks do not alternate: what belongs to a later one waits while the arguments of a call are not complete.
    Usage is told at the end alone, cache counters included, since no more than an estimate of it is known before.
    """

    __slots__ = ("_begun", "_head", "_held", "_index", "_open", "_said", "_waiting")

    def __init__(self, head: Letterhead) -> None:
        self._head = head
        self._said = _Said(head)
        self._begun = False
        self._open: Block | None = None
        self._index = -1
        self._waiting: list[Block] = []
        self._held = 0

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Frames for these.

        Raises:
            Upstream: `malformed_stream`, when more has to wait than is allowed, or a call goes on after its end.
        """
        out: list[bytes] = []
        if deltas and not self._begun:
            out.append(self._begin())
        for delta in deltas:
            last = self._waiting[-1] if self._waiting else self._open
            block = self._said.take(delta, last)
            if block is not None:
                self._put(block, delta, out)
        return b"".join(out)

    def end(self) -> bytes:
        out: list[bytes] = [] if self._begun else [self._begin()]
        self._close(out)
        for block in self._waiting:
            self._start(block, out)
            self._close(out)
        self._waiting.clear()
        out.append(_frame("message_delta", {"delta": self._said.ending(), "usage": _usage(self._said.usage)}))
        out.append(_frame("message_stop", {}))
        return b"".join(out)

    def fail(self, error: TandemError) -> bytes:
        return b"event: error\ndata: %b\n\n" % _encode(shape(error, status_of(error), ""))

    def _begin(self) -> bytes:
        self._begun = True
        message = {**_opening(self._head), "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(Usage())}
        return _frame("message_start", {"message": message})

    def _put(self, block: Block, delta: Delta, out: list[bytes]) -> None:
        """Says a delta now where its block's turn has come, else keeps it."""
        if block is self._open:
            block.take(delta)
            out.append(self._piece(delta))
            if self._waiting and block.complete:
                self._go_on(out)
            return
        if block.closed:
            if isinstance(delta, ToolDelta) and not delta.arguments.strip():
                return
            raise _malformed("The provider went on with a tool call that was complete.")
        block.take(delta)
        if self._open is not None and self._open.kind == "tool_use" and not self._open.complete:
            self._hold(block, delta)
            return
        self._start(block, out)

    def _hold(self, block: Block, delta: Delta) -> None:
        if block not in self._waiting:
            self._waiting.append(block)
        self._held += len(block.pieces[-1])
        if self._held > LARGEST_HELD or len(self._waiting) > 1024:
            raise _malformed("The provider alternates between tool calls, and too much has to wait.")

    def _go_on(self, out: list[bytes]) -> None:
        """Starts the blocks that wait, up to the first whose arguments are not complete."""
        while self._waiting and (self._open is None or self._open.kind != "tool_use" or self._open.complete):
            block = self._waiting.pop(0)
            self._held -= sum(map(len, block.pieces))
            self._start(block, out)

    def _start(self, block: Block, out: list[bytes]) -> None:
        """Opens a block and says what is known of it."""
        self._close(out)
        self._open = block
        self._index += 1
        out.append(_frame("content_block_start", {"index": self._index, "content_block": block.start()}))
        said = "".join(block.pieces)
        match block.kind:
            case "text":
                out.append(self._change({"type": "text_delta", "text": said}))
            case "thinking":
                out += [self._change({"type": "thinking_delta", "thinking": said})] if said else []
                out += [self._change({"type": "signature_delta", "signature": block.signature})] if block.signature else []
            case "tool_use":
                out.append(self._change({"type": "input_json_delta", "partial_json": said}))
            case "redacted_thinking":
                pass
            case kind:
                assert_never(kind)

    def _piece(self, delta: Delta) -> bytes:
        """What an open block says next."""
        match delta:
            case TextDelta() | RefusalDelta():
                return self._change({"type": "text_delta", "text": delta.text})
            case ThinkingDelta():
                said = self._change({"type": "thinking_delta", "thinking": delta.text}) if delta.text else b""
                signed = {"type": "signature_delta", "signature": delta.signature}
                return said + (self._change(signed) if delta.signature else b"")
            case ToolDelta():
                return self._change({"type": "input_json_delta", "partial_json": delta.arguments}) if delta.arguments else b""
            case _:
                return b""

    def _change(self, delta: Mapping[str, object]) -> bytes:
        return _frame("content_block_delta", {"index": self._index, "delta": delta})

    def _close(self, out: list[bytes]) -> None:
        if self._open is not None:
            out.append(_frame("content_block_stop", {"index": self._index}))
            self._open.closed = True
            self._open = None


def _frame(kind: str, members: dict[str, object]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **members}))


def _malformed(message: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends.", code="malformed_stream")
