"""ONNX inside the door: for models that answer a row faster than another process could be asked. Imported late."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tandem.serving.calibration import Calibration
from tandem.serving.encoding import Encoding
from tandem.serving.onnx import Onnx
from tandem.serving.signature import MISSING, Cell, Signature

TRIES = 20
LEAST_BYTES, PER_BYTE = 128 * 1024, 8
"""What a session takes however small its file is, and for each byte of the file: measured on trees of 10 to 500."""
SAMPLE = "a word or two " * 100
"""A text to measure with."""


@dataclass(frozen=True, slots=True)
class Session:
    """A loaded ONNX model and what a row costs."""

    model: Onnx
    seconds: float
    """Of one row, measured when it was loaded."""
    encoding: Encoding | None = None
    """Of a model that takes more than numbers."""
    calibration: Calibration | None = None
    texts: tuple[int, ...] = ()
    """The places of texts in a row."""
    slowness: float = 0.0
    """Seconds of one character of a text, measured when it was loaded."""
    size: int = 0
    """Bytes that it takes in memory, about."""

    @classmethod
    def load(cls, members: Path, signature: Signature) -> Self:
        """Loads and times a model.

        Raises:
            Broken: see `tandem.serving.onnx`.
        """
        encoding = Encoding.load(members)
        texts = tuple(place for place, field in enumerate(signature.fields) if field.dtype == "text")
        calibration = Calibration.load(members)
        made = cls(Onnx.load(members), 0.0, encoding, calibration, texts)
        bare: list[Cell] = [0.0 if encoding is None else MISSING] * len(signature.fields)
        seconds = made._best(bare)
        told = [SAMPLE if place in texts else cell for place, cell in enumerate(bare)]
        slowness = max(0.0, made._best(told) - seconds) / (len(SAMPLE) * len(texts)) if texts else 0.0
        size = LEAST_BYTES + PER_BYTE * sum(path.stat().st_size for path in members.glob("*.onnx"))
        return cls(made.model, seconds, encoding, calibration, texts, slowness, size)

    def takes(self, rows: list[list[Cell]]) -> float:
        """Seconds that these rows will take, about."""
        if not self.texts:
            return self.seconds * len(rows)
        letters = sum(len(str(row[place])) for row in rows for place in self.texts)
        return self.seconds * len(rows) + self.slowness * letters

    def predict(self, rows: list[list[Cell]]) -> list[list[float]]:
        """The model's outputs per row; NaN where a value is missing."""
        numbers = rows if self.encoding is None else self.encoding.rows(rows)
        found: list[list[float]] = self.model.predict(np.array(numbers, dtype=np.float64)).tolist()
        return found if self.calibration is None else self.calibration.rows(found)

    def _best(self, row: list[Cell]) -> float:
        """Seconds of one row: the shortest of several tries."""
        best = float("inf")
        for _ in range(TRIES):
            begun = time.perf_counter()
            self.predict([row])
            best = min(best, time.perf_counter() - begun)
        return best
