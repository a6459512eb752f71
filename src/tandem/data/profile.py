"""What a dataset looks like, column by column: counts, quantiles, histograms. Judges nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec
import numpy as np
import polars as pl

from tandem.data.contract import NUMBERS, Contract, Dtype
from tandem.data.dtypes import text

BINS = 20
TOP = 10
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


def profile(frame: pl.DataFrame, contract: Contract) -> Profile:
    """Counts, quantiles, a histogram of 20 equal bins, and top texts of every column of the contract."""
    found = [_column(frame[column.name], column.dtype) for column in contract.columns]
    return Profile(rows=frame.height, columns=tuple(found))


def _column(cells: pl.Series, dtype: Dtype) -> ColumnProfile:
    seen = cells.drop_nulls()
    base = ColumnProfile(name=cells.name, dtype=dtype, count=len(seen), nulls=cells.null_count(), distinct=seen.n_unique())
    if not len(seen):
        return base
    if dtype in NUMBERS:
        return _numeric(base, seen.cast(pl.Float64).to_numpy())
    if dtype == "datetime":
        low, high = seen.min(), seen.max()
        assert isinstance(low, datetime)
        assert isinstance(high, datetime)
        return replace(base, min=text(low), max=text(high))
    return replace(base, top=_top(seen))


def _numeric(base: ColumnProfile, values: np.ndarray) -> ColumnProfile:
    with np.errstate(over="ignore", invalid="ignore"):
        quantiles = {f"p{round(q * 100):02d}": float(v) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
        mean, std = float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return replace(
        base,
        min=float(values.min()),
        max=float(values.max()),
        mean=mean if math.isfinite(mean) else None,
        std=std if math.isfinite(std) else None,
        quantiles=quantiles if all(map(math.isfinite, quantiles.values())) else None,
        histogram=_histogram(values),
    )


def _histogram(values: np.ndarray) -> Histogram | None:
    """None where floats cannot tell 20 bins apart, or the span overflows."""
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0  # numpy widens a constant to a span of one
    if not math.isfinite(span) or span <= 2 * BINS * max(math.ulp(low), math.ulp(high)):
        return None
    with np.errstate(all="ignore"):  # subnormal bin widths divide to infinity inside numpy
        counts, edges = np.histogram(values, bins=BINS)
    return Histogram(edges=tuple(map(float, edges)), counts=tuple(map(int, counts)))


def _top(seen: pl.Series) -> tuple[Top, ...]:
    table = seen.cast(pl.String).alias("value").value_counts().sort(["count", "value"], descending=[True, False]).head(TOP)
    return tuple(Top(value=value, count=count) for value, count in table.iter_rows())
