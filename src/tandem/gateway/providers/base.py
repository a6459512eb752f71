"""What a protocol of an upstream must be able to say. Bytes in, facts out; no client, no retry, no logging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Literal, Protocol, cast

import msgspec

from tandem.core.errors import Invalid
from tandem.core.money import Usage

Verb = Literal["chat", "embed"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request to an upstream, ready for the transport."""

    path: str
    """Relative to the host's base URL."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class Wire(Protocol):
    """One upstream protocol."""

    name: str

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        """The caller's body with the named fields replaced, addressed and authenticated."""
        ...

    def usage(self, body: bytes) -> Usage | None:
        """What a whole reply says it used; None when it does not say."""
        ...

    def frame(self, payload: bytes) -> tuple[Usage | None, bool, bool]:
        """Of one stream payload: usage if it tells, whether it carries nothing else, whether it is the last."""
        ...

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        """The canonical class of a failed reply.

        One of auth, quota, rate_limited, overloaded, context_exceeded, content_policy, bad_request, not_found, upstream_5xx.
        """
        ...


PROTOCOLS: dict[str, str] = {"openai": "tandem.gateway.providers.openai:OpenAI"}
"""Protocol name → where its class is; imported when first used."""


def load(protocol: str) -> Wire:
    """The wire of a protocol.

    Raises:
        Invalid: nobody speaks it.
    """
    place = PROTOCOLS.get(protocol)
    if place is None:
        raise Invalid(f"No provider speaks the protocol '{protocol}'.", hint=f"Known protocols: {', '.join(sorted(PROTOCOLS))}.")
    module, _, name = place.partition(":")
    return cast(Wire, getattr(import_module(module), name)())
