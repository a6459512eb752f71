"""The rows of a version, read in a process of its own: a page of them, or a file.

`python -m tandem.data.rows` is the child; see `tandem.jobs.apart`. Knows no rights and no registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from tandem.core.errors import Invalid
from tandem.data.child import Held
from tandem.jobs.apart import Progress, serve, silent

if TYPE_CHECKING:
    import polars as pl

Format = Literal["csv", "parquet", "jsonl"]
TIME = "%Y-%m-%dT%H:%M:%S%.6fZ"
"""How times are written outside Parquet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows, and what of them."""

    columns: tuple[str, ...] | None = None
    """Only these, in this order; all without."""
    where: str | None = None
    """Only rows of which this is true; see `tandem.data.expression`."""
    lineage: bool = False
    """Whether to add `_source`, the Run that brought a row, and `_row`, its row in that file, from 1."""
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be read."""

    query: Query
    lake: str = ""
    held: Held | None = None
    """The rows of a version; else those of `file`."""
    file: str | None = None
    """A Parquet file."""
    out: str | None = None
    """Where the rows are written; else they are the reply."""
    format: Format = "csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Rows in the order in which they were written."""

    columns: tuple[str, ...]
    total: int
    """Rows that the condition lets through, of which these are some."""
    rows: msgspec.Raw
    """A list of lists, one value per column; times as text. Empty when they were written to a file."""


def carry_out(order: Order, progress: Progress = silent) -> Page:
    """Reads the rows, in this process.

    Raises:
        Invalid: there is no such column, or the condition is none.
        NotFound: no such table or version.
    """
    import polars as pl

    from tandem.data.expression import computing, keep

    query = order.query
    rows = _source(order)
    names = rows.collect_schema().names()
    chosen = _chosen(names, query)
    with computing(query.where or "the rows"):
        if query.where is not None:
            rows = keep(rows, query.where)
        total = int(rows.select(pl.len()).collect().item())
        part = rows.slice(query.offset, query.limit).select(chosen)
        if order.out is not None:
            _write(part, Path(order.out), order.format)
            return Page(columns=tuple(chosen), total=total, rows=msgspec.Raw(b"[]"))
        return Page(columns=tuple(chosen), total=total, rows=msgspec.Raw(msgspec.json.encode(_plain(part).collect().rows())))


def _source(order: Order) -> pl.LazyFrame:
    import polars as pl

    from tandem.store.lake import HIDDEN, Lake

    if order.held is None:
        assert order.file is not None
        return pl.scan_parquet(order.file)
    rows = Lake(Path(order.lake)).scan(order.held.table, order.held.version)
    if tuple(rows.collect_schema().names()[-2:]) == HIDDEN:
        return rows if order.query.lineage else rows.drop(HIDDEN)
    if not order.query.lineage:
        return rows
    source, row = HIDDEN
    return rows.with_row_index(row, offset=1).with_columns(pl.lit(order.held.run).cast(pl.String).alias(source))


def _chosen(names: list[str], query: Query) -> list[str]:
    from tandem.store.lake import HIDDEN

    if query.columns is None:
        behind = list(HIDDEN) if query.lineage else []
        return [name for name in names if name not in behind] + behind
    for name in query.columns:
        if name not in names:
            raise Invalid(f"There is no column '{name}'.", field=name, hint=f"Columns are: {', '.join(names[:10])}.")
    chosen = list(dict.fromkeys(query.columns))
    return chosen + [name for name in HIDDEN if query.lineage and name not in chosen]


def _plain(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Times as text."""
    import polars.selectors as cs

    return rows.with_columns(cs.datetime(time_zone=["*"]).dt.to_string(TIME))


def _write(rows: pl.LazyFrame, out: Path, format: Format) -> None:
    match format:
        case "parquet":
            rows.sink_parquet(out)
        case "csv":
            _plain(rows).sink_csv(out)
        case "jsonl":
            _plain(rows).sink_ndjson(out)


def main() -> int:
    return serve(Order, carry_out)


if __name__ == "__main__":
    raise SystemExit(main())
