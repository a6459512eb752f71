"""Databases as a source: what they answer is rows like any other, and nothing can be changed or read beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.data.test_tasks import House, house, person
from tests.postgres import Server

from tandem.core.errors import Forbidden, Invalid, Unavailable
from tandem.data.child import carry_out
from tandem.data.query import Ask, address_of, fetch
from tandem.data.tasks import Datasets, How
from tandem.store.lake import Lake

__all__ = ["house"]
ALLOWED = ("env:ORDERS_URL", "file:/run/orders")


@pytest.fixture
def orders(tmp_path: Path) -> str:
    path = tmp_path / "orders of 2026.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """
            CREATE TABLE orders (id INTEGER, amount REAL, kind TEXT, at TEXT, scan BLOB);
            INSERT INTO orders VALUES (1, 2.5, 'a, "b"', '2026-01-01T00:00:00Z', x'00'), (2, NULL, 'c', '2026-01-02', x'01');
            """
        )
    return f"sqlite:///{path}"


def test_an_answer_is_written_as_csv(orders: str, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert fetch(Ask(sql="SELECT id, amount, kind, id > 1 AS big FROM orders ORDER BY id;", address=orders), out) == 2
    assert out.read_text().splitlines() == ["id,amount,kind,big", '1,2.5,"a, ""b""",0', "2,,c,1"]


REFUSED = [
    "INSERT INTO orders VALUES (3, 1, 'a', 'b', x'00')",
    "DELETE FROM orders",
    "DROP TABLE orders",
    "CREATE TABLE x (a)",
    "ATTACH DATABASE '/tmp/other.db' AS other",
    "PRAGMA query_only = OFF",
    "SELECT 1; DROP TABLE orders",
    "SELECT load_extension('x')",
    "SELECT * FROM nothing",
    "SELECT scan FROM orders",
    "BEGIN",
    "VACUUM INTO '/tmp/copy.db'",
    " ",
    "no sql",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_whatever_does_not_only_read_is_refused(orders: str, tmp_path: Path, sql: str) -> None:
    before = Path(orders.removeprefix("sqlite:///")).read_bytes()
    with pytest.raises(Invalid):
        fetch(Ask(sql=sql, address=orders), tmp_path / "out.csv")
    assert Path(orders.removeprefix("sqlite:///")).read_bytes() == before


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refused:
        fetch(Ask(sql="SELECT 1", address=f"sqlite:///{tmp_path}/secret-name.db"), tmp_path / "out.csv")
    assert "secret-name" not in str(refused.value)
    assert not (tmp_path / "secret-name.db").exists()


def test_an_answer_that_is_too_long_is_refused(orders: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.data.query.ROWS", 3)
    fetch(Ask(sql="SELECT 1 AS a UNION SELECT 2 UNION SELECT 3", address=orders), tmp_path / "out.csv")
    with pytest.raises(Invalid, match="more than 3 rows"):
        fetch(Ask(sql="SELECT 1 AS a UNION SELECT 2 UNION SELECT 3 UNION SELECT 4", address=orders), tmp_path / "out.csv")


def test_only_listed_references_mean_an_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORDERS_URL", "postgresql://ada:hush@db/orders")
    monkeypatch.setenv("OTHER_URL", "postgresql://ada:hush@db/other")
    assert address_of("env:ORDERS_URL", ALLOWED) == "postgresql://ada:hush@db/orders"
    for reference in ("env:OTHER_URL", "postgresql://ada:hush@db/orders", "env:HOME", "file:/etc/passwd"):
        with pytest.raises(Invalid, match="no database that the settings list"):
            address_of(reference, ALLOWED)
    with pytest.raises(Invalid, match="is not there"):
        address_of("file:/run/orders", ALLOWED)
    monkeypatch.setenv("ORDERS_URL", "mysql://ada:hush@db/orders")
    with pytest.raises(Invalid, match="no address of a database") as refused:
        address_of("env:ORDERS_URL", ALLOWED)
    assert "hush" not in str(refused.value)


def asking(house: House) -> Datasets:
    folders = {"lake": house.home / "lake", "work": house.home / "work"}
    return Datasets(house.registry, house.runs, house.contracts, read=carry_out, databases=ALLOWED, **folders)


def test_an_answer_becomes_a_version(house: House, orders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_URL", orders)
    sql = "SELECT id, amount, kind, at FROM orders"
    how = How(id_column="id", time_column="at")
    version = asking(house).query(sql, "env:ORDERS_URL", "orders", how, by=person())
    assert version.meta["rows"] == 2
    assert version.meta["source"] == {"database": "env:ORDERS_URL", "sql": sql}
    assert Lake(house.home / "lake").read("orders")["amount"].to_list() == [2.5, None]
    assert house.run().inputs["database"] == "env:ORDERS_URL"
    assert orders not in str(house.run()) + str(version)
    assert list((house.home / "work").iterdir()) == []
    again = asking(house).query(sql + " ORDER BY id", "env:ORDERS_URL", "orders", by=person())
    assert again == version


def test_who_may_not_write_does_not_ask(house: House, orders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERS_URL", orders)
    with pytest.raises(Forbidden):
        asking(house).query("SELECT 1 AS a", "env:ORDERS_URL", "orders", by=person("viewer"))
    with pytest.raises(Invalid, match="refused the query"):
        asking(house).query("DROP TABLE orders", "env:ORDERS_URL", "orders", by=person())
    assert house.run().state == "failed"


@pytest.mark.files
def test_a_server_is_asked_and_only_read(postgres: Server, tmp_path: Path) -> None:
    address = postgres.database("asked")
    postgres.run("CREATE TABLE orders (id int, amount numeric, ok bool, at timestamptz)", "asked")
    postgres.run("INSERT INTO orders VALUES (1, 2.50, true, '2026-01-01T00:00:00Z'), (2, NULL, false, NULL)", "asked")
    out = tmp_path / "out.csv"
    assert fetch(Ask(sql="SELECT * FROM orders ORDER BY id", address=address), out) == 2
    head, first, second = out.read_text().splitlines()
    assert (head, second) == ("id,amount,ok,at", "2,,false,")
    assert first.startswith("1,2.50,true,2026-01-01T")
    for sql in (
        "DELETE FROM orders",
        "DROP TABLE orders",
        "SELECT 1; DROP TABLE orders",
        "COMMIT; DROP TABLE orders",
        "WITH gone AS (DELETE FROM orders RETURNING id) SELECT * FROM gone",
        "SELECT * FROM nothing",
        "SELECT * FROM orders WHERE false",
        "SET TRANSACTION READ WRITE",
        "SELECT '\\x00'::bytea",
    ):
        with pytest.raises(Invalid):
            fetch(Ask(sql=sql, address=address), out)
    assert fetch(Ask(sql="SELECT * FROM orders", address=address), out) == 2
    with pytest.raises(Unavailable) as gone:
        fetch(Ask(sql="SELECT 1", address=address.replace("tandem@", "tandem:hush@").replace("/asked", "/none")), out)
    assert "hush" not in str(gone.value)
