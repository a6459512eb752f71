"""Many tests at once: adjusted p-values that control the share of false discoveries. Pure Python; it knows no test."""

from __future__ import annotations

from collections.abc import Sequence


def benjamini_yekutieli(p: Sequence[float]) -> list[float]:
    """Adjusted p-values; rejecting those up to q keeps the false discovery rate at most q under *any* dependence.

    The columns of one table depend on each other, and omnibus tests on them are not known to be positively dependent
    as Benjamini and Hochberg (1995) need it; the price is the factor 1 + 1/2 + … + 1/m.
    Where nothing has changed at all, the chance of any rejection is at most q as well.

    Source: Benjamini and Yekutieli 2001, Annals of Statistics 29:1165-1188, theorem 1.3.

    >>> benjamini_yekutieli([0.01, 0.04])
    [0.03, 0.06]
    """
    return _stepped_up(p, sum(1 / rank for rank in range(1, len(p) + 1)))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p-values for independent or positively dependent tests (Benjamini and Hochberg 1995).

    >>> benjamini_hochberg([0.01, 0.04])
    [0.02, 0.04]
    """
    return _stepped_up(p, 1.0)


def _stepped_up(p: Sequence[float], factor: float) -> list[float]:
    order = sorted(range(len(p)), key=lambda place: p[place], reverse=True)
    adjusted, least = [1.0] * len(p), 1.0
    for above, place in enumerate(order):
        rank = len(p) - above
        least = min(least, p[place] * len(p) * factor / rank)
        adjusted[place] = least
    return adjusted
