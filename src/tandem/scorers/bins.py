"""Frozen bins of one column, and the bin of a value. Pure Python: light enough for what counts every call."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """The frozen reference of one column."""

    name: str
    kind: Literal["quantiles", "values"]
    marks: tuple[float, ...]
    """Cuts between the bins, ascending (a value on a cut lies below it); or the values themselves."""
    counts: tuple[int, ...]
    """One more than cuts; or one per value and a last one, zero, for all others. Missing values are not in it."""
    missing: int
    low: float = math.nan
    """The smallest and the largest value of the reference."""
    high: float = math.nan

    @property
    def n(self) -> int:
        """Rows of the reference, those without a value included."""
        return sum(self.counts) + self.missing

    @property
    def labels(self) -> tuple[str, ...]:
        """The bins in words."""
        texts = [f"{mark:.4g}" for mark in self.marks]
        if self.kind == "values":
            return (*texts, "others")
        if not texts:
            return ("all",)
        return (f"≤ {texts[0]}", *(f"{a} – {b}" for a, b in pairwise(texts)), f"> {texts[-1]}")

    def place(self, value: float) -> int:
        """The bin of a value, as its place in `counts`; the one after them all for a missing value.

        >>> Bins(name="x", kind="quantiles", marks=(1.0, 2.0), counts=(), missing=0).place(1.5)
        1
        """
        marks = self.marks
        if value != value:
            return len(marks) + 1
        found = bisect_left(marks, value)
        if self.kind == "values" and (found == len(marks) or marks[found] != value):
            return len(marks)
        return found

    def beyond(self, value: float) -> bool:
        """Whether a value lies below the smallest or above the largest of the reference."""
        return value < self.low or value > self.high

    def with_counts(self, counts: Sequence[int], missing: int) -> Bins:
        """The same bins with what another reference counted into them."""
        return replace(self, counts=tuple(counts), missing=missing)
