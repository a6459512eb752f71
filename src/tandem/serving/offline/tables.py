"""A dataset made of files, column by column: as much of it in memory as one file has of one column, however many there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import polars as pl

from tandem.data.child import Done
from tandem.data.contract import Column, Contract
from tandem.data.digest import CHUNK, Chunks, digest_of
from tandem.data.long import describe
from tandem.data.profile import ColumnProfile, Profile
from tandem.store.lake import Lake


def dataset(
    lake: Lake,
    name: str,
    columns: Sequence[str],
    files: list[Path],
    folder: Path,
    *,
    mark: str,
    id: str | None,
    time: str | None,
) -> Done:
    """Writes the rows of files as the next version of a table, once for each mark, and tells what a dataset tells of itself.

    Args:
        files: Parquet, at least one, all of the same columns.
        folder: where values lie for a while that are too many for the memory.
    """
    rows = pl.scan_parquet(files).select(columns)
    schema, height = rows.collect_schema(), int(rows.select(pl.len()).collect().item())
    found: list[tuple[Column, ColumnProfile]] = []

    def each() -> Iterator[Chunks]:
        for column in columns:
            chunks = partial(_chunks, files, column)
            found.append(describe(chunks, unique=column == id, folder=folder))
            yield chunks

    digest = digest_of(schema, height, each())
    contract = Contract(columns=tuple(column for column, _ in found), id_column=id, time_column=time)
    profile = Profile(rows=height, columns=tuple(told for _, told in found))
    version = lake.write_lazy(name, rows, mark=mark)
    return Done(rows=height, digest=digest, contract=contract, profile=msgspec.Raw(profile.to_json()), version=version)


def _chunks(files: Sequence[Path], column: str) -> Iterator[pl.Series]:
    """The cells of a column, in the order of the files."""
    for file in files:
        cells = pl.read_parquet(file, columns=[column], memory_map=False)[column]
        yield from (cells.slice(start, CHUNK) for start in range(0, len(cells), CHUNK))
