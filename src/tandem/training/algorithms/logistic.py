"""Logistic regression on standardised columns, gaps filled with the mean. Its ONNX form is exact (float64)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tandem.core.errors import Invalid
from tandem.scorers.base import TaskName
from tandem.serving.linear import Linear
from tandem.training.algorithms.base import Examples, Param, Trained
from tandem.training.algorithms.linear import Line, standardised


class Logistic:
    """L2-regularised logistic regression (L-BFGS of scikit-learn); of more than two classes with softmax."""

    runtime: ClassVar[str] = "linear"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "multiclass")
    params: ClassVar[Mapping[str, Param]] = {
        "C": Param(default=1.0, low=1e-6, high=1e6, search=(1e-3, 1e2), log=True),
        "max_iter": Param(default=1000, low=1, high=100_000, whole=True),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        means, scales, scaled = standardised(examples.features)
        model = LogisticRegression(C=params["C"], max_iter=int(params["max_iter"]), random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(scaled, examples.target, sample_weight=examples.weights)
            except ConvergenceWarning:
                raise Invalid(
                    f"Logistic regression did not converge in {int(params['max_iter'])} steps.",
                    field="params.max_iter",
                    hint="Allow more steps, or make C smaller.",
                ) from None
        coefficients, intercepts = model.coef_, model.intercept_
        if examples.task == "classification":
            return Line(Linear.of(means=means, scales=scales, coefficients=coefficients[0], intercepts=intercepts))
        coefficients, intercepts = _for_all(model, examples.classes)
        return Line(Linear.of(means=means, scales=scales, coefficients=coefficients, intercepts=intercepts, link="softmax"))


def _for_all(model: LogisticRegression, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients and intercepts of all classes: those that had no rows are never likely, those that had two share one line."""
    known = np.asarray(model.classes_, dtype=np.int64)
    coefficients, intercepts = np.zeros((classes, model.coef_.shape[1])), np.full(classes, ABSENT)
    if len(known) == 2:
        coefficients[known[1]], intercepts[known] = model.coef_[0], (0.0, float(model.intercept_[0]))
    else:
        coefficients[known], intercepts[known] = model.coef_, model.intercept_
    return coefficients, intercepts


ABSENT = -50.0
"""The score of a class that no row was of."""
