"""Expected calibration error of the positive class's probability. Less is better."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Sample

BINS = 10


class CalibrationError:
    """Mean absolute gap between probability and frequency over ten equal bins (Naeini et al. 2015).

    Bootstrap interval, n = rows. The estimate is biased upwards in small samples, as the method is.
    """

    name: ClassVar[str] = "calibration_error"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Sample) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Sample) -> Floats:
        """Per row its gap in the column of its bin, and 1 in the last."""
        terms = np.zeros((sample.n, BINS + 1))
        place = np.minimum((sample.probabilities * BINS).astype(np.int64), BINS - 1)
        terms[np.arange(sample.n), place] = sample.labels - sample.probabilities
        terms[:, BINS] = 1
        return terms

    def of(self, sums: Floats) -> Floats:
        return np.asarray(np.abs(sums[..., :BINS]).sum(axis=-1) / sums[..., BINS])
