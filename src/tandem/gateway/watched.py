"""A stream of chat chunks under guards: each text in it is a channel, which lets go of what can no longer become a match.

Texts are told apart by choice and place (`content`, a tool call's `arguments`, whatever else a host invents); a choice's
channels are emptied before its last chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tandem.core.errors import Upstream
from tandem.gateway.call import Call
from tandem.gateway.guard import STRUCTURE, UNREADABLE, Guarding, note
from tandem.gateway.sse import data
from tandem.scorers.guards.channel import Argued, Plain
from tandem.scorers.guards.detect import automaton

CHANNELS = 1024
"""Texts in one stream; far more than any reply has."""
WHOLE = frozenset({"name"})
"""String members that come in one piece and must not be late."""
Path = tuple[str | int, ...]


class Watched:
    """The guarded stream of one attempt."""

    def __init__(self, call: Call, guards: Guarding) -> None:
        self._call = call
        self._guards = guards
        self._automaton = automaton(guards.out_rules)
        self._channels: dict[Path, Plain] = {}
        self._frame: dict[str, Any] = {}
        """What frames say of themselves, for those that are made here."""

    def pass_on(self, frames: list[bytes], *, last: bool) -> bytes:
        """What the caller may have of these frames; what is kept of them is kept.

        Args:
            last: whether nothing more will come.

        Raises:
            Blocked: a guard does not let it out.
            Upstream: a frame cannot be read.
        """
        passed = [pair for frame in frames for pair in self._read(frame)]
        if last:
            passed += self._rest(list(self._channels))
        note(self._call, self._guards)
        self._guards.stop("out")
        self._call.keep(b"".join([kept for kept, _ in passed]))
        return b"".join([said for _, said in passed])

    def _read(self, frame: bytes) -> list[tuple[bytes, bytes]]:
        payload = data(frame)
        if payload is None:
            return [(b":\n\n", b":\n\n")] if frame.startswith(b":") else []
        try:
            tree = msgspec.json.decode(payload)
            if not isinstance(tree, dict):
                raise _malformed()
            choices = tree.get("choices") or []
            self._frame = {name: value for name, value in tree.items() if name in STRUCTURE or name == "created"}
            ended = [_index(choice) for choice in choices if isinstance(choice, dict) and choice.get("finish_reason") is not None]
            kept, said = self._walk(tree, ())
        except UNREADABLE:
            raise _malformed() from None
        before = self._rest([path for path in self._channels if path[1] in ended]) if ended else []
        if said == tree:
            return [*before, (frame, frame)]
        if _hollow(said) and not _hollow(tree):
            return before
        return [*before, (_framed(kept), _framed(said))]

    def _walk(self, tree: Any, path: Path) -> tuple[Any, Any]:
        """As it is kept, and as the caller hears it."""
        if isinstance(tree, str):
            return self._text(tree, path)
        if isinstance(tree, list):
            pairs = [self._walk(item, (*path, _index(item, place))) for place, item in enumerate(tree)]
            return [kept for kept, _ in pairs], [said for _, said in pairs]
        if isinstance(tree, dict):
            both = {name: (None, None) if name == "logprobs" else self._walk(item, (*path, name)) for name, item in tree.items()}
            return {name: kept for name, (kept, _) in both.items()}, {name: said for name, (_, said) in both.items()}
        return tree, tree

    def _text(self, text: str, path: Path) -> tuple[str, str]:
        name = path[-1]
        if name in STRUCTURE:
            return text, text
        if name in WHOLE or "delta" not in path:
            return self._guards.once(text)
        channel = self._channels.get(path)
        if channel is None:
            if not text:
                return text, text
            if len(self._channels) >= CHANNELS:
                raise Upstream(f"The stream holds more than {CHANNELS} texts.", code="malformed_stream")
            made = Argued if name in self._guards.written else Plain
            channel = self._channels[path] = made(self._automaton, self._guards.on_the_way_out)
        return channel.feed(text)

    def _rest(self, paths: list[Path]) -> list[tuple[bytes, bytes]]:
        """Frames with what these channels still held."""
        made = []
        for path in paths:
            kept, said = self._channels.pop(path).end()
            if kept or said:
                made.append((_framed(self._with(path, kept)), _framed(self._with(path, said))))
        return made

    def _with(self, path: Path, text: str) -> dict[str, Any]:
        """A frame that says nothing but this text, at its place."""
        inner: Any = text
        for step in reversed(path[2:]):
            inner = {step: inner} if isinstance(step, str) else [{"index": step, **inner} if isinstance(inner, dict) else inner]
        return {**self._frame, "choices": [{"index": path[1], **inner, "finish_reason": None}]}


def _index(item: Any, place: int = 0) -> int:
    found = item.get("index", place) if isinstance(item, dict) else place
    return found if isinstance(found, int) else place


def _hollow(tree: dict[str, Any]) -> bool:
    """Whether a frame says nothing."""
    if tree.get("usage") is not None:
        return False
    return all(
        isinstance(choice, dict) and choice.get("finish_reason") is None and _empty(choice.get("delta"))
        for choice in tree.get("choices") or []
    )


def _empty(tree: Any) -> bool:
    if isinstance(tree, dict):
        return all(name == "index" or _empty(item) for name, item in tree.items())
    return all(map(_empty, tree)) if isinstance(tree, list) else tree is None or tree == ""


def _framed(tree: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(tree) + b"\n\n"


def _malformed() -> Upstream:
    return Upstream("The upstream sent an event that the guards cannot read.", code="malformed_stream")
