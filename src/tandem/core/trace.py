"""Trace: one call through the door, a tree of spans with versions, verdicts and cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.core.money import Usage


@dataclass(slots=True, kw_only=True)
class Span:
    """One stage of a call. Mutable while the call runs, never after."""

    name: str
    """`admit`, `chat gpt-4o-mini`, `predict tumor`, `decide second-opinion`…"""
    start: int
    """UTC microseconds."""
    end: int = 0
    attributes: dict[str, object] = field(default_factory=dict)
    """JSON values under OpenTelemetry's names where they exist."""
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one target: the unit that is priced and booked, identified by (call, attempt)."""

    call: str
    attempt: int
    target: str
    """`provider/model`, `model/tumor@2` or `decision/second-opinion@1`."""
    usage: Usage
    cost: int | None
    """Nano-dollars; None when no price is known."""
    reserved: int
    """Nano-dollars held before anything was sent."""
    outcome: str
    """`ok`, or the error's code, or `gone` for a caller that left, or `crashed`."""
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A cost that was put in the place of what was booked."""

    call: str
    attempt: int
    trace: str
    booked: int | None
    """Nano-dollars, as `cost`; None where no price was known."""
    cost: int
    at: int
    """When it was corrected, UTC microseconds."""
    by: str
    why: str
    """By what: a bill, or prices that hold now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One call as it is recorded when it ends."""

    id: str
    call: str
    """This call's own id; the call that opens a trace and those nested in it share `id`."""
    parent: str | None
    """The call this one was made by, inside the same trace."""
    endpoint: str
    kind: str
    """`chat`, `embed`, `predict`, `decide`, or `` when it never resolved."""
    team: str
    principal: str
    start: int
    end: int
    outcome: str
    status: int
    cost: int | None
    """Nano-dollars over all attempts of this call; None when one of them has no known price."""
    spans: list[Span]
    attempts: list[Attempt]
    attributes: dict[str, object]
    """Versions used, candidates and why each was dropped, policy and snapshot versions, caller's traceparent."""
    subject: str | None = None
    """The end user the call names, under whose key the content is kept."""
