"""A column that is longer than memory should hold, described as `check.column_of` and `profile` describe one that is not."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl

from tandem.data.check import CATEGORIES, column_of
from tandem.data.contract import NUMBERS, Column
from tandem.data.counts import Counts
from tandem.data.digest import Chunks
from tandem.data.dtypes import text
from tandem.data.profile import QUANTILES, TOP, ColumnProfile, Histogram, histogram, numeric, top


def describe(chunks: Chunks, *, unique: bool, folder: Path) -> tuple[Column, ColumnProfile]:
    """What a contract and a profile say of a column, at least one chunk long; the mean and the deviation up to rounding.

    Args:
        folder: where values lie for a while that are too many for the memory.

    Raises:
        Invalid: as `column_of`.
    """
    extent = _Extent()
    with tempfile.TemporaryDirectory(dir=folder) as runs:
        counts = Counts(Path(runs))
        for cells in chunks():
            seen = cells.drop_nulls()
            if len(seen):
                counts.add(seen)
            extent.add(cells, seen)
        order = _Order(extent, cells.clear())
        for block in counts.blocks():
            order.add(block)
    stand = pl.concat([order.first, order.last, cells.clear(1 if extent.rows > extent.known else 0)])
    column = column_of(stand, unique=unique, rows=extent.rows)
    base = ColumnProfile(
        name=cells.name,
        dtype=column.dtype,
        count=extent.known,
        nulls=extent.rows - extent.known,
        distinct=order.distinct,
    )
    if not extent.known:
        return column, base
    if column.dtype in ("string", "bool"):
        return column, replace(base, top=top(order.most))
    if column.dtype in NUMBERS:
        return column, order.numbers(base)
    return column, replace(base, min=text(order.first[0]), max=text(order.last[0]))


@dataclass(slots=True)
class _Extent:
    """Of a first reading: how many cells, and of numbers the extremes, the mean and the spread (Chan et al. 1983)."""

    rows: int = 0
    known: int = 0
    low: float = math.inf
    high: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0
    """Sum of the squared distances to the mean."""

    def add(self, cells: pl.Series, seen: pl.Series) -> None:
        """Some cells, and those of them that have a value."""
        before, self.rows, self.known = self.known, self.rows + len(cells), self.known + len(seen)
        if not len(seen) or not seen.dtype.is_numeric():
            return
        values = seen.cast(pl.Float64).to_numpy()
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.mean()
            away = mean - self.mean
            self.squares += float(((values - mean) ** 2).sum() + away**2 * before * len(seen) / self.known)
            self.mean += float(away * len(seen) / self.known)


@dataclass(slots=True)
class _Order:
    """Of a second reading, in ascending order."""

    extent: _Extent
    first: pl.Series
    """The least different values: one more than a category may have."""
    distinct: int = 0
    last: pl.Series = field(init=False)
    most: pl.DataFrame = field(init=False)
    """The most frequent values with their counts."""
    _places: dict[int, float] = field(default_factory=dict)
    """Of the sorted numbers, those that quantiles lie at or between."""
    _read: int = 0
    _bins: list[Histogram | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.last = self.first
        self.most = pl.DataFrame({"value": self.first, "count": pl.Series([], dtype=pl.Int64)})

    def add(self, block: pl.DataFrame) -> None:
        """The next values, each once."""
        values, counts = block["value"].alias(self.first.name), block["count"].to_numpy()
        self.distinct += len(values)
        self.first = pl.concat([self.first, values.head(CATEGORIES + 1)]).head(CATEGORIES + 1)
        self.last = values.tail(1)
        if not values.dtype.is_numeric():
            self.most = pl.concat([self.most, block]).sort(["count", "value"], descending=[True, False]).head(TOP)
            return
        numbers, ends = values.cast(pl.Float64).to_numpy(), self._read + counts.cumsum()
        wanted = {place for below, _ in self._quantiles() for place in (below, below + 1) if self._read <= place < ends[-1]}
        self._places |= {place: float(numbers[np.searchsorted(ends, place, side="right")]) for place in wanted}
        self._read = int(ends[-1])
        self._bins.append(histogram(numbers, self.extent.low, self.extent.high, counts))

    def _quantiles(self) -> list[tuple[int, float]]:
        """Before which of the sorted numbers each quantile lies, and how far beyond it."""
        exact = [quantile * (self.extent.known - 1) for quantile in QUANTILES]
        return [(int(place), place - int(place)) for place in exact]

    def numbers(self, base: ColumnProfile) -> ColumnProfile:
        """The profile of a column of numbers."""
        extent, last = self.extent, self.extent.known - 1
        with np.errstate(over="ignore", invalid="ignore"):
            quantiles = [
                float(np.quantile([self._places[below], self._places[min(below + 1, last)]], beyond))
                for below, beyond in self._quantiles()
            ]
        bins = [each for each in self._bins if each is not None]
        counts = tuple(map(sum, zip(*(each.counts for each in bins), strict=True)))
        whole = Histogram(edges=bins[0].edges, counts=counts) if bins else None
        std = math.sqrt(extent.squares / last) if last else math.nan
        return numeric(base, (extent.low, extent.high), extent.mean, std, quantiles, whole)
