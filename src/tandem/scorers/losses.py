"""Proper scoring rules of the predicted probability: log loss and Brier score. Less is better."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Sample

EPSILON = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 before a logarithm."""


class LogLoss:
    """Mean negative log likelihood in nats; bootstrap interval, n = rows."""

    name: ClassVar[str] = "log_loss"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Sample) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Sample) -> Floats:
        kept = np.clip(sample.probabilities, EPSILON, 1 - EPSILON)
        return np.column_stack((-np.log(np.where(sample.labels, kept, 1 - kept)), np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])


class Brier:
    """Mean squared difference of probability and label (Brier 1950); bootstrap interval, n = rows."""

    name: ClassVar[str] = "brier"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Sample) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Sample) -> Floats:
        return np.column_stack(((sample.probabilities - sample.labels) ** 2, np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])
