"""One answer explained: all calls of its trace, what it cost, and its content where that was recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from tandem.core.score import Score
from tandem.core.trace import Attempt, Corrected, Trace
from tandem.observability.content import Subjects
from tandem.observability.traces import Found, Traces


class Kept(msgspec.Struct, frozen=True):
    """Content as the door sealed it."""

    request: bytes
    answer: bytes
    cut: bool = False
    notes: dict[str, object] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """What was asked and answered, as far as it may be read."""

    request: str = ""
    answer: str = ""
    cut: bool = False
    """Whether it was longer than what is kept."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """What was found beside the answer: a prediction's probability, the reasons for a review."""
    erased: bool = False
    """Whether its subject was erased, so that nobody can read it any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A whole trace."""

    id: str
    calls: list[Trace]
    """The opening call first, then those nested in it, by time."""
    orphans: list[Attempt]
    """Attempts whose call never closed."""
    cost: int | None
    """Nano-dollars over all attempts; None when one of them has no known price."""
    content: Mapping[str, Text] | None
    """By call id; None when it was not asked for."""
    scores: Sequence[Score]
    """What people and scorers said of its calls, oldest first."""
    corrections: Sequence[Corrected] = ()
    """Attempts whose cost was corrected, with what was booked at first."""


def explain(traces: Traces, subjects: Subjects, identifier: str, *, team: str | None, content: bool) -> Explained:
    """Reads one trace.

    Args:
        team: only this team's calls are seen; None sees all.
        content: whether prompts and answers are read too.

    Raises:
        NotFound: there is none for this team.
    """
    found = _righted(traces.find(identifier, team=team))
    costs = [attempt.cost for call in found.calls for attempt in call.attempts] + [attempt.cost for attempt in found.orphans]
    texts = {call.call: text for call in found.calls if (text := _text(traces, subjects, call)) is not None} if content else None
    return Explained(
        id=identifier,
        calls=[_named(subjects, call) for call in found.calls],
        orphans=found.orphans,
        cost=None if None in costs else sum(cost or 0 for cost in costs),
        content=texts,
        scores=traces.scores(identifier),
        corrections=found.corrections,
    )


def _righted(found: Found) -> Found:
    """With each attempt at what it is booked at now."""
    if not found.corrections:
        return found
    now = {(each.call, each.attempt): each.cost for each in found.corrections}

    def right(attempts: Sequence[Attempt]) -> list[Attempt]:
        return [replace(each, cost=now.get((each.call, each.attempt), each.cost)) for each in attempts]

    calls = []
    for call in found.calls:
        attempts = right(call.attempts)
        costs = [each.cost for each in attempts]
        cost = call.cost if not costs else None if None in costs else sum(each or 0 for each in costs)
        calls.append(replace(call, attempts=attempts, cost=cost))
    known = {call.call for call in found.calls} | {each.call for each in found.orphans}
    seen = [each for each in found.corrections if each.call in known]
    return replace(found, calls=calls, orphans=right(found.orphans), corrections=seen)


def _named(subjects: Subjects, call: Trace) -> Trace:
    """With the subject's name, as long as there is one."""
    name = None if call.subject is None else subjects.name(call.subject)
    return call if name is None else replace(call, subject=name)


def _text(traces: Traces, subjects: Subjects, call: Trace) -> Text | None:
    sealed = traces.sealed(call.call, call.id)
    if sealed is None:
        return None
    plain = subjects.open(*sealed) if sealed[1] else None
    if plain is None:
        return Text(erased=True)
    kept = msgspec.msgpack.decode(plain, type=Kept)
    return Text(
        request=kept.request.decode(errors="replace"),
        answer=kept.answer.decode(errors="replace"),
        cut=kept.cut,
        notes=kept.notes,
    )
