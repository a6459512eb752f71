"""What a protocol of an upstream must be able to say. Bytes or a chat in, facts or deltas out; no client, no retry, no log."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Literal, Protocol, cast

import msgspec

from tandem.core.chat import Chat, Delta
from tandem.core.errors import Invalid
from tandem.core.money import Usage

Verb = Literal["chat", "embed", "rerank"]


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request to an upstream, ready for the transport."""

    path: str
    """Relative to the host's base URL."""
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    dropped: tuple[str, ...] = ()
    """Fields of the chat that this protocol has no place for and that were left out; the caller is told."""
    bound: Callable[[Ask, str, int], Ask] | None = None
    """Where its path or its headers depend on where it goes and when: makes of it what is sent, by the host's base URL and
    the UTC microseconds. Raises Rejected where it cannot."""
    single: bool = False
    """Whether several calls of tools at once were forbidden and this protocol cannot say so: only the first is passed on."""


class Meter(Protocol):
    """What a passing stream of the provider's own frames used."""

    usage: Usage | None
    """What is known so far; None until the provider says."""

    def tells(self, frame: bytes) -> bool:
        """Whether a frame can say anything of use here; most do not, and need not be read."""
        ...

    def opens(self, frame: bytes) -> bool:
        """Whether the answer begins with a frame, so that no other attempt may take over; some say nothing of it yet."""
        ...

    def frame(self, payload: bytes) -> tuple[bool, bool]:
        """Of one frame's data: whether it carries nothing but usage, and whether it is the last.

        Raises:
            Upstream: it tells of an error (with the canonical code).
        """
        ...


class Reader(Protocol):
    """One streamed answer, read."""

    ended: bool
    """Whether the provider has said that nothing more comes; a stream that stops before is cut."""

    def feed(self, payload: bytes) -> list[Delta]:
        """What one frame's data say.

        Raises:
            Upstream: they cannot be read, or they tell of an error (with the canonical code).
        """
        ...


class Wire(Protocol):
    """One upstream protocol."""

    name: str
    dialect: str
    """The callers' wire whose bytes pass through as they are: `openai`, `anthropic` or `responses`; empty for none."""

    def ask(self, verb: Verb, body: bytes, edits: Mapping[str, bytes], key: str | None) -> Ask:
        """The caller's body with the named fields replaced, addressed and authenticated; for callers of the same dialect."""
        ...

    def usage(self, body: bytes) -> Usage | None:
        """What a whole reply says it used; None when it does not say."""
        ...

    def put(self, chat: Chat, model: str, key: str | None) -> Ask:
        """The chat as this protocol asks for it, for callers of another dialect.

        Raises:
            Invalid: it holds what this protocol cannot carry and what must not be left out; `field` names it.
        """
        ...

    def whole(self, body: bytes) -> list[Delta]:
        """What a whole answer says, as if it had been streamed: one delta for each block, `Used`, `Finish`.

        Raises:
            Upstream: it cannot be read.
        """
        ...

    def reader(self) -> Reader:
        """For one streamed answer."""
        ...

    def fault(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> str:
        """The canonical class of a failed reply.

        One of auth, quota, rate_limited, overloaded, context_exceeded, content_policy, bad_request, not_found, upstream_5xx.
        """
        ...


class Passing(Wire, Protocol):
    """A protocol that callers speak too, so that its streams pass as they are."""

    def meter(self) -> Meter:
        """For one passing stream."""
        ...


PROTOCOLS: dict[str, str] = {
    "anthropic": "tandem.gateway.providers.anthropic:Anthropic",
    "azure": "tandem.gateway.providers.azure:Azure",
    "bedrock": "tandem.gateway.providers.bedrock:Bedrock",
    "cohere": "tandem.gateway.providers.cohere:Cohere",
    "gemini": "tandem.gateway.providers.gemini:Gemini",
    "mistral": "tandem.gateway.providers.mistral:Mistral",
    "openai": "tandem.gateway.providers.openai:OpenAI",
    "responses": "tandem.gateway.providers.responses:Responses",
}
"""Protocol name → where its class is; imported when first used."""
QUERIES: dict[str, str] = {"azure": "api-version", "bedrock": "region"}
"""Protocol → the one thing that the query of a base URL may say, for what its host or path leaves open."""


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
