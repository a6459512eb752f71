"""ONNX inside the door: for models that answer a row faster than another process could be asked. Imported late."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tandem.serving.onnx import Onnx

TRIES = 20


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded ONNX model and what a row costs."""

    model: Onnx
    seconds: float
    """Of one row, measured when it was loaded."""

    @classmethod
    def load(cls, members: Path, columns: int) -> Self:
        """Loads and times a model.

        Raises:
            Broken: see `tandem.serving.onnx`.
        """
        model = Onnx.load(members)
        row = np.zeros((1, columns))
        best = float("inf")
        for _ in range(TRIES):
            begun = time.perf_counter()
            model.predict(row)
            best = min(best, time.perf_counter() - begun)
        return cls(model, best)

    def predict(self, rows: list[list[float]]) -> list[float]:
        """Probability of the positive class per row; NaN where a value is missing."""
        found: list[float] = self.model.predict(np.array(rows, dtype=np.float64)).tolist()
        return found
