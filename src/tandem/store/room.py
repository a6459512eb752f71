"""Room on the disk: how the system and SQLite say that there is none, in our words, and one writing transaction.

It knows no table. A full file system, a quota and a limit on the size of files mean the same to whoever writes. [door]
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tandem.core.errors import Unavailable

ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
SQLITE = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"})
"""SQLite calls only ENOSPC full; a quota is an error of input and output to it."""
PLAIN = frozenset({"SQLITE_FULL", errno.ENOSPC})
HINT = "Free space on the disk that holds the home directory"
START_BYTES = 8 * 1024 * 1024
"""A new home takes about one MiB, and the first segment of the journal up to eight."""


def is_full(error: BaseException | None) -> bool:
    """Whether an error of the system's or of SQLite's says that the disk takes nothing more."""
    return _sign(error) in ERRNOS | SQLITE


def no_room(what: str, error: BaseException) -> Unavailable:
    """The refusal to write `what`, which the disk did not take.

    >>> str(no_room("The ledger", OSError(errno.ENOSPC, "No space left on device")))
    'The ledger cannot be written: the disk is full. Free space on the disk that holds the home directory; it goes on by itself.'
    """
    reason = error.strerror if isinstance(error, OSError) else str(error)
    why = "the disk is full" if _sign(error) in PLAIN else f"the disk takes no more ({reason})"
    return Unavailable(f"{what} cannot be written: {why}.", hint=f"{HINT}; it goes on by itself.", retry_after=1)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns what SQLite and a full disk raise into ours.

    Raises:
        Unavailable: `what` cannot be written, or did not answer.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        if is_full(error):
            raise no_room(what, error) from error
        if isinstance(error, OSError):
            raise
        raise Unavailable(
            f"{what} did not answer: {error}.", hint="`tandem doctor` looks at each store.", retry_after=1
        ) from error


@contextmanager
def transaction(db: sqlite3.Connection, what: str) -> Iterator[None]:
    """One immediate transaction on a raw connection: all of the block is written, or nothing.

    Raises:
        Unavailable: `what` cannot be written, or did not answer.
    """
    with translated(what):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # SQLite has ended it already where the disk is full
                db.execute("ROLLBACK")
            raise


def check_room(home: Path, kept: int = 0) -> None:
    """Looks whether a platform can start on the disk that holds `home` and keep `kept` bytes of it free for itself.

    Raises:
        Unavailable: less than `START_BYTES` and these are free.
    """
    free, need = shutil.disk_usage(home).free, START_BYTES + kept
    if free < need:
        raise Unavailable(
            f"The disk is full: {home} has {free / 2**20:.1f} MiB free, and a start needs {need // 2**20}.",
            hint=f"{HINT}, or give another --home.",
        )


def _sign(error: BaseException | None) -> object:
    if isinstance(error, OSError):
        return error.errno
    return getattr(error, "sqlite_errorname", None) if isinstance(error, sqlite3.Error) else None
