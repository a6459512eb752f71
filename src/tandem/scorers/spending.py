"""Looks that were planned: how many standard errors each look must clear, so that all together err in alpha of cases.

Group-sequential boundaries by alpha spending (Lan & DeMets 1983, Biometrika 70:659-663) with a power of the share of rows
(Kim & DeMets 1987, Biometrika 74:149-154), and crossing probabilities by recursive integration (Armitage, McPherson & Rowe
1969). Looks need not be evenly spaced. It holds for estimates with independent increments that are about normal, as means
and areas of growing rows are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

POWER = 8
"""So late that the last look is almost as sharp as a single one would be; `bench.gate` has the figures behind it."""
GRID = 801
REACH = 8.0
"""Standard deviations that the grid reaches to either side."""


def spent(share: float, alpha: float) -> float:
    """How much of alpha is spent when this share of the planned rows was seen: little at first, all at the end.

    >>> round(spent(0.5, 0.05), 5), spent(1.0, 0.05)
    (0.0002, 0.05)
    """
    return float(alpha * min(1.0, share) ** POWER)


def boundaries(shares: Sequence[float], alpha: float) -> list[float]:
    """Two-sided critical values, in standard errors, one for each look so far.

    Args:
        shares: of the planned rows at each look, rising, above 0; what is beyond 1 counts as 1, and no look follows it.
        alpha: of all looks together.
    """
    found: list[float] = []
    points = np.empty(0)
    density = np.empty(0)
    before = 0.0
    for share in (min(1.0, each) for each in shares):
        grid = np.linspace(-REACH, REACH, GRID) * math.sqrt(share)
        if found:
            spread = math.sqrt(max(share - before, 1e-12))
            step = points[1] - points[0]
            kernel = np.exp(-(((grid[:, None] - points[None, :]) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi))
            here = kernel @ density * step
        else:
            here = np.exp(-(grid**2) / (2 * share)) / math.sqrt(2 * math.pi * share)
        allowed = spent(share, alpha) - (spent(before, alpha) if before else 0.0)
        found.append(_critical(grid, here, allowed) / math.sqrt(share))
        edge = found[-1] * math.sqrt(share)
        inside = np.linspace(-edge, edge, GRID)
        points, density, before = inside, np.interp(inside, grid, here), share
        density[0] /= 2  # trapezoids
        density[-1] /= 2
    return found


def _critical(grid: np.ndarray, density: np.ndarray, allowed: float) -> float:
    """The distance beyond which, on both sides together, lies as much as may be spent."""
    if allowed <= 0:
        return float(grid[-1])
    step = grid[1] - grid[0]
    middle = len(grid) // 2
    above = (density[middle:] + density[middle::-1]) * step
    tail = np.cumsum(above[::-1])[::-1] - above / 2
    return float(np.interp(-allowed, -tail, grid[middle:]))
