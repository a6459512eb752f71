"""Many tests at once: adjusted p-values that bound the chance of any false finding. Pure Python; it knows no test."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Adjusted p-values; calling those up to q keeps the chance of any false call at most q under *any* dependence.

    That is what a budget of false alarms promises, also when some columns have really moved. Benjamini and Hochberg
    bound less (the share of false calls) and need positive dependence, which omnibus tests on the columns of one table
    are not known to have; Benjamini and Yekutieli hold under any dependence, but for a single moved column among fifty
    they ask for a p-value 4.5 times smaller than this does.

    Args:
        p: one per test.
        weights: positive, one per test: how the budget is spent; all alike by default. They must not depend on `p`.

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65-70; section 3 for the weights.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    >>> holm([0.01, 0.04], [1, 3])
    [0.04, 0.04]
    """
    shares = [1.0] * len(p) if weights is None else list(weights)
    order = sorted(range(len(p)), key=lambda place: p[place] / shares[place])
    left, most = sum(shares), 0.0
    adjusted = [1.0] * len(p)
    for place in order:
        most = max(most, p[place] * left / shares[place])
        adjusted[place] = min(1.0, most)
        left -= shares[place]
    return adjusted
