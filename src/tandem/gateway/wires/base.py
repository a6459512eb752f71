"""What a wire that callers speak must be able to do where the provider speaks another one. Bytes to words and back, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Protocol, cast

from tandem.core.chat import Chat, Delta
from tandem.core.errors import TandemError


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterhead:
    """What an answer says of itself."""

    id: str
    """Ours, by which the call can be found again: made from the trace's id."""
    model: str
    """The address that the caller asked."""
    at: int
    """Unix seconds."""
    wants_usage: bool = True
    """Whether the caller asked to be told the usage of a stream, where its wire lets it choose."""
    asked: bytes = b""
    """The request, for wires whose answers repeat a part of it."""


class Writer(Protocol):
    """One streamed answer, written as the caller's wire has it."""

    def feed(self, deltas: Sequence[Delta]) -> bytes:
        """Frames for these; empty where they say nothing yet. `Finish` and `Used` wait for `end`.

        Raises:
            Upstream: they cannot follow what was written (malformed_stream).
        """
        ...

    def end(self) -> bytes:
        """The frames that end the stream, usage and all. They leave once the call is recorded."""
        ...

    def fail(self, error: TandemError) -> bytes:
        """The frame that tells of an error after the stream has begun."""
        ...


class Dialect(Protocol):
    """One wire of chat."""

    name: str
    """As providers name it by `dialect`."""

    def chat(self, body: bytes) -> Chat:
        """What a request asks for; its form was checked before.

        Raises:
            Invalid: it holds what has no words here and must not be left out; `field` names it.
        """
        ...

    def whole(self, deltas: Sequence[Delta], head: Letterhead) -> bytes:
        """A whole answer's body."""
        ...

    def writer(self, head: Letterhead) -> Writer:
        """For one streamed answer."""
        ...


DIALECTS: dict[str, str] = {
    "openai": "tandem.gateway.wires.openai_chat:OpenAIDialect",
    "anthropic": "tandem.gateway.wires.anthropic:AnthropicDialect",
    "responses": "tandem.gateway.wires.responses:ResponsesDialect",
}
"""Name → where its class is; imported when first used."""


@lru_cache(maxsize=8)
def dialect_of(name: str) -> Dialect:
    """The dialect of that name; they hold nothing, so one of each is enough."""
    module, _, made = DIALECTS[name].partition(":")
    return cast(Dialect, getattr(import_module(module), made)())
