"""What wrong decisions cost: each mistake at the model's threshold counts what it costs. Less is better."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tandem.core.policy import COST
from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Sample


class Cost:
    """Mean cost of a row, in the unit of the two costs; bootstrap interval, n = rows."""

    name: ClassVar[str] = COST
    more_is_better: ClassVar[bool] = False

    def __init__(self, *, false_positive: float, false_negative: float) -> None:
        """
        Args:
            false_positive: of a row that is wrongly taken for positive.
            false_negative: of a positive row that is missed.
        """
        self._false_positive, self._false_negative = false_positive, false_negative

    def score(self, sample: Sample) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Sample) -> Floats:
        wrong, missed = sample.predicted & ~sample.labels, ~sample.predicted & sample.labels
        return np.column_stack((wrong * self._false_positive + missed * self._false_negative, np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])
