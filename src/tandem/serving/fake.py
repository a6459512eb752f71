"""A runtime for tests and demonstrations: the log-odds are the sum of the values. Needs no model file."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from tandem.scorers.sample import Floats

SLEEP = "sleep"
"""A member of this name holds the seconds that a prediction takes."""


@dataclass(frozen=True, slots=True)
class Fake:
    """sigmoid(sum of values), a missing value counting zero."""

    seconds: float = 0.0
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def load(cls, members: Path) -> Self:
        pause = members / SLEEP
        return cls(float(pause.read_text()) if pause.exists() else 0.0)

    def predict(self, rows: Floats) -> Floats:
        time.sleep(self.seconds)
        return np.asarray(np.exp(-np.logaddexp(0.0, -np.nan_to_num(rows).sum(axis=1, keepdims=True))))

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        return np.nan_to_num(rows), np.zeros(len(rows))
