"""The ledger: what was spent, what is reserved, and how much of each cap is lent to which worker.

One SQLite file, raw driver, integer nano-dollars. For every account (a budget's scope in one window)

    settled + leased <= cap      holds in every committed state

A worker leases slices of all the accounts of a call in one transaction, spends them from memory, and
hands back what it does not need. Booking moves money from leased to settled; it happens when the
mover posts the journal, once per (call, attempt). It knows nothing of HTTP, prices or policies.

A lease ends in one of three ways. *Returned*: its worker gave back what was free, so what is left is
spent and will be booked at cost. *Reaped*: its time ran out or its worker died; the mover has read
everything begun under it, so what is left is exactly those holds, and each is released whole when
its attempt is booked. *Renewed*: by a worker that lives.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import NotFound
from tandem.core.ids import new_id
from tandem.core.policy import Budget, Window
from tandem.observability.move import Batch
from tandem.observability.record import Begun, Ended
from tandem.store.room import transaction, translated

LEASE_SECONDS = 15
OPEN, REAPED = 0, 1

SCHEMA = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
PRAGMA busy_timeout=10000;
CREATE TABLE IF NOT EXISTS budgets (
    scope TEXT NOT NULL, window TEXT NOT NULL, cap INTEGER NOT NULL CHECK (cap >= 0),
    PRIMARY KEY (scope, window)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
    scope TEXT NOT NULL, window TEXT NOT NULL, start INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
    PRIMARY KEY (scope, window, start)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (
    lease TEXT NOT NULL, scope TEXT NOT NULL, window TEXT NOT NULL, start INTEGER NOT NULL, boot TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0), expires INTEGER NOT NULL, state INTEGER NOT NULL,
    recall INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (lease, scope, window)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS leases_by_account ON leases (scope, window, start);
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
CREATE TABLE IF NOT EXISTS journal (segment TEXT PRIMARY KEY, done INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


def window_of(window: Window, at: int) -> tuple[int, int]:
    """Start and end (UTC microseconds) of the calendar window that holds `at`."""
    if window == "total":
        return 0, 2**62
    moment = datetime.fromtimestamp(at // MICROS, UTC)
    if window == "month":
        start = moment.replace(day=1, hour=0, minute=0, second=0)
        end = (start + timedelta(days=32)).replace(day=1)
    else:
        start = moment.replace(second=0)
        if window != "minute":
            start = start.replace(minute=0)
        if window == "day":
            start = start.replace(hour=0)
        end = start + {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}[window]
    return int(start.timestamp()) * MICROS, int(end.timestamp()) * MICROS


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a worker asks for one account."""

    scope: str
    window: Window
    need: int
    """Nano-dollars without which the call cannot go, beyond what the worker holds."""
    like: int
    """Nano-dollars it would like to have, at least `need`."""
    lease: str | None = None
    """The worker's own lease of the account, which grows instead of a second one being opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A slice of one account, lent to one worker."""

    lease: str
    scope: str
    window: Window
    start: int
    end: int
    """Of the account's window, UTC microseconds."""
    amount: int
    expires: int
    """Store time, UTC microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Why a lease was not given."""

    scope: str
    window: Window
    cap: int
    settled: int
    leased: int
    end: int
    elsewhere: bool
    """Whether other workers hold slices of the account, which were recalled just now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What an attempt costs by a better witness than the one it was booked by, such as the provider's bill."""

    call: str
    attempt: int
    cost: int
    """Nano-dollars, in place of what is booked."""
    scopes: tuple[str, ...]
    """Every scope that the attempt's spend is reported under."""
    at: int
    """When the attempt began, UTC microseconds: its accounts are those of that moment's windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A budget with what stands against it in the current window."""

    scope: str
    window: Window
    cap: int
    settled: int
    reserved: int
    """Lent to workers and not yet booked."""
    start: int
    end: int


