"""Which executors of one jobs database are alive: a row each, renewed at every beat. It takes nothing over itself.

DBOS leaves the work of a process that is gone to a service of its makers, or to the next process of the same
name; with these rows any peer can tell that the work is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tandem.core.clock import MICROS, Clock

if TYPE_CHECKING:
    from sqlalchemy import Engine

BEAT_SECONDS = 5.0
MISSED = 2
"""Beats after which an executor counts as dead."""


class Heartbeat:
    """The row of one executor and its view of the others. All processes share the machine's clock."""

    def __init__(self, engine: Engine, executor: str, clock: Clock, *, seconds: float = BEAT_SECONDS) -> None:
        self._engine, self._executor, self._clock = engine, executor, clock
        self._patience = round(seconds * MISSED * MICROS)
        self._last = clock.now()

    def begin(self) -> None:
        """Writes the first row, in a table that is made if it is not there."""
        with self._engine.begin() as conn:
            conn.exec_driver_sql("CREATE TABLE IF NOT EXISTS tandem_executors (id TEXT PRIMARY KEY, at INTEGER NOT NULL)")
        self._write(self._clock.now())

    def beat(self) -> frozenset[str] | None:
        """Renews the row.

        Returns:
            The executors that are alive, this one included; None if this process itself was held up (a sleeping
            machine, a stopped process) or the clock was set, because then nothing follows from the others' rows.
        """
        now = self._clock.now()
        jumped, self._last = abs(now - self._last) > self._patience, now
        self._write(now)
        if jumped:
            return None
        # A row of the future was written before the clock was set back: who lives has written another since.
        between = (now - self._patience, now + self._patience)
        with self._engine.connect() as conn:
            rows = conn.exec_driver_sql("SELECT id FROM tandem_executors WHERE at BETWEEN ? AND ?", between).all()
        return frozenset(row[0] for row in rows)

    def end(self) -> None:
        """Leaves at once: what this executor has not finished is anybody's."""
        self._write(0)

    def _write(self, at: int) -> None:
        with self._engine.begin() as conn:
            conn.exec_driver_sql(
                "INSERT INTO tandem_executors (id, at) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                (self._executor, at),
            )
