"""Area under the ROC curve with DeLong's variance, by midranks in O(n log n).

Sources: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (midranks); logit interval as in Pepe 2003.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tandem.core.score import Estimate
from tandem.scorers.intervals import share
from tandem.scorers.proportions import Z, wilson
from tandem.scorers.sample import Floats, Sample, Truths


class RocAuc:
    """Probability that a positive row ranks above a negative one, ties counted half; n = rows.

    The interval is DeLong's on the logit scale. Where every pair is ranked alike (0 or 1) that variance is
    zero, and the interval is Wilson's with the smaller class as trials instead. Where rows have units, units are drawn again.
    """

    name: ClassVar[str] = "roc_auc"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample) -> Estimate:
        if sample.units is not None:
            return share(self, sample)
        above, below = placements(sample)
        area = float(above.mean())
        if not 0 < area < 1:
            trials = min(len(above), len(below))
            edge = wilson(round(area) * trials, trials)
            return Estimate(value=area, low=edge.low, high=edge.high, n=sample.n)
        half = Z * math.sqrt(variance(above, below)) / (area * (1 - area))
        middle = math.log(area / (1 - area))
        return Estimate(value=area, low=min(_expit(middle - half), area), high=max(_expit(middle + half), area), n=sample.n)

    def weigher(self, sample: Sample, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        """As of `Weighted`; a resample without rows of both classes says nothing, 0.5."""
        area = weighted_area(sample.labels[order], sample.probabilities[order])
        return lambda weights: np.nan_to_num(area(weights), nan=0.5)


def placements(sample: Sample) -> tuple[Floats, Floats]:
    """DeLong's structural components: for each positive row the share of negatives below it, for each
    negative row the share of positives above it, ties counted half; in row order within each class."""
    positive, negative = sample.probabilities[sample.labels], sample.probabilities[~sample.labels]
    m, n = len(positive), len(negative)
    ranks = midranks(np.concatenate((positive, negative)))
    above = (ranks[:m] - midranks(positive)) / n
    below = 1.0 - (ranks[m:] - midranks(negative)) / m
    return above, below


def variance(above: Floats, below: Floats) -> float:
    """DeLong's variance of an area, or of a difference of areas when given differences of placements.

    Raises nothing for a class of one row: its part of the variance is then unknown and counted as zero, which
    is why comparisons ask for more rows.
    """
    return sum(float(part.var(ddof=1)) / len(part) for part in (above, below) if len(part) > 1)


def weighted_area(truth: Truths, chance: Floats) -> Callable[[Floats], Floats]:
    """Share of pairs ranked rightly, ties counted half, as a function of weights; NaN where there is no pair."""
    rising = np.argsort(chance, kind="stable")
    truth, chance = truth[rising], chance[rising]
    starts = np.flatnonzero(np.append(True, np.diff(chance) > 0))  # rows that tie are one group

    def area(weights: Floats) -> Floats:
        drawn = weights[..., rising]
        above = np.add.reduceat(drawn * truth, starts, axis=-1)
        below = np.add.reduceat(drawn * ~truth, starts, axis=-1)
        lower = np.cumsum(below, axis=-1) - below / 2
        pairs = above.sum(axis=-1) * below.sum(axis=-1)
        right = (above * lower).sum(axis=-1)
        return np.asarray(np.divide(right, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0))

    return area


def midranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2)[place])


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