class Ledger:
    """One connection to the ledger file. Safe for several threads; several processes share the file.

    Whatever writes raises `Unavailable` while the disk is full or the file is held by others for too long.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        with translated("The ledger"):
            self._db.executescript(SCHEMA)

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._db, "The ledger"):
            yield self._db

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # --- caps, for the control plane

    def set_budget(self, budget: Budget) -> None:
        """Sets or replaces a cap; every worker's slice of it is recalled, so that a lower one holds at once."""
        with self._write() as db:
            db.execute("INSERT OR REPLACE INTO budgets VALUES (?,?,?)", (budget.scope, budget.window, budget.cap))
            db.execute("UPDATE leases SET recall = 1 WHERE scope = ? AND window = ?", (budget.scope, budget.window))

    def drop_budget(self, scope: str, window: Window) -> None:
        """Removes a cap.

        Raises:
            NotFound: there is none.
        """
        with self._write() as db:
            if not db.execute("DELETE FROM budgets WHERE scope = ? AND window = ?", (scope, window)).rowcount:
                raise NotFound(f"There is no budget for {scope} by {window}.", hint="`tandem budget list` shows them.")

    def budgets(self) -> list[Budget]:
        with self._lock:
            rows = self._db.execute("SELECT scope, window, cap FROM budgets ORDER BY scope, window").fetchall()
        return [Budget(scope=scope, window=window, cap=cap) for scope, window, cap in rows]

    def accounts(self) -> list[Account]:
        """Every budget with its current window."""
        now, found = self._clock.now(), []
        for budget in self.budgets():
            start, end = window_of(budget.window, now)
            with self._lock:
                row = self._db.execute(
                    "SELECT settled, leased FROM accounts WHERE scope = ? AND window = ? AND start = ?",
                    (budget.scope, budget.window, start),
                ).fetchone()
            settled, leased = row or (0, 0)
            found.append(
                Account(
                    scope=budget.scope,
                    window=budget.window,
                    cap=budget.cap,
                    settled=settled,
                    reserved=leased,
                    start=start,
                    end=end,
                )
            )
        return found

    def spend(self, scope: str, *, since: int, until: int) -> tuple[int, int, int]:
        """Nano-dollars, attempts, and attempts without a known price of a scope between two UTC times (whole days)."""
        day = 86_400 * MICROS
        with self._lock:
            row = self._db.execute(
                "SELECT coalesce(sum(cost),0), coalesce(sum(attempts),0), coalesce(sum(unpriced),0) FROM spend"
                " WHERE scope = ? AND day BETWEEN ? AND ?",
                (scope, since // day, until // day),
            ).fetchone()
        return (row[0], row[1], row[2])

    # --- leases, for the workers

    def lease(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom:
        """Lends slices of all the accounts at once, or none of them.

        The caller passes the need beyond what it already holds; a want whose scope has no budget any
        more is left out of the result.
        """
        now = self._clock.now()
        identity = new_id("lea")
        leases: list[Lease] = []
        with self._write() as db:
            for want in wants:
                row = db.execute("SELECT cap FROM budgets WHERE scope = ? AND window = ?", (want.scope, want.window)).fetchone()
                if row is None:
                    continue
                start, end = window_of(want.window, now)
                account = (want.scope, want.window, start)
                db.execute("INSERT OR IGNORE INTO accounts (scope, window, start) VALUES (?,?,?)", account)
                settled, leased = db.execute(
                    "SELECT settled, leased FROM accounts WHERE scope = ? AND window = ? AND start = ?", account
                ).fetchone()
                room = row[0] - settled - leased
                if room < want.need:
                    refusal = self._no_room(db, boot, want, start, end, row[0], settled, leased)
                    for given in leases:  # none of them: undo what this transaction lent so far
                        self._take(db, given.lease, given.scope, given.window, given.amount)
                    return refusal
                amount = min(want.like, max(want.need, room // 4))
                expires = now + LEASE_SECONDS * MICROS
                db.execute(
                    "UPDATE accounts SET leased = leased + ? WHERE scope = ? AND window = ? AND start = ?", (amount, *account)
                )
                grown = (
                    want.lease is not None
                    and db.execute(
                        "UPDATE leases SET amount = amount + ?, expires = ?"
                        " WHERE lease = ? AND scope = ? AND window = ? AND start = ? AND boot = ? AND state = ? AND expires > ?",
                        (amount, expires, want.lease, *account, boot, OPEN, now),
                    ).rowcount
                )
                lease = want.lease if grown and want.lease is not None else identity
                if not grown:
                    db.execute(
                        "INSERT INTO leases (lease, scope, window, start, boot, amount, expires, state) VALUES (?,?,?,?,?,?,?,?)",
                        (identity, *account, boot, amount, expires, OPEN),
                    )
                leases.append(
                    Lease(lease=lease, scope=want.scope, window=want.window, start=start, end=end, amount=amount, expires=expires)
                )
        return leases

    @staticmethod
    def _no_room(
        db: sqlite3.Connection, boot: str, want: Want, start: int, end: int, cap: int, settled: int, leased: int
    ) -> NoRoom:
        others = db.execute(
            "UPDATE leases SET recall = 1 WHERE scope = ? AND window = ? AND start = ? AND boot != ? AND state = ?",
            (want.scope, want.window, start, boot, OPEN),
        ).rowcount
        return NoRoom(
            scope=want.scope, window=want.window, cap=cap, settled=settled, leased=leased, end=end, elsewhere=others > 0
        )

    @staticmethod
    def _take(db: sqlite3.Connection, lease: str, scope: str, window: str, amount: int) -> None:
        """Lowers a lease and its account; a lease at zero is gone."""
        row = db.execute(
            "SELECT start FROM leases WHERE lease = ? AND scope = ? AND window = ?", (lease, scope, window)
        ).fetchone()
        if row is None:
            return
        db.execute(
            "UPDATE accounts SET leased = leased - ? WHERE scope = ? AND window = ? AND start = ?",
            (amount, scope, window, row[0]),
        )
        db.execute(
            "UPDATE leases SET amount = amount - ? WHERE lease = ? AND scope = ? AND window = ?", (amount, lease, scope, window)
        )
        db.execute("DELETE FROM leases WHERE lease = ? AND scope = ? AND window = ? AND amount = 0", (lease, scope, window))

    def renew(self, boot: str, leases: Iterable[str]) -> dict[str, int]:
        """Moves the expiry of a worker's leases; returns the new expiry of those that still stand."""
        expires = self._clock.now() + LEASE_SECONDS * MICROS
        alive: dict[str, int] = {}
        with self._write() as db:
            for lease in leases:
                done = db.execute(
                    "UPDATE leases SET expires = ? WHERE lease = ? AND boot = ? AND state = ? AND expires > ?",
                    (expires, lease, boot, OPEN, self._clock.now()),
                ).rowcount
                if done:
                    alive[lease] = expires
        return alive

    def give_back(self, boot: str, pieces: Iterable[tuple[str, str, str, int]]) -> None:
        """Returns unspent money: (lease, scope, window, nano-dollars). A lease reaped meanwhile is left alone."""
        with self._write() as db:
            for lease, scope, window, amount in pieces:
                row = db.execute(
                    "SELECT state FROM leases WHERE lease = ? AND scope = ? AND window = ? AND boot = ?",
                    (lease, scope, window, boot),
                ).fetchone()
                if row is not None and row[0] == OPEN:
                    self._take(db, lease, scope, window, amount)

    def recalled(self, boot: str) -> list[tuple[str, str, str]]:
        """Slices of this worker that others wait for; asking clears the mark."""
        with self._lock:
            rows = self._db.execute("SELECT lease, scope, window FROM leases WHERE boot = ? AND recall = 1", (boot,)).fetchall()
        if rows:
            with self._write() as db:
                db.execute("UPDATE leases SET recall = 0 WHERE boot = ? AND recall = 1", (boot,))
        return [(lease, scope, window) for lease, scope, window in rows]

    # --- booking, for the mover

    def offsets(self) -> dict[str, int]:
        with self._lock:
            return dict(self._db.execute("SELECT segment, done FROM journal").fetchall())

    def post(self, batch: Batch) -> None:
        """Books a batch of journal records and remembers how far the journal was read, in one transaction."""
        with self._write() as db:
            over = {(ended.attempt.call, ended.attempt.attempt) for ended in batch.ended}
            db.executemany(
                "INSERT OR IGNORE INTO running VALUES (?,?,?,?)",
                [
                    (begun.call, begun.attempt, batch.boots[begun.call], msgspec.msgpack.encode(begun))
                    for begun in batch.begun
                    if (begun.call, begun.attempt) not in over
                ],
            )
            self._book(db, batch.ended)
            for segment, done in batch.offsets.items():
                db.execute("INSERT OR REPLACE INTO journal VALUES (?,?)", (segment, done))

    @staticmethod
    def _fresh(db: sqlite3.Connection, records: Sequence[Ended]) -> list[Ended]:
        """Remembers the attempts; returns those that were not known before."""
        rows = [(e.attempt.call, e.attempt.attempt, e.attempt.cost, e.attempt.outcome, e.attempt.end) for e in records]
        ask = "SELECT 1 FROM booked WHERE call = ? AND attempt = ?"
        keys = [row[:2] for row in rows]
        fresh = {key: ended for ended, key in zip(records, keys, strict=True) if db.execute(ask, key).fetchone() is None}
        db.executemany("INSERT OR IGNORE INTO booked VALUES (?,?,?,?,?)", rows)
        return list(fresh.values())

    @staticmethod
    def _book(db: sqlite3.Connection, records: Sequence[Ended]) -> None:
        """Books what was not booked before: every account, lease and day once, with the sum of all attempts."""
        fresh = Ledger._fresh(db, records)
        db.executemany(
            "DELETE FROM running WHERE call = ? AND attempt = ?", [(e.attempt.call, e.attempt.attempt) for e in records]
        )
        leases: dict[tuple[str, str, str], tuple[int, int, int] | None] = {}
        taken: dict[tuple[str, str, str], int] = {}
        settled: dict[tuple[str, str, int], int] = {}
        spent: dict[tuple[str, int], list[int]] = {}
        for ended in fresh:
            a = ended.attempt
            cost = a.cost or 0
            for hold in ended.holds:
                key = (hold.lease, hold.scope, hold.window)
                if key not in leases:
                    leases[key] = db.execute(
                        "SELECT start, state, amount FROM leases WHERE lease = ? AND scope = ? AND window = ?", key
                    ).fetchone()
                lease = leases[key]
                if lease is None:  # a reaped lease whose holds were all released: the money is booked all the same
                    start = window_of(hold.window, a.start)[0]  # type: ignore[arg-type]  # the journal holds it as text
                else:
                    start = lease[0]
                    taken[key] = taken.get(key, 0) + (hold.amount if lease[1] == REAPED else cost)
                account = (hold.scope, hold.window, start)
                settled[account] = settled.get(account, 0) + cost
            day = a.end // (86_400 * MICROS)
            for scope in ended.scopes:
                sums = spent.setdefault((scope, day), [0, 0, 0])
                for at, more in enumerate((cost, 1, int(a.cost is None))):
                    sums[at] += more
        for key, amount in taken.items():
            lease = leases[key]
            assert lease is not None
            Ledger._take(db, *key, min(lease[2], amount))
        db.executemany("INSERT OR IGNORE INTO accounts (scope, window, start) VALUES (?,?,?)", list(settled))
        for (scope, window, start), cost in settled.items():
            db.execute(
                "UPDATE accounts SET settled = settled + ? WHERE scope = ? AND window = ? AND start = ?",
                (cost, scope, window, start),
            )
        db.executemany(
            "INSERT INTO spend VALUES (?,?,?,?,?) ON CONFLICT (scope, day) DO UPDATE SET"
            " cost = cost + excluded.cost, attempts = attempts + excluded.attempts, unpriced = unpriced + excluded.unpriced",
            [(*key, *sums) for key, sums in spent.items()],
        )

    def correct(self, corrections: Sequence[Correction]) -> int:
        """Moves what was booked to what the attempts cost, once; returns how many changed.

        An attempt that is booked at that cost already, or is not known any more, is left alone. The accounts follow
        by the difference, also above their caps: the money is spent. None falls below zero, since a cap that was set
        after the attempt never held it.
        """
        changed = 0
        with self._write() as db:
            for each in corrections:
                row = db.execute(
                    "SELECT cost, at FROM booked WHERE call = ? AND attempt = ?", (each.call, each.attempt)
                ).fetchone()
                if row is None or row[0] == each.cost:
                    continue
                changed += 1
                more = each.cost - (row[0] or 0)
                db.execute("UPDATE booked SET cost = ? WHERE call = ? AND attempt = ?", (each.cost, each.call, each.attempt))
                db.executemany(
                    "UPDATE spend SET cost = cost + ?, unpriced = unpriced - ? WHERE scope = ? AND day = ?",
                    [(more, int(row[0] is None), scope, row[1] // (86_400 * MICROS)) for scope in each.scopes],
                )
                db.executemany(
                    "UPDATE accounts SET settled = max(0, settled + ?) WHERE scope = ? AND window = ? AND start = ?",
                    [
                        (more, scope, window, window_of(window, each.at)[0])
                        for scope in each.scopes
                        for window in get_args(Window)
                    ],
                )
        return changed

    def open_attempts(self, boot: str) -> list[Begun]:
        """What a worker has begun and not ended, as far as the journal was posted."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM running WHERE boot = ?", (boot,)).fetchall()
        return [msgspec.msgpack.decode(body, type=Begun) for (body,) in rows]

    def bury(self, boot: str) -> None:
        """Frees all that a dead worker still holds; its attempts were booked before."""
        with self._write() as db:
            self._reap(db, db.execute("SELECT lease, scope, window FROM leases WHERE boot = ?", (boot,)).fetchall())

    def expire(self, now: int) -> None:
        """Reaps leases whose time was over at `now`; everything begun under them must have been posted."""
        with self._lock:
            rows = self._db.execute(
                "SELECT lease, scope, window FROM leases WHERE expires <= ? AND state = ?", (now, OPEN)
            ).fetchall()
        if rows:
            with self._write() as db:
                still = [row for row in rows if self._expired(db, row, now)]
                self._reap(db, still)

    @staticmethod
    def _expired(db: sqlite3.Connection, key: tuple[str, str, str], now: int) -> bool:
        row = db.execute("SELECT expires FROM leases WHERE lease = ? AND scope = ? AND window = ?", key).fetchone()
        return row is not None and row[0] <= now

    @staticmethod
    def _reap(db: sqlite3.Connection, keys: Sequence[tuple[str, str, str]]) -> None:
        wanted = set(keys)
        held: dict[tuple[str, str, str], int] = {}
        for (body,) in db.execute("SELECT body FROM running").fetchall() if wanted else ():
            for hold in msgspec.msgpack.decode(body, type=Begun).holds:
                key = (hold.lease, hold.scope, hold.window)
                if key in wanted:
                    held[key] = held.get(key, 0) + hold.amount
        for key in wanted:
            row = db.execute("SELECT amount, state FROM leases WHERE lease = ? AND scope = ? AND window = ?", key).fetchone()
            if row is None or row[1] == REAPED:
                continue
            db.execute("UPDATE leases SET state = ? WHERE lease = ? AND scope = ? AND window = ?", (REAPED, *key))
            Ledger._take(db, *key, max(0, row[0] - held.get(key, 0)))

    def forget(self, segment: str) -> None:
        """Drops the offset of a segment that was deleted."""
        with self._write() as db:
            db.execute("DELETE FROM journal WHERE segment = ?", (segment,))

    def to_disk(self) -> None:
        """Brings everything that was committed to the disk, so that power loss takes none of it back."""
        with self._lock, translated("The ledger"):
            self._db.execute("PRAGMA wal_checkpoint(FULL)")

    def prune(self, before: int) -> int:
        """Forgets attempts booked, and windows that ended, before a UTC time; returns how many rows went.

        Their sums stay in `spend`. An attempt is remembered so that it is not booked twice, which can only
        happen while its journal segment exists.
        """
        with self._write() as db:
            gone = db.execute("DELETE FROM booked WHERE at < ?", (before,)).rowcount
            for window in ("minute", "hour", "day"):
                length = {"minute": 60, "hour": 3600, "day": 86_400}[window] * MICROS
                gone += db.execute(
                    "DELETE FROM accounts WHERE window = ? AND start < ? AND leased = 0", (window, before - length)
                ).rowcount
        return gone

    def has_booked(self, call: str, attempt: int, cost: int | None) -> bool:
        """Whether an attempt was booked at this cost."""
        with self._lock:
            row = self._db.execute("SELECT cost FROM booked WHERE call = ? AND attempt = ?", (call, attempt)).fetchone()
        return row is not None and row[0] == cost

    def boots(self) -> list[str]:
        """Workers that hold a lease or run an attempt, as far as the journal was posted."""
        with self._lock:
            rows = self._db.execute("SELECT boot FROM running UNION SELECT boot FROM leases").fetchall()
        return sorted(boot for (boot,) in rows)

    def running(self) -> int:
        """Attempts that were begun and are not booked yet."""
        with self._lock:
            return int(self._db.execute("SELECT count(*) FROM running").fetchone()[0])
