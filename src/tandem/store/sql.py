"""The control plane's database: short writes one at a time, reads that never block. It knows no table.

The same code speaks to SQLite (the embedded default) and to PostgreSQL; only the URL differs. Writers
queue in order of arrival: inside a process by a lock, between processes by SQLite's own lock or
PostgreSQL's advisory lock. So whatever runs inside `write()` sees the last committed state and
may count, compare and then insert without a race. No network call belongs inside either.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, MetaData, create_engine, event, exc, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from tandem.core.errors import Broken, Conflict, Invalid, TandemError, Unavailable
from tandem.core.secret import Secret
from tandem.store.room import is_full, no_room

BUSY_SECONDS = 10.0
"""How long a writer waits for its turn before it gives up."""

CONNECT_SECONDS = 3
"""How long a server may take to be reached."""
SILENT_SECONDS = 5.0
"""After which PostgreSQL ends a write of which it hears nothing: its writer is cut off or stopped, and others wait."""

WRITERS = 0x7461_6E64
"""PostgreSQL's advisory lock that all writers of one database take."""

PATIENCE = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3",
}
"""Seconds, and milliseconds of the last, after which PostgreSQL is taken for away where the network says nothing at all."""

MIGRATIONS = Path(__file__).parent / "migrations"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Every table of the control plane; each is declared in the `repo.py` of the package that owns it."""


class Sql:
    """One database, as `read()` and `write()` transactions.

    >>> Sql("mysql://host/db")
    Traceback (most recent call last):
        ...
    tandem.core.errors.Invalid: 'mysql' is no database Tandem can use. Write sqlite:////PATH or postgresql://USER@HOST/DB.
    """

    def __init__(self, url: str) -> None:
        self.url = server_url(Secret(url))
        self.sqlite = self.url.get_backend_name() == "sqlite"
        self._turns = Turns()
        if self.sqlite:
            self._reads = _sqlite_engine(self.url, begin="BEGIN", read_only=True)
            self._writes = _sqlite_engine(self.url, begin="BEGIN IMMEDIATE", read_only=False)
        else:
            self._writes = server_engine(Secret(url), pool_size=2, max_overflow=-1)
            self._reads = self._writes.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one moment of the database and cannot change it.

        Raises:
            Unavailable: the database cannot be reached.
        """
        with translated(), self._reads.connect() as conn, conn.begin():
            yield conn

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """The only writing transaction of this moment; commits at the end, rolls back on any error.

        Raises:
            Unavailable: the turn did not come within `BUSY_SECONDS`, the disk is full, or the database cannot be reached.
            Conflict: a constraint of the schema refused the change.
        Invalid: a text or number is none that the database can keep.
        """
        hooks: dict[str, Callable[[], None]] = {}
        with self._turns.one(BUSY_SECONDS):
            with translated(), self._writes.connect() as conn:
                conn.info[_HOOKS] = hooks
                with conn.begin():
                    if not self.sqlite:
                        conn.execute(text(f"SET LOCAL lock_timeout = {int(BUSY_SECONDS * 1000)}"))
                        conn.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = {int(SILENT_SECONDS * 1000)}"))
                        conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS})
                    yield conn
            for hook in hooks.values():
                hook()

    def close(self) -> None:
        """Closes the pooled connections; the object can be used again."""
        self._reads.dispose()
        self._writes.dispose()


_HOOKS = "tandem.after_commit"


def after_commit(conn: Connection, name: str, hook: Callable[[], None]) -> None:
    """Runs `hook` once when this writing transaction has committed; a later one of the same name replaces it."""
    conn.info[_HOOKS][name] = hook


