"""Linear models on standardised columns, gaps filled with the mean."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np
from sklearn import linear_model

from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.linear import Linear
from tandem.training.algorithms.base import Examples, Param, Trained

ROUNDING = 1e-12
"""A standard deviation that is this share of the mean is none."""


@dataclass(frozen=True, slots=True)
class Line:
    """Fitted coefficients."""

    linear: Linear

    def predict(self, features: Floats) -> Floats:
        return self.linear.predict(features)

    def native(self) -> tuple[str, bytes]:
        return "linear.json", msgspec.json.encode(self.linear.weights)

    def onnx(self) -> bytes:
        return self.linear.onnx()

    def importances(self) -> Floats:
        """Share of the absolute coefficients of the standardised columns, over all outputs."""
        found = np.abs(self.linear.coefficients).sum(axis=0)
        total = found.sum()
        return np.asarray(found / total if total > 0 else found)


class Ridge:
    """L2-regularised least squares (Hoerl & Kennard 1970); of a ranking each row's grade by itself."""

    runtime: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[TaskName, ...]] = ("regression", "ranking")
    params: ClassVar[Mapping[str, Param]] = {"l2": Param(default=1.0, low=1e-6, high=1e6, search=(1e-3, 1e4), log=True)}

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        means, scales, scaled = standardised(examples.features)
        model = linear_model.Ridge(alpha=params["l2"], solver="cholesky", random_state=seed)
        model.fit(scaled, examples.target, sample_weight=examples.weights)
        return Line(
            Linear.of(
                means=means,
                scales=scales,
                coefficients=model.coef_,
                intercepts=np.array([float(model.intercept_)]),
                link="identity",
            )
        )


def standardised(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Means and scales of the columns, and the columns without gaps, centred and scaled by them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        means = np.nan_to_num(np.nanmean(features, axis=0))  # a fold may see no value of a sparse column
    filled = np.where(np.isnan(features), means, features)
    scales = filled.std(axis=0)
    scales[scales <= ROUNDING * np.abs(means)] = 1.0  # a column of one value, but for rounding
    return means, scales, (filled - means) / scales
