"""The difference of two matched proportions: Tango's score interval, which is McNemar's test at zero. Imports no numpy.

Source: Tango 1998, Statistics in Medicine 17:891-908. Better than Wald where few rows disagree.
"""

from __future__ import annotations

import math

from tandem.core.score import Estimate
from tandem.scorers.proportions import Z
from tandem.scorers.tails import binomial_at_least

METHOD = "Tango's score interval for matched proportions (McNemar's test at zero)"
STEPS = 60
"""Halvings of an interval of length two: far below the precision of a float."""


def tango(won: int, lost: int, n: int, *, z: float = Z, level: float = 0.95) -> Estimate:
    """(won - lost) / n with its interval.

    Args:
        won: rows that only the candidate had right.
        lost: rows that only the champion had right.
        n: all rows.
        z: the normal distribution's point for `level`.
    """
    value = (won - lost) / n
    low = _bound(won, lost, n, z, -1.0, value)
    high = _bound(won, lost, n, -z, value, 1.0)
    return Estimate(value=value, low=low, high=high, n=n, level=level)


def mid_p(won: int, lost: int) -> float:
    """Two-sided mid-p of McNemar's exact test that winning and losing are alike (Fagerland, Lydersen & Laake 2013).

    Closer to its level than the exact test, which errs on the safe side, and than the asymptotic one, which does not.

    >>> mid_p(5, 5), round(mid_p(8, 2), 4)
    (1.0, 0.0654)
    """
    pairs, fewer = won + lost, min(won, lost)
    if won == lost:
        return 1.0
    point = math.exp(math.lgamma(pairs + 1) - math.lgamma(fewer + 1) - math.lgamma(pairs - fewer + 1) - pairs * math.log(2))
    return min(1.0, 2 * binomial_at_least(pairs - fewer, pairs, 0.5) - point)


def _bound(won: int, lost: int, n: int, level: float, low: float, high: float) -> float:
    """Where the score statistic, which falls with the difference, passes `level`."""
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if _score(won, lost, n, middle) > level else (low, middle)
    return (low + high) / 2


def _score(won: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic for the hypothesis that the difference is `delta`."""
    linear = -won - lost + (2 * n - won + lost) * delta
    constant = -lost * delta * (1 - delta)
    against = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * against + delta * (1 - delta))
    distance = won - lost - n * delta
    if variance <= 0:
        return math.copysign(math.inf, distance) if distance else 0.0
    return distance / math.sqrt(variance)
