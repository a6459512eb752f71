"""Rows put into databases and folders: each once, also through a kill, and nothing else is touched."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.postgres import Server

from tandem.core.errors import Invalid, Unavailable
from tandem.data import deliver as delivering
from tandem.data.deliver import Delivered, Order, check_table, deliver
from tandem.store.lake import Lake

COUNT = 2_000
AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivering, "ROWS", 10)


def order(tmp_path: Path, into: str, address: str = "", run: str = "run_1") -> Order:
    at = pl.Series("id", range(COUNT))
    frame = pl.DataFrame(
        {"id": at, "chance": at / 2, "big": at > 7, 'a b"c': pl.Series(["é\t\\N"] * COUNT), "_source": "r", "_row": 1}
    )
    frame = frame.with_columns(pl.lit(AT).cast(pl.Datetime("us", "UTC")).alias("at"), pl.when(at > 0).then(pl.col("chance")))
    frame = frame.select(pl.exclude("_source", "_row"), "_source", "_row")
    version = Lake(tmp_path / "lake").write("scored", frame)
    return Order(lake=str(tmp_path / "lake"), table="scored", version=version, run=run, into=into, address=address)


def file(tmp_path: Path) -> str:
    sqlite3.connect(tmp_path / "db").close()
    return f"sqlite:///{tmp_path / 'db'}"


def select(tmp_path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        return connection.execute(sql).fetchall()


def test_a_table_is_made_and_gets_every_row_once(tmp_path: Path) -> None:
    given = order(tmp_path, "scores", file(tmp_path))
    assert deliver(given) == deliver(given) == Delivered(rows=COUNT, into="scores")
    assert select(tmp_path, "SELECT count(*), count(DISTINCT id), count(chance) FROM scores") == [(COUNT, COUNT, COUNT - 1)]
    row = (9, 4.5, 1, "é\t\\N", "2026-01-02T03:04:05.000006Z", "run_1")
    assert select(tmp_path, "SELECT * FROM scores WHERE id = 9") == [row]
    deliver(replace(given, run="run_2"))
    assert select(tmp_path, "SELECT tandem_run, count(*) FROM scores GROUP BY 1") == [("run_1", COUNT), ("run_2", COUNT)]


def killed(given: Order, after: int) -> None:
    """A delivery that is killed behind so many parts."""
    child = "import tandem.data.deliver as d; d.ROWS = 10; d.main()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.msgpack.encode(given))
        process.stdin.close()
        for _ in range(after):
            assert b"delivering" in process.stdout.readline()
        process.kill()
        process.stdout.read()


def test_killed_in_the_middle_each_row_is_in_the_table_once(tmp_path: Path) -> None:
    given = order(tmp_path, "scores", file(tmp_path))
    killed(given, 5)
    ((before,),) = select(tmp_path, "SELECT count(*) FROM scores")
    assert 0 < before < COUNT  # type: ignore[operator]  # a number
    assert before == 10 * select(tmp_path, "SELECT count(*) FROM tandem_parts")[0][0]  # type: ignore[operator]  # a number
    deliver(given)
    assert select(tmp_path, "SELECT count(*), count(DISTINCT id) FROM scores") == [(COUNT, COUNT)]


def test_a_server_gets_every_row_once_through_a_kill(tmp_path: Path, postgres: Server) -> None:
    import psycopg

    address = postgres.url("postgres")
    given = order(tmp_path, "put.scores", address)
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS tandem_parts")
        connection.execute("DROP SCHEMA IF EXISTS put CASCADE")
        with pytest.raises(Invalid, match='schema "put" does not exist'):
            deliver(given)
        connection.execute("CREATE SCHEMA put")
        killed(given, 5)
        before = connection.execute("SELECT count(*) FROM put.scores").fetchall()[0][0]
        assert 0 < before < COUNT
        assert deliver(given).rows == COUNT
        counts = connection.execute("SELECT count(*), count(DISTINCT id), count(chance) FROM put.scores").fetchall()
        assert counts == [(COUNT, COUNT, COUNT - 1)]
        row = connection.execute("SELECT * FROM put.scores WHERE id = 9").fetchall()
        assert row == [(9, 4.5, True, "é\t\\N", AT, "run_1")]


def test_a_table_with_other_columns_is_left_alone(tmp_path: Path) -> None:
    given = order(tmp_path, "scores", file(tmp_path))
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("CREATE TABLE scores (id INTEGER)")
    with pytest.raises(Invalid, match="no column named"):
        deliver(given)
    assert select(tmp_path, "SELECT count(*) FROM scores") == [(0,)]
    assert select(tmp_path, "SELECT count(*) FROM tandem_parts") == [(0,)]


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path, postgres: Server) -> None:
    for address in (f"sqlite:///{tmp_path}/secret-name", postgres.url("secret-name")):
        with pytest.raises(Unavailable) as refused:
            deliver(order(tmp_path, "scores", address))
        assert "secret-name" not in str(refused.value)
    assert not (tmp_path / "secret-name").exists()


def test_a_folder_gets_one_file_for_each_part(tmp_path: Path) -> None:
    given = order(tmp_path, f"parquet:{tmp_path}/out")
    told = deliver(given)
    assert told.into == f"parquet:{tmp_path}/out/run_1"
    deliver(given)
    files = sorted((tmp_path / "out" / "run_1").iterdir())
    assert len(files) == COUNT / 10
    assert pl.read_parquet(files).equals(Lake(tmp_path / "lake").read("scored"))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(Unavailable, match="cannot be written"):
        deliver(order(tmp_path, f"parquet:{tmp_path}/out"))


@pytest.mark.parametrize("name", ["", "a b", "a;b", 'a"', "1a", "a.b.c", "tandem_parts", "x.tandem_parts", "s3://b/x", "a" * 64])
def test_names_that_no_table_has_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        check_table(name)
    assert check_table("sales.scores_2026") == "sales.scores_2026"
