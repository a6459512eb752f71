"""Traces: one call through the door and all it did, with versions, verdicts and cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.verdicts import Score
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one attempt used, in disjoint counters of tokens, and who says so."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    cache_read_audio: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    searches: int = 0
    """Searches of the web that the provider made."""
    source: str = "none"
    """`provider`, `estimated` or `none`."""

    @property
    def total_input(self) -> int:
        cached = self.cache_read + self.cache_write + self.cache_write_1h + self.cache_read_audio
        return self.input + cached + self.input_audio + self.input_image

    @property
    def total_output(self) -> int:
        return self.output + self.reasoning + self.output_audio + self.output_image


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One stage of a call."""

    name: str
    start: int
    """UTC microseconds."""
    end: int = 0
    attributes: Mapping[str, object] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one target: the unit that is priced and booked."""

    target: str
    attempt: int = 0
    call: str = ""
    usage: Usage = Usage()
    cost: int | None = None
    """Nano-dollars; None when no price is known."""
    reserved: int = 0
    """Nano-dollars held before anything was sent."""
    outcome: str = ""
    start: int = 0
    end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """A cost that was put in the place of what was booked, in nano-dollars."""

    call: str
    attempt: int = 0
    booked: int | None = None
    """At first; None where no price was known."""
    cost: int = 0
    at: int = 0
    by: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call as it was recorded when it ended."""

    call: str
    start: int
    end: int
    id: str = ""
    """The trace it belongs to."""
    parent: str | None = None
    """The call it was made by, inside the same trace."""
    endpoint: str = ""
    kind: str = ""
    """`chat`, `embed`, `predict` or `decide`."""
    team: str = ""
    principal: str = ""
    outcome: str = ""
    """`ok`, an error's code, or `gone`."""
    status: int = 0
    cost: int | None = None
    """Nano-dollars over all attempts; None when one of them has no known price."""
    spans: tuple[Span, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    """Versions used, candidates, policy, error."""
    subject: str | None = None
    """The end user the call named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What was asked and answered."""

    request: str = ""
    answer: str = ""
    cut: bool = False
    """True when it was longer than what is kept."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What was found beside the answer: a prediction's probability, the reasons for a review."""
    erased: bool = False
    """True when the end user's key was deleted, and the content with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A whole trace: the opening call first, then those nested in it."""

    id: str
    calls: tuple[Call, ...] = ()
    orphans: tuple[Attempt, ...] = ()
    """Attempts whose call never closed: the door died under them."""
    cost: int | None = None
    cost_usd: str | None = None
    content: Mapping[str, Content] | None = None
    """By call id; None when it was not asked for."""
    scores: tuple[Score, ...] = ()
    """What people and scorers said of its calls, oldest first."""
    corrections: tuple[Corrected, ...] = ()
    """Attempts whose cost was corrected after they were booked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One opening call in a list."""

    trace: str
    start: int
    end: int
    call: str = ""
    team: str = ""
    principal: str = ""
    endpoint: str = ""
    kind: str = ""
    outcome: str = ""
    status: int = 0
    cost: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One target of a call's route."""

    target: str
    state: str = ""
    """`answered`, `failed`, `not asked`, `left out` or `shadow`."""
    place: int | None = None
    """In the order they were to be asked, from 1."""
    why: str = ""
    expected: str = ""
    """What the strategy expected of it beforehand."""
    cost: int | None = None
    """Nano-dollars that it did cost."""
    would_cost: int | None = None
    """Nano-dollars that the same tokens cost there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How one call of a trace was routed."""

    call: str
    endpoint: str = ""
    strategy: str = ""
    targets: tuple[Weighed, ...] = ()


class Traces:
    """`client.traces`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(
        self, *, limit: int = 50, before: int | None = None, endpoint: str | None = None, outcome: str | None = None
    ) -> tuple[TraceRow, ...]:
        """The newest calls first; `before` (UTC microseconds) continues an earlier list."""
        query = {"limit": limit, "before": before, "endpoint": endpoint, "outcome": outcome}
        return read_replies(TraceRow, self._wire.get(f"{API}/traces", query))

    def show(self, id: str, *, content: bool = False) -> Trace:
        """One trace, with what was asked and answered when `content` is wanted and the key may see it.

        Raises:
            NotFound: there is none, or it is another team's.
        """
        return read_reply(Trace, self._wire.get(f"{API}/traces/{segment(id)}", {"content": 1 if content else None}))

    def route(self, id: str) -> tuple[Routed, ...]:
        """Why the calls of a trace went where they went, and what the other targets would have cost.

        Raises:
            NotFound: there is none, or it is another team's.
        """
        return read_replies(Routed, self._wire.get(f"{API}/traces/{segment(id)}/route"))
