"""Intervals of proportions and of means in [0, 1], closed form. Imports no numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tandem.core.score import Estimate

Z = 1.959963984540054
"""97.5 % point of the standard normal distribution: two-sided 95 %."""


def wilson(hits: int, n: int, z: float = Z) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927), `z` standard errors wide; 0 in [0, 1] where nothing was tried."""
    if not n:
        return Estimate(value=0.0, low=0.0, high=1.0, n=0)
    share = hits / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(value=share, low=min(max(0.0, middle - half), share), high=max(min(1.0, middle + half), share), n=n)


def mean(values: Sequence[float]) -> Estimate:
    """The mean of values in [0, 1], one for each independent row.

    Proportions get Wilson's interval. Any other values get Student's t after two rows of 0 and two of 1 were added, as
    Agresti & Coull (1998) do for proportions: else a sample in which nothing went wrong would promise that nothing ever
    will. The interval is conservative where the values vary little.
    """
    n = len(values)
    if all(value in (0.0, 1.0) for value in values):
        return wilson(round(sum(values)), n)
    value = math.fsum(values) / n
    low, high = padded(values, ((0.0, 2), (1.0, 2)))
    return Estimate(value=value, low=max(0.0, min(low, value)), high=min(1.0, max(high, value)), n=n)


def padded(values: Sequence[float], pad: Sequence[tuple[float, int]]) -> tuple[float, float]:
    """Student's t interval of a mean after rows were added.

    Args:
        values: one for each row, at least one.
        pad: (value, how often) of the rows that are added.
    """
    n = len(values) + sum(times for _, times in pad)
    middle = (math.fsum(values) + sum(value * times for value, times in pad)) / n
    squares = math.fsum((value - middle) ** 2 for value in values) + sum((value - middle) ** 2 * times for value, times in pad)
    half = student(n - 1) * math.sqrt(squares / (n - 1) / n)
    return middle - half, middle + half


def student(freedom: int) -> float:
    """97.5 % point of Student's t, to four digits from 3 degrees of freedom on (Abramowitz & Stegun 1964, 26.7.5).

    >>> round(student(29), 3)
    2.045
    """
    z, v = Z, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
