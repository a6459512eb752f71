"""Metrics of more than two classes; bootstrap intervals, n = rows. Accuracy is that of `classes.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tandem.core.score import Estimate
from tandem.scorers.auc import weighted_area
from tandem.scorers.intervals import bootstrap
from tandem.scorers.losses import EPSILON
from tandem.scorers.sample import Classes, Floats


class MacroF1:
    """Mean over the classes of the harmonic mean of precision and recall; a class without either counts 0."""

    name: ClassVar[str] = "macro_f1"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Classes) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Classes) -> Floats:
        """Per class: hits, then rows that are or are said to be of it."""
        known = np.arange(sample.k)
        true, said = sample.labels[:, None] == known, sample.predicted[:, None] == known
        return np.concatenate((true & said, true.astype(np.int64) + said), axis=1).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        k = sums.shape[-1] // 2
        hits, counted = sums[..., :k], sums[..., k:]
        return np.asarray(np.divide(2 * hits, counted, out=np.zeros_like(hits), where=counted > 0).mean(axis=-1))


class LogLoss:
    """Mean negative log likelihood of the true class in nats."""

    name: ClassVar[str] = "log_loss"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Classes) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Classes) -> Floats:
        chance = np.clip(sample.probabilities[np.arange(sample.n), sample.labels], EPSILON, 1.0)
        return np.column_stack((-np.log(chance), np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])


class RocAuc:
    """Mean over the classes of the ROC area of one class against all others (Provost & Domingos 2000, equal weights).

    A class that no row, or every row, of a resample is of does not count in it.
    """

    name: ClassVar[str] = "roc_auc"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Classes) -> Estimate:
        return bootstrap(self, sample)

    def weigher(self, sample: Classes, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        known = np.flatnonzero(np.bincount(sample.labels, minlength=sample.k))
        parts = [weighted_area(sample.labels[order] == number, sample.probabilities[order, number]) for number in known]

        def mean(weights: Floats) -> Floats:
            areas = np.stack([part(weights) for part in parts])
            counted = ~np.isnan(areas)
            held = np.maximum(counted.sum(axis=0), 1)
            return np.asarray(np.where(counted, areas, 0.0).sum(axis=0) / held)

        return mean
