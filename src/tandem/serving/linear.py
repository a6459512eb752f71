"""Linear models in numpy: a number, or probabilities by the logistic function or softmax; contributions exact; their ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import msgspec
import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats

FILE = "linear.json"
OPSET = 15
IR = 8
"""Version of the ONNX file format: old enough for every supported runtime."""
_LINKS = {"logistic": "Sigmoid", "softmax": "Softmax", "identity": "Identity", "share": "Identity"}
Link = Literal["logistic", "softmax", "identity", "share"]
"""What makes answers of scores: probabilities of two classes, of more, or nothing at all.

A share is a probability already, but for rounding.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`linear.json`: one entry per column."""

    means: tuple[float, ...]
    """Stand in for missing values, and are subtracted."""
    scales: tuple[float, ...]
    """Divide what is left."""
    coefficients: tuple[float, ...]
    """Score per scaled unit; of more than two classes one after the other."""
    intercept: float | tuple[float, ...]
    """One, or one per class."""
    link: Link = "logistic"


@dataclass(frozen=True, slots=True)
class Linear:
    """link(intercept + sum of coefficient x (value - mean) / scale)."""

    means: Floats
    scales: Floats
    coefficients: Floats
    """Outputs x columns."""
    intercepts: Floats
    """One per output."""
    link: Link
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def of(cls, *, means: Floats, scales: Floats, coefficients: Floats, intercepts: Floats, link: Link = "logistic") -> Self:
        shape = (len(np.atleast_1d(intercepts)), -1)
        return cls(
            np.asarray(means), np.asarray(scales), np.asarray(coefficients).reshape(shape), np.atleast_1d(intercepts), link
        )

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            weights = msgspec.json.decode((members / FILE).read_bytes(), type=Weights)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {error}.", hint="Train it again.") from None
        intercepts = np.atleast_1d(np.array(weights.intercept, dtype=np.float64))
        parts = [np.array(part, dtype=np.float64) for part in (weights.means, weights.scales, weights.coefficients)]
        if not len(parts[0]) == len(parts[1]) == len(parts[2]) / len(intercepts):
            raise Broken(f"The model's file {FILE} has columns of unequal number.", hint="Train it again.")
        return cls.of(means=parts[0], scales=parts[1], coefficients=parts[2], intercepts=intercepts, link=weights.link)

    @property
    def weights(self) -> Weights:
        intercepts = tuple(map(float, self.intercepts))
        return Weights(
            means=tuple(map(float, self.means)),
            scales=tuple(map(float, self.scales)),
            coefficients=tuple(map(float, self.coefficients.ravel())),
            intercept=intercepts if len(intercepts) > 1 else intercepts[0],
            link=self.link,
        )

    def predict(self, rows: Floats) -> Floats:
        return self.answer(self.scaled(rows))

    def answer(self, scaled: Floats) -> Floats:
        """As `predict`, of rows that are scaled already."""
        scores = scaled @ self.coefficients.T + self.intercepts
        match self.link:
            case "logistic":
                return np.asarray(np.exp(-np.logaddexp(0.0, -scores)))  # the logistic function without overflow
            case "softmax":
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                return np.asarray(shares / shares.sum(axis=1, keepdims=True))
            case "identity":
                return np.asarray(scores)
            case "share":
                return np.asarray(np.clip(scores, 0.0, 1.0))

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        scaled = self.scaled(rows)
        answered = (scaled @ self.coefficients.T + self.intercepts).argmax(axis=1)
        return scaled * self.coefficients[answered], self.intercepts[answered]

    def scaled(self, rows: Floats) -> Floats:
        """Rows without gaps, centred and scaled."""
        filled = np.where(np.isnan(rows), self.means, rows)
        return np.asarray((filled - self.means) / self.scales)

    def onnx(self) -> bytes:
        """The same model as ONNX, exact in float64."""
        return _graph(self)


def _graph(linear: Linear) -> bytes:
    """link(((x, gaps as mean) - mean) / scale @ coefficients + intercept), in float64."""
    from onnx import TensorProto, helper, numpy_helper

    outputs, k = linear.coefficients.shape
    constants = {
        "means": linear.means.reshape(1, k),
        "scales": linear.scales.reshape(1, k),
        "coefficients": linear.coefficients.T,
        "intercept": linear.intercepts.reshape(1, outputs),
    }
    nodes = [
        helper.make_node("IsNaN", ["input"], ["gaps"]),
        helper.make_node("Where", ["gaps", "means", "input"], ["filled"]),
        helper.make_node("Sub", ["filled", "means"], ["centred"]),
        helper.make_node("Div", ["centred", "scales"], ["scaled"]),
        helper.make_node("MatMul", ["scaled", "coefficients"], ["product"]),
        helper.make_node("Add", ["product", "intercept"], ["margin"]),
        helper.make_node(_LINKS[linear.link], ["margin"], ["answer"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tandem",
        [helper.make_tensor_value_info("input", TensorProto.DOUBLE, ["rows", k])],
        [helper.make_tensor_value_info("answer", TensorProto.DOUBLE, ["rows", outputs])],
        [numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float64), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="tandem")
    return bytes(model.SerializeToString(deterministic=True))
