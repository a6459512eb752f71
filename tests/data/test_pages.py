"""Answers that are fetched page by page: every row once, in types that a dataset has, through a kill."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.postgres import Server

from tandem.core.errors import Invalid
from tandem.data import pages
from tandem.data.pages import FILE, Order, fetch
from tandem.data.query import Ask


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE", 4)


def database(tmp_path: Path, script: str) -> str:
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.executescript(script)
    return f"sqlite:///{tmp_path / 'db'}"


def order(tmp_path: Path, address: str, sql: str = "SELECT * FROM t", key: str = "id") -> Order:
    (tmp_path / "run").mkdir(exist_ok=True)
    return Order(ask=Ask(sql=sql, address=address), key=key, folder=str(tmp_path / "run"))


def rows(tmp_path: Path) -> pl.DataFrame:
    return pl.read_parquet(tmp_path / "run" / FILE)


NUMBERS = (
    "CREATE TABLE t (id INTEGER PRIMARY KEY, x REAL, y); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{})"
)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9])
def test_every_row_is_fetched_once_in_the_order_of_its_key(tmp_path: Path, count: int) -> None:
    address = database(tmp_path, NUMBERS.format(count) + " INSERT INTO t SELECT i, i/2.0, i FROM n;")
    assert fetch(order(tmp_path, address, "SELECT * FROM t ORDER BY id DESC -- all\n;")).rows == count
    assert rows(tmp_path)["id"].to_list() == list(range(1, count + 1))
    assert rows(tmp_path)["x"].to_list() == [n / 2 for n in range(1, count + 1)]


def test_texts_are_keys_too_and_are_quoted(tmp_path: Path) -> None:
    names = ["a", "a'b", 'a"c', "b\\", "b\\'", "c;--", "d%s", "é", "z"]
    address = database(tmp_path, "CREATE TABLE t (id TEXT)")
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.executemany("INSERT INTO t VALUES (?)", [(name,) for name in names])
    assert fetch(order(tmp_path, address)).rows == len(names)
    assert sorted(rows(tmp_path)["id"]) == sorted(names)


def test_a_column_is_what_all_its_pages_say(tmp_path: Path) -> None:
    address = database(tmp_path, NUMBERS.format(9) + " INSERT INTO t SELECT i, NULL, iif(i<5, NULL, iif(i<9, i, 0.5)) FROM n;")
    fetch(order(tmp_path, address, "SELECT id, x AS never, y FROM t"))
    assert rows(tmp_path).schema == {"id": pl.Int64, "never": pl.Float64, "y": pl.Float64}
    assert rows(tmp_path)["y"].to_list() == [None] * 4 + [5.0, 6.0, 7.0, 8.0, 0.5]


REFUSED = [
    ("SELECT 1 AS id UNION ALL SELECT 1", "id", "names some rows twice"),
    ("WITH t(id) AS (VALUES (1),(2),(3),(4),(4)) SELECT * FROM t", "id", "names some rows twice"),
    ("SELECT 1 AS id UNION ALL SELECT NULL", "id", "is empty in some rows"),
    ("SELECT 0.5 AS id", "id", "neither whole numbers nor texts"),
    ("SELECT 1 AS id", "other", "no .*column"),
    ("SELECT 1 AS id, 2 AS _row", "id", "a name that no dataset may use"),
    ("SELECT 1 AS id, x'00' AS b", "id", "holds bytes"),
    ("SELECT 1 AS id WHERE 0", "id", "answers with no rows"),
    ("SELECT 1 AS id) AS a; DROP TABLE t; --", "id", "refused the query"),
    ("DELETE FROM t", "id", "refused the query"),
]


@pytest.mark.parametrize(("sql", "key", "why"), REFUSED)
def test_what_has_no_key_or_no_place_in_a_dataset_is_refused(tmp_path: Path, sql: str, key: str, why: str) -> None:
    address = database(tmp_path, "CREATE TABLE t (id); INSERT INTO t VALUES (1)")
    with pytest.raises(Invalid, match=why):
        fetch(order(tmp_path, address, sql, key))
    assert not (tmp_path / "run" / FILE).exists()


def test_an_answer_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = database(tmp_path, NUMBERS.format(9) + " INSERT INTO t SELECT i, 0, 0 FROM n;")
    monkeypatch.setattr(pages, "ROWS", 8)
    with pytest.raises(Invalid, match="more than 8 rows"):
        fetch(order(tmp_path, address))


def test_killed_in_the_middle_it_asks_for_no_row_again(tmp_path: Path) -> None:
    address = database(tmp_path, NUMBERS.format(4000) + " INSERT INTO t SELECT i, 1, 1 FROM n;")
    given = order(tmp_path, address)
    child = "import tandem.data.pages as pages; pages.PAGE = 4; pages.main()"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.msgpack.encode(given))
        process.stdin.close()
        process.stdout.readline()
        process.kill()
        process.stdout.read()
    kept = sorted((tmp_path / "run" / "pages").glob("*.parquet"))
    assert 1 <= len(kept) < 1000
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("UPDATE t SET x = 2")
    assert fetch(given).rows == 4000
    assert rows(tmp_path)["id"].to_list() == list(range(1, 4001))
    assert rows(tmp_path)["x"].to_list().count(1.0) == int(kept[-1].stem)
    with closing(sqlite3.connect(tmp_path / "db")) as connection, connection:
        connection.execute("DELETE FROM t")
    assert fetch(given).rows == 4000, "what was fetched is not asked for again"


def test_a_server_is_asked_in_pages_too(tmp_path: Path, postgres: Server) -> None:
    import psycopg

    address = postgres.url("postgres")
    with psycopg.connect(address) as connection:
        connection.execute("DROP TABLE IF EXISTS paged")
        connection.execute(
            "CREATE TABLE paged AS SELECT i AS id, i::numeric / 2 AS x, i > 3 AS big, 'n' || i AS name,"
            " '2026-01-01 12:00+02'::timestamptz AS at, '2026-01-02'::date AS day FROM generate_series(1, 9) AS i"
        )
    for key, first in (("id", 1), ("name", 1)):
        folder = tmp_path / key
        folder.mkdir()
        assert fetch(order(folder, address, "SELECT * FROM paged WHERE name LIKE 'n%'", key)).rows == 9
        found = rows(folder)
        assert found["id"].to_list() == list(range(first, 10))
    kinds = {"id": pl.Int64, "x": pl.Float64, "big": pl.Boolean, "name": pl.String}
    assert found.schema == {**kinds, "at": pl.Datetime("us", "UTC"), "day": pl.Datetime("us", "UTC")}
    assert str(found["at"][0]) == "2026-01-01 10:00:00+00:00"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Invalid, match="no rows"):
        fetch(order(empty, address, "SELECT * FROM paged WHERE id > 100"))
    with pytest.raises(Invalid, match="one occurs twice"):
        fetch(order(empty, address, "SELECT id, x, x FROM paged"))
