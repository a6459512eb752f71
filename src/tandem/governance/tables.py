"""The ledger's tables, and how those of earlier versions become them."""

from __future__ import annotations

from tandem.store.raw import Rows, SqliteRows, tables

SCHEMA = """
CREATE TABLE IF NOT EXISTS budgets (
    scope TEXT NOT NULL, meter TEXT NOT NULL, cap INTEGER NOT NULL CHECK (cap >= 0),
    mode TEXT NOT NULL DEFAULT 'hard', fair INTEGER NOT NULL DEFAULT 0, alerts TEXT NOT NULL DEFAULT '80,100', ends INTEGER,
    PRIMARY KEY (scope, meter)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS credits (
    scope TEXT NOT NULL, reference TEXT NOT NULL, amount INTEGER NOT NULL, at INTEGER NOT NULL, actor TEXT NOT NULL,
    PRIMARY KEY (scope, reference)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (
    scope TEXT NOT NULL, meter TEXT NOT NULL, start INTEGER NOT NULL, percent INTEGER NOT NULL,
    PRIMARY KEY (scope, meter, start, percent)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
    scope TEXT NOT NULL, meter TEXT NOT NULL, start INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    PRIMARY KEY (scope, meter, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    lease TEXT NOT NULL, scope TEXT NOT NULL, meter TEXT NOT NULL, start INTEGER NOT NULL, boot TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0), expires INTEGER NOT NULL, state INTEGER NOT NULL,
    recall INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (lease, scope, meter)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_by_account ON leases (scope, meter, start);
CREATE TABLE IF NOT EXISTS booked (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, cost INTEGER, outcome TEXT NOT NULL, at INTEGER NOT NULL,
    PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spend (
    scope TEXT NOT NULL, day INTEGER NOT NULL, cost INTEGER NOT NULL, attempts INTEGER NOT NULL, unpriced INTEGER NOT NULL,
    PRIMARY KEY (scope, day)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS running (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, boot TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS running_by_boot ON running (boot);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS workers (
    boot TEXT PRIMARY KEY, machine TEXT NOT NULL, seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS buried (boot TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (segment TEXT PRIMARY KEY, done INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def make(rows: Rows) -> None:
    """Makes the tables where there are none.

    Raises:
        Unavailable: the store is full or away.
    """
    server = not isinstance(rows, SqliteRows)
    with rows.writing():
        if not server:
            _renamed(rows)
        for statement in tables(SCHEMA, server=server):
            rows.run(statement)


def _renamed(rows: Rows) -> None:
    """Brings the tables of version 0.1 to what they are now: a cap was in dollars only, and its meter was called window."""
    for table in ("budgets", "accounts", "leases"):
        columns = [name for (name,) in rows.all(f"SELECT name FROM pragma_table_info('{table}')")]
        if "window" in columns:
            rows.run(f'ALTER TABLE {table} RENAME COLUMN "window" TO meter')
        if table == "budgets" and columns and "mode" not in columns:
            rows.run("ALTER TABLE budgets ADD COLUMN mode TEXT NOT NULL DEFAULT 'hard'")
            rows.run("ALTER TABLE budgets ADD COLUMN fair INTEGER NOT NULL DEFAULT 0")
            rows.run("ALTER TABLE budgets ADD COLUMN alerts TEXT NOT NULL DEFAULT '80,100'")
            rows.run("ALTER TABLE budgets ADD COLUMN ends INTEGER")
