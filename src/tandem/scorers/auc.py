"""Area under the ROC curve with DeLong's variance, by midranks in O(n log n).

Sources: DeLong, DeLong & Clarke-Pearson 1988; Sun & Xu 2014 (midranks); logit interval as in Pepe 2003.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.proportions import Z, wilson
from tandem.scorers.sample import Floats, Sample


class RocAuc:
    """Probability that a positive row ranks above a negative one, ties counted half; n = rows.

    The interval is DeLong's on the logit scale. Where every pair is ranked alike (0 or 1) that variance is
    zero, and the interval is Wilson's with the smaller class as trials instead.
    """

    name: ClassVar[str] = "roc_auc"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample) -> Estimate:
        above, below = placements(sample)
        area = float(above.mean())
        if not 0 < area < 1:
            trials = min(len(above), len(below))
            edge = wilson(round(area) * trials, trials)
            return Estimate(value=area, low=edge.low, high=edge.high, n=sample.n)
        half = Z * math.sqrt(variance(above, below)) / (area * (1 - area))
        middle = math.log(area / (1 - area))
        return Estimate(value=area, low=min(_expit(middle - half), area), high=max(_expit(middle + half), area), n=sample.n)


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


def midranks(values: Floats) -> Floats:
    """Ranks from 1, ties sharing the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts).astype(np.float64)
    return np.asarray((last - (counts - 1) / 2)[place])


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0
