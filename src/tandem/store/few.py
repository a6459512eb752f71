"""A few connections to a PostgreSQL server, so that reads overlap. It knows no table. [door]"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue

from tandem.core.errors import Unavailable
from tandem.core.secret import Secret
from tandem.store.raw import BUSY_SECONDS, STATEMENT_SECONDS, PostgresRows


class Few:
    """Connections, each lent to one reader at a time and made when it is first needed; the one used last goes first."""

    def __init__(
        self, url: Secret, what: str, count: int, *, schema: str | None = None, seconds: int = STATEMENT_SECONDS
    ) -> None:
        """Arguments as of `PostgresRows`; `count` of them."""
        self._what = what
        self._all = [PostgresRows(url, what, schema=schema, seconds=seconds) for _ in range(count)]
        self._free: LifoQueue[PostgresRows] = LifoQueue()
        for rows in self._all:
            self._free.put(rows)

    @contextmanager
    def lent(self) -> Iterator[PostgresRows]:
        """One of them for the block.

        Raises:
            Unavailable: all were lent for too long.
        """
        try:
            rows = self._free.get(timeout=BUSY_SECONDS)
        except Empty:
            raise Unavailable(
                f"{self._what} is busy: {len(self._all)} reads are under way.", hint="Ask again in a moment.", retry_after=1
            ) from None
        try:
            yield rows
        finally:
            self._free.put(rows)

    def close(self) -> None:
        for rows in self._all:
            rows.close()
