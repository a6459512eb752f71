"""Logistic regression on standardised columns, gaps filled with the mean. Its ONNX form is exact (float64)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import msgspec
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats, Truths
from tandem.serving.linear import Linear
from tandem.training.algorithms.base import Param, Trained

OPSET = 15
IR = 8
"""Version of the ONNX file format: old enough for every supported runtime."""


@dataclass(frozen=True, slots=True)
class Line:
    """Fitted coefficients."""

    linear: Linear

    def predict(self, features: Floats) -> Floats:
        return self.linear.predict(features)

    def native(self) -> tuple[str, bytes]:
        return "linear.json", msgspec.json.encode(self.linear.weights)

    def onnx(self) -> bytes:
        return _graph(self.linear)

    def importances(self) -> Floats:
        """Share of the absolute coefficients of the standardised columns."""
        found = np.abs(self.linear.coefficients)
        total = found.sum()
        return np.asarray(found / total if total > 0 else found)


class Logistic:
    """L2-regularised logistic regression (L-BFGS of scikit-learn)."""

    runtime: ClassVar[str] = "linear"
    params: ClassVar[Mapping[str, Param]] = {
        "C": Param(default=1.0, low=1e-6, high=1e6),
        "max_iter": Param(default=1000, low=1, high=100_000, whole=True),
    }

    def fit(self, features: Floats, labels: Truths, *, params: Mapping[str, float], seed: int) -> Trained:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            means = np.nan_to_num(np.nanmean(features, axis=0))  # a fold may see no value of a sparse column
            filled = np.where(np.isnan(features), means, features)
            scales = filled.std(axis=0)
            scales[scales == 0] = 1.0
            model = LogisticRegression(C=params["C"], max_iter=int(params["max_iter"]), random_state=seed)
            try:
                model.fit((filled - means) / scales, labels)
            except ConvergenceWarning:
                raise Invalid(
                    f"Logistic regression did not converge in {int(params['max_iter'])} steps.",
                    field="params.max_iter",
                    hint="Allow more steps, or make C smaller.",
                ) from None
        return Line(Linear.of(means=means, scales=scales, coefficients=model.coef_[0], intercept=float(model.intercept_[0])))


def _graph(linear: Linear) -> bytes:
    """sigmoid(((x, gaps as mean) - mean) / scale @ coefficients + intercept), in float64."""
    from onnx import TensorProto, helper, numpy_helper

    k = len(linear.means)
    constants = {
        "means": linear.means.reshape(1, k),
        "scales": linear.scales.reshape(1, k),
        "coefficients": linear.coefficients.reshape(k, 1),
        "intercept": np.array([[linear.intercept]]),
    }
    nodes = [
        helper.make_node("IsNaN", ["input"], ["gaps"]),
        helper.make_node("Where", ["gaps", "means", "input"], ["filled"]),
        helper.make_node("Sub", ["filled", "means"], ["centred"]),
        helper.make_node("Div", ["centred", "scales"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "coefficients"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tandem",
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["rows", k])],
        [helper.make_tensor_value_info("probability", TensorProto.DOUBLE, ["rows", 1])],
        [numpy_helper.from_array(np.asarray(value, dtype=np.float64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="tandem")
    return bytes(model.SerializeToString(deterministic=True))
