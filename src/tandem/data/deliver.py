"""A dataset's rows put where others read them: a table of a database, or Parquet files: `python -m tandem.data.deliver`.

They go over in parts. In a database each part is one transaction together with a row of `tandem_parts`; a file is named by
where its part begins. So whoever goes on after a kill writes each row once. Nothing there is ever changed or deleted.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from tandem.core.errors import Invalid, Unavailable
from tandem.data.contract import Dtype
from tandem.data.query import FILES
from tandem.jobs.apart import Progress, ask, serve, silent
from tandem.store.elsewhere import PARQUET
from tandem.store.lake import HIDDEN, Lake

if TYPE_CHECKING:
    import polars as pl

ROWS = 100_000
"""Rows of one part."""
SECONDS = 86_400.0
"""The longest delivery."""
RUN = "tandem_run"
"""The column that tells which Run a row came from."""
PROGRESS = "tandem_parts"
"""The table beside the rows: which parts of which Run are in."""
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_HINT = "Name a table that is not there yet, or one with these columns that the role may write."
_OF_FILE: dict[Dtype, str] = {"float": "REAL", "int": "INTEGER", "bool": "INTEGER", "datetime": "TEXT", "string": "TEXT"}
_OF_SERVER: dict[Dtype, str] = {
    "float": "DOUBLE PRECISION", "int": "BIGINT", "bool": "BOOLEAN", "datetime": "TIMESTAMPTZ", "string": "TEXT",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which rows go where."""

    lake: str
    table: str
    version: int
    run: str
    """By which its rows are told from those of others."""
    into: str
    """A table, or `parquet:PLACE/FOLDER`, below which the Run gets a folder of its own."""
    address: str = ""
    """Of the table's database; never stored, never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of it."""

    rows: int
    into: str
    """The table, or the folder of the files."""


def check_table(name: str) -> str:
    """The name itself, if a table may have it.

    Raises:
        Invalid: it may not.
    """
    if not _TABLE.fullmatch(name) or name.endswith(PROGRESS):
        raise Invalid(
            f"'{name[:120]}' is no table that rows can be put into.",
            field="into",
            hint="Write TABLE or SCHEMA.TABLE, in letters, digits and _; or parquet:PLACE/FOLDER.",
        )
    return name


def deliver_apart(order: Order, progress: Progress, cancelled: Callable[[], bool]) -> Delivered:
    """Has a child process deliver rows, or go on where a former one was killed.

    Raises:
        Invalid: the table has not the rows' columns, or may not be written.
        Unavailable: the database or the place cannot be reached.
        Conflict: it was cancelled.
    """
    return ask("tandem.data.deliver", order, Delivered, progress=progress, cancelled=cancelled, seconds=SECONDS)


def deliver(order: Order, progress: Progress = silent) -> Delivered:
    """Writes the parts that are missing.

    Raises:
        Invalid, Unavailable: see `deliver_apart`.
    """
    import polars as pl

    from tandem.data.dtypes import of_frame

    rows = Lake(Path(order.lake)).scan(order.table, order.version).drop(HIDDEN, strict=False)
    height = int(rows.select(pl.len()).collect().item())

    def parts() -> Iterator[tuple[int, pl.DataFrame]]:
        for start in range(0, height, ROWS):
            progress(0.98, f"delivering: {start:,} of {height:,} rows")
            yield start, rows.slice(start, ROWS).collect()

    if order.into.startswith(PARQUET):
        return Delivered(rows=height, into=_files(order, parts()))
    schema = {name: of_frame(kind) or "string" for name, kind in rows.collect_schema().items()}
    if RUN in schema:
        raise Invalid(f"The rows have a column '{RUN}' of their own.", field="into", hint="Leave it out of what is scored.")
    (_into_file if order.address.startswith(FILES) else _into_server)(order, schema, parts())
    return Delivered(rows=height, into=order.into)


