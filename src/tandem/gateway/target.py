"""What the door knows of everything that answers without being a language model's host.

Serving and decisions implement `Target`; `app` hands them in. The gateway imports neither.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tandem.core.principal import Principal
from tandem.gateway.snapshot import Served


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a target says, ready for the wire."""

    status: int = 200
    body: bytes = b""
    attributes: Mapping[str, object] = field(default_factory=dict)
    """For the trace, in the clear: nothing of what was asked or answered."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What it found; kept with the content, sealed, where content is kept at all."""
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    """Further ones, for the caller."""
    kept: tuple[bytes, bytes] | None = None
    """What was asked and what is answered as they are recorded, where the bytes on the wire can be read by no one later."""


Nested = Callable[[str, str, bytes, Mapping[str, object]], Awaitable[Answer]]
"""(kind, address, body, attributes) → the answer of a call made inside this one, in the same trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a target is asked."""

    verb: str
    """`infer`, `metadata`, `ready`, `load`, `unload`, `decide` or `chat`."""
    served: Served
    body: bytes
    seconds: float
    """Until the deadline."""
    trace: str
    nested: Nested
    prompt: Callable[[str], Served]
    """Finds a prompt by `prompt/name@version-or-alias`; raises NotFound."""
    principal: Principal | None = None
    """Who asks."""
    at: int = 0
    """When, UTC microseconds."""
    model: str = ""
    """The endpoint's: who writes an answer from documents."""
    header: int | None = None
    """Bytes of the JSON at the beginning of the body, where binary tensors follow it."""


class Target(Protocol):
    """Answers questions about one kind of served asset."""

    async def answer(self, question: Question) -> Answer: ...

    async def close(self) -> None: ...
