"""What a call asks of hosts, as far as the door must understand it, and what it answers to. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from tandem.gateway.providers.base import Verb
from tandem.gateway.routing.wishes import Preferences, Wishes
from tandem.gateway.tied import Kept

Headers = list[tuple[bytes, bytes]]
Fields = tuple[tuple[bytes, bytes], ...]
"""Headers of the caller that belong to the upstream."""
FRAMES_BESIDE = 64
"""Frames of a stream that may hold no token: roles, ends, keep-alives."""


class Reply(Protocol):
    """The part of `http1.Reply` that is needed here; nested calls bring their own."""

    def send(self, status: int, headers: Headers, body: bytes = b"") -> None: ...
    def begin(self, status: int, headers: Headers) -> None: ...
    def write(self, data: bytes) -> None: ...
    async def drain(self) -> None: ...
    def end(self) -> None: ...


class Prompted(msgspec.Struct, frozen=True, kw_only=True):
    """A request in a caller's dialect."""

    verb: Verb
    body: bytes
    stream: bool
    wants_usage: bool
    """Whether the caller asked for the usage frame itself."""
    edits: Mapping[str, bytes]
    """Fields the door writes besides `model`, as JSON."""
    tokens_in: int
    tokens_out: int
    """Upper bounds, for the reservation."""
    headers: Fields = ()
    """Passed on to the upstream as they are: traceparent, and the vendor's own."""
    dialect: str = "openai"
    """The wire that the caller speaks."""
    wishes: Preferences | None = None
    """What the caller wishes of the route."""
    bound: str = "max_tokens"
    """How this wire calls the bound of an output, where the door has to write one."""
    changes: bool = False
    """Whether it goes on with what a provider keeps and changes, so that the same question is another one each time."""
    follows: str = ""
    """The answer it goes on from, as the caller names it."""
    kept: Kept | None = None
    """The same answer, once it is known where it is kept."""


class Read(msgspec.Struct, frozen=True):
    """A request that was understood: where it wants to go, for whom, and what is asked."""

    address: str
    subject: str | None
    asked: Prompted
    declared: bool = True
    """Whether the request bounds its own output."""
    choices: int = 1
    wishes: Wishes | None = None
    """What the caller wishes of the route, in the words of brokers."""
