"""Metrics of predicted numbers, in the target's unit where they have one; bootstrap intervals, n = rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Values


class MeanAbsoluteError:
    """Mean of |prediction - truth|."""

    name: ClassVar[str] = "mae"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Values) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Values) -> Floats:
        return np.column_stack((np.abs(sample.predictions - sample.truth), np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])


class RootMeanSquaredError:
    """Square root of the mean of (prediction - truth)²."""

    name: ClassVar[str] = "rmse"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Values) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Values) -> Floats:
        return np.column_stack(((sample.predictions - sample.truth) ** 2, np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(np.sqrt(sums[..., 0] / sums[..., 1]))


class R2:
    """Share of the truth's variance that is explained: 1 - squared errors / squared distances from the mean.

    0 is what the mean of these rows would reach, and less than 0 is worse than it; 0 where rows drawn are all alike.
    """

    name: ClassVar[str] = "r2"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Values) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Values) -> Floats:
        away = sample.truth - sample.truth.mean()  # around the mean, so that squares stay small
        return np.column_stack(((sample.predictions - sample.truth) ** 2, away, away**2, np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        spread = sums[..., 2] - sums[..., 1] ** 2 / sums[..., 3]
        missed = np.divide(sums[..., 0], spread, out=np.ones_like(spread), where=spread > 0)
        return np.asarray(1 - missed)


class MedianAbsoluteError:
    """Median of |prediction - truth|: half of the rows are closer."""

    name: ClassVar[str] = "median_absolute_error"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Values) -> Estimate:
        return bootstrap(self, sample)

    def weigher(self, sample: Values, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        errors = np.abs(sample.predictions - sample.truth)[order]
        rising = np.argsort(errors, kind="stable")
        errors = errors[rising]

        def median(weights: Floats) -> Floats:
            reached = np.cumsum(weights[..., rising], axis=-1)
            middles = ((reached[..., -1:] - 1) // 2, reached[..., -1:] // 2)
            return np.asarray(sum(errors[np.argmax(reached > middle, axis=-1)] for middle in middles) / 2)

        return median
