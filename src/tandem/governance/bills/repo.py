"""What was found about costs, as it is kept: every statement that touches it."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, PrimaryKeyConstraint, Table, Text, delete, insert, select

from tandem.governance.authorise import Scope
from tandem.governance.bills.found import Reconciliation
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

reconciliations = Table(
    "reconciliations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("applied", Boolean, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_reconciliations_at", "at"),
)

warnings = Table(
    "budget_warnings",
    metadata,
    Column("scope", Text, nullable=False),
    Column("window", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("scope", "window", "start"),
)


class Warnings:
    """Which budgets the audit was told of, so that each is told once a window."""

    def claim(self, conn: Connection, scope: str, window: str, start: int, at: int) -> bool:
        """Notes that a budget is warned of in the window that began at `start`; False where it was before."""
        table = warnings
        chosen = (table.c.scope == scope, table.c.window == window, table.c.start == start)
        if conn.execute(select(table.c.at).where(*chosen)).first() is not None:
            return False
        conn.execute(delete(table).where(table.c.scope == scope, table.c.window == window))
        conn.execute(insert(table).values(scope=scope, window=window, start=start, at=at))
        return True


KEPT, KEPT_LINES = 100, 100
"""Reconciliations that are kept, and lines of each; older ones stay in the audit, as far as they corrected something."""


class Reconciliations:
    """What comparing bills with the books found."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def add(self, found: Reconciliation) -> None:
        """Keeps one, and lets go of the oldest beyond `KEPT`."""
        table = reconciliations
        with self._sql.write() as conn:
            body = canonical(msgspec.to_builtins(replace(found, lines=found.lines[:KEPT_LINES])))
            row = {"id": found.id, "provider": found.provider, "at": found.at, "applied": found.applied, "body": body}
            conn.execute(insert(table).values(row))
            old = conn.scalars(select(table.c.id).order_by(table.c.at.desc(), table.c.id.desc()).offset(KEPT)).all()
            if old:
                conn.execute(delete(table).where(table.c.id.in_(old)))

    def list(self, scope: Scope, limit: int = 20) -> tuple[Reconciliation, ...]:
        """The newest first; they concern every team, so a team's own scope sees none."""
        if scope.team is not None:
            return ()
        query = select(reconciliations.c.body).order_by(reconciliations.c.at.desc(), reconciliations.c.id.desc()).limit(limit)
        with self._sql.read() as conn:
            return tuple(msgspec.json.decode(body, type=Reconciliation) for body in conn.scalars(query))
