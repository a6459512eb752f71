"""One raw connection with one writer at a time: an SQLite file, or a PostgreSQL server, in the SQL that both read.

For tables that are written on the way of calls, where an object mapper would cost more than the work. Statements take `?`
for their values; types are TEXT, INTEGER and BLOB. It knows no table. [door]
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Unavailable
from tandem.core.secret import Secret
from tandem.store.room import transaction, translated

if TYPE_CHECKING:
    import psycopg

Row = tuple[Any, ...]
Values = Sequence[object]
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 10
BUSY_SECONDS = 10
SILENT_SECONDS = 5
"""After which a server ends a transaction of which it hears nothing: its writer is cut off, and others wait for their turn."""


class Rows(Protocol):
    """A connection. Safe for several threads."""

    def all(self, sql: str, values: Values = ()) -> list[Row]: ...
    def one(self, sql: str, values: Values = ()) -> Row | None: ...
    def run(self, sql: str, values: Values = ()) -> int:
        """Executes a statement that writes; returns how many rows it touched."""
        ...

    def many(self, sql: str, values: Iterable[Values]) -> None: ...
    def writing(self) -> AbstractContextManager[None]:
        """One transaction, and no other writer beside it.

        Raises:
            Unavailable: the store is full, away or held by others for too long; nothing was written.
        """
        ...

    def now(self) -> int:
        """The store's own UTC microseconds."""
        ...

    def tick(self) -> int:
        """The store's own microseconds for terms: they end by it, whoever set them."""
        ...

    def to_disk(self) -> None: ...
    def close(self) -> None: ...


class SqliteRows:
    """A file of this machine. What was committed outlives a power loss: money is spent on the word of a lease.

    Terms end by the machine's monotonic clock, which nobody can set.
    """

    def __init__(self, path: Path, clock: Clock, what: str) -> None:
        self._what, self._clock, self._lock = what, clock, threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        with translated(what):
            self._db.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout={BUSY_SECONDS}000;")

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, values: Values = ()) -> Row | None:
        with self._lock:
            found: Row | None = self._db.execute(sql, values).fetchone()
            return found

    def run(self, sql: str, values: Values = ()) -> int:
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def many(self, sql: str, values: Iterable[Values]) -> None:
        with self._lock:
            self._db.executemany(sql, values)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._lock, transaction(self._db, self._what):
            yield

    def now(self) -> int:
        return self._clock.now()

    def tick(self) -> int:
        return int(self._clock.monotonic() * MICROS)

    def to_disk(self) -> None:
        with self._lock, translated(self._what):
            self._db.execute("PRAGMA wal_checkpoint(FULL)")

    def close(self) -> None:
        with self._lock:
            self._db.close()


class PostgresRows:
    """A server, for many machines. Times and terms are the server's; one advisory lock makes writers take turns."""

    def __init__(self, url: Secret, what: str, clock: Clock | None = None) -> None:
        """Connects at the first statement, and again whenever the server was away.

        Args:
            url: `postgresql://user:password@host/database`.
            what: how messages call what is kept there.
            clock: instead of the server's own, for tests.
        """
        self._url, self._what, self._clock, self._lock = url, what, clock, threading.RLock()
        self._turn = crc32(what.encode())
        self._db: psycopg.Connection[Row] | None = None
        self._closed = False

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        with self._speaking() as db:
            return db.execute(_marked(sql), values).fetchall()

    def one(self, sql: str, values: Values = ()) -> Row | None:
        with self._speaking() as db:
            return db.execute(_marked(sql), values).fetchone()

    def run(self, sql: str, values: Values = ()) -> int:
        with self._speaking() as db:
            return db.execute(_marked(sql), values).rowcount

    def many(self, sql: str, values: Iterable[Values]) -> None:
        with self._speaking() as db, db.cursor() as cursor:
            cursor.executemany(_marked(sql), values)

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._speaking() as db:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (self._turn,))
                yield

    def now(self) -> int:
        return self._clock.now() if self._clock is not None else self._time()

    def tick(self) -> int:
        return int(self._clock.monotonic() * MICROS) if self._clock is not None else self._time()

    def _time(self) -> int:
        row = self.one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        assert row is not None
        return int(row[0])

    def to_disk(self) -> None:
        """The server does it with every commit."""

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._db is not None:
                self._db.close()
                self._db = None

    @contextmanager
    def _speaking(self) -> Iterator[psycopg.Connection[Row]]:
        """The connection, made anew when it was lost; what fails is told in our words."""
        import psycopg  # late: a door that keeps its books in a file has no use for it

        with self._lock:
            if self._closed:
                raise Unavailable(f"{self._what} is closed here.")
            try:
                if self._db is None or self._db.closed:
                    self._db = psycopg.connect(
                        self._url.reveal(),
                        autocommit=True,
                        connect_timeout=CONNECT_SECONDS,
                        options=f"-c statement_timeout={STATEMENT_SECONDS}s -c lock_timeout={BUSY_SECONDS}s"
                        f" -c idle_in_transaction_session_timeout={SILENT_SECONDS}s",
                        keepalives_idle=5,
                        keepalives_interval=2,
                        keepalives_count=3,
                        tcp_user_timeout=STATEMENT_SECONDS * 1000,
                    )
                yield self._db
            except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
                if self._db is not None:
                    with suppress(psycopg.Error):
                        self._db.close()
                    self._db = None
                raise Unavailable(
                    f"{self._what} did not answer: {_short(error)}.",
                    hint="`tandem doctor` looks at each store; it goes on by itself once the server is back.",
                    retry_after=1,
                ) from error


def _marked(sql: str) -> Any:
    """The statement with psycopg's marks for values; no statement of ours holds a question mark or a percent sign else."""
    return sql.replace("?", "%s")


def _short(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__


def tables(schema: str, *, server: bool) -> list[str]:
    """The statements of a schema, as the store reads them: SQLite's strict tables, or PostgreSQL's types.

    >>> tables("CREATE TABLE t (a INTEGER, b BLOB) STRICT;", server=True)
    ['CREATE TABLE t (a BIGINT, b BYTEA)']
    """
    if server:
        for ours, theirs in (("INTEGER", "BIGINT"), ("BLOB", "BYTEA"), (" STRICT, WITHOUT ROWID", ""), (" STRICT", "")):
            schema = schema.replace(ours, theirs)
    return [statement.strip() for statement in schema.split(";") if statement.strip()]
