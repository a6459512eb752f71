"""Outliers by tails of single columns (ECOD, Li et al. 2022): how rare each value is, summed. Explains itself exactly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import msgspec
import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats

FILE = "ecod.json"


class Tails(msgspec.Struct, frozen=True):
    """`ecod.json`: of each column values that were learned from, rising, and on which side its long tail is."""

    columns: tuple[tuple[float, ...], ...]
    left: tuple[bool, ...]
    """Whether the long tail is below."""


@dataclass(frozen=True, slots=True)
class Ecod:
    """The largest of three sums over the columns of -log of a tail's share: of lower tails, of upper ones, of the long ones."""

    columns: tuple[Floats, ...]
    left: tuple[bool, ...]
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def of(cls, tails: Tails) -> Self:
        return cls(tuple(np.array(column, dtype=np.float64) for column in tails.columns), tails.left)

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            tails = msgspec.json.decode((members / FILE).read_bytes(), type=Tails)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {error}.", hint="Train it again.") from None
        if len(tails.columns) != len(tails.left):
            raise Broken(f"The model's file {FILE} has columns of unequal number.", hint="Train it again.")
        return cls.of(tails)

    def predict(self, rows: Floats) -> Floats:
        parts, _ = self.explain(rows)
        return np.asarray(parts.sum(axis=1)[:, None])

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        """What each column adds to the largest sum; a missing value adds nothing."""
        lower, upper = np.zeros(rows.shape), np.zeros(rows.shape)
        for place, known in enumerate(self.columns):
            values = rows[:, place]
            there = ~np.isnan(values) & bool(len(known))
            below = np.searchsorted(known, values[there], side="right")
            above = len(known) - np.searchsorted(known, values[there], side="left")
            lower[there, place] = -np.log(np.maximum(below, 1) / max(1, len(known)))
            upper[there, place] = -np.log(np.maximum(above, 1) / max(1, len(known)))
        ways = np.stack((lower, upper, np.where(self.left, lower, upper)))
        largest = ways.sum(axis=2).argmax(axis=0)
        return ways[largest, np.arange(len(rows))], np.zeros(len(rows))
