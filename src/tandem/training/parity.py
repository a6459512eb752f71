"""Does the ONNX form of a model say the same as the model? Only then it serves."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from tandem.core.errors import Broken
from tandem.evaluation.evidence import CLASSED
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.onnx import Onnx
from tandem.training.algorithms.base import Unconvertible
from tandem.training.manifest import Parity

TOLERANCE = 1e-5
"""Largest difference of two probabilities that counts as the same; of numbers, as a share of the largest one."""


class Convertible(Protocol):
    """A model that says what it says in two forms; see `Trained`."""

    def predict(self, features: Floats) -> Floats: ...

    def onnx(self) -> bytes: ...


def difference(own: Floats, served: Floats) -> float:
    """The largest difference of two answers: absolute where the first is below 1, above it as a share of it."""
    if own.shape != served.shape:
        return math.inf
    return float((np.abs(own - served) / np.maximum(1.0, np.abs(own))).max())


def check(
    model: Convertible, features: Floats, threshold: float, task: TaskName = "classification", *, tolerance: float = TOLERANCE
) -> tuple[Parity, bytes | None]:
    """Converts a model, compares it with itself on `features`, and returns the ONNX bytes if they may serve."""
    rows = len(features)
    try:
        converted = model.onnx()
        session = Onnx.of(converted)
    except (Unconvertible, Broken) as error:
        return Parity(held=False, reason=f"There is no ONNX form: {error}", rows=rows, tolerance=tolerance), None
    native, onnx = model.predict(features), session.predict(features)
    if native.shape != onnx.shape:
        reason = f"ONNX answers {onnx.shape[1]} numbers a row, the model {native.shape[1]}."
        return Parity(held=False, reason=reason, rows=rows, tolerance=tolerance), None
    largest = float(np.abs(native - onnx).max())
    tolerance = tolerance * float(np.abs(native).max()) if task not in CLASSED else tolerance
    match task:
        case "classification":
            changed = int(((native >= threshold) != (onnx >= threshold)).sum())
        case "multiclass":
            changed = int((native.argmax(axis=1) != onnx.argmax(axis=1)).sum())
        case _:
            changed = 0
    held = largest <= tolerance and not changed
    verdict = "agrees with" if held else "differs from"
    reason = f"ONNX {verdict} native on {rows} rows: by {largest:.2g} at most, {changed} classes changed."
    parity = Parity(held=held, reason=reason, rows=rows, tolerance=tolerance, largest=largest, changed=changed)
    return parity, converted if held else None
