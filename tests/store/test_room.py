"""No room on the disk, however the system says it: one refusal in our words, and nothing half written."""

from __future__ import annotations

import doctest
import errno
import os
import resource
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from tandem.core.clock import FixedClock
from tandem.core.errors import Unavailable
from tandem.core.policy import Budget
from tandem.governance.ledger import Ledger, Want
from tandem.store import room
from tandem.store.room import check_room, is_full, transaction, translated
from tandem.store.sql import Sql


@contextmanager
def no_room() -> Iterator[None]:
    """No byte of this process goes to a file any more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


def small(path: Path, pages: int) -> sqlite3.Connection:
    """A database that SQLite itself calls full after so many pages."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(f"PRAGMA max_page_count = {pages}")
    db.execute("CREATE TABLE things (body BLOB)")
    return db


def test_the_examples_hold() -> None:
    assert doctest.testmod(room).failed == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_the_system_says_that_there_is_no_room(number: int) -> None:
    assert is_full(OSError(number, os.strerror(number)))
    with pytest.raises(Unavailable, match=r"The ledger cannot be written: the disk ") as caught, translated("The ledger"):
        raise OSError(number, os.strerror(number))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Free space")


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "no"), ValueError("no"), None, sqlite3.IntegrityError("no")])
def test_other_errors_are_left_as_they_are(error: Exception | None) -> None:
    assert not is_full(error)
    if error is not None:
        with pytest.raises(type(error)), translated("The ledger"):
            raise error


def test_sqlite_says_that_there_is_no_room_and_keeps_nothing_of_the_transaction(tmp_path: Path) -> None:
    db = small(tmp_path / "a.db", 4)

    def fill() -> None:
        with transaction(db, "The things"):
            db.execute("INSERT INTO things VALUES ('first')")
            db.execute("INSERT INTO things VALUES (zeroblob(100000))")

    with pytest.raises(Unavailable, match="The things cannot be written: the disk is full"):
        fill()
    assert not db.in_transaction
    assert db.execute("SELECT count(*) FROM things").fetchone() == (0,)
    with transaction(db, "The things"):
        db.execute("INSERT INTO things VALUES ('second')")
    assert db.execute("SELECT body FROM things").fetchall() == [("second",)]
    db.close()


def test_a_held_file_is_no_full_disk(tmp_path: Path) -> None:
    db, other = small(tmp_path / "a.db", 100), sqlite3.connect(tmp_path / "a.db", isolation_level=None, timeout=0)
    db.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable, match="did not answer: database is locked"), transaction(other, "The things"):
        pass
    for one in (db, other):
        one.close()


def test_the_ledger_lends_nothing_without_room_and_goes_on_with_it(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db", FixedClock())
    ledger.set_budget(Budget(scope="org", cap=1000))
    want = Want(scope="org", meter="day", need=100, like=100)
    with no_room(), pytest.raises(Unavailable, match="The ledger cannot be written"):
        ledger.lease("a", [want])
    assert ledger.accounts()[0].reserved == 0
    assert isinstance(ledger.lease("a", [want]), list)
    assert ledger.accounts()[0].reserved == 100
    ledger.close()


def test_the_control_database_says_that_there_is_no_room_and_goes_on_with_it(tmp_path: Path) -> None:
    sql = Sql(f"sqlite:///{tmp_path / 'control.db'}")
    with sql.write() as conn:
        conn.execute(text("CREATE TABLE things (body TEXT)"))
    with (
        no_room(),
        pytest.raises(Unavailable, match="The database cannot be written: the disk takes no more"),
        sql.write() as conn,
    ):
        conn.execute(text("INSERT INTO things VALUES ('first')"))
    with sql.write() as conn:
        conn.execute(text("INSERT INTO things VALUES ('second')"))
    with sql.read() as conn:
        assert conn.execute(text("SELECT body FROM things")).scalars().all() == ["second"]
    sql.close()


def test_a_start_needs_room_for_what_the_doors_keep(tmp_path: Path) -> None:
    check_room(tmp_path)
    with pytest.raises(Unavailable, match=r"The disk is full: .* MiB free, and a start needs 1073741832\."):
        check_room(tmp_path, 2**50)