class Turns:
    """A lock that is given to threads in the order in which they asked."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._holder: int | None = None

    @contextmanager
    def one(self, seconds: float) -> Iterator[None]:
        """Waits at most `seconds` for the turn, and keeps it for the block.

        Raises:
            Unavailable: the turn did not come.
            Broken: the thread already has it, so it would wait for itself.
        """
        me, mine = threading.get_ident(), threading.Event()
        with self._guard:
            if self._holder == me:
                raise Broken("A write was begun inside a write of the same thread.")
            if self._holder is None:
                self._holder = me
                mine.set()
            else:
                self._waiting.append(mine)
        if not mine.wait(seconds):
            with self._guard:
                given_late = mine.is_set()
                if not given_late:
                    self._waiting.remove(mine)
            if not given_late:
                raise Unavailable(
                    f"The database was busy with other writes for {seconds:g} s.", hint="Try again.", retry_after=1.0
                )
        self._holder = me
        try:
            yield
        finally:
            with self._guard:
                # Any value but None keeps newcomers behind those that wait.
                self._holder = 0 if self._waiting else None
                if self._waiting:
                    self._waiting.popleft().set()


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors into ours; what is ours already passes."""
    try:
        yield
    except TandemError:
        raise
    except exc.IntegrityError as error:
        raise Conflict(
            f"The database refused the change: {_first_line(error)}.", hint="Read the current state and try again."
        ) from error
    except exc.SQLAlchemyError as error:
        if isinstance(error, exc.DataError) and not error.connection_invalidated:
            raise Invalid(
                f"The database can keep no such value: {_first_line(error)}.", hint="Leave the odd character or number out."
            ) from error
        if not _is_away(error):
            raise Broken(f"A statement failed: {_first_line(error)}.") from error
        cause = error.orig if isinstance(error, exc.DBAPIError) else None
        if cause is not None and is_full(cause):
            raise no_room("The database", cause) from error
        raise Unavailable(
            f"The database did not answer: {_first_line(error)}.", hint="`tandem doctor` looks at each store.", retry_after=1.0
        ) from error


def _is_away(error: exc.SQLAlchemyError) -> bool:
    """Whether an error says that the database was not reached, or has ended the connection."""
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    return lost or isinstance(error, exc.OperationalError | exc.TimeoutError | exc.InterfaceError)


def migrate(url: str) -> str:
    """Brings the schema of a database to the newest revision; two processes at once do it once.

    Returns:
        The revision the database now has.

    Raises:
        Conflict: a newer Tandem has written this database.
    """
    sql = Sql(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with sql.write() as conn:
            config.attributes["connection"] = conn
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise Conflict(
                    f"The database has a schema this version does not know ({error}).",
                    hint="It was written by a newer Tandem: install that version, or restore a backup made before.",
                ) from error
        with sql.read() as conn:
            revision = MigrationContext.configure(conn).get_current_revision()
    finally:
        sql.close()
    if revision is None:
        raise Broken("The migrations ran but left no revision.")
    return revision


def server_url(url: Secret) -> URL:
    """The address of a PostgreSQL database, as SQLAlchemy speaks to it.

    Raises:
        Invalid: it is none.
    """
    text = url.reveal()
    for scheme in ("postgres://", "postgresql://"):
        if text.startswith(scheme):
            text = f"postgresql+psycopg://{text.removeprefix(scheme)}"
    return _checked(text)


def server_engine(url: Secret, *, pool_size: int, max_overflow: int) -> Engine:
    """Connections to a PostgreSQL server: one that is gone is noticed within seconds, and made anew."""
    return create_engine(
        server_url(url),
        hide_parameters=True,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_pre_ping=True,
        connect_args=PATIENCE,
    )


def _checked(url: str) -> URL:
    try:
        made = make_url(url)
    except exc.ArgumentError:
        raise Invalid("The database URL cannot be read.", hint=_FORMS) from None
    if made.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise Invalid(f"'{made.drivername}' is no database Tandem can use.", hint=_FORMS)
    if made.get_backend_name() == "sqlite" and made.database in (None, "", ":memory:"):
        raise Invalid("A database in memory cannot be shared between connections.", hint=_FORMS)
    return made


_FORMS = "Write sqlite:////PATH or postgresql://USER@HOST/DB."


def _sqlite_engine(url: URL, *, begin: str, read_only: bool) -> Engine:
    # isolation_level None: the driver begins nothing by itself, so that BEGIN is ours.
    engine = create_engine(
        url,
        hide_parameters=True,
        connect_args={"isolation_level": None, "timeout": BUSY_SECONDS},
        pool_size=8 if read_only else 1,
        max_overflow=-1 if read_only else 0,
    )

    def connected(connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in _PRAGMAS:
            cursor.execute(f"PRAGMA {pragma}")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    def begun(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


_PRAGMAS = (f"busy_timeout = {int(BUSY_SECONDS * 1000)}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")


def _first_line(error: exc.SQLAlchemyError) -> str:
    # Only the driver's own words: SQLAlchemy adds the statement, and the statement is no news to a caller.
    cause = error.orig if isinstance(error, exc.StatementError) and error.orig is not None else error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0].rstrip(".")
