"""One raw connection with one writer at a time: an SQLite file, or a PostgreSQL server, in the SQL that both read.

For tables that are written on the way of calls, where an object mapper would cost more than the work. Statements take `?`
for their values; types are TEXT, INTEGER and BLOB. It knows no table. [door]
"""

from __future__ import annotations

import select
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from tandem.core.clock import MICROS, Clock, SystemClock
from tandem.core.errors import Unavailable
from tandem.core.secret import Secret
from tandem.store.pause import Pause
from tandem.store.room import transaction, translated

if TYPE_CHECKING:
    import psycopg

Row = tuple[Any, ...]
Values = Sequence[object]
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 10
CUT_SECONDS = 5
"""After so long without a sign of life a server counts as gone."""
BUSY_SECONDS = 10
WIPE_SECONDS = 3
"""A table that is waited for to be wiped lets nobody else in meanwhile."""
IDLE = 0
"""What libpq calls a connection that is in no transaction."""
INSIDE = "SELECT set_config('search_path', %s, true)"
"""Where the rest of a transaction finds its tables."""
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
    def wipe(self, names: Sequence[str]) -> None:
        """Leaves nothing of deleted rows in the files of these tables; not inside `writing`.

        Raises:
            Unavailable: the store is full or away, or others keep a table busy; whoever asks again finishes it.
        """
        ...

    def close(self) -> None: ...


class SqliteRows:
    """A file of this machine. What was committed outlives a power loss: money is spent on the word of a lease.

    Terms end by the machine's monotonic clock, which nobody can set.
    """

    def __init__(self, path: Path, clock: Clock, what: str, *, thorough: bool = False) -> None:
        """Opens the file, and makes it where there is none.

        Args:
            thorough: what is deleted is overwritten.
        """
        self._what, self._clock, self._lock = what, clock, threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS)
        how = f"PRAGMA synchronous=FULL; PRAGMA secure_delete={'ON' if thorough else 'OFF'}"
        with translated(what):
            self._db.executescript(f"PRAGMA journal_mode=WAL; {how}; PRAGMA busy_timeout={BUSY_SECONDS}000;")

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

    def wipe(self, names: Sequence[str]) -> None:
        """Whichever tables are named: free pages, gaps of pages and write-ahead log are the whole file's."""
        with self._lock, translated(self._what):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        with self._lock:
            self._db.close()


