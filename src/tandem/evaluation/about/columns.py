"""A column of a dataset as codes of its rows, and the conditions that can be made of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.evaluation.about.nouns import Part
from tandem.evaluation.slices import text
from tandem.scorers.sample import Floats

MOST_VALUES = 50
"""Texts of a column that become conditions: the most frequent."""
CUTS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Quantiles between which numbers are taken together."""
FEW = 10
"""Numbers with at most so many different values are taken each by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """A column as conditions see it."""

    codes: NDArray[np.int64]
    """Of each row the cell that it lies in, from 0."""
    cells: int
    parts: tuple[Part, ...]
    holds: Floats
    """Parts x cells: 1 where the condition holds for the rows of a cell."""


def coded(cells: pl.Series) -> Coded | None:
    """The conditions that a column allows; None where its values are of no kind to make one of, or all alike."""
    if cells.dtype == pl.Boolean or cells.dtype == pl.String:
        found = _by_value(cells)
    elif cells.dtype.is_numeric():
        found = _by_range(cells.name, np.asarray(cells.cast(pl.Float64).fill_null(float("nan")).to_numpy(), dtype=np.float64))
    else:
        return None
    return found if len(found.parts) > 1 else None


def edges(values: Floats) -> Floats:
    """Where numbers are cut: at the quantiles of `CUTS` and above a frequent smallest value, or between all of a few values."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= FEW:
        return distinct[1:]
    cuts = np.quantile(values, CUTS, method="higher")
    if counts[0] >= CUTS[0] * len(values):
        cuts = np.append(cuts, distinct[1])
    return np.unique(cuts[cuts > distinct[0]])


def _by_value(cells: pl.Series) -> Coded:
    """One condition per frequent value, and one for none; rarer values lie in a cell of which there is no condition."""
    counts = cells.drop_nulls().value_counts(sort=True)
    frequent = sorted(counts[cells.name].to_list()[:MOST_VALUES], key=text)
    parts = [Part(column=cells.name, value=text(value)) for value in frequent]
    place = {value: number for number, value in enumerate(frequent)}
    missing, other = len(frequent), len(frequent) + 1
    known = cells.replace_strict(place, default=other, return_dtype=pl.Int64).to_numpy()
    codes = np.where(cells.is_null().to_numpy(), missing, known)
    if cells.null_count():
        parts.append(Part(column=cells.name, missing=True))
    return Coded(codes=codes, cells=other + 1, parts=tuple(parts), holds=np.eye(other + 1)[: len(parts)])


def _by_range(name: str, values: Floats) -> Coded:
    """Every range of neighbouring cells but the whole, and one condition for missing numbers."""
    gone = np.isnan(values)
    cuts = edges(values[~gone])
    last = len(cuts)
    ranges = [(low, high) for low in range(last + 1) for high in range(low, last + 1) if high - low < last]
    parts = [
        Part(column=name, low=float(cuts[low - 1]) if low else None, high=float(cuts[high]) if high < last else None)
        for low, high in ranges
    ]
    holds = np.zeros((len(parts) + 1, last + 2))
    for number, (low, high) in enumerate(ranges):
        holds[number, low : high + 1] = 1
    holds[-1, last + 1] = 1
    codes = np.where(gone, last + 1, np.searchsorted(cuts, values, side="right"))
    if gone.any():
        parts.append(Part(column=name, missing=True))
    return Coded(codes=codes, cells=last + 2, parts=tuple(parts), holds=holds[: len(parts)])
