"""A file becomes a dataset: read, typed, checked, profiled, digested; or it is refused whole. Writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tandem.core.errors import Invalid
from tandem.data import check as checks
from tandem.data.contract import DTYPES, Column, Contract, Dtype
from tandem.data.digest import content_digest
from tandem.data.dtypes import cast_values, convert, guess, of_frame
from tandem.data.problems import Problem, Problems
from tandem.data.profile import Profile, profile
from tandem.data.read import Limits, Table, read

HINT = "Mend the file, or state another type or range in the contract."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """A file that kept its contract."""

    frame: pl.DataFrame
    """Columns in the contract's order: Float64, Int64, String, Boolean, or Datetime (UTC microseconds)."""
    contract: Contract
    profile: Profile
    digest: str
    """`sha256:…` over schema and values; see `tandem.data.digest`."""
    rows: int


def ingest(
    path: Path,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    contract: Contract | None = None,
    limits: Limits | None = None,
) -> Ingested:
    """Reads a CSV (RFC 4180, UTF-8, a header), JSON-lines or Parquet file; an empty cell is a missing value.

    Without a contract, types and ranges are inferred from the data; a column of mostly numbers with some
    text is then refused rather than called text.

    Raises:
        Invalid: the file is broken or breaks the contract; names row, line and column of up to 20 faults.
    """
    contract = None if contract is None else _with_roles(contract, id_column, time_column)
    problems = Problems(source=path.name)
    table = read(path, problems, limits)
    names = list(table.frame.columns)
    if contract is not None:
        checks.columns(names, contract, problems)
        if any(name not in names for name in contract.names):
            problems.refuse(HINT)
    else:
        for role, name in (("id", id_column), ("time", time_column)):
            if name is not None and name not in names:
                raise Invalid(f"{path.name} has no {role} column '{name}'.", field=f"column '{name}'", hint=_among(names))
    if not table.frame.height:
        problems.refuse(HINT)
        raise Invalid(f"{path.name} has a header but no rows.", field="path", hint="Write at least one row.")
    frame = _typed(table, contract, id_column, time_column, problems)
    if contract is None:
        _check_inferred(frame, table, id_column, problems)
        problems.refuse(HINT)
        contract = checks.infer(frame, id_column=id_column, time_column=time_column)
    else:
        checks.empties(table.frame, contract, table.rows, table.lines, problems)
        checks.values(frame, contract, table.rows, table.lines, problems)
        problems.refuse(HINT)
    return Ingested(
        frame=frame,
        contract=contract,
        profile=profile(frame, contract),
        digest=content_digest(frame),
        rows=frame.height,
    )


def _with_roles(contract: Contract, id_column: str | None, time_column: str | None) -> Contract:
    """The contract knows its own id and time columns; an argument may repeat them but not contradict."""
    for role, given, own in (("id", id_column, contract.id_column), ("time", time_column, contract.time_column)):
        if given is not None and given != own:
            raise Invalid(
                f"The {role} column was given as '{given}', but the contract names {own or 'none'}.",
                field=f"{role}_column",
                hint="Edit the contract, or leave the argument out.",
            )
    return contract


def _typed(
    table: Table, contract: Contract | None, id_column: str | None, time_column: str | None, problems: Problems
) -> pl.DataFrame:
    names = list(table.frame.columns) if contract is None else list(contract.names)
    found: list[pl.Series] = []
    for name in names:
        cells = table.frame[name]
        if table.typed:
            found.append(_values(cells, None if contract is None else contract.column(name), problems))
            continue
        dtype = contract.column(name).dtype if contract is not None else _guess(cells, name == id_column, name == time_column)
        found.append(convert(cells, dtype, table.rows, table.lines, problems))
    return pl.DataFrame(found)


def _guess(cells: pl.Series, is_id: bool, is_time: bool) -> Dtype:
    """An id is whole numbers or text, whatever most of its cells look like; a time column holds times."""
    if is_time:
        return "datetime"
    dtype = guess(cells)
    if is_id and (dtype not in ("int", "string") or not cells.drop_nulls().str.contains(r"^\d{1,18}$").all()):
        return "string"
    return dtype


def _values(cells: pl.Series, column: Column | None, problems: Problems) -> pl.Series:
    """A column that came with types, in the frame's own representation."""
    found = of_frame(cells.dtype)
    wanted = found if column is None else column.dtype
    values = None if found is None or wanted is None or (found, wanted) not in _WIDENS else cast_values(cells, wanted)
    if values is None:
        problems.add(Problem(column=cells.name, what=f"is {cells.dtype}, not {wanted or 'a type that a dataset can hold'}"))
        return cells
    return values


_WIDENS: frozenset[tuple[Dtype, Dtype]] = frozenset({("int", "float"), *((dtype, dtype) for dtype in DTYPES)})
"""Conversions of a typed column that keep every value."""


def _check_inferred(frame: pl.DataFrame, table: Table, id_column: str | None, problems: Problems) -> None:
    """What must hold without any contract: numbers are finite, ids are there and unique."""
    for cells in frame.iter_columns():
        checks.finite(cells, table.rows, table.lines, problems)
    if id_column is not None:
        checks.empty(table.frame[id_column], table.rows, table.lines, problems)
        checks.repeated(frame[id_column], table.rows, table.lines, problems)


def _among(names: list[str]) -> str:
    return f"Columns are: {', '.join(names[:10])}{', …' if len(names) > 10 else ''}."
