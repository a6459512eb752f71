"""A frame against its contract, and a contract from a frame. Knows no files."""

from __future__ import annotations

import math

import polars as pl

from tandem.core.errors import Invalid
from tandem.data.contract import NUMBERS, Column, Contract, Dtype
from tandem.data.dtypes import of_frame, report
from tandem.data.problems import Problem, Problems

MARGIN = 0.5
"""How far an inferred range goes beyond what was seen, as a share of the seen span, on either side."""
CATEGORIES = 20
"""A text column with at most this many distinct texts is taken for a category."""


def check(frame: pl.DataFrame, contract: Contract, *, source: str = "The frame") -> None:
    """Compares every value of a frame with the contract.

    Raises:
        Invalid: with row (1-based) and column of up to twenty violations.
    """
    problems = Problems(source=source)
    columns(list(frame.columns), contract, problems)
    problems.refuse("Mend the data, or edit the contract.")
    for column in contract.columns:
        found = of_frame(frame.schema[column.name])
        if found != column.dtype:
            problems.add(Problem(column=column.name, what=f"is {found or 'of an unknown type'}, not {column.dtype}"))
    problems.refuse("Mend the data, or edit the contract.")
    rows = pl.int_range(1, frame.height + 1, eager=True)
    empties(frame, contract, rows, None, problems)
    values(frame, contract, rows, None, problems)
    problems.refuse("Mend the data, or edit the contract.")


def columns(names: list[str], contract: Contract, problems: Problems) -> None:
    """Adds a problem for each column that is missing or unexpected."""
    for name in contract.names:
        if name not in names:
            problems.add(Problem(column=name, what="is missing"))
    for name in names:
        if name not in contract.names:
            problems.add(Problem(column=name, what="is not in the contract"))


def empties(frame: pl.DataFrame, contract: Contract, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    """Adds a problem for each null where the contract wants a value."""
    for column in contract.columns:
        if not column.nullable:
            empty(frame[column.name], rows, lines, problems)


def values(frame: pl.DataFrame, contract: Contract, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    """Adds a problem for each value that the contract does not allow; nulls are `empties`' business."""
    for column in contract.columns:
        cells = frame[column.name]
        if column.dtype in NUMBERS:
            _numbers(cells, column, rows, lines, problems)
        if column.categories is not None:
            strange = ~cells.is_in(list(column.categories)) & cells.is_not_null()
            report(strange, cells, rows, lines, f"is none of {', '.join(column.categories[:10])}", problems)
        if column.unique:
            repeated(cells, rows, lines, problems)


def empty(cells: pl.Series, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    """Adds a problem for each null."""
    report(cells.is_null(), cells, rows, lines, "is empty", problems)


def finite(cells: pl.Series, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    """Adds a problem for each NaN or infinity."""
    if cells.dtype.is_float():
        report(~cells.is_finite().fill_null(value=True), cells, rows, lines, "is not a finite number", problems)


def repeated(cells: pl.Series, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    """Adds a problem for each value that stood in an earlier row."""
    again = ~cells.is_first_distinct() & cells.is_not_null()
    report(again, cells, rows, lines, "occurs a second time in a column that names rows", problems)


def _numbers(cells: pl.Series, column: Column, rows: pl.Series, lines: pl.Series | None, problems: Problems) -> None:
    finite(cells, rows, lines, problems)
    known = cells.is_finite().fill_null(value=False) if cells.dtype.is_float() else cells.is_not_null()
    if column.low is not None:
        report((cells < column.low) & known, cells, rows, lines, f"is below {column.low:g}", problems)
    if column.high is not None:
        report((cells > column.high) & known, cells, rows, lines, f"is above {column.high:g}", problems)


def infer(frame: pl.DataFrame, *, id_column: str | None = None, time_column: str | None = None) -> Contract:
    """A contract that the frame keeps, with ranges half a span wider than seen; every bound is marked as inferred.

    A range does not cross zero where the data did not. Columns of only 0 and 1 keep exactly that range.

    Raises:
        Invalid: a column has a type that a dataset cannot hold, or the id or time column is not one.
    """
    for role, name in (("id", id_column), ("time", time_column)):
        if name is not None and name not in frame.columns:
            raise Invalid(
                f"There is no {role} column '{name}'.", field=name, hint=f"Columns are: {', '.join(frame.columns[:10])}."
            )
    found = [_column(frame[name], unique=name == id_column) for name in frame.columns]
    return Contract(columns=tuple(found), id_column=id_column, time_column=time_column)


def _column(cells: pl.Series, *, unique: bool) -> Column:
    dtype = of_frame(cells.dtype)
    if dtype is None:
        raise Invalid(
            f"Column '{cells.name}' has the type {cells.dtype}, which a dataset cannot hold.",
            field=cells.name,
            hint="Use numbers, texts, truth values or times.",
        )
    low, high = (None, None) if unique or dtype not in NUMBERS else _range(cells, dtype)
    return Column(
        name=cells.name,
        dtype=dtype,
        nullable=cells.null_count() > 0,
        low=low,
        high=high,
        categories=None if unique or dtype != "string" else _categories(cells),
        unique=unique,
        inferred=True,
    )


def _range(cells: pl.Series, dtype: Dtype) -> tuple[float | None, float | None]:
    seen = cells.drop_nulls()
    if not len(seen):
        return None, None
    low, high = float(seen.min()), float(seen.max())  # type: ignore[arg-type]  # numbers, as the caller knows
    if dtype == "int" and low >= 0 and high <= 1:
        return 0.0, 1.0
    span = (high - low) or max(abs(high), 1.0)
    wide_low, wide_high = low - MARGIN * span, high + MARGIN * span
    if low >= 0:
        wide_low = max(wide_low, 0.0)
    if high <= 0:
        wide_high = min(wide_high, 0.0)
    if dtype == "int":
        return float(math.floor(wide_low)), float(math.ceil(wide_high))
    return _bounded(wide_low), _bounded(wide_high)


def _bounded(bound: float) -> float | None:
    """Six significant digits are enough for a person to read; None where the margin overflows."""
    return float(f"{bound:.6g}") if math.isfinite(bound) else None


def _categories(cells: pl.Series) -> tuple[str, ...] | None:
    distinct = cells.drop_nulls().unique().sort().to_list()
    few = 0 < len(distinct) <= CATEGORIES and len(distinct) * 2 <= len(cells)
    return tuple(str(text) for text in distinct) if few else None
