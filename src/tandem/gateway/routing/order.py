"""In which order the targets of a route are tried, and what comes after a failure. Pure but for the random source it is given."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tandem.core.canon import Fault
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import TandemError

PATIENCE_SECONDS = 5.0
"""The longest `Retry-After` that is waited for inside a call."""
Arrange = Callable[[Sequence[Target]], Sequence[Target]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A target that a call does not ask."""

    target: Target
    why: str
    guessed: bool = False
    """Whether it rests on an estimate alone."""


def order(route: Sequence[Target], dice: random.Random, arrange: Arrange | None = None) -> list[Target]:
    """Targets in the order they are tried: priorities ascending, inside each a weighted draw without replacement.

    Args:
        arrange: orders the targets of one priority instead; those of weight 0 apart, after the others.
    """
    if len(route) == 1:
        return list(route)
    ordered: list[Target] = []
    for priority in sorted({target.priority for target in route}):
        group = [target for target in route if target.priority == priority]
        spare = [target for target in group if target.weight <= 0]
        group = [target for target in group if target.weight > 0]
        if arrange is not None:
            ordered += [*(arrange(group) if group else ()), *(arrange(spare) if spare else ())]
            continue
        while group:
            pick = dice.choices(group, [target.weight for target in group])[0]
            group.remove(pick)
            ordered.append(pick)
        ordered += spare
    return ordered


@dataclass(slots=True)
class Tries:
    """The attempts of one call: never more than `1 + retries`, or one for each candidate, whichever is more.

    A further key of the same provider does not count: each is tried once, and a wrong key costs nothing.
    """

    candidates: Sequence[Target]
    left: int
    place: int = 0
    _barred: set[int] = field(default_factory=set)
    """Candidates that would say the same again."""

    @classmethod
    def of(cls, endpoint: Endpoint, candidates: Sequence[Target]) -> Tries:
        return cls(candidates, max(1 + endpoint.retries, len(candidates)) - 1)

    @property
    def target(self) -> Target:
        return self.candidates[self.place]

    def after(self, fault: Fault, *, another_key: bool) -> Target | None:
        """Where the next attempt goes after this one failed; None: nowhere.

        Args:
            another_key: whether the provider has a key that this call has not tried.
        """
        if "rotate_key" in fault.steps and another_key:
            return self.target
        if not fault.steps or self.left <= 0:
            return None
        if "retry_same" not in fault.steps:
            self._barred.add(self.place)
        count = len(self.candidates)
        for step in range(1, count + 1):
            place = (self.place + step) % count
            if place not in self._barred:
                self.place = place
                self.left -= 1
                return self.target
        return None


def pause(error: TandemError, again: int, same: bool, dice: random.Random) -> float | None:
    """Seconds to wait before attempt number `again` (from 1); None when the wait would be too long.

    Another target is tried at once; the same one after its `Retry-After`, else after a jittered
    exponential delay from 0.1 s.
    """
    if not same:
        return 0.0
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= PATIENCE_SECONDS else None
    return min(2.0, float(0.1 * 2 ** (again - 1))) * dice.uniform(0.8, 1.2)
