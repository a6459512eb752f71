"""A contract that grows with a file, when somebody asks for it: new columns that may be empty, and wider types."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from tandem.core.errors import Invalid
from tandem.data.check import column_of
from tandem.data.contract import Column, Contract, Dtype
from tandem.data.dtypes import POLARS, convert, guess, of_frame
from tandem.data.read import Table

WIDER: frozenset[tuple[Dtype, Dtype]] = frozenset({("int", "float"), ("int", "string")})
"""Types that a column may grow from and into without losing a value."""
EXACT = 2**53
"""Whole numbers up to this are floats too."""


def evolved(contract: Contract, table: Table) -> tuple[Contract, tuple[str, ...]]:
    """The contract that a file asks for, and each change in words; the same contract where it asks for none."""
    changes: list[str] = []
    columns: list[Column] = []
    for column in contract.columns:
        found = _found(table, column) if column.name in table.names else column.dtype
        columns.append(_widened(column, found) if (column.dtype, found) in WIDER else column)
        if columns[-1] != column:
            changes.append(f"column '{column.name}' became {found}, it was {column.dtype}")
    for name in table.names:
        if name not in contract.names:
            columns.append(_new(table.column(name), typed=table.typed))
            changes.append(f"column '{name}' is new, {columns[-1].dtype} or empty")
    return (replace(contract, columns=tuple(columns)) if changes else contract), tuple(changes)


def aligned(before: pl.DataFrame, contract: Contract, name: str) -> pl.DataFrame:
    """The rows of an earlier version as the contract wants them: new columns empty, widened ones cast.

    Raises:
        Invalid: they do not fit the contract.
    """
    extra = [each for each in before.columns if each not in contract.names]
    if extra:
        raise _unfit(name, f"they have a column '{extra[0]}', which the contract does not have")
    return pl.DataFrame([_aligned(before, column, name) for column in contract.columns])


def _aligned(before: pl.DataFrame, column: Column, name: str) -> pl.Series:
    if column.name not in before.columns:
        if not column.nullable:
            raise _unfit(name, f"they have no column '{column.name}', which may not be empty")
        return pl.Series(column.name, [None], dtype=POLARS[column.dtype]).new_from_index(0, before.height)
    cells = before[column.name]
    held = of_frame(cells.dtype)
    if held == column.dtype:
        return cells
    if held is None or (held, column.dtype) not in WIDER:
        raise _unfit(name, f"column '{column.name}' is {held} there and {column.dtype} in the contract")
    if column.dtype == "float" and bool((cells.abs() > EXACT).any()):
        raise _unfit(name, f"column '{column.name}' holds whole numbers that a float cannot hold")
    return cells.cast(POLARS[column.dtype])


def _found(table: Table, column: Column) -> Dtype | None:
    """The type that a file's cells have: a float as soon as one is, text only where most are."""
    cells = table.column(column.name)
    if table.typed:
        return of_frame(cells.dtype)
    if column.dtype != "int" or not convert(cells, "int").null_count() > cells.null_count():
        return column.dtype
    return "float" if convert(cells, "float").null_count() == cells.null_count() else guess(cells)


def _widened(column: Column, found: Dtype | None) -> Column:
    if found == "string":
        return replace(column, dtype="string", low=None, high=None)
    return replace(column, dtype="float")


def _new(cells: pl.Series, *, typed: bool) -> Column:
    values = cells if typed else convert(cells, guess(cells))
    return replace(column_of(values, unique=False), nullable=True)


def _unfit(name: str, why: str) -> Invalid:
    return Invalid(
        f"The rows of {name} do not fit the contract: {why}.",
        field="contract",
        hint="Hand in all rows as one file in their place, without --append.",
    )
