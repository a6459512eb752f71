"""Does the ONNX form of a model say the same as the model? Only then it serves."""

from __future__ import annotations

import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats
from tandem.serving.onnx import Onnx
from tandem.training.algorithms.base import Trained, Unconvertible
from tandem.training.manifest import Parity

TOLERANCE = 1e-5
"""Largest difference of two probabilities that counts as the same."""


def check(model: Trained, features: Floats, threshold: float) -> tuple[Parity, bytes | None]:
    """Converts a model, compares it with itself on `features`, and returns the ONNX bytes if they may serve."""
    rows = len(features)
    try:
        converted = model.onnx()
        session = Onnx.of(converted)
    except (Unconvertible, Broken) as error:
        return Parity(held=False, reason=f"There is no ONNX form: {error}", rows=rows, tolerance=TOLERANCE), None
    native, onnx = model.predict(features), session.predict(features)
    largest = float(np.abs(native - onnx).max())
    changed = int(((native >= threshold) != (onnx >= threshold)).sum())
    held = largest <= TOLERANCE and not changed
    verdict = "agrees with" if held else "differs from"
    reason = f"ONNX {verdict} native on {rows} rows: by {largest:.2g} at most, {changed} classes changed."
    parity = Parity(held=held, reason=reason, rows=rows, tolerance=TOLERANCE, largest=largest, changed=changed)
    return parity, converted if held else None
