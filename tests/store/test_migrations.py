"""The migrated schema is the declared one, on a fresh database and on one that two processes migrate at once."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

import tandem
from tandem.core.errors import Conflict
from tandem.store.sql import Sql, metadata, migrate

SOURCE = Path(tandem.__file__).parent
REPOS = sorted(".".join(path.parent.relative_to(SOURCE).parts) for path in SOURCE.rglob("repo.py"))


@pytest.fixture(autouse=True)
def declared() -> None:
    for package in REPOS:
        import_module(f"tandem.{package}.repo")


@contextmanager
def opened(url: str) -> Iterator[Sql]:
    sql = Sql(url)
    yield sql
    sql.close()


def shape(path: Path) -> dict[str, str]:
    """Every table and index as SQLite describes it, without differences of blanks and quotes."""
    with sqlite3.connect(path) as db:
        rows = db.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'alembic_version'").fetchall()
    db.close()
    return {name: re.sub(r"[\s\"]+", "", text) for name, text in rows}


def test_every_package_with_tables_is_looked_at() -> None:
    assert {"governance", "registry", "jobs", "gateway"} <= set(REPOS)
    assert {"keys", "audit", "versions", "aliases", "runs", "scores", "providers", "endpoints"} <= set(metadata.tables)


def test_the_migrated_schema_is_the_declared_one(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    assert migrate(url) == migrate(url)
    with opened(url) as sql, sql.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata) == []
    with opened(f"sqlite:///{tmp_path / 'declared.db'}") as sql, sql.write() as conn:
        metadata.create_all(conn)
    assert shape(tmp_path / "control.db") == shape(tmp_path / "declared.db")


def test_a_difference_would_be_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrate(url)
    with opened(url) as sql, sql.write() as conn:
        conn.exec_driver_sql("ALTER TABLE runs ADD COLUMN surplus TEXT")
    with opened(url) as sql, sql.read() as conn:
        assert compare_metadata(MigrationContext.configure(conn), metadata) != []


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrate(url)
    with opened(url) as sql, sql.write() as conn:
        conn.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Conflict, match="newer Tandem"):
        migrate(url)


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    program = "import sys; from tandem.store.sql import migrate; print(migrate(sys.argv[1]))"
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'control.db'}"]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    starts = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(3)]
    revisions = {start.communicate()[0] for start in starts}
    assert [start.returncode for start in starts] == [0, 0, 0]
    assert len(revisions) == 1