class PostgresRows:
    """A server, for many machines. Times and terms are the server's; one advisory lock makes writers take turns."""

    def __init__(
        self,
        url: Secret,
        what: str,
        clock: Clock | None = None,
        *,
        schema: str | None = None,
        seconds: int = STATEMENT_SECONDS,
    ) -> None:
        """Connects at the first statement, and again whenever the server was away.

        Args:
            url: `postgresql://user:password@host/database`.
            what: how messages call what is kept there.
            clock: instead of the server's own, for tests.
            schema: where the tables lie, a plain name in lower case; made when it is missing. None: where the server looks first.
            seconds: how long one statement may take.
        """
        self._url, self._what, self._clock, self._lock = url, what, clock, threading.RLock()
        self._schema, self._seconds = schema, seconds
        self._turn = _turn(what, schema)
        self._pause = Pause(clock or SystemClock(), least=0.0)  # who is refused at once may ask at once
        self._db: psycopg.Connection[Row] | None = None
        self._closed = False

    def all(self, sql: str, values: Values = ()) -> list[Row]:
        with self._speaking() as db:
            return db.execute(_marked(sql), _plain(values)).fetchall()

    def one(self, sql: str, values: Values = ()) -> Row | None:
        with self._speaking() as db:
            return db.execute(_marked(sql), _plain(values)).fetchone()

    def run(self, sql: str, values: Values = ()) -> int:
        with self._speaking() as db:
            return db.execute(_marked(sql), _plain(values)).rowcount

    def many(self, sql: str, values: Iterable[Values]) -> None:
        with self._speaking() as db, db.cursor() as cursor:
            cursor.executemany(_marked(sql), (_plain(row) for row in values))

    @contextmanager
    def writing(self, schema: str | None = None) -> Iterator[None]:
        """As `Rows.writing`.

        Args:
            schema: where the statements of the block find their tables, and what writers take turns at.
        """
        with self._speaking() as db:
            with db.transaction():
                db.execute("SELECT pg_advisory_xact_lock(%s)", (self._turn if schema is None else _turn(self._what, schema),))
                if schema is not None:
                    db.execute(INSIDE, (schema,))
                yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One transaction that writes nothing: every statement of the block sees the tables as they were at the first."""
        with self._speaking() as db, db.transaction():
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield

    def read(self, schema: str, sql: str, values: Values = ()) -> list[Row]:
        """The rows of one statement whose tables lie in this schema; none where it is not there, or goes meanwhile."""
        import psycopg

        with self._speaking() as db:
            try:
                with db.transaction():
                    db.execute(INSIDE, (schema,))
                    return db.execute(_marked(sql), _plain(values)).fetchall()
            except psycopg.errors.UndefinedTable:
                return []

    def wipe(self, names: Sequence[str]) -> None:
        """Each table is written anew into other files; the server's own log and its backups keep what they have.

        It holds the table for that long, and waits for whoever reads it now for `WIPE_SECONDS`. Rows that a transaction
        from before can still see stay until the next time.
        """
        with self._speaking() as db:
            db.execute(f"SET statement_timeout = 0; SET lock_timeout = '{WIPE_SECONDS}s'")
            for name in names:
                db.execute(f"VACUUM (FULL) {name}".encode())
            db.execute("RESET statement_timeout; RESET lock_timeout")

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
                if self._db is not None and _hung_up(self._db):
                    self._db.close()
                if self._db is None or self._db.closed:
                    with self._pause.asking():
                        self._db = self._reached()
                yield self._db
            except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
                if self._db is not None:
                    with suppress(psycopg.Error):
                        self._db.close()
                    self._db = None
                raise self._silent(error) from error

    def _reached(self) -> psycopg.Connection[Row]:
        import psycopg

        try:
            return self._connected()
        except psycopg.OperationalError as error:
            raise self._silent(error) from error

    def _silent(self, error: Exception) -> Unavailable:
        return Unavailable(
            f"{self._what} did not answer: {_short(error)}.",
            hint="`tandem doctor` looks at each store; it goes on by itself once the server is back.",
            retry_after=1,
        )

    def _connected(self) -> psycopg.Connection[Row]:
        import psycopg

        path = "" if self._schema is None else f" -c search_path={self._schema}"
        db = psycopg.connect(
            self._url.reveal(),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            options=f"-c statement_timeout={self._seconds}s -c lock_timeout={BUSY_SECONDS}s"
            f" -c idle_in_transaction_session_timeout={SILENT_SECONDS}s{path}",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=CUT_SECONDS * 1000,
        )
        if self._schema is not None:
            try:
                _make(db, self._schema)
            except BaseException:
                db.close()
                raise
        return db


def _make(db: psycopg.Connection[Row], schema: str) -> None:
    """Makes a schema where there is none; of several who do so at once, one does."""
    with db.transaction():
        db.execute("SELECT pg_advisory_xact_lock(%s)", (_turn("schema", schema),))
        if db.execute("SELECT to_regnamespace(%s) IS NULL", (schema,)).fetchone() == (True,):
            db.execute(f"CREATE SCHEMA {schema}".encode())


def _turn(what: str, schema: str | None) -> int:
    """The number of the advisory lock of whoever writes there."""
    return crc32((what if schema is None else f"{what} in {schema}").encode())


def _hung_up(db: psycopg.Connection[Row]) -> bool:
    """Whether the server has ended an idle connection: it has something to say that nobody asked for."""
    if db.closed or db.pgconn.transaction_status != IDLE:
        return False
    unasked = select.poll()
    unasked.register(db.fileno(), select.POLLIN)
    return bool(unasked.poll(0))


def _marked(sql: str) -> Any:
    """The statement as the server reads it; none of ours holds a question mark or a percent sign but as marks for values.

    >>> _marked("SELECT instr(body, ?)")
    'SELECT "position"(body, %s)'
    """
    return sql.replace("?", "%s").replace("instr(", '"position"(')


def _plain(values: Values) -> Values:
    """The values, without the one character that the server's texts cannot hold."""
    return [value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value for value in values]


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
