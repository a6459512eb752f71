"""Why a call went where it went, from its trace: who was weighed, who answered, and what the others would have cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tandem.core.canon import fault_of
from tandem.core.endpoint import HOSTED
from tandem.core.money import Price
from tandem.core.trace import Attempt, Trace

State = Literal["answered", "failed", "not asked", "left out", "shadow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """One target of a call's route."""

    target: str
    state: State
    place: int | None = None
    """In the order they were to be asked, from 1."""
    why: str = ""
    """Why it was left out, stood behind the others, or failed."""
    expected: str = ""
    """What the strategy expected of it beforehand."""
    cost: int | None = None
    """Nano-dollars that it did cost, over all attempts there."""
    would_cost: int | None = None
    """Nano-dollars that the same tokens cost there, at the prices of that time; None where there is no price or no count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """How one call of a trace was routed."""

    call: str
    endpoint: str
    strategy: str
    targets: tuple[Weighed, ...]


def routed(calls: Sequence[Trace], price: Callable[[str, int, str], Price | None]) -> tuple[Routed, ...]:
    """The routes of all calls of a trace that went to language models.

    Args:
        price: the row of a target (`provider/model`) at a UTC time in microseconds for a team.
    """
    return tuple(_routed(call, price) for call in calls if call.kind in HOSTED and _rows(call))


def _rows(call: Trace) -> list[Mapping[str, object]]:
    told = call.attributes.get("tandem.route")
    if isinstance(told, list):
        return [row for row in told if isinstance(row, Mapping)]
    return [{"target": target, "place": place + 1} for place, target in enumerate(_asked(call))]  # there was one to choose from


def _asked(call: Trace) -> list[str]:
    return list(dict.fromkeys(attempt.target for attempt in call.attempts if "/" in attempt.target))


def _routed(call: Trace, price: Callable[[str, int, str], Price | None]) -> Routed:
    answered = next((attempt for attempt in reversed(call.attempts) if attempt.usage.source == "provider"), None)
    strategy = call.attributes.get("tandem.route.strategy")
    return Routed(
        call=call.call,
        endpoint=call.endpoint,
        strategy=strategy if isinstance(strategy, str) else "weighted",
        targets=tuple(_weighed(call, row, answered, price) for row in _rows(call)),
    )


def _weighed(
    call: Trace, row: Mapping[str, object], answered: Attempt | None, price: Callable[[str, int, str], Price | None]
) -> Weighed:
    target, place = str(row.get("target")), row.get("place")
    made = [attempt for attempt in call.attempts if attempt.target == target]
    state, why = _state(row, made)
    costs = [attempt.cost for attempt in made]
    known = price(target, call.start, call.team) if answered is not None else None
    return Weighed(
        target=target,
        state=state,
        place=place if isinstance(place, int) else None,
        why=why,
        expected=str(row.get("expected", "")),
        cost=None if not made or None in costs else sum(cost or 0 for cost in costs),
        would_cost=None if known is None or answered is None else known.cost(answered.usage),
    )


def _state(row: Mapping[str, object], made: Sequence[Attempt]) -> tuple[State, str]:
    if made and made[-1].outcome == "ok":
        return "answered", "a canary" if row.get("role") == "canary" else ""
    if made:
        return "failed", f"{made[-1].outcome}: {fault_of(made[-1].outcome).told}"
    if "dropped" in row:
        return "left out", str(row["dropped"])
    if row.get("role") == "shadow":
        return "shadow", "hears the call after it was answered"
    if "rests" in row:
        return "not asked", f"rests after {row['rests']}"
    return "not asked", "an earlier one answered"
