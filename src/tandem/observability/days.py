"""Where traces lie, a day in a place of its own: an SQLite file in a folder, or a schema of a PostgreSQL server.

A whole day leaves at once. It knows the tables of a day and not what is asked of them. What is long (a call, what was said)
lies in tables with row ids: without them, SQLite puts what is over a quarter of a page into a page of its own.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Protocol

from tandem.core.clock import SystemClock
from tandem.core.secret import Secret
from tandem.observability import counts
from tandem.store.few import Few
from tandem.store.raw import BUSY_SECONDS, PostgresRows, Row, Rows, SqliteRows, Values, tables
from tandem.store.room import translated

WHAT = "The trace store"
SCHEMA = f"""{counts.SCHEMA}
CREATE TABLE IF NOT EXISTS calls (
    call TEXT NOT NULL PRIMARY KEY, trace TEXT NOT NULL, parent TEXT, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    team TEXT NOT NULL, principal TEXT NOT NULL, endpoint TEXT NOT NULL, kind TEXT NOT NULL,
    outcome TEXT NOT NULL, status INTEGER NOT NULL, cost INTEGER, body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS calls_by_trace ON calls (trace);
CREATE INDEX IF NOT EXISTS calls_by_start ON calls (start);
CREATE TABLE IF NOT EXISTS attempts (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, trace TEXT NOT NULL, target TEXT NOT NULL, cost INTEGER,
    reserved INTEGER NOT NULL, outcome TEXT NOT NULL, source TEXT NOT NULL, body BLOB NOT NULL,
    scopes TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (call, attempt)
) STRICT;
CREATE INDEX IF NOT EXISTS attempts_by_trace ON attempts (trace);
CREATE TABLE IF NOT EXISTS corrections (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, trace TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS corrections_by_trace ON corrections (trace);
CREATE TABLE IF NOT EXISTS content (
    call TEXT NOT NULL PRIMARY KEY, subject TEXT NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    digest TEXT NOT NULL, call TEXT NOT NULL, trace TEXT NOT NULL, PRIMARY KEY (digest, call)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (call TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scores (
    id TEXT PRIMARY KEY, call TEXT NOT NULL, trace TEXT NOT NULL, body BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS scores_by_trace ON scores (trace);
"""

SCOPES = "ALTER TABLE attempts ADD COLUMN scopes TEXT NOT NULL DEFAULT ''"
"""What a day that an earlier version wrote lacks."""
OPEN_DAYS = 8
"""Day files that are open at once."""
RENAMED, NAMELESS = 1, 2
"""What a day file says of itself in `user_version`: its rows name nobody; nor does any gap between them. Before: names."""
READERS, ASIDE = 3, 2
"""Connections of a process to a server for short reads, and for long ones; made when they are first needed."""
ASIDE_SECONDS = 120
"""What a long read on a server may take for one page."""
_SCHEMA = re.compile(r"traces_(\d{4})_(\d\d)_(\d\d)")


class Days(Protocol):
    """The days that hold traces, each with its tables. Safe for several threads."""

    def names(self) -> list[str]:
        """As `2026-11-22`, newest first."""
        ...

    def read(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        """The rows of one statement; none where there is no such day, or somebody drops it meanwhile.

        Raises:
            Unavailable: the store is away.
        """
        ...

    def aside(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        """As `read`, for what takes long: neither writers nor other readers wait for it."""
        ...

    def writing(self, day: str, *, make: bool = False) -> AbstractContextManager[Rows | None]:
        """One transaction on a day, and no other writer beside it; None where there is no such day.

        Args:
            make: whether the day is made when it is missing.

        Raises:
            Unavailable: the store is full, away or held by others for too long; nothing was written.
        """
        ...

    def drop(self, day: str) -> None:
        """Deletes a day with everything in it; nothing where there is none."""
        ...

    def adopt(self, rename: Callable[[Rows], None]) -> list[str]:
        """Lets `rename` take the names of subjects out of each day of an earlier version; returns these days."""
        ...

    def close(self) -> None: ...


def days_at(place: Path | Secret) -> Days:
    """The days in a folder, or on the server that a URL names."""
    return FileDays(place) if isinstance(place, Path) else ServerDays(place)


class FileDays:
    """One SQLite file per day; whoever reads or writes through here takes turns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._open: dict[str, SqliteRows] = {}

    def names(self) -> list[str]:
        return sorted((path.stem[7:] for path in self._folder.glob("traces-*.db")), reverse=True)

    def read(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        with self._lock:
            rows = self._day(day, make=False)
            return [] if rows is None else rows.all(sql, values)

    def aside(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        path = self._path(day)
        if not path.exists():
            return []
        with translated(WHAT), closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as db:
            return db.execute(sql, values).fetchall()

    @contextmanager
    def writing(self, day: str, *, make: bool = False) -> Iterator[SqliteRows | None]:
        with self._lock:
            rows = self._day(day, make=make)
            if rows is None:
                yield None
                return
            with rows.writing():
                yield rows

    def drop(self, day: str) -> None:
        with self._lock:
            rows = self._open.pop(day, None)
            if rows is not None:
                rows.close()
            for tail in ("", "-wal", "-shm"):
                self._path(day, tail).unlink(missing_ok=True)

    def adopt(self, rename: Callable[[Rows], None]) -> list[str]:
        done = []
        for day in self.names():
            with self._lock, translated(WHAT):
                rows = self._day(day, make=False)
                if rows is None or (version := rows.all("PRAGMA user_version")[0][0]) == NAMELESS:
                    continue
                if version < RENAMED:
                    with rows.writing():
                        rename(rows)
                        rows.run(f"PRAGMA user_version = {RENAMED}")
                rows.wipe(())  # what was replaced stands in gaps of pages still
                rows.run(f"PRAGMA user_version = {NAMELESS}")
                done.append(day)
        return done

    def close(self) -> None:
        with self._lock:
            for rows in self._open.values():
                rows.close()
            self._open.clear()

    def _path(self, day: str, tail: str = "") -> Path:
        return self._folder / f"traces-{day}.db{tail}"

    def _day(self, day: str, *, make: bool) -> SqliteRows | None:
        rows = self._open.get(day)
        if rows is not None:
            return rows
        if not self._path(day).exists():
            if not make:
                return None
            self._make(day)
        rows = SqliteRows(self._path(day), SystemClock(), WHAT, thorough=True)
        with translated(WHAT):
            for statement in tables(SCHEMA, server=False):
                rows.run(statement)
            if "scopes" not in [row[1] for row in rows.all("PRAGMA table_info(attempts)")]:
                rows.run(SCOPES)
        for old in sorted(self._open)[: 1 - OPEN_DAYS]:
            self._open.pop(old).close()
        self._open[day] = rows
        return rows

    def _make(self, day: str) -> None:
        """A day is there with all its tables or not at all: others open what they find."""
        part = self._folder / f".{day}.part"
        for tail in ("", "-wal", "-shm", "-journal"):
            part.with_name(part.name + tail).unlink(missing_ok=True)
        rows = SqliteRows(part, SystemClock(), WHAT, thorough=True)
        try:
            with translated(WHAT):
                for statement in tables(SCHEMA, server=False):
                    rows.run(statement)
                rows.run(f"PRAGMA user_version = {NAMELESS}")
        finally:
            rows.close()
        with translated(WHAT):
            part.replace(self._path(day))


class ServerDays:
    """One schema per day; any number of processes write, read and drop. A few connections, so that reads overlap."""

    def __init__(self, url: Secret) -> None:
        self._writer = PostgresRows(url, WHAT)
        self._readers = Few(url, WHAT, READERS)
        self._aside = Few(url, WHAT, ASIDE, seconds=ASIDE_SECONDS)

    def names(self) -> list[str]:
        with self._readers.lent() as rows:
            found = rows.read("pg_catalog", "SELECT nspname FROM pg_namespace WHERE left(nspname, 7) = ?", ("traces_",))
        days = [match.groups() for (name,) in found if (match := _SCHEMA.fullmatch(name))]
        return sorted(("-".join(day) for day in days), reverse=True)

    def read(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        with self._readers.lent() as rows:
            return rows.read(_schema(day), sql, values)

    def aside(self, day: str, sql: str, values: Values = ()) -> list[Row]:
        with self._aside.lent() as rows:
            return rows.read(_schema(day), sql, values)

    @contextmanager
    def writing(self, day: str, *, make: bool = False) -> Iterator[PostgresRows | None]:
        schema = _schema(day)
        with self._writer.writing(schema):
            missing = self._writer.one("SELECT to_regnamespace(?) IS NULL", (schema,)) == (True,)
            if missing and make:
                for statement in (f"CREATE SCHEMA {schema}", *tables(SCHEMA, server=True)):
                    self._writer.run(statement)
            yield None if missing and not make else self._writer

    def drop(self, day: str) -> None:
        schema = _schema(day)
        with self._writer.writing(schema):
            self._writer.run(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def adopt(self, rename: Callable[[Rows], None]) -> list[str]:
        """Gives the tables of this version to days of an earlier one; no server has days of a version that wrote names."""
        for day in self.names():
            with self._writer.writing(_schema(day)):
                for statement in tables(SCHEMA, server=True):
                    self._writer.run(statement)
        return []

    def close(self) -> None:
        self._writer.close()
        self._readers.close()
        self._aside.close()


def _schema(day: str) -> str:
    """`2026-11-22` as `traces_2026_11_22`."""
    return f"traces_{day.replace('-', '_')}"
