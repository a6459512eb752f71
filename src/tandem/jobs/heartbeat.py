"""Which executors of one jobs database are alive: a row each, renewed at every beat. It takes nothing over itself.

DBOS leaves the work of a process that is gone to a service of its makers, or to the next process of the same
name; with these rows any peer can tell that the work is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from tandem.core.clock import MICROS, Clock

if TYPE_CHECKING:
    from sqlalchemy import Engine

BEAT_SECONDS = 5.0
MAKING = 0x7461_6E66
"""PostgreSQL's advisory lock for whoever makes the table."""
MISSED = 2
"""Beats after which an executor counts as dead."""


class Heartbeat:
    """The row of one executor and its view of the others; times are the machine's, or the server's where there is one."""

    def __init__(self, engine: Engine, executor: str, clock: Clock, *, seconds: float = BEAT_SECONDS) -> None:
        self._engine, self._executor, self._clock = engine, executor, clock
        self._patience = round(seconds * MISSED * MICROS)
        self._last = clock.now()
        self._server = engine.dialect.name == "postgresql"

    def begin(self) -> None:
        """Writes the first row, in a table that is made if it is not there."""
        with self._engine.begin() as conn:
            if self._server:  # two that make a table at once would fail
                conn.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MAKING})")
            conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS tandem_executors (id TEXT PRIMARY KEY, at BIGINT NOT NULL)")
        self._write(self._now())

    def beat(self) -> frozenset[str] | None:
        """Renews the row.

        Returns:
            The executors that are alive, this one included; None if this process itself was held up (a sleeping
            machine, a stopped process) or the clock was set, because then nothing follows from the others' rows.
        """
        own = self._clock.now()
        jumped, self._last = abs(own - self._last) > self._patience, own
        now = self._now()
        self._write(now)
        if jumped:
            return None
        # A row of the future was written before the clock was set back: who lives has written another since.
        between = (now - self._patience, now + self._patience)
        with self._engine.connect() as conn:
            alive = text("SELECT id FROM tandem_executors WHERE at BETWEEN :first AND :last")
            rows = conn.execute(alive, {"first": between[0], "last": between[1]}).all()
        return frozenset(row[0] for row in rows)

    def end(self) -> None:
        """Leaves at once: what this executor has not finished is anybody's."""
        self._write(0)

    def _now(self) -> int:
        if not self._server:
            return self._clock.now()
        with self._engine.connect() as conn:
            return int(conn.execute(text("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")).scalar_one())

    def _write(self, at: int) -> None:
        with self._engine.begin() as conn:
            upsert = "INSERT INTO tandem_executors (id, at) VALUES (:id, :at) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
            conn.execute(text(upsert), {"id": self._executor, "at": at})
