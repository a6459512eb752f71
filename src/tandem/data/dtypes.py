"""From text to values: which type a column has, and what each cell says in it. Knows no ranges and no files."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from tandem.core.clock import micros
from tandem.data.contract import Dtype

POLARS: dict[Dtype, pl.DataType] = {
    "float": pl.Float64(),
    "int": pl.Int64(),
    "string": pl.String(),
    "bool": pl.Boolean(),
    "datetime": pl.Datetime("us", "UTC"),
}
"""How each type stands in a frame."""

CHUNK = 50_000
"""Texts that stand as Python objects at one time while they are read as times."""
_INT = r"^[+-]?\d{1,18}$"
_FLOAT = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"
_NON_FINITE = r"^(?i)[+-]?(?:nan|inf|infinity)$"
_BOOL = r"^(?i)(?:true|false)$"
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_CODE = r"^(?:0\d+|\d{19,})$"
"""Digits that are a name rather than a number: leading zeros, or more than an int holds."""
_TIME = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$"

NAMES: dict[Dtype, str] = {
    "float": "a number",
    "int": "a whole number",
    "bool": "true or false",
    "datetime": "an ISO 8601 time",
    "string": "text",
}
"""What a cell of each type is called."""


def guess(cells: pl.Series) -> Dtype:
    """The type of a column of text cells (null where empty).

    A column counts as numeric or temporal when more than half of its cells are: the others are then
    faults to report rather than a reason to call the column text.

    >>> guess(pl.Series(["1", "2", "x"]))
    'int'
    """
    cells = cells.drop_nulls().str.strip_chars()
    total = len(cells)
    if not total:
        return "string"

    def share(pattern: str) -> float:
        return int(cells.str.contains(pattern).sum()) / total

    if share(_BOOL) == 1:
        return "bool"
    whole, numbers = share(_INT), share(f"{_FLOAT}|{_NON_FINITE}")
    if numbers > 0.5:
        if share(_CODE) > 0 and share(r"^\d+$") == 1:
            return "string"
        return "int" if whole == numbers else "float"
    return "datetime" if share(_TIME) > 0.5 else "string"


def convert(cells: pl.Series, dtype: Dtype) -> pl.Series:
    """Text cells as values of `dtype`; a cell that is none becomes null."""
    match dtype:
        case "string":
            return cells
        case "bool":
            text = cells.str.strip_chars().str.to_lowercase()
            return text.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean)
        case "int":
            return _matching(cells.str.strip_chars(), _INT).cast(pl.Int64, strict=False)
        case "float":
            text = cells.str.strip_chars()
            return _matching(text, f"{_FLOAT}|{_NON_FINITE}").str.to_lowercase().cast(pl.Float64, strict=False)
        case "datetime":
            return _times(cells.str.strip_chars())


def _matching(cells: pl.Series, pattern: str) -> pl.Series:
    frame = cells.to_frame("cell")
    column = pl.col("cell")
    return frame.select(pl.when(column.str.contains(pattern)).then(column)).to_series().alias(cells.name)


def _times(cells: pl.Series) -> pl.Series:
    """With the platform's own reading of ISO 8601: no zone means UTC. Some rows at a time, each distinct text once."""
    parts = [_some_times(cells.slice(start, CHUNK)) for start in range(0, max(1, len(cells)), CHUNK)]
    return pl.concat(parts).cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias(cells.name)


def _some_times(cells: pl.Series) -> pl.Series:
    known: dict[str, int | None] = {cell: _micros(cell) for cell in _matching(cells, _TIME).drop_nulls().unique().to_list()}
    values = [known.get(cell) if cell is not None else None for cell in cells.to_list()]
    return pl.Series(cells.name, values, dtype=pl.Int64)


def _micros(cell: str) -> int | None:
    try:
        return micros(cell)
    except (ValueError, OverflowError):
        return None


def of_frame(dtype: pl.DataType) -> Dtype | None:
    """The contract's type of a column that already has values; None for one that a dataset cannot hold."""
    if dtype.is_integer():
        return "int"
    if dtype.is_float():
        return "float"
    if isinstance(dtype, pl.Boolean):
        return "bool"
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return "string"
    return "datetime" if isinstance(dtype, pl.Datetime | pl.Date) else None


def cast_values(values: pl.Series, dtype: Dtype) -> pl.Series | None:
    """Values of a typed file in the frame's own representation; None where that would change them."""
    source = values.dtype
    try:
        if isinstance(source, pl.Datetime) and dtype == "datetime":
            zoned = values.dt.replace_time_zone("UTC") if source.time_zone is None else values.dt.convert_time_zone("UTC")
            return zoned.cast(POLARS["datetime"])
        if isinstance(source, pl.Date) and dtype == "datetime":
            return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return values.cast(POLARS[dtype])
    except pl.exceptions.PolarsError:
        return None


def text(moment: datetime) -> str:
    """A time as contracts and profiles write it."""
    return moment.isoformat().replace("+00:00", "Z")
