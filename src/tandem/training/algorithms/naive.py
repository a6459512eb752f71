"""The seasonal naive forecast: what was a season ago, or what was last. Kept as a linear model of one column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tandem.scorers.base import TaskName
from tandem.serving.linear import Linear
from tandem.training.algorithms.base import Examples, Param, Trained
from tandem.training.algorithms.linear import Line


class SeasonalNaive:
    """The column that is nearest to the target by itself: the last value, or that of one of the seasons."""

    runtime: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[TaskName, ...]] = ("forecasting",)
    params: ClassVar[Mapping[str, Param]] = {}

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        del params, seed  # it has none, and draws nothing
        columns = examples.features.shape[1]
        lags = examples.features[:, : examples.naive]
        mean = float(examples.target.mean())
        errors = np.abs(np.where(np.isnan(lags), mean, lags) - examples.target[:, None]).mean(axis=0)
        chosen = np.zeros(columns)
        chosen[int(errors.argmin())] = 1.0
        gaps = np.full(columns, mean)  # stands in where there is no earlier value
        return Line(
            Linear.of(means=gaps, scales=np.ones(columns), coefficients=chosen, intercepts=gaps @ chosen, link="identity")
        )
