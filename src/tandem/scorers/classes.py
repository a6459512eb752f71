"""Metrics of the predicted class: accuracy (of any number of classes), precision, recall, F1.

Where rows have units, all intervals are bootstrapped.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap, share
from tandem.scorers.proportions import wilson
from tandem.scorers.sample import Classes, Floats, Sample


class Accuracy:
    """Share of rows whose class is predicted rightly; Wilson interval, n = rows."""

    name: ClassVar[str] = "accuracy"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample | Classes) -> Estimate:
        if sample.units is not None:
            return share(self, sample)
        return wilson(int((sample.predicted == sample.labels).sum()), sample.n)

    def terms(self, sample: Sample | Classes) -> Floats:
        return np.column_stack((sample.predicted == sample.labels, np.ones(sample.n))).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])


class Precision:
    """Share of rows predicted positive that are; Wilson interval, n = rows predicted positive.

    0 in [0, 1] with n = 0 where no row is predicted positive.
    """

    name: ClassVar[str] = "precision"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample) -> Estimate:
        if sample.units is not None:
            return share(self, sample)
        return wilson(int((sample.predicted & sample.labels).sum()), int(sample.predicted.sum()))

    def terms(self, sample: Sample) -> Floats:
        return np.column_stack((sample.predicted & sample.labels, sample.predicted)).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        return _ratio(sums[..., 0], sums[..., 1])


class Recall:
    """Share of positive rows that are predicted positive; Wilson interval, n = positive rows."""

    name: ClassVar[str] = "recall"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample) -> Estimate:
        if sample.units is not None:
            return share(self, sample)
        return wilson(int((sample.predicted & sample.labels).sum()), int(sample.labels.sum()))

    def terms(self, sample: Sample) -> Floats:
        return np.column_stack((sample.predicted & sample.labels, sample.labels)).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        return _ratio(sums[..., 0], sums[..., 1])


class F1:
    """Harmonic mean of precision and recall; bootstrap interval, n = rows."""

    name: ClassVar[str] = "f1"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Sample) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Sample) -> Floats:
        hits = sample.predicted & sample.labels
        return np.column_stack((hits, sample.predicted ^ sample.labels)).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        return _ratio(2 * sums[..., 0], 2 * sums[..., 0] + sums[..., 1])


def _ratio(above: Floats, below: Floats) -> Floats:
    """0 where there is nothing to divide by."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
