"""How targets and keys have been doing, as this worker saw it. Pure: the time is told, nothing is sent, nothing is refused.

A target that keeps failing rests: it stands behind all others. When its rest is over one call tries it again; if that fails
too, it rests twice as long. A key that was refused, used up or asked too often rests too, and another of the same provider
is used; a target of which every key rests, rests. Where every target rests they are asked in their order all the same, so a
rest can cost a better target but never an answer.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.canon import CANON
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
"""Targets and keys that are remembered; callers may name models directly."""
OF_KEYS = frozenset(code for code, fault in CANON.items() if "rotate_key" in fault.steps)
"""Outcomes that say something of the key, not of the target."""
OF_ONE_MODEL = frozenset({"rate_limited"})
"""Of those, what a key may run into at one model and not at the next."""
ILL = frozenset(
    code for code, fault in CANON.items() if fault.side == "provider" and code not in OF_KEYS and "fail_over" in fault.steps
) - {"not_found"}
"""Outcomes that speak against a target."""


class Resting(msgspec.Struct, frozen=True, kw_only=True):
    """A target or a key that stands behind the others."""

    name: str
    """`provider/model`, `provider#1` (a key, counted from 1), or `provider/model#1` (a key at one model)."""
    since: int
    until: int
    """Unix microseconds; then one call tries it."""
    outcome: str
    """What happened last."""
    failures: int
    """In a row."""


@dataclass(slots=True)
class _Case:
    """Something that has failed of late."""

    recent: deque[tuple[int, bool]] = field(default_factory=lambda: deque(maxlen=200))
    """When an attempt ended, and whether well."""
    rest: int = 0
    """The length of its rest; 0: it does not rest."""
    since: int = 0
    until: int = 0
    """When the rest is over, or when the next call may try."""
    outcome: str = ""
    failures: int = 0


class Health:
    """The cases of one worker. What never fails has none."""

    def __init__(self) -> None:
        self._cases: OrderedDict[str, _Case] = OrderedDict()
        self.changes = 0
        """Counts what began or ended to rest, so that whoever shows it knows when to look."""

    # --- what is asked first

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

    def key(self, target: str, count: int, now: int, tried: Sequence[int] = ()) -> int | None:
        """Which of a provider's keys (0, 1, …) to use at a target: the first that does not rest, else the one that rests
        the shortest; None where this call has tried them all."""
        free = [place for place in range(count) if place not in tried]
        if not free:
            return None
        if not self._cases:
            return free[0]
        return min(free, key=lambda place: (max(0, self._key_until(target, place) - now), place))

    def _key_until(self, target: str, place: int) -> int:
        provider = target.partition("/")[0]
        cases = (self._cases.get(_key(provider, place)), self._cases.get(_key(target, place)))
        return max((case.until for case in cases if case is not None), default=0)

    # --- what was learned

    def note(self, target: str, outcome: str, now: int, retry_after: float | None = None, *, key: int = 0, keys: int = 1) -> None:
        """How an attempt ended.

        Args:
            target: `provider/model`.
            outcome: as the attempt is booked.
            now: Unix microseconds.
            retry_after: seconds that the provider asked to be left alone.
            key: which key of the provider was used.
            keys: how many it has.
        """
        if outcome in OF_KEYS:
            self._note_key(target, outcome, now, retry_after, key, keys)
            return
        if outcome == "ok" and self._cases:
            for name in (_key(target, key), _key(target.partition("/")[0], key)):
                self._end(name)
        self._note(target, outcome, now, outcome not in ILL, retry_after if outcome in ILL else None)

    def _note_key(self, target: str, outcome: str, now: int, retry_after: float | None, key: int, keys: int) -> None:
        name = _key(target if outcome in OF_ONE_MODEL else target.partition("/")[0], key)
        case = self._case(name)
        self._rest(case, outcome, now, int(retry_after * MICROS) if retry_after is not None else 2 * case.rest)
        awake = max(now, min(self._key_until(target, place) for place in range(max(1, keys))))
        if awake > now:  # every key rests, so nothing answers there until the first of them wakes
            own = self._case(target)
            self._rest(own, outcome, now, awake - now)

    def _note(self, target: str, outcome: str, now: int, well: bool, retry_after: float | None) -> None:
        case = self._cases.get(target)
        if case is None:
            if well:
                return
            case = self._case(target)
        case.recent.append((now, well))
        while case.recent[0][0] < now - WINDOW:
            case.recent.popleft()
        if well:
            if (outcome == "ok") if case.rest else all(good for _, good in case.recent):
                self._end(target)
            return
        case.outcome, case.failures = outcome, case.failures + 1
        if retry_after is not None:
            self._rest(case, outcome, now, int(retry_after * MICROS))
        elif case.rest:
            self._rest(case, outcome, now, 2 * case.rest)
        elif len(case.recent) >= LEAST and sum(not good for _, good in case.recent) >= SHARE * len(case.recent):
            self._rest(case, outcome, now, REST)

    # --- what is shown, and forgotten

    def resting(self, now: int) -> list[Resting]:
        """What stands behind the others now, by name."""
        return [
            Resting(name=name, since=case.since, until=case.until, outcome=case.outcome, failures=case.failures)
            for name, case in sorted(self._cases.items())
            if case.rest and case.until > now
        ]

    def forget(self, name: str | None = None) -> None:
        """Ends the rests of a target, a provider or a key, or all of them: the next call asks as if nothing had been."""
        if name is None:
            self._cases.clear()
            self.changes += 1
            return
        provider = name.partition("/")[0].partition("#")[0]
        for found in list(self._cases):
            whose = found.partition("/")[0].partition("#")[0] == provider
            # a target ends with its keys; a provider, or one of its keys, with whatever rests because of it
            if whose and ("/" not in name or found == name or found.startswith((f"{name}#", f"{provider}#"))):
                self._end(found)

    def _case(self, name: str) -> _Case:
        case = self._cases.get(name)
        if case is None:
            case = self._cases[name] = _Case()
            if len(self._cases) > MOST:
                self._cases.popitem(last=False)
        return case

    def _end(self, name: str) -> None:
        if self._cases.pop(name, None) is not None:
            self.changes += 1

    def _rest(self, case: _Case, outcome: str, now: int, length: int) -> None:
        if not case.rest or case.until <= now:
            case.since = now
        case.rest = min(max(length, REST), LONGEST)
        case.until = now + case.rest
        case.outcome = outcome
        case.failures = max(1, case.failures)
        self.changes += 1


def _key(of: str, place: int) -> str:
    return f"{of}#{place + 1}"
