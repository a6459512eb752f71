"""How a strategy orders targets of one priority, and why. Pure: prices, times and dice are told.

cheapest: by what the call is expected to cost; a target without a price comes last.
least_busy: by the calls this worker has under way there.
fastest: by how it answered this worker of late, peaks at once and improvements slowly (peak EWMA, as Finagle has it), times
the calls it has under way. Of two that are drawn at random the better one is asked, so that no crowd follows one figure.
"""

from __future__ import annotations

import math
import random
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.core.clock import MICROS
from tandem.core.endpoint import Target

FADE = 30 * MICROS
"""Time in which a measurement loses most of its weight; one that is not renewed fades away, and its target is tried again."""
LEAST = 1e-6
"""Seconds that stand for a target nobody has measured: it is tried first."""
MOST = 4096
"""Measurements that are remembered."""
GUESSED_OUTPUT = 256
"""Output tokens of an endpoint whose answers are not known yet."""


@dataclass(slots=True)
class _Pace:
    seconds: float
    at: int


class Paces:
    """What one worker measured: seconds to the first word of a stream, seconds per token of a whole answer."""

    def __init__(self) -> None:
        self._paces: OrderedDict[tuple[str, bool], _Pace] = OrderedDict()
        self._outputs: dict[str, float] = {}
        self._busy: Counter[str] = Counter()

    def begin(self, target: str) -> None:
        self._busy[target] += 1

    def end(self, target: str) -> None:
        self._busy[target] -= 1
        if self._busy[target] <= 0:
            del self._busy[target]

    def busy(self, target: str) -> int:
        """Calls that are under way there."""
        return self._busy[target]

    def note(self, target: str, seconds: float, now: int, *, streamed: bool) -> None:
        """One measurement: of the first word where the answer was streamed, else of a token. `now` is Unix microseconds."""
        key = (target, streamed)
        pace = self._paces.get(key)
        if pace is None:
            self._paces[key] = _Pace(seconds, now)
            if len(self._paces) > MOST:
                self._paces.popitem(last=False)
            return
        kept = math.exp(-max(0, now - pace.at) / FADE)
        pace.seconds = max(seconds, seconds + (pace.seconds - seconds) * kept)
        pace.at = now

    def said(self, endpoint: str, tokens: int) -> None:
        """The output of one answer, from which the next one's is guessed."""
        before = self._outputs.get(endpoint)
        self._outputs[endpoint] = tokens if before is None else before + (tokens - before) / 16

    def guess(self, endpoint: str, bound: int) -> int:
        """Output tokens to expect of an endpoint's next answer."""
        return min(bound, round(self._outputs.get(endpoint, GUESSED_OUTPUT)))

    def score(self, target: str, now: int, *, streamed: bool) -> float:
        """What to expect, in seconds, the more the busier it is; less is better."""
        pace = self._paces.get((target, streamed))
        seconds = LEAST if pace is None else max(LEAST, pace.seconds * math.exp(-max(0, now - pace.at) / FADE))
        return seconds * (self._busy[target] + 1)


def cheapest(
    group: Sequence[Target], expected: Callable[[Target], int | None], dice: random.Random
) -> list[tuple[Target, int | None]]:
    """The group by expected cost in nano-dollars; those without a price last, equals as they are drawn."""
    priced = [(target, expected(target)) for target in dice.sample(group, len(group))]
    return sorted(priced, key=lambda pair: math.inf if pair[1] is None else pair[1])


def least_busy(group: Sequence[Target], paces: Paces, dice: random.Random) -> list[tuple[Target, int]]:
    """The group by calls under way, equals as they are drawn."""
    counted = [(target, paces.busy(target.target)) for target in dice.sample(group, len(group))]
    return sorted(counted, key=lambda pair: pair[1])


def fastest(
    group: Sequence[Target], paces: Paces, now: int, dice: random.Random, *, streamed: bool
) -> list[tuple[Target, float]]:
    """The better of two that are drawn, then the others by what is expected of them in seconds."""
    drawn = [(target, paces.score(target.target, now, streamed=streamed)) for target in dice.sample(group, len(group))]
    first = min(drawn[:2], key=lambda pair: pair[1])
    return [first, *sorted((pair for pair in drawn if pair is not first), key=lambda pair: pair[1])]
