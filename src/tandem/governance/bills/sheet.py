"""A bill laid out for matching: its rows in a file of their own, found by call and attempt. It judges nothing.

A bill may have more rows than fit into memory, so they lie in a scratch SQLite file that goes with the sheet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from tandem.governance.bills.export import Billed
from tandem.governance.booking import Correction

TOGETHER = 1000
SCHEMA = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
PRAGMA cache_size=-16000;
CREATE TABLE rows (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, line INTEGER NOT NULL, matched INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL,
    PRIMARY KEY (call, attempt, line)
) STRICT, WITHOUT ROWID;
CREATE TABLE fixes (
    call TEXT NOT NULL, attempt INTEGER NOT NULL, billed INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (call, attempt)
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """An attempt that is to be corrected."""

    trace: str
    booked: int | None
    correction: Correction


class Sheet:
    """The rows of one bill, and what is to be corrected by them. Use it in a `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.executescript(SCHEMA)
        self._db.execute("BEGIN")

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def add(self, row: Billed) -> None:
        """Lays down a row."""
        self._db.execute(
            "INSERT INTO rows (call, attempt, line, body) VALUES (?,?,?,?)",
            (row.call, row.attempt, row.line, msgspec.json.encode(row)),
        )

    def take(self, call: str, attempt: int) -> list[Billed]:
        """The rows of an attempt, which count as matched from now on."""
        rows = self._db.execute("SELECT body FROM rows WHERE call = ? AND attempt = ?", (call, attempt)).fetchall()
        if rows:
            self._db.execute("UPDATE rows SET matched = 1 WHERE call = ? AND attempt = ?", (call, attempt))
        return [msgspec.json.decode(body, type=Billed) for (body,) in rows]

    def left(self) -> Iterator[tuple[Billed, bool]]:
        """Rows that nothing matched, and whether another attempt of their call did."""
        known = "call != '' AND EXISTS (SELECT 1 FROM rows other WHERE other.call = rows.call AND other.matched = 1)"
        for body, retried in self._db.execute(f"SELECT body, {known} FROM rows WHERE matched = 0"):
            yield msgspec.json.decode(body, type=Billed), bool(retried)

    def fix(self, fix: Fix, *, billed: bool) -> None:
        """Notes a correction; `billed` tells whether the bill has a row of the attempt."""
        key = (fix.correction.call, fix.correction.attempt)
        self._db.execute("INSERT OR REPLACE INTO fixes VALUES (?,?,?,?)", (*key, billed, msgspec.json.encode(fix)))

    def keep_billed(self) -> None:
        """Forgets corrections of attempts that the bill has no row of."""
        self._db.execute("DELETE FROM fixes WHERE billed = 0")

    def count(self) -> int:
        """How many corrections are noted."""
        return int(self._db.execute("SELECT count(*) FROM fixes").fetchone()[0])

    def fixes(self) -> Iterator[Sequence[Fix]]:
        """What was noted, some at a time, in the order of calls."""
        at: tuple[str, int] = ("", -1)
        while rows := self._db.execute(
            "SELECT call, attempt, body FROM fixes WHERE (call, attempt) > (?, ?) ORDER BY call, attempt LIMIT ?", (*at, TOGETHER)
        ).fetchall():
            at = rows[-1][:2]
            yield [msgspec.json.decode(body, type=Fix) for _, _, body in rows]
