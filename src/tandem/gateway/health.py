"""How targets have been doing, as this worker saw it. Pure: the time is told, nothing is sent and nothing is refused.

A target that keeps failing rests: it stands behind all others. When its rest is over one call tries it again; if that fails
too, it rests twice as long. Where every target rests they are asked in their order all the same, so a rest can cost a
better target but never an answer.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tandem.core.clock import MICROS
from tandem.core.endpoint import Target

WINDOW = 30 * MICROS
"""How far back failures count."""
LEAST = 5
"""Attempts in the window before anything is concluded from them."""
SHARE = 0.5
"""Of them that failed, from which on a target rests."""
REST, LONGEST = 5 * MICROS, 60 * MICROS
MOST = 4096
"""Targets that are remembered; callers may name models directly."""
WELL = frozenset(
    {"ok", "gone", "bad_request", "content_policy", "context_exceeded", "not_found", "guard_blocked", "reservation_used_up"}
)
"""Outcomes of an attempt that say nothing against its target: it answered, or the fault was the caller's or ours."""


@dataclass(slots=True)
class _Case:
    """A target that has failed of late."""

    recent: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=200))
    """When an attempt ended, and whether well."""
    rest: int = 0
    """The length of its rest; 0: it does not rest."""
    until: int = 0
    """When the rest is over, or when the next call may try."""


class Health:
    """The cases of one worker. A target that never fails has none."""

    def __init__(self) -> None:
        self._cases: OrderedDict[str, _Case] = OrderedDict()

    def order(self, candidates: Sequence[Target], now: int) -> list[Target]:
        """The candidates with those at rest behind the others. Whoever's rest is over keeps its place for this one call."""
        if not self._cases or len(candidates) < 2:
            return list(candidates)
        up: list[Target] = []
        resting: list[Target] = []
        for target in candidates:
            case = self._cases.get(target.target)
            if case is None or not case.rest:
                up.append(target)
            elif case.until <= now and not up:  # it would be asked first, so this is its trial
                case.until = now + REST
                up.append(target)
            else:
                resting.append(target)
        return up + resting

    def note(self, target: str, outcome: str, now: int, retry_after: float | None = None) -> None:
        """How an attempt ended.

        Args:
            target: `provider/model`.
            outcome: as the attempt is booked.
            now: Unix microseconds.
            retry_after: seconds that the provider asked to be left alone.
        """
        well = outcome in WELL
        case = self._cases.get(target)
        if case is None:
            if well:
                return
            case = self._cases[target] = _Case()
            if len(self._cases) > MOST:
                self._cases.popitem(last=False)
        case.recent.append((now, well))
        self._forget(case, now)
        if well:
            if (outcome == "ok") if case.rest else all(good for _, good in case.recent):
                del self._cases[target]
            return
        if retry_after is not None:
            self._rest(case, now, int(retry_after * MICROS))
        elif case.rest:
            self._rest(case, now, 2 * case.rest)
        elif len(case.recent) >= LEAST and sum(not good for _, good in case.recent) >= SHARE * len(case.recent):
            self._rest(case, now, REST)

    def resting(self, now: int) -> list[str]:
        """The targets that stand behind the others now."""
        return sorted(name for name, case in self._cases.items() if case.rest and case.until > now)

    def _forget(self, case: _Case, now: int) -> None:
        while case.recent[0][0] < now - WINDOW:
            case.recent.popleft()

    def _rest(self, case: _Case, now: int, length: int) -> None:
        case.rest = min(max(length, REST), LONGEST)
        case.until = now + case.rest
