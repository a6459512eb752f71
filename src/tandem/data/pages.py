"""The answer to a query as one Parquet file, fetched page by page: `python -m tandem.data.pages`; see `tandem.jobs.apart`.

Each page asks for the rows whose key comes after the last one that was kept, so whoever goes on after a kill asks for no row
twice. A page is a file, put in place whole. Rows that change while they are fetched are taken as each page finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from tandem.core.errors import Invalid
from tandem.data.query import ROWS, Ask, NoRows, answer
from tandem.jobs.apart import Progress, ask, serve, silent

if TYPE_CHECKING:
    import polars as pl

PAGE = 100_000
"""Rows of one page: what is in memory at one time."""
FILE = "asked.parquet"
"""All pages, in the order of the key."""
SECONDS = 86_400.0
"""The longest fetching."""
HIDDEN = frozenset({"_source", "_row", "_line", "_reasons"})
"""Names that no dataset may use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be fetched."""

    ask: Ask
    key: str
    """A column of the answer that names its rows: whole numbers or texts, none empty, none twice. Best with an index."""
    folder: str
    """Where pages lie, and in the end `FILE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What came of it."""

    rows: int


def fetch_apart(order: Order, progress: Progress, cancelled: Callable[[], bool]) -> Fetched:
    """Has a child process fetch an answer, or go on where a former one was killed.

    Raises:
        Invalid: see `fetch`.
        Unavailable: the database cannot be reached.
        Conflict: it was cancelled.
    """
    return ask("tandem.data.pages", order, Fetched, progress=progress, cancelled=cancelled, seconds=SECONDS)


def fetch(order: Order, progress: Progress = silent) -> Fetched:
    """Fetches the pages that are missing, and makes one file of all.

    Raises:
        Invalid: the query is wrong, has no rows or too many, or its key does not name them.
        Unavailable: the database cannot be reached.
    """
    import polars as pl

    folder = Path(order.folder)
    whole = folder / FILE
    if not whole.exists():
        pages = _pages(order, folder / "pages", progress)
        progress(0.0, "joining the pages")
        _put(whole, _joined(pages))
    return Fetched(rows=int(pl.scan_parquet(whole).select(pl.len()).collect().item()))


def _pages(order: Order, folder: Path, progress: Progress) -> Sequence[Path]:
    """The files of all pages, named by how many rows are in it and before it."""
    import polars as pl

    folder.mkdir(parents=True, exist_ok=True)
    found = sorted(folder.glob("*.parquet"))
    count, last = (int(found[-1].stem), pl.read_parquet(found[-1], columns=[order.key]).item(-1, 0)) if found else (0, None)
    if not found and len(_rows(order, f"{_quoted(order.key)} IS NULL", 1)) > 1:
        raise Invalid(f"The key '{order.key}' is empty in some rows.", field="key", hint="Leave them out, or name another key.")
    more = True
    while more:
        where = "" if last is None else f"{_quoted(order.key)} > {_literal(last)}"
        names, *rows = _rows(order, where, PAGE + 1) or [()]
        if not rows:
            break
        more = len(rows) > PAGE
        frame = _frame(names, rows[:PAGE], order.key)
        at = names.index(order.key)
        if any(one[at] == two[at] for one, two in pairwise(rows)):
            raise Invalid(f"The key '{order.key}' names some rows twice.", field="key", hint="Name a column that does not.")
        count, last = count + frame.height, frame[order.key][-1]
        if count > ROWS:
            raise Invalid(f"The answer has more than {ROWS:,} rows.", field="sql", hint="Ask for less of it at a time.")
        found.append(folder / f"{count:012d}.parquet")
        _put(found[-1], frame.lazy())
        progress(0.0, f"{count:,} rows fetched")
    if not found:
        raise Invalid("The query answers with no rows.", field="sql", hint="Ask for other rows.")
    return found


def _rows(order: Order, where: str, most: int) -> list[Sequence[object]]:
    """The names of the columns and at most so many rows, in the order of the key."""
    inner = order.ask.sql.strip().rstrip(";")
    condition = f"WHERE {where} " if where else ""
    # On a line of its own, what closes the query is in no comment of its last line.
    sql = f"SELECT * FROM (\n{inner}\n) AS asked {condition}ORDER BY {_quoted(order.key)} LIMIT {most}"
    try:
        return [tuple(row) for row in answer(replace(order.ask, sql=sql))]
    except NoRows:
        return []


def _quoted(name: str) -> str:
    if not name or "\0" in name or len(name) > 256:
        raise Invalid("A key is the name of a column.", field="key", hint="Name the column that names the rows.")
    return '"' + name.replace('"', '""') + '"'


def _literal(value: object) -> str:
    """A key as SQL writes it; `_frame` lets no others through."""
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def _frame(names: Sequence[object], rows: Sequence[Sequence[object]], key: str) -> pl.DataFrame:
    import polars as pl

    columns = [str(name) for name in names]
    if len(set(columns)) < len(columns) or HIDDEN & set(columns):
        raise Invalid(
            f"The answer's columns are {', '.join(columns[:20])}: one occurs twice, or has a name that no dataset may use.",
            field="sql",
            hint="Give each a name of its own with AS.",
        )
    if key not in columns:
        raise Invalid(f"The answer has no column '{key}'.", field="key", hint=f"Its columns are: {', '.join(columns[:10])}.")
    cells = {name: _column(name, values) for name, values in zip(columns, zip(*rows, strict=True), strict=True)}
    if cells[key].dtype not in (pl.Int64, pl.String):
        raise Invalid(f"The key '{key}' is neither whole numbers nor texts.", field="key", hint="Name another column.")
    return pl.DataFrame(cells)


def _column(name: str, values: Sequence[object]) -> pl.Series:
    """One column in the narrowest type that a dataset has for all its values."""
    import polars as pl

    kinds = {type(value) for value in values} - {type(None)}
    try:
        match kinds:
            case _ if not kinds:
                return pl.Series(name, values, dtype=pl.Null)
            case _ if kinds == {bool}:
                return pl.Series(name, values, dtype=pl.Boolean)
            case _ if kinds == {int}:
                return pl.Series(name, values, dtype=pl.Int64)
            case _ if kinds <= {int, float, Decimal}:
                return pl.Series(name, [None if value is None else float(value) for value in values], dtype=pl.Float64)  # type: ignore[arg-type]  # a number
            case _ if kinds <= {datetime, date}:
                return pl.Series(name, [_moment(value) for value in values], dtype=pl.Datetime("us", "UTC"))
            case _ if kinds <= {str, UUID, int, float, Decimal}:
                return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    except OverflowError:
        raise Invalid(f"Column '{name}' holds numbers of more than 64 bits.", field="sql", hint="Cast it.") from None
    told = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise Invalid(f"Column '{name}' holds {told}, which a dataset cannot.", field="sql", hint="Leave it out, or cast it.")


def _moment(value: object) -> datetime | None:
    match value:
        case datetime():
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        case date():
            return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return None


def _joined(pages: Sequence[Path]) -> pl.LazyFrame:
    """The pages in a row: a column that some found empty, or whole, is what the others say."""
    import polars as pl

    rows = pl.concat([pl.scan_parquet(page) for page in pages], how="vertical_relaxed")
    try:
        empty = [name for name, kind in rows.collect_schema().items() if kind == pl.Null]
    except pl.exceptions.PolarsError as error:
        raise Invalid(f"A column changes its type on the way: {error}.", field="sql", hint="Cast it in the query.") from None
    return rows.with_columns(pl.col(empty).cast(pl.Float64))


def _put(path: Path, rows: pl.LazyFrame) -> None:
    part = path.with_name(f".{path.name}.part")
    rows.sink_parquet(part, row_group_size=PAGE // 2)
    part.replace(path)


def main() -> int:
    return serve(Order, fetch)


if __name__ == "__main__":
    raise SystemExit(main())
