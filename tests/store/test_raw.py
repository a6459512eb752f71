"""One connection, two stores: schemas of a server keep tables apart, and statements mean the same in both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.postgres import Server

from tandem.core.clock import FixedClock
from tandem.core.secret import Secret
from tandem.store.raw import PostgresRows, Rows, SqliteRows, tables

NOTES = "CREATE TABLE IF NOT EXISTS notes (id TEXT PRIMARY KEY, body BLOB NOT NULL, at INTEGER NOT NULL) STRICT;"


@pytest.fixture(scope="module")
def url(postgres: Server) -> Secret:
    return Secret(postgres.database("raw"))


@pytest.fixture(params=["sqlite", "postgres"])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    """A table of notes in each kind of store."""
    made: Rows
    if request.param == "sqlite":
        made = SqliteRows(tmp_path / "a.db", FixedClock(), "Notes", thorough=True)
    else:
        made = PostgresRows(request.getfixturevalue("url"), "Notes", schema="contract")
        made.run("DROP TABLE IF EXISTS notes")
    for statement in tables(NOTES, server=request.param == "postgres"):
        made.run(statement)
    yield made
    made.close()


def test_bytes_are_found_in_bytes(rows: Rows) -> None:
    rows.many("INSERT INTO notes VALUES (?, ?, ?)", [("a", b'{"x":"y"}', 1), ("b", b"\xff\0", 2)])
    assert rows.all("SELECT id, instr(body, ?) FROM notes WHERE instr(body, ?) > 0", (b"x", b'"y"')) == [("a", 3)]
    assert rows.one("SELECT body FROM notes WHERE id = ?", ("b",)) == (b"\xff\0",)


def test_a_name_is_the_same_name_with_any_character(rows: Rows) -> None:
    rows.run("INSERT INTO notes VALUES (?, ?, ?)", ("a\0b", b"", 1))
    assert rows.one("SELECT at FROM notes WHERE id = ?", ("a\0b",)) == (1,)


def test_what_is_wiped_keeps_what_was_not_deleted(rows: Rows) -> None:
    rows.many("INSERT INTO notes VALUES (?, ?, ?)", [("a", b"", 1), ("b", b"", 2)])
    rows.run("DELETE FROM notes WHERE id = ?", ("a",))
    rows.wipe(["notes"])
    assert rows.all("SELECT id FROM notes") == [("b",)]


def test_reading_sees_one_state_and_writes_nothing(url: Secret) -> None:
    first, second = (PostgresRows(url, "Notes", schema="state") for _ in range(2))
    for statement in tables(NOTES, server=True):
        first.run(statement)
    with first.reading():
        assert first.all("SELECT id FROM notes") == []
        second.run("INSERT INTO notes VALUES (?, ?, ?)", ("a", b"", 1))
        assert first.all("SELECT id FROM notes") == []
    assert first.all("SELECT id FROM notes") == [("a",)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), first.reading():
        first.run("DELETE FROM notes")
    assert first.all("SELECT id FROM notes") == [("a",)]
    for rows in (first, second):
        rows.close()


def test_tables_of_two_schemas_do_not_clash(url: Secret) -> None:
    first, second = (PostgresRows(url, "Notes", schema=schema) for schema in ("first", "second"))
    for number, rows in enumerate((first, second)):
        with rows.writing():
            for statement in tables(NOTES, server=True):
                rows.run(statement)
            rows.run("INSERT INTO notes VALUES (?, ?, ?)", (str(number), b"", number))
    assert (first.all("SELECT id FROM notes"), second.all("SELECT id FROM notes")) == ([("0",)], [("1",)])
    assert first.read("second", "SELECT id FROM notes") == [("1",)]
    assert first.read("nowhere", "SELECT id FROM notes") == []
    assert first.all("SELECT id FROM notes") == [("0",)], "a read elsewhere changes nothing here"
    first.close()
    second.close()


def test_writers_of_one_schema_take_turns_and_those_of_another_do_not_wait(url: Secret) -> None:
    ours, same, other = (PostgresRows(url, "Notes", schema=schema) for schema in ("turns", "turns", "turns_too"))
    entered = threading.Event()

    def enter() -> None:
        with same.writing():
            entered.set()

    waiting = threading.Thread(target=enter)
    with ours.writing():
        with other.writing():
            pass
        waiting.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while other.one(waits) != (1,):
            assert waiting.is_alive()
        assert not entered.is_set()
    waiting.join()
    assert entered.is_set()
    for rows in (ours, same, other):
        rows.close()


def test_a_schema_that_several_make_at_once_is_made(url: Secret) -> None:
    several = [PostgresRows(url, f"Notes {number}", schema="at_once") for number in range(6)]
    gate, found = threading.Barrier(len(several)), list[object]()

    def work(rows: PostgresRows) -> None:
        gate.wait()
        found.append(rows.one("SELECT current_schema()"))

    threads = [threading.Thread(target=work, args=(rows,)) for rows in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [("at_once",)] * 6
    for rows in several:
        rows.close()
