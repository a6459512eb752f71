"""Looks that may be repeated: tests and intervals that hold at every moment at once, however often they are asked.

An interval of fixed size errs in 5 % of looks, so it errs in far more than 5 % of series of looks. These are
*confidence sequences*: with a chance of 95 % the truth lies in all intervals of the whole stream. A state is counts,
so two of them can be added, in any order, and nothing depends on when anybody looked.

The method is betting (Waudby-Smith & Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86:1-27),
with constant bets mixed over a fixed prior, as in Orabona & Jun 2024: for a mean m of values y in [0, 1], the capital
of a bet c is the product of 1 + c (y / m - 1) over the stream, a martingale where m is true. The mixture is one too,
so it passes 1 / alpha with a chance of at most alpha (Ville 1939). Exact at any number of rows; no normal distribution.
Pure Python; it knows no gate and no traffic.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tandem.core.score import Estimate, Outcome, concluded

ALPHA = 0.05
LEAST = 30
"""Outcomes below which there is no verdict."""
STEPS = 48
"""Halvings of [0, 1]: below the precision of what is shown."""
ATOMS = 48
PARTS = 1000
"""How finely differences that are no whole wins and losses are counted."""


def _prior() -> tuple[tuple[float, float], ...]:
    """(bet, log of its weight): Beta(2, 6), the best of ten priors at the gains a gate looks for; see `bench.gate`."""
    bets = [(place + 0.5) / ATOMS for place in range(ATOMS)]
    weights = [bet * (1 - bet) ** 5 for bet in bets]
    return tuple((bet, math.log(weight / sum(weights))) for bet, weight in zip(bets, weights, strict=True))


PRIOR = _prior()


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Outcomes of candidate and champion on the same rows or requests, each right or wrong."""

    won: int = 0
    """Only the candidate was right."""
    lost: int = 0
    """Only the champion was right."""
    n: int = 0
    """All pairs."""

    def __add__(self, other: Paired) -> Paired:
        return Paired(won=self.won + other.won, lost=self.lost + other.lost, n=self.n + other.n)

    def with_batch(self, candidate: Sequence[bool], champion: Sequence[bool]) -> Paired:
        """The state after more pairs; true where the answer was right.

        >>> Paired().with_batch([True, True, False], [True, False, False])
        Paired(won=1, lost=0, n=3)
        """
        pairs = list(zip(candidate, champion, strict=True))
        won, lost = sum(ours and not theirs for ours, theirs in pairs), sum(theirs and not ours for ours, theirs in pairs)
        return self + Paired(won=won, lost=lost, n=len(pairs))

    def interval(self, alpha: float = ALPHA) -> Estimate:
        """Candidate's share of right answers minus champion's, in [-1, 1]."""
        if not self.n:
            return Estimate(value=0.0, low=-1.0, high=1.0, n=0, level=1 - alpha)
        found = _bounds((self.won, self.n - self.won - self.lost, self.lost), (1.0, 0.5, 0.0), alpha)
        value = (self.won - self.lost) / self.n
        return Estimate(
            value=value, low=min(value, 2 * found[0] - 1), high=max(value, 2 * found[1] - 1), n=self.n, level=1 - alpha
        )

    def above(self, difference: float, alpha: float = ALPHA) -> bool:
        """Whether the interval lies above a difference; without its other end, and so a hundred times as fast."""
        if not self.n or difference <= -1:
            return self.n > 0  # no difference is below -1
        counts = (self.won, self.n - self.won - self.lost, self.lost)
        return capital(counts, (1.0, 0.5, 0.0), (difference + 1) / 2) >= math.log(2 / alpha)

    def verdict(self, margin: float, alpha: float = ALPHA) -> Outcome:
        """What follows from the interval; may be asked after every batch."""
        if self.n < LEAST:
            return "not-enough-data"
        if self.above(0.0, alpha):
            return "improved"
        if self.above(-margin, alpha):
            return "non-inferior"
        turned = Paired(won=self.lost, lost=self.won, n=self.n)
        return "regressed" if turned.above(0.0, alpha) else "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Differences of any score in [0, 1] on the same rows, candidate minus champion, in thousandths.

    Each is kept as the thousandth below it, and the bounds are of the values rounded outwards: the interval holds, and is
    wider by a thousandth at most.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    """Thousandth, from -1000 to 999 → how often."""
    total: float = 0.0
    """Sum of the differences themselves."""

    @property
    def n(self) -> int:
        """All pairs."""
        return sum(self.counts.values())

    def __add__(self, other: Differences) -> Differences:
        counts = {each: self.counts.get(each, 0) + other.counts.get(each, 0) for each in {**self.counts, **other.counts}}
        return Differences(counts=counts, total=self.total + other.total)

    def with_batch(self, differences: Iterable[float]) -> Differences:
        """The state after more pairs.

        Raises:
            ValueError: a difference is outside [-1, 1].
        """
        found = list(differences)
        if not all(-1 <= each <= 1 for each in found):
            raise ValueError("Differences of scores in [0, 1] lie in [-1, 1].")
        counts = Counter(min(PARTS - 1, math.floor(each * PARTS)) for each in found)
        return self + Differences(counts=counts, total=math.fsum(found))

    def interval(self, alpha: float = ALPHA) -> Estimate:
        """The mean difference, in [-1, 1]."""
        n = self.n
        if not n:
            return Estimate(value=0.0, low=-1.0, high=1.0, n=0, level=1 - alpha)
        needed, times = math.log(2 / alpha), list(self.counts.values())
        low = _lowest(times, [(each / PARTS + 1) / 2 for each in self.counts], needed)
        high = 1 - _lowest(times, [(1 - (each + 1) / PARTS) / 2 for each in self.counts], needed)
        value = self.total / n
        return Estimate(value=value, low=min(value, 2 * low - 1), high=max(value, 2 * high - 1), n=n, level=1 - alpha)

    def verdict(self, margin: float, alpha: float = ALPHA) -> Outcome:
        """What follows from the interval, where more is better; may be asked after every batch."""
        return _verdict(self.interval(alpha), margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of calls of one kind: errors, or answers slower than a limit."""

    hits: int = 0
    n: int = 0

    def __add__(self, other: Rate) -> Rate:
        return Rate(hits=self.hits + other.hits, n=self.n + other.n)

    def with_batch(self, hits: Iterable[bool]) -> Rate:
        """The state after more calls."""
        found = [bool(hit) for hit in hits]
        return self + Rate(hits=sum(found), n=len(found))

    def with_latencies(self, milliseconds: Iterable[float], limit: float) -> Rate:
        """The state after more calls, of which those slower than the limit are hits.

        With the champion's 95 % quantile as the limit, a rate above 5 % means that the candidate's is higher.
        """
        return self.with_batch(each > limit for each in milliseconds)

    def interval(self, alpha: float = ALPHA) -> Estimate:
        """The rate, in [0, 1]."""
        if not self.n:
            return Estimate(value=0.0, low=0.0, high=1.0, n=0, level=1 - alpha)
        low, high = _bounds((self.hits, self.n - self.hits), (1.0, 0.0), alpha)
        value = self.hits / self.n
        return Estimate(value=value, low=min(value, low), high=max(value, high), n=self.n, level=1 - alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rates of a candidate and a champion that answer different calls, as in a canary. Less is better."""

    candidate: Rate = Rate()
    champion: Rate = Rate()

    def __add__(self, other: Rates) -> Rates:
        return Rates(candidate=self.candidate + other.candidate, champion=self.champion + other.champion)

    def interval(self, alpha: float = ALPHA) -> Estimate:
        """Champion's rate minus candidate's, so that more is better: each at alpha / 2, joined by Bonferroni."""
        ours, theirs = self.candidate.interval(alpha / 2), self.champion.interval(alpha / 2)
        return Estimate(
            value=theirs.value - ours.value,
            low=theirs.low - ours.high,
            high=theirs.high - ours.low,
            n=min(ours.n, theirs.n),
            level=1 - alpha,
        )

    def verdict(self, margin: float, alpha: float = ALPHA) -> Outcome:
        """Whether the candidate's rate is lower, no higher than tolerated, or higher; may be asked after every batch."""
        return _verdict(self.interval(alpha), margin)


def stretch(n: int, alpha: float, *, tuned: int = 500) -> float:
    """Half width of an asymptotic confidence sequence, in standard errors: for estimates that are no mean of rows.

    The normal mixture of Robbins (1970), as in Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas 2024, theorem 2.2; narrowest
    around `tuned` rows. Unlike the rest of this file it leans on a normal distribution, as the fixed intervals do.

    >>> round(stretch(500, 0.05), 2)
    3.03
    """
    # The root of -W_{-1}(-alpha^2 e) up to its loglog term: eq. (57) of the paper.
    spread = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned
    return math.sqrt((n * spread + 1) / (n * spread) * math.log((n * spread + 1) / alpha**2))


def _verdict(difference: Estimate, margin: float) -> Outcome:
    return "not-enough-data" if difference.n < LEAST else concluded(difference, margin)


def _bounds(counts: Sequence[int], values: Sequence[float], alpha: float) -> tuple[float, float]:
    """The means that no capital of 2 / alpha speaks against; half of alpha for each side.

    Args:
        counts: how often each value was seen.
        values: in [0, 1].
        alpha: the chance that the truth is ever outside.
    """
    needed = math.log(2 / alpha)
    mirrored = [1 - value for value in values]
    return _lowest(counts, values, needed), 1 - _lowest(counts, mirrored, needed)


def _lowest(counts: Sequence[int], values: Sequence[float], needed: float) -> float:
    """The greatest mean that the bets on a higher one refute; the capital falls as the mean rises, so halving finds it."""
    low, high = 0.0, 1.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if capital(counts, values, middle) >= needed else (low, middle)
    return low


def capital(counts: Sequence[int], values: Sequence[float], mean: float) -> float:
    """Logarithm of the capital of all bets that the mean is higher than `mean`."""
    logs = []
    for bet, weight in PRIOR:
        gains = [(times, 1 + bet * (value / mean - 1)) for times, value in zip(counts, values, strict=True) if times]
        logs.append(weight + math.fsum(times * math.log(gain) for times, gain in gains))
    most = max(logs)
    return most + math.log(math.fsum(math.exp(each - most) for each in logs))
