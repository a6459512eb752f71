"""Which of several machines does what only one may do: the one that holds a lock of the PostgreSQL server.

The lock belongs to a connection, so it is free within seconds once its holder died or was cut off; the holder notices as
soon, and does no round more. It knows nothing of the work.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from tandem.core.clock import Clock
from tandem.core.secret import Secret
from tandem.store.sql import CONNECT_SECONDS

if TYPE_CHECKING:
    import psycopg

LOCK = 0x7461_6E67
"""PostgreSQL's advisory lock of whoever is on duty."""
LOOK_SECONDS = 1.0
"""How long it is taken for granted that the connection still holds the lock."""
CUT_SECONDS = 5


class Duty:
    """This process's claim. Safe for several threads."""

    def __init__(self, url: Secret, clock: Clock, lock: int = LOCK) -> None:
        """
        Args:
            url: of the database whose processes share the duty.
            lock: of another duty, if there are several.
        """
        self._url, self._clock, self._lock = url, clock, lock
        self._guard = threading.Lock()
        self._db: psycopg.Connection[tuple[bool]] | None = None
        self._held, self._looked = False, float("-inf")

    def mine(self) -> bool:
        """Whether this process is on duty; it is not while the server does not answer."""
        with self._guard:
            now = self._clock.monotonic()
            if now - self._looked >= LOOK_SECONDS:
                self._held = self._ask()
                self._looked = self._clock.monotonic()
            return self._held

    def close(self) -> None:
        """Leaves the duty to another at once."""
        import psycopg

        with self._guard:
            if self._db is not None and self._held:
                with suppress(psycopg.Error):  # else the lock is free a moment later, when the server sees the connection gone
                    self._db.execute(f"SELECT pg_advisory_unlock({self._lock})".encode())
            self._drop()
            self._held, self._looked = False, float("inf")

    def _ask(self) -> bool:
        import psycopg  # late: a platform of one machine has no use for it

        try:
            if self._db is None:
                self._db = self._connected()
            question = "SELECT true" if self._held else f"SELECT pg_try_advisory_lock({self._lock})"
            row = self._db.execute(question.encode()).fetchone()
            return row is not None and row[0]
        except psycopg.Error:
            self._drop()
            return False

    def _connected(self) -> psycopg.Connection[tuple[bool]]:
        import psycopg

        return psycopg.connect(
            self._url.reveal(),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            tcp_user_timeout=CUT_SECONDS * 1000,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
            options="-c tcp_keepalives_idle=2 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3",
        )

    def _drop(self) -> None:
        import psycopg

        if self._db is not None:
            with suppress(psycopg.Error):
                self._db.close()
            self._db = None