def _files(order: Order, parts: Iterator[tuple[int, pl.DataFrame]]) -> str:
    """One file for each part; a file that is written again is the same file. In a directory each is put in place whole."""
    folder = f"{order.into.removeprefix(PARQUET).rstrip('/')}/{order.run}"
    try:
        for start, frame in parts:
            name = f"part-{start:012d}.parquet"
            if "://" in folder:
                frame.write_parquet(f"{folder}/{name}")
                continue
            Path(folder).mkdir(parents=True, exist_ok=True)
            part = Path(folder) / f".{name}"
            frame.write_parquet(part)
            part.replace(Path(folder) / name)
    except OSError as error:
        raise Unavailable(f"The files cannot be written: {error}.", hint="Check the place, its space and its rights.") from None
    return f"{PARQUET}{folder}"


def _into_file(order: Order, schema: dict[str, Dtype], parts: Iterator[tuple[int, pl.DataFrame]]) -> None:
    path = Path(unquote(order.address.removeprefix(FILES)))
    if not path.is_file():
        raise Unavailable("The database's file is not there.", hint="Look at the address that the reference means.")
    names = [*schema, RUN]
    put = f"INSERT INTO {order.into} ({_listed(names)}) VALUES ({','.join('?' * len(names))})"
    try:
        with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
            for statement in _tables(order, schema, _OF_FILE):
                connection.execute(statement)
            for start, frame in parts:
                connection.execute("BEGIN IMMEDIATE")
                taken = connection.execute(f"INSERT OR IGNORE INTO {PROGRESS} VALUES (?,?)", (order.run, start)).rowcount
                if taken:
                    connection.executemany(put, _told(frame, order.run))
                connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise Invalid(f"The database refused the rows: {error}.", field="into", hint=_HINT) from None


def _told(frame: pl.DataFrame, run: str) -> Iterator[tuple[object, ...]]:
    """The rows as SQLite takes them: times as texts of ISO 8601."""
    import polars as pl

    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    for row in frame.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).iter_rows():
        yield (*row, run)


def _into_server(order: Order, schema: dict[str, Dtype], parts: Iterator[tuple[int, pl.DataFrame]]) -> None:
    import psycopg

    try:
        connection = psycopg.connect(order.address, connect_timeout=10, autocommit=True)
    except psycopg.Error:
        raise Unavailable("The database cannot be reached.", hint="Look at the address that the reference means.") from None
    with closing(connection):
        try:
            for statement in _tables(order, schema, _OF_SERVER):
                connection.execute(statement.encode())
            for start, frame in parts:
                with connection.transaction():
                    entry = connection.execute(
                        f"INSERT INTO {PROGRESS} VALUES (%s,%s) ON CONFLICT DO NOTHING".encode(), (order.run, start)
                    )
                    if entry.rowcount:
                        _copy(connection, order, [*schema, RUN], frame)
        except psycopg.OperationalError:
            raise Unavailable("The database went away.", hint="Start the scoring again when it is back.") from None
        except psycopg.Error as error:
            said = error.diag.message_primary or type(error).__name__
            raise Invalid(f"The database refused the rows: {said}.", field="into", hint=_HINT) from None


def _copy(connection, order: Order, names: Sequence[str], frame: pl.DataFrame) -> None:  # type: ignore[no-untyped-def]  # imported late
    with connection.cursor().copy(f"COPY {order.into} ({_listed(names)}) FROM STDIN".encode()) as copy:
        for row in frame.iter_rows():
            copy.write_row((*row, order.run))


def _tables(order: Order, schema: dict[str, Dtype], kinds: dict[Dtype, str]) -> tuple[str, str]:
    columns = ", ".join(f"{_quoted(name)} {kinds[kind]}" for name, kind in schema.items())
    return (
        f"CREATE TABLE IF NOT EXISTS {PROGRESS} (run TEXT NOT NULL, part BIGINT NOT NULL, PRIMARY KEY (run, part))",
        f"CREATE TABLE IF NOT EXISTS {order.into} ({columns}, {_quoted(RUN)} TEXT)",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(_quoted, names))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def main() -> int:
    return serve(Order, deliver)


if __name__ == "__main__":
    raise SystemExit(main())
