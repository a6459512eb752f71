"""What a dataset looks like, column by column: counts, quantiles, histograms. Judges nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from tandem.data.contract import NUMBERS, Contract, Dtype
from tandem.data.dtypes import text

BINS = 20
TOP = 10
CORRELATED = 50
"""Numeric columns up to which correlations are computed."""
CHUNK = 20_000
"""Rows of numbers that stand in memory at one time while they are."""
COUNTED, FEW = 500_000, 50_000
"""Texts that are counted at one time, where so many hold no more different ones."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts between edges; the last bin includes its upper edge."""

    edges: tuple[float, ...]
    """One more than counts, ascending."""
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """A frequent value."""

    value: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column in numbers; what does not apply to its type is None or empty."""

    name: str
    dtype: Dtype
    count: int
    """Cells with a value."""
    nulls: int
    distinct: int
    """Distinct values, nulls not counted."""
    min: float | str | None = None
    """Smallest value; an ISO 8601 text for times."""
    max: float | str | None = None
    mean: float | None = None
    std: float | None = None
    """Sample standard deviation (n - 1)."""
    quantiles: dict[str, float] | None = None
    """`p01` to `p99`, linearly interpolated."""
    histogram: Histogram | None = None
    top: tuple[Top, ...] = ()
    """Most frequent texts or truth values, ties in text order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A dataset in numbers."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlations:
    """Pearson's correlation of every pair of numeric columns, over the rows in which both have a value."""

    columns: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]
    """Symmetric, in the order of `columns`; None where one of the two does not vary."""


def correlations(frame: pl.DataFrame, contract: Contract) -> Correlations | None:
    """The correlations of the contract's numeric columns, ids aside; None for fewer than two or more than fifty."""
    names = tuple(column.name for column in contract.columns if column.dtype in NUMBERS and not column.unique)
    if not 2 <= len(names) <= CORRELATED or not frame.height:
        return None
    middle = np.array([float(frame[name].cast(pl.Float64).mean() or 0.0) for name in names])  # type: ignore[arg-type]  # a number
    pairs = np.zeros((5, len(names), len(names)))
    with np.errstate(all="ignore"):
        for start in range(0, frame.height, CHUNK):
            values = frame.select(names).slice(start, CHUNK).cast(pl.Float64).to_numpy(order="c") - middle
            known = np.isfinite(values)
            x, k = np.where(known, values, 0.0), known.astype(np.float64)
            pairs += np.array([k.T @ k, x.T @ k, (x * x).T @ k, x.T @ x, k.T @ x])
        n, sums, squares, products, others = pairs
        spread = squares - sums**2 / n
        found = (products - sums * others / n) / np.sqrt(spread * spread.T)
    rows = tuple(tuple(round(float(r), 4) if math.isfinite(r) else None for r in row) for row in np.clip(found, -1, 1))
    return Correlations(columns=names, rows=rows)


def profile(frame: pl.DataFrame, contract: Contract) -> Profile:
    """Counts, quantiles, a histogram of 20 equal bins, and top texts of every column of the contract."""
    found = [_column(frame[column.name], column.dtype) for column in contract.columns]
    return Profile(rows=frame.height, columns=tuple(found))


def _column(cells: pl.Series, dtype: Dtype) -> ColumnProfile:
    seen = cells.drop_nulls()
    base = ColumnProfile(name=cells.name, dtype=dtype, count=len(seen), nulls=cells.null_count(), distinct=0)
    if not len(seen):
        return base
    if dtype in ("string", "bool"):
        table = _counted(seen)
        return replace(base, distinct=table.height, top=top(table))
    base = replace(base, distinct=seen.n_unique())
    if dtype in NUMBERS:
        return _numeric(base, seen.cast(pl.Float64).to_numpy())
    low, high = seen.min(), seen.max()
    assert isinstance(low, datetime)
    assert isinstance(high, datetime)
    return replace(base, min=text(low), max=text(high))


def _numeric(base: ColumnProfile, values: np.ndarray) -> ColumnProfile:
    low, high = float(values.min()), float(values.max())
    with np.errstate(over="ignore", invalid="ignore"):
        quantiles = list(map(float, np.quantile(values, QUANTILES)))
        mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return numeric(base, (low, high), mean, std, quantiles, histogram(values, low, high))


def numeric(
    base: ColumnProfile,
    extremes: tuple[float, float],
    mean: float,
    std: float,
    quantiles: Sequence[float],
    bins: Histogram | None,
) -> ColumnProfile:
    """The profile of numbers, without what is not finite.

    Args:
        quantiles: in the order of `QUANTILES`.
    """
    return replace(
        base,
        min=extremes[0],
        max=extremes[1],
        mean=mean if math.isfinite(mean) else None,
        std=std if math.isfinite(std) else None,
        quantiles={f"p{round(q * 100):02d}": value for q, value in zip(QUANTILES, quantiles, strict=True)}
        if all(map(math.isfinite, quantiles))
        else None,
        histogram=bins,
    )


def histogram(values: np.ndarray, low: float, high: float, counts: np.ndarray | None = None) -> Histogram | None:
    """None where floats cannot tell 20 bins apart, or the span overflows.

    Args:
        low, high: the extremes, of more values than these where these are a part.
        counts: how often each occurs; without, once.
    """
    span = (high - low) or 1.0  # numpy widens a constant to a span of one
    if not math.isfinite(span) or span <= 2 * BINS * max(math.ulp(low), math.ulp(high)):
        return None
    with np.errstate(all="ignore"):  # subnormal bin widths divide to infinity inside numpy
        found, edges = np.histogram(values, bins=BINS, range=(low, high), weights=counts)
    return Histogram(edges=tuple(map(float, edges)), counts=tuple(map(int, found)))


def _counted(seen: pl.Series) -> pl.DataFrame:
    """How often each value occurs; few values are counted a part at a time, which takes little memory."""
    cells = seen.alias("value")
    table = cells.head(COUNTED).value_counts()
    if table.height > FEW:
        return cells.value_counts()
    for start in range(COUNTED, len(cells), COUNTED):
        more = cells.slice(start, COUNTED).value_counts()
        table = pl.concat([table, more]).group_by("value").agg(pl.col("count").sum())
    return table


def top(table: pl.DataFrame) -> tuple[Top, ...]:
    first = table.with_columns(pl.col("value").cast(pl.String)).sort(["count", "value"], descending=[True, False]).head(TOP)
    return tuple(Top(value=value, count=count) for value, count in first.iter_rows())
