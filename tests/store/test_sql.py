"""One database, two kinds of transactions, writers in order."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, exc, insert, select, text

from tandem.core.errors import Broken, Conflict, Forbidden, Invalid, Unavailable
from tandem.store.sql import Sql, Turns, after_commit, translated

NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True), Column("body", Text, nullable=False))


@pytest.fixture
def sql(tmp_path: Path) -> Iterator[Sql]:
    made = Sql(f"sqlite:///{tmp_path / 'control.db'}")
    with made.write() as conn:
        NOTES.create(conn)
    yield made
    made.close()


def count(sql: Sql) -> int:
    with sql.read() as conn:
        return len(conn.execute(select(NOTES)).all())


def test_a_write_commits_at_the_end(sql: Sql) -> None:
    with sql.write() as conn:
        conn.execute(insert(NOTES).values(id=1, body="a"))
    assert count(sql) == 1


def test_a_write_that_fails_leaves_nothing_and_passes_its_error_on(sql: Sql) -> None:
    def fail() -> None:
        with sql.write() as conn:
            conn.execute(insert(NOTES).values(id=1, body="a"))
            raise Forbidden("no")

    with pytest.raises(Forbidden):
        fail()
    assert count(sql) == 0


def test_a_read_cannot_change_anything(sql: Sql) -> None:
    with pytest.raises(Unavailable, match="readonly"), sql.read() as conn:
        conn.execute(insert(NOTES).values(id=1, body="a"))
    assert count(sql) == 0


def test_a_read_sees_one_moment(sql: Sql) -> None:
    with sql.read() as conn:
        assert conn.execute(select(NOTES)).all() == []
        with sql.write() as other:
            other.execute(insert(NOTES).values(id=1, body="a"))
        assert conn.execute(select(NOTES)).all() == []
    assert count(sql) == 1


def test_the_file_is_durable_and_keeps_its_foreign_keys(sql: Sql) -> None:
    with sql.write() as conn:
        found = [conn.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]


def test_a_write_takes_the_lock_before_it_reads(sql: Sql, tmp_path: Path) -> None:
    with sql.write():
        rival = sqlite3.connect(tmp_path / "control.db", isolation_level=None, timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rival.execute("BEGIN IMMEDIATE")
        rival.close()


def test_threads_that_count_and_insert_never_collide(sql: Sql) -> None:
    def work() -> None:
        for _ in range(10):
            with sql.write() as conn:
                top = conn.execute(text("SELECT coalesce(max(id), 0) FROM notes")).scalar_one()
                conn.execute(insert(NOTES).values(id=top + 1, body="x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(sql) == 80


def test_a_write_inside_a_write_is_refused_and_not_waited_for(sql: Sql) -> None:
    with pytest.raises(Broken, match="inside a write"), sql.write(), sql.write():
        pass
    with sql.write() as conn:
        conn.execute(insert(NOTES).values(id=1, body="still works"))


def test_hooks_run_after_the_commit_once_and_not_after_a_rollback(sql: Sql) -> None:
    seen: list[int] = []
    with sql.write() as conn:
        conn.execute(insert(NOTES).values(id=1, body="a"))
        after_commit(conn, "count", lambda: seen.append(-1))
        after_commit(conn, "count", lambda: seen.append(count(sql)))
        assert seen == []
    assert seen == [1]

    def fail() -> None:
        with sql.write() as conn:
            after_commit(conn, "count", lambda: seen.append(9))
            raise Forbidden("no")

    with pytest.raises(Forbidden):
        fail()
    with sql.write():
        pass
    assert seen == [1]


def test_turns_are_given_in_the_order_of_asking() -> None:
    turns, order = Turns(), []
    waiting: list[threading.Thread] = []

    def take(number: int) -> None:
        with turns.one(10):
            order.append(number)

    with turns.one(1):
        for number in range(6):
            thread = threading.Thread(target=take, args=(number,))
            thread.start()
            waiting.append(thread)
            while len(turns._waiting) <= number:
                thread.join(0.001)
    for thread in waiting:
        thread.join()
    assert order == list(range(6))


def test_a_turn_that_does_not_come_is_given_up_and_does_not_block_others() -> None:
    turns, errors = Turns(), []

    def impatient() -> None:
        try:
            with turns.one(0.01):
                errors.append("entered")
        except Unavailable as error:
            errors.append(error.code)

    with turns.one(1):
        thread = threading.Thread(target=impatient)
        thread.start()
        thread.join()
    assert errors == ["unavailable"]
    with turns.one(0.01):
        errors.append("free")
    assert errors[-1] == "free"


def test_a_constraint_becomes_a_conflict_that_shows_no_values(sql: Sql) -> None:
    with sql.write() as conn:
        conn.execute(insert(NOTES).values(id=1, body="a"))
    with pytest.raises(Conflict) as caught, sql.write() as conn:
        conn.execute(insert(NOTES).values(id=1, body="canary-5f3a"))
    assert "UNIQUE" in caught.value.message
    assert "canary-5f3a" not in f"{caught.value} {caught.value.__cause__}"


def every_subclass(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(every_subclass(sub) for sub in kind.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(every_subclass(exc.SQLAlchemyError), key=lambda kind: kind.__qualname__))
def test_every_error_of_the_library_is_translated(kind: type[exc.SQLAlchemyError]) -> None:
    error = kind.__new__(kind)
    Exception.__init__(error, "boom")
    error.orig = ValueError("boom")  # type: ignore[attr-defined]
    with pytest.raises((Broken, Conflict, Invalid, Unavailable)) as caught, translated():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("url", ["mysql://h/d", "postgresql+asyncpg://h/d", "sqlite://", "sqlite:///:memory:", "what?"])
def test_other_databases_are_refused_with_the_forms_that_work(url: str) -> None:
    with pytest.raises(Invalid, match="postgresql://"):
        Sql(url)


def test_a_password_in_the_url_is_not_in_the_error() -> None:
    with pytest.raises(Invalid) as caught:
        Sql("oracle://u:canary-5f3a@h/d")
    assert "canary" not in str(caught.value)


def test_an_unreachable_file_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable), Sql(f"sqlite:///{tmp_path / 'no' / 'such' / 'control.db'}").read():
        pass
