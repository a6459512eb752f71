"""Two samples of rates or positive amounts: the effect with its interval, and a p-value. Pure Python.

Rates: the difference with Newcombe's hybrid score interval (Newcombe 1998, method 10) and Fisher's exact test of two sides.
Amounts (money, latency): the ratio of geometric means by Welch's t on the logarithms, because both are skewed to the right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.score import Estimate
from tandem.scorers.proportions import Z, wilson
from tandem.scorers.tails import student_beyond

EXACT = 200_000
"""Cells of Fisher's sum beyond which the normal approximation is as good and the sum is slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Hits among trials."""

    hits: int
    n: int

    @property
    def estimate(self) -> Estimate:
        """With Wilson's score interval."""
        return wilson(self.hits, self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Positive amounts, by the mean and variance of their natural logarithms."""

    n: int
    mean: float
    variance: float

    @property
    def estimate(self) -> Estimate:
        """The geometric mean with its interval."""
        half = Z * math.sqrt(self.variance / self.n) if self.n > 1 else math.inf
        low, high = _exp(self.mean - half), _exp(self.mean + half)
        return Estimate(value=_exp(self.mean), low=low, high=high, n=self.n)


def amounts(values: Sequence[float]) -> Amounts:
    """The positive ones of some amounts; zero has no logarithm and is left out."""
    logs = [math.log(value) for value in values if value > 0]
    n = len(logs)
    mean = math.fsum(logs) / n if n else 0.0
    variance = math.fsum((log - mean) ** 2 for log in logs) / (n - 1) if n > 1 else 0.0
    return Amounts(n=n, mean=mean, variance=variance)


def difference(now: Rate, before: Rate) -> Estimate:
    """The rate now minus the rate before."""
    p, q = now.estimate, before.estimate
    value = p.value - q.value
    low = value - math.hypot(p.value - p.low, q.high - q.value)
    high = value + math.hypot(p.high - p.value, q.value - q.low)
    return Estimate(value=value, low=max(-1.0, low), high=min(1.0, high), n=now.n)


def fisher(now: Rate, before: Rate) -> float:
    """The two-sided p-value: tables with these margins that are no likelier than this one."""
    hits, total = now.hits + before.hits, now.n + before.n
    low, high = max(0, hits - before.n), min(hits, now.n)
    if high - low > EXACT:
        pooled = hits / total
        spread = math.sqrt(pooled * (1 - pooled) * (1 / now.n + 1 / before.n))
        return math.erfc(abs(now.hits / now.n - before.hits / before.n) / spread / math.sqrt(2)) if spread else 1.0
    whole = _choose(total, hits)
    logs = [_choose(now.n, k) + _choose(before.n, hits - k) - whole for k in range(low, high + 1)]
    bound = logs[now.hits - low] + 1e-9
    return min(1.0, math.fsum(math.exp(log) for log in logs if log <= bound))


def ratio(now: Amounts, before: Amounts) -> Estimate:
    """The geometric mean now over the one before."""
    error = math.sqrt(now.variance / now.n + before.variance / before.n)
    gap = now.mean - before.mean
    return Estimate(value=_exp(gap), low=_exp(gap - Z * error), high=_exp(gap + Z * error), n=now.n)


def welch(now: Amounts, before: Amounts) -> float:
    """The two-sided p-value that both have the same geometric mean."""
    a, b = now.variance / now.n, before.variance / before.n
    if a + b <= 0:
        return 1.0 if now.mean == before.mean else 0.0
    freedom = (a + b) ** 2 / (a * a / (now.n - 1) + b * b / (before.n - 1))
    return student_beyond((now.mean - before.mean) / math.sqrt(a + b), freedom)


def _choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _exp(value: float) -> float:
    return math.exp(min(700.0, max(-700.0, value)))
