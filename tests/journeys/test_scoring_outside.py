"""Rows of a database scored, and put back into one and into files: by command and API, through a kill, and only where allowed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import polars as pl
import pytest

from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until
from tests.journeys.test_scoring import ended, rows

pytestmark = pytest.mark.journey
ROWS = 450_000


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform with a model `zone` in production, and a database `orders` beside it."""
    folder = tmp_path_factory.mktemp("outside")
    with closing(sqlite3.connect(folder / "db")) as connection:
        connection.executescript(
            "CREATE TABLE few (id TEXT PRIMARY KEY, x REAL, y REAL);"
            "INSERT INTO few VALUES ('a', 0.25, 1), ('b', 8.25, 1), ('c', 999, 1), ('d', 8.25, NULL);"
            "CREATE TABLE many (n INTEGER PRIMARY KEY, x REAL, y REAL);"
            f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS - 1})"
            "INSERT INTO many SELECT i, i % 9 + 0.25, i % 5 + 0.5 FROM n;"
        )
    (folder / "address").write_text(f"sqlite:///{folder / 'db'}")
    with platform(folder) as running:
        running.down()
        listed = f'databases = ["file:{folder}/address"]\nwritable_databases = ["file:{folder}/address"]\n'
        with (running.home / "tandem.toml").open("a") as settings:
            settings.write(f'\n[data]\n{listed}writable_places = ["{folder}/out"]\n')
        running.up()
        cells = "".join(f"{n % 9 + 0.25},{n % 5 + 0.5},{'ab'[n % 9 > 4]}\n" for n in range(180))
        running.api("POST", "/datasets/zone?format=csv", content="x,y,z\n" + cells)
        inputs = {"data": "dataset/zone", "target": "z", "folds": 2}
        ended(running, running.api("POST", "/runs", json={"kind": "train", "name": "zone", "inputs": inputs}))
        running.api("POST", "/assets/model/zone/promote", json={"version": 1})
        yield running


def folder(house: Platform) -> Path:
    return house.home.parent


def select(house: Platform, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder(house) / "db", timeout=60)) as connection:
        return connection.execute(sql).fetchall()


def test_the_command_scores_a_table_and_puts_the_rows_beside_it(house: Platform) -> None:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    words = [sys.executable, "-m", "tandem", "predict", "zone", "--table", "few", "--database", f"file:{folder(house)}/address"]
    words += ["--key", "id", "--as", "few-scored", "--into", "few_scored", "--json"]
    told = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    said = json.loads(told.stdout)
    assert (said["asset"], said["rows"], said["quarantined"]) == ("dataset/few-scored@1", 4, 2)
    assert said["delivered"] == "few_scored"
    labels = [("a", "a"), ("b", "b"), ("c", None), ("d", None)]
    assert rows(house, said["asset"]).select("id", "label").rows() == labels
    assert select(house, "SELECT id, label FROM few_scored ORDER BY id") == labels
    assert select(house, "SELECT DISTINCT tandem_run FROM few_scored") == [(said["run"],)]
    version = house.api("GET", "/assets/dataset/few-scored/1")
    assert version["meta"]["source"] == {"database": f"file:{folder(house)}/address", "sql": "SELECT * FROM few"}
    assert version["meta"]["id"] == "id"
    assert version["parents"] == ["model/zone@1"]
    assert "sqlite:" not in json.dumps([version, said])


def test_killed_at_any_moment_each_row_is_scored_and_put_there_once(house: Platform) -> None:
    reference = f"file:{folder(house)}/address"
    inputs = {"model": "zone", "sql": "SELECT * FROM many", "database": reference, "key": "n", "into": "many_scored"}
    run = house.api("POST", "/runs", json={"kind": "predict", "name": "many-scored", "inputs": inputs})
    for stage in ("rows fetched", "scoring", "delivering"):

        def reached(stage: str = stage) -> bool:
            try:
                return stage in house.api("GET", f"/runs/{run['id']}")["stage"]
            except (AssertionError, httpx2.HTTPError):  # while the control process starts again
                return False

        until(reached)
        for pid in house.pids("control"):
            os.kill(pid, signal.SIGKILL)
    done = ended(house, run)
    assert done["state"] == "succeeded", done["reason"]
    assert done["outputs"]["rows"] == ROWS
    assert select(house, "SELECT count(*), count(DISTINCT n), count(label) FROM many_scored") == [(ROWS, ROWS, ROWS)]
    assert rows(house, done["outputs"]["asset"])["n"].equals(pl.Series("n", range(ROWS)))
    assert not (house.home / "work" / run["id"]).exists()


def test_a_dataset_is_put_into_files(house: Platform) -> None:
    house.api("POST", "/datasets/plain?format=csv&id=id", content="id,x,y\n1,0.25,1\n2,8.25,1\n")
    inputs = {"model": "zone", "data": "dataset/plain", "into": f"parquet:{folder(house)}/out/zone"}
    done = ended(house, house.api("POST", "/runs", json={"kind": "predict", "name": "plain-scored", "inputs": inputs}))
    assert done["state"] == "succeeded", done["reason"]
    assert done["outputs"]["delivered"] == f"parquet:{folder(house)}/out/zone/{done['id']}"
    found = pl.read_parquet(folder(house) / "out" / "zone" / done["id"])
    assert found.equals(rows(house, done["outputs"]["asset"]))


LISTED = "file:ADDRESS"
WRONG = [
    ({}, "Name a dataset, or a query"),
    ({"data": "dataset/zone", "sql": "SELECT 1"}, "Name a dataset, or a query"),
    ({"sql": "SELECT 1", "database": LISTED}, "Name a dataset, or a query"),
    ({"sql": "SELECT 1", "database": "env:PATH", "key": "id"}, "no database that the settings list"),
    ({"sql": "SELECT 1\0", "database": LISTED, "key": "id"}, "holds a zero character"),
    ({"data": "dataset/zone", "into": "t", "into_database": "env:PATH"}, "no database that the settings list"),
    ({"data": "dataset/zone", "into": "t"}, "no database that the settings list"),
    ({"data": "dataset/zone", "into": "t; DROP TABLE few", "into_database": LISTED}, "no table that rows can be put into"),
    ({"data": "dataset/zone", "into": "parquet:/etc/x"}, "lies in no place"),
    ({"data": "dataset/zone", "into": "parquet:OUT/*"}, "no table that rows can be put into"),
    ({"data": "dataset/zone", "into": "delta:OUT/x"}, "no table that rows can be put into"),
]


@pytest.mark.parametrize(("inputs", "why"), WRONG)
def test_what_the_settings_do_not_list_is_refused_at_once(house: Platform, inputs: dict[str, str], why: str) -> None:
    names = {"ADDRESS": f"{folder(house)}/address", "OUT": f"{folder(house)}/out"}
    asked = {"model": "zone"} | inputs
    for word, meant in names.items():
        asked = {name: value.replace(word, meant) for name, value in asked.items()}
    reply = httpx2.post(
        f"{house.url}/api/v1/runs", json={"kind": "predict", "name": "no", "inputs": asked}, headers=bearer(ADMIN)
    )
    assert reply.status_code == 400, reply.text
    assert why in reply.text
