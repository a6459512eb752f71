"""What a database answers to one question, written as CSV, so that it is checked like any other file.

SQLite files and PostgreSQL servers; one statement, in a transaction that can only read. Knows no contract. An address
may hold a password: no message repeats it.
"""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote

from tandem.core.errors import Invalid, Unavailable
from tandem.jobs.apart import Progress, silent

FILES, SERVERS = "sqlite:///", ("postgresql://", "postgres://")
ROWS = 10_000_000
"""Rows of the longest answer that is taken."""
SECONDS = 600
"""The longest that a server may think about a question."""
BATCH = 20_000
"""Rows between two words about progress, and at most in memory."""
LENGTH = 100_000
"""Characters of the longest question."""


class NoRows(Invalid):
    """A server's answer is empty, so that nobody knows its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to one database."""

    sql: str
    address: str
    """`sqlite:///PATH` or `postgresql://…`; never stored, never shown."""


def address_of(reference: str, allowed: tuple[str, ...], setting: str = "databases") -> str:
    """The address that `env:NAME` or `file:PATH` means.

    Args:
        reference: as whoever asks names it.
        allowed: the references that the settings list.
        setting: where they list them.

    Raises:
        Invalid: it is not listed, is not there, or is no address of a database that can be asked.
    """
    if reference not in allowed:
        raise Invalid(
            f"'{reference[:80]}' is no database that the settings list.",
            field="database",
            hint=f'Whoever runs the platform lists it in tandem.toml: [data] {setting} = ["env:NAME"].',
        )
    scheme, _, rest = reference.partition(":")
    try:
        found = os.environ[rest] if scheme == "env" else Path(rest).read_text("utf-8")
    except (KeyError, OSError, ValueError):
        raise Invalid(f"{reference} is not there.", field="database", hint="Set it where the platform runs.") from None
    if not found.strip().startswith((FILES, *SERVERS)):
        raise Invalid(
            f"{reference} is no address of a database that can be asked.",
            field="database",
            hint="It begins with sqlite:/// or postgresql://.",
        )
    return found.strip()


def fetch(ask: Ask, out: Path, progress: Progress = silent) -> int:
    """Writes what a database answers as CSV with a header; returns the rows. Nulls are empty cells.

    Raises:
        Invalid: the statement is wrong or would change something, or the answer is too long or holds bytes.
        Unavailable: the database cannot be reached.
    """
    if not ask.sql.strip() or len(ask.sql) > LENGTH:
        raise Invalid(f"The query has 1 to {LENGTH:,} characters.", field="sql", hint="Write one SELECT.")
    rows = answer(ask)
    count = 0
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        for row in rows:
            writer.writerow(row if count == 0 else [_text(value) for value in row])
            count += 1
            if count > ROWS + 1:
                raise Invalid(f"The answer has more than {ROWS:,} rows.", field="sql", hint="Ask for less of it at a time.")
            if count % BATCH == 0:
                progress(0.0, f"{count:,} rows fetched")
    return count - 1


def answer(ask: Ask) -> Iterator[Iterable[object]]:
    """The names of the columns, then the rows, as the database sends them.

    Raises:
        Invalid: the statement is wrong or would change something; a server answers with no rows.
        Unavailable: the database cannot be reached.
    """
    return _of_file(ask) if ask.address.startswith(FILES) else _of_server(ask)


def _of_file(ask: Ask) -> Iterator[Iterable[object]]:
    """The names of the columns, then the rows, of a SQLite file that is opened for reading alone."""
    path = Path(unquote(ask.address.removeprefix(FILES)))
    if not path.is_file():
        raise Unavailable("The database's file is not there.", hint="Look at the address that the reference means.")
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.set_authorizer(_reading)
            cursor = connection.execute(ask.sql)
            yield _names(cursor.description)
            yield from cursor
    except (sqlite3.Error, sqlite3.Warning) as error:
        raise Invalid(f"The database refused the query: {error}.", field="sql", hint="Write one SELECT.") from None


def _reading(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite asks before it does anything: only what reads the file that was opened is allowed."""
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
    loading = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() == "load_extension"
    return sqlite3.SQLITE_OK if action in allowed and not loading else sqlite3.SQLITE_DENY


def _of_server(ask: Ask) -> Iterator[Iterable[object]]:
    """The names of the columns, then the rows, of a PostgreSQL server; streamed, so that no answer stands in memory."""
    import psycopg

    try:
        connection = psycopg.connect(ask.address, connect_timeout=10)
    except psycopg.Error:
        raise Unavailable("The database cannot be reached.", hint="Look at the address that the reference means.") from None
    with closing(connection):
        connection.read_only = True
        try:
            connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            with connection.cursor() as cursor:
                named = False
                # One statement alone can be streamed, so that none can end the transaction and begin another.
                for row in cursor.stream(ask.sql.encode()):
                    if not named:
                        yield _names(cursor.description)
                        named = True
                    yield row
                if not named:  # the library tells no names then
                    raise NoRows("The query answers with no rows.", field="sql", hint="Ask for other rows.")
        except psycopg.Error as error:
            said = error.diag.message_primary or type(error).__name__
            raise Invalid(f"The database refused the query: {said}.", field="sql", hint="Write one SELECT.") from None


def _names(description: Iterable[tuple[object, ...]] | Iterable[object] | None) -> list[object]:
    if description is None:
        raise Invalid("The query answers with no rows.", field="sql", hint="Write one SELECT.")
    return [column[0] for column in description]  # type: ignore[index]  # as the database interface of Python says


def _text(value: object) -> object:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case datetime() | date():
            return value.isoformat()
        case float():
            return repr(value)
        case int() | str() | Decimal():
            return value
        case bytes() | memoryview():
            raise Invalid(
                "The answer holds bytes, which a dataset cannot.", field="sql", hint="Leave that column out, or encode it."
            )
    return str(value)
