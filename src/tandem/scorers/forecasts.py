"""Metrics of forecasts; bootstrap intervals in which whole windows are drawn again, n = windows."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Forecasts

LEVELS = (0.1, 0.9, 0.025, 0.975)
"""The share of values that each bound should have below it."""


class _Mean:
    """The mean of what each row adds, over all rows that add anything (the others are NaN)."""

    name: ClassVar[str]
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Forecasts) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Forecasts) -> Floats:
        each = self._each(sample)
        known = np.isfinite(each)
        return sample.sums(np.column_stack((np.where(known, each, 0.0), known)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(np.divide(sums[..., 0], sums[..., 1], out=np.zeros_like(sums[..., 0]), where=sums[..., 1] > 0))

    @abstractmethod
    def _each(self, sample: Forecasts) -> Floats: ...


class MeanAbsoluteError(_Mean):
    """Mean of |forecast - truth|."""

    name: ClassVar[str] = "mae"

    def _each(self, sample: Forecasts) -> Floats:
        return np.abs(sample.predictions - sample.truth)


class RootMeanSquaredError(_Mean):
    """Square root of the mean of (forecast - truth)²."""

    name: ClassVar[str] = "rmse"

    def of(self, sums: Floats) -> Floats:
        return np.asarray(np.sqrt(super().of(sums)))

    def _each(self, sample: Forecasts) -> Floats:
        return np.asarray((sample.predictions - sample.truth) ** 2)


class ScaledError(_Mean):
    """Mean of |forecast - truth| / scale: below 1 errs less than the seasonal naive forecast did (Hyndman & Koehler 2006)."""

    name: ClassVar[str] = "mase"

    def _each(self, sample: Forecasts) -> Floats:
        return np.asarray(np.abs(sample.predictions - sample.truth) / sample.scales)


class PercentageError(_Mean):
    """Mean of 2 |forecast - truth| / (|forecast| + |truth|), from 0 to 2; 0 where both are 0 (Makridakis 1993)."""

    name: ClassVar[str] = "smape"

    def _each(self, sample: Forecasts) -> Floats:
        size = np.abs(sample.predictions) + np.abs(sample.truth)
        return np.asarray(np.divide(2 * np.abs(sample.predictions - sample.truth), size, out=np.zeros_like(size), where=size > 0))


class QuantileLoss(_Mean):
    """Mean pinball loss of the four ends of the intervals (Koenker & Bassett 1978), in the target's unit."""

    name: ClassVar[str] = "quantile_loss"

    def _each(self, sample: Forecasts) -> Floats:
        above = sample.truth[:, None] - sample.bounds
        return np.asarray(np.maximum(above * LEVELS, above * (np.array(LEVELS) - 1)).mean(axis=1))


class _Coverage(_Mean):
    more_is_better: ClassVar[bool] = True
    column: ClassVar[int]
    """Of the lower end among the bounds."""

    def _each(self, sample: Forecasts) -> Floats:
        low, high = sample.bounds[:, self.column], sample.bounds[:, self.column + 1]
        return np.asarray((low <= sample.truth) & (sample.truth <= high), dtype=np.float64)


class Coverage80(_Coverage):
    """Share of values within their 80 % prediction interval."""

    name: ClassVar[str] = "coverage_80"
    column: ClassVar[int] = 0


class Coverage95(_Coverage):
    """Share of values within their 95 % prediction interval."""

    name: ClassVar[str] = "coverage_95"
    column: ClassVar[int] = 2
