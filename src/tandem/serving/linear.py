"""Linear models in numpy: probability by the logistic function, contributions exact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import msgspec
import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats

FILE = "linear.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """`linear.json`: one entry per column."""

    means: tuple[float, ...]
    """Stand in for missing values, and are subtracted."""
    scales: tuple[float, ...]
    """Divide what is left."""
    coefficients: tuple[float, ...]
    """Log-odds per scaled unit."""
    intercept: float


@dataclass(frozen=True, slots=True)
class Linear:
    """sigmoid(intercept + sum of coefficient x (value - mean) / scale)."""

    means: Floats
    scales: Floats
    coefficients: Floats
    intercept: float
    explains: ClassVar[bool] = True

    @classmethod
    def of(cls, *, means: Floats, scales: Floats, coefficients: Floats, intercept: float) -> Self:
        return cls(np.asarray(means), np.asarray(scales), np.asarray(coefficients), intercept)

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            weights = msgspec.json.decode((members / FILE).read_bytes(), type=Weights)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {error}.", hint="Train it again.") from None
        parts = [np.array(part, dtype=np.float64) for part in (weights.means, weights.scales, weights.coefficients)]
        if len({len(part) for part in parts}) != 1:
            raise Broken(f"The model's file {FILE} has columns of unequal number.", hint="Train it again.")
        return cls(parts[0], parts[1], parts[2], weights.intercept)

    @property
    def weights(self) -> Weights:
        return Weights(
            means=tuple(map(float, self.means)),
            scales=tuple(map(float, self.scales)),
            coefficients=tuple(map(float, self.coefficients)),
            intercept=self.intercept,
        )

    def predict(self, rows: Floats) -> Floats:
        margin = self._parts(rows).sum(axis=1) + self.intercept
        return np.asarray(np.exp(-np.logaddexp(0.0, -margin)))  # the logistic function without overflow

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        parts = self._parts(rows)
        return parts, np.full(len(parts), self.intercept)

    def _parts(self, rows: Floats) -> Floats:
        filled = np.where(np.isnan(rows), self.means, rows)
        return np.asarray((filled - self.means) / self.scales * self.coefficients)
