"""The ledger: what was used, what is reserved, and how much of each cap is lent to which worker.

One SQLite file, or a PostgreSQL server; integers only: nano-dollars, tokens, calls. For every account (a cap's scope and
meter in one window)

    settled + leased <= cap      holds in every committed state

A worker leases slices of all the accounts of a call in one transaction, spends them from memory, and
hands back what it does not need. Booking moves what was used from leased to settled; it happens when the
mover posts the journal, once per (call, attempt). It knows nothing of HTTP, prices or policies.

A lease ends in one of three ways. *Returned*: its worker gave back what was free, so what is left is
spent and will be booked at cost. *Reaped*: its time ran out or its worker died; the mover has read
everything begun under it, so what is left is exactly those holds, and each is released whole when
its attempt is booked. *Renewed*: by a worker that lives.

A rolling window has one account for what is lent and one for each step of what was used; a step counts
until all of it is older than the window. Of a fair cap each key has an account of its own below it,
`team/T>key/N`, whose room leaves every other key its even share (max-min fairness).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, NotFound, Unavailable
from tandem.core.ids import new_id
from tandem.core.policy import Budget, Mode, Unit, window_in
from tandem.core.secret import Secret
from tandem.core.window import NEVER, Window, rolling, since_of, window_of
from tandem.governance import booking
from tandem.governance.booking import DAY_MICROS, OPEN, Correction
from tandem.governance.standing import COLUMNS, Standing, Standings, budget_of
from tandem.governance.tables import make
from tandem.observability.move import Batch
from tandem.observability.record import Begun
from tandem.store.raw import PostgresRows, Rows, SqliteRows

LEASE_SECONDS = 15
WHAT = "The ledger"
REAPED_SECONDS = 2
"""A lease that has been over for so long is of a worker that is cut off: its own machine would have reaped it."""
SHARES = 4
"""A slice is at most this part of the room, so that others find some too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What a worker asks for one account."""

    scope: str
    meter: str
    need: int
    """Of the meter's unit, without which the call cannot go, beyond what the worker holds."""
    like: int
    """What it would like to have, at least `need`."""
    lease: str | None = None
    """The worker's own lease of the account, which grows instead of a second one being opened."""
    opens: Budget | None = None
    """The budget of a run, which comes to be with its first call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A slice of one account, lent to one worker."""

    lease: str
    scope: str
    meter: str
    start: int
    end: int
    """Of the account's window, UTC microseconds."""
    amount: int
    expires: int
    """By the store's ticks, microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRoom:
    """Why a lease was not given."""

    scope: str
    meter: str
    cap: int
    settled: int
    leased: int
    end: int
    """UTC microseconds, when there will be room if nothing more is used; `NEVER` where time alone brings none."""
    elsewhere: bool
    """Whether other workers hold slices of the account, which were recalled just now; whose leases are over answer nobody."""
    over: bool = False
    """Whether the run is over that the budget belonged to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A cap with what stands against it in the current window."""

    scope: str
    window: Window
    unit: Unit
    mode: Mode
    cap: int
    settled: int
    reserved: int
    """Lent to workers and not yet booked."""
    start: int
    end: int
    fair: bool = False
    alerts: tuple[int, ...] = ()
    ends: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One of those that share the ledger."""

    name: str
    seen: int
    """When its control process last told that it lives, UTC microseconds."""
    attempts: int
    """Begun there and not ended, as far as is known here."""
    holds: bool
    """Whether any of its workers holds a part of a cap, or runs an attempt."""


class Ledger:
    """One connection to the ledger. Safe for several threads; several processes share file or server.

    Whatever writes raises `Unavailable` while the disk is full, or the store is away or held by others for too long.
    """

    def __init__(self, place: Path | Secret | Rows, clock: Clock) -> None:
        """Opens the ledger, and makes its tables where there are none.

        Args:
            place: a file, or the URL of a PostgreSQL database.
            clock: of this machine; a server keeps its own time.
        """
        if isinstance(place, Path):
            self._rows: Rows = SqliteRows(place, clock, WHAT)
        elif isinstance(place, Secret):
            self._rows = PostgresRows(place, WHAT, schema="ledger")
        else:
            self._rows = place
        self._standings = Standings(self._rows)
        self._booked: set[str] = set()
        self._booking = threading.Lock()
        try:
            make(self._rows)
        except Unavailable:
            if not isinstance(place, Secret):
                raise
            # A door that starts while the server is away serves what needs none of it; control makes the tables.

    def close(self) -> None:
        self._rows.close()

    def now(self) -> int:
        """The store's UTC microseconds: by them windows begin and end."""
        return self._rows.now()

    # --- caps, for the control plane

    def set_budget(self, budget: Budget) -> None:
        """Sets or replaces a cap; every worker's slice of it is recalled, so that a lower one holds at once.

        What was spent before in a window whose days are known counts, but for credits, which pay for what comes.
        """
        rows = self._rows
        with rows.writing():
            if budget.mode == "prepaid":
                paid = rows.one("SELECT CAST(coalesce(sum(amount),0) AS BIGINT) FROM credits WHERE scope = ?", (budget.scope,))
                budget = replace(budget, cap=paid[0] if paid else 0)
            known = rows.one("SELECT 1 FROM budgets WHERE scope = ? AND meter = ?", (budget.scope, budget.meter))
            self._write_budget(budget)
            if known is None:
                self._seed(budget)
            rows.run("UPDATE leases SET recall = 1 WHERE scope = ? AND meter = ?", (budget.scope, budget.meter))

    def _write_budget(self, budget: Budget) -> None:
        alerts = ",".join(map(str, budget.alerts))
        self._rows.run(
            f"INSERT INTO budgets ({COLUMNS}) VALUES (?,?,?,?,?,?,?) ON CONFLICT (scope, meter) DO UPDATE SET"
            " cap = excluded.cap, mode = excluded.mode, fair = excluded.fair, alerts = excluded.alerts, ends = excluded.ends",
            (budget.scope, budget.meter, budget.cap, budget.mode, int(budget.fair), alerts, budget.ends),
        )
        self._mark(budget.scope)

    def _seed(self, budget: Budget) -> None:
        """What a new cap in dollars finds spent already: the whole days of its window, where it begins at a UTC midnight."""
        if budget.unit != "usd" or budget.mode == "prepaid" or rolling(budget.window) is not None:
            return
        start, end = window_of(budget.window, self._rows.now())
        if start % DAY_MICROS or (end % DAY_MICROS and end != NEVER):
            return
        row = self._rows.one(
            "SELECT CAST(coalesce(sum(cost),0) AS BIGINT) FROM spend WHERE scope = ? AND day >= ? AND day < ?",
            (budget.scope, start // DAY_MICROS, end // DAY_MICROS),
        )
        self._rows.run(
            "INSERT INTO accounts (scope, meter, start, settled, leased) VALUES (?,?,?,?,0)"
            " ON CONFLICT (scope, meter, start) DO UPDATE SET settled = excluded.settled",
            (budget.scope, budget.meter, start, row[0] if row else 0),
        )

    def credit(self, scope: str, amount: int, *, reference: str, actor: str) -> bool:
        """Pays nano-dollars into a prepaid budget, which the first payment opens; once per reference.

        Returns:
            False when the same payment is known already: nothing was changed.

        Raises:
            Conflict: the reference is known with another amount, or the scope has a total cap that is not prepaid.
        """
        rows = self._rows
        with rows.writing():
            known = rows.one("SELECT amount FROM credits WHERE scope = ? AND reference = ?", (scope, reference))
            if known is not None:
                if known[0] != amount:
                    raise Conflict(
                        f"The payment '{reference}' of {scope} is known with another amount.", hint="Give each payment its own."
                    )
                return False
            present = rows.one("SELECT mode FROM budgets WHERE scope = ? AND meter = 'total'", (scope,))
            if present is not None and present[0] != "prepaid":
                raise Conflict(f"{scope} has a total cap, which is not prepaid.", hint="Drop it first: tandem budget drop.")
            rows.run("INSERT INTO credits VALUES (?,?,?,?,?)", (scope, reference, amount, rows.now(), actor))
            if present is None:
                self._write_budget(Budget(scope=scope, cap=0, window="total", mode="prepaid"))
            rows.run("UPDATE budgets SET cap = cap + ? WHERE scope = ? AND meter = 'total'", (amount, scope))
            self._mark(scope)
            return True

    def drop_budget(self, scope: str, meter: str) -> None:
        """Removes a cap.

        Raises:
            NotFound: there is none.
        """
        with self._rows.writing():
            if not self._rows.run("DELETE FROM budgets WHERE scope = ? AND meter = ?", (scope, meter)):
                raise NotFound(f"There is no cap for {scope} by {meter}.", hint="`tandem budget list` shows them.")
            self._mark(scope)

    def end_run(self, scope: str) -> None:
        """Ends a run's budget: nothing is let through under it any more.

        Raises:
            NotFound: there is none.
        """
        with self._rows.writing():
            now = self._rows.now()
            if not self._rows.run(
                "UPDATE budgets SET ends = ? WHERE scope = ? AND (ends IS NULL OR ends > ?)", (now, scope, now)
            ):
                raise NotFound(f"There is no {scope} that goes on.", hint="`tandem budget list` shows them.")
            self._rows.run("UPDATE leases SET recall = 1 WHERE scope = ?", (scope,))

    def budgets(self) -> list[Budget]:
        rows = self._rows.all(f"SELECT {COLUMNS} FROM budgets ORDER BY scope, meter")
        return [budget_of(row) for row in rows]

    def caps_version(self) -> int:
        """Rises with every change of a cap, but for those of runs, which no policy is compiled from."""
        row = self._rows.one("SELECT value FROM marks WHERE name = 'caps'")
        return int(row[0]) if row else 0

    def _mark(self, scope: str) -> None:
        if not scope.startswith("run/"):
            self._rows.run("INSERT INTO marks VALUES ('caps', 1) ON CONFLICT (name) DO UPDATE SET value = marks.value + 1")

    def booked_scopes(self) -> set[str]:
        """Scopes that were booked to through this connection since this was asked last."""
        with self._booking:
            booked, self._booked = self._booked, set()
        return booked

    def accounts(self, scopes: Collection[str] | None = None) -> list[Account]:
        """Every cap with its current window, or those of some scopes."""
        now, found = self._rows.now(), []
        budgets = self.budgets() if scopes is None else [each for scope in sorted(scopes) for each in self._of(scope)]
        for budget in budgets:
            standing = self._standings.of(budget.scope, budget.meter, budget, now)
            start, end = window_of(budget.window, now)
            if rolling(budget.window) is not None:
                start, end = since_of(budget.window, now), end
            found.append(
                Account(
                    scope=budget.scope,
                    window=budget.window,
                    unit=budget.unit,
                    mode=budget.mode,
                    cap=budget.cap,
                    settled=standing.settled,
                    reserved=standing.leased,
                    start=start,
                    end=end,
                    fair=budget.fair,
                    alerts=budget.alerts,
                    ends=budget.ends,
                )
            )
        return found

    def _of(self, scope: str) -> list[Budget]:
        return [budget_of(row) for row in self._rows.all(f"SELECT {COLUMNS} FROM budgets WHERE scope = ?", (scope,))]

    def tell(self, account: Account, percent: int) -> bool:
        """Notes that somebody was told that an account reached a percentage; False when that was noted before in this window."""
        # A rolling window has no beginning; it tells once for each length of it.
        seconds = rolling(account.window)
        start = account.start if seconds is None else account.end // (seconds * MICROS)
        key = (account.scope, booking_meter(account), start, percent)
        if self._rows.one("SELECT 1 FROM told WHERE scope = ? AND meter = ? AND start = ? AND percent = ?", key) is not None:
            return False
        with self._rows.writing():
            return self._rows.run("INSERT INTO told VALUES (?,?,?,?) ON CONFLICT DO NOTHING", key) == 1

    def spend(self, scope: str, *, since: int, until: int) -> tuple[int, int, int]:
        """Nano-dollars, attempts, and attempts without a known price of a scope between two UTC times (whole days)."""
        row = self._rows.one(
            "SELECT CAST(coalesce(sum(cost),0) AS BIGINT), CAST(coalesce(sum(attempts),0) AS BIGINT),"
            " CAST(coalesce(sum(unpriced),0) AS BIGINT) FROM spend WHERE scope = ? AND day BETWEEN ? AND ?",
            (scope, since // DAY_MICROS, until // DAY_MICROS),
        )
        assert row is not None
        return (int(row[0]), int(row[1]), int(row[2]))

    # --- leases, for the workers

    def lease(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom:
        """Lends slices of all the accounts at once, or none of them.

        The caller passes the need beyond what it already holds; a want whose scope has no hard cap (any more) is left out
        of the result.
        """
        now = self._rows.now()
        asked = self._asked(wants, now)
        if not asked:
            return []
        short = self._short(boot, asked, now)
        if short is not None and not short.elsewhere:
            return short  # found by reading alone: a flood of calls over a cap takes no turn of the writers
        with self._rows.writing():
            if self._rows.one("SELECT 1 FROM buried WHERE boot = ?", (boot,)) is not None:
                raise Unavailable("This worker was taken for dead, and gets nothing any more.", hint="Start it again.")
            now = self._rows.now()
            asked = self._asked(wants, now)
            short = self._short(boot, asked, now)
            if short is not None:
                self._recall(boot, short)
                return short
            identity, expires = new_id("lea"), self._rows.tick() + LEASE_SECONDS * MICROS
            return [self._lent(boot, identity, want, standing, expires) for want, standing in asked]

    def _asked(self, wants: Sequence[Want], now: int) -> list[tuple[Want, Standing]]:
        """The wants that a hard cap concerns, each with how its account stands."""
        found = [(want, self._standings.asked(want.scope, want.meter, now, want.opens)) for want in wants]
        return [(want, standing) for want, standing in found if standing is not None]

    def _lent(self, boot: str, identity: str, want: Want, standing: Standing, expires: int) -> Lease:
        rows, account = self._rows, (want.scope, want.meter, standing.start)
        amount = min(want.like, max(want.need, standing.room // SHARES))
        if want.opens is not None and self._standings.cap(want.scope, want.meter) is None:
            self._write_budget(want.opens)
        rows.run(
            "INSERT INTO accounts (scope, meter, start, settled, leased) VALUES (?,?,?,0,?)"
            " ON CONFLICT (scope, meter, start) DO UPDATE SET leased = accounts.leased + excluded.leased",
            (*account, amount),
        )
        grown = want.lease is not None and rows.run(
            "UPDATE leases SET amount = amount + ?, expires = ?"
            " WHERE lease = ? AND scope = ? AND meter = ? AND start = ? AND boot = ? AND state = ? AND expires > ?",
            (amount, expires, want.lease, *account, boot, OPEN, expires - LEASE_SECONDS * MICROS),
        )
        lease = want.lease if grown and want.lease is not None else identity
        if not grown:
            rows.run(
                "INSERT INTO leases (lease, scope, meter, start, boot, amount, expires, state) VALUES (?,?,?,?,?,?,?,?)",
                (identity, *account, boot, amount, expires, OPEN),
            )
        return Lease(
            lease=lease,
            scope=want.scope,
            meter=want.meter,
            start=standing.start,
            end=standing.end,
            amount=amount,
            expires=expires,
        )

    def _short(self, boot: str, asked: Sequence[tuple[Want, Standing]], now: int) -> NoRoom | None:
        """Why the wants cannot all be met now; None when they can."""
        for want, standing in asked:
            if standing.room >= want.need and not standing.over:
                continue
            heard = self._rows.tick() - REAPED_SECONDS * MICROS
            row = self._rows.one(
                "SELECT count(*) FROM leases WHERE scope = ? AND meter = ? AND start = ? AND boot != ? AND state = ?"
                " AND expires > ?",
                (want.scope, want.meter, standing.start, boot, OPEN, heard),
            )
            return NoRoom(
                scope=want.scope,
                meter=want.meter,
                cap=standing.cap,
                settled=standing.settled,
                leased=standing.leased,
                end=self._standings.until(want.meter, want.scope, want.need, standing, now),
                elsewhere=not standing.over and row is not None and row[0] > 0,
                over=standing.over,
            )
        return None

    def _recall(self, boot: str, room: NoRoom) -> None:
        self._rows.run(
            "UPDATE leases SET recall = 1 WHERE scope = ? AND meter = ? AND boot != ? AND state = ?",
            (room.scope, room.meter, boot, OPEN),
        )

    def renew(self, boot: str, leases: Iterable[str]) -> dict[str, int]:
        """Moves the expiry of a worker's leases; returns the new expiry of those that still stand."""
        alive: dict[str, int] = {}
        with self._rows.writing():
            tick = self._rows.tick()
            expires = tick + LEASE_SECONDS * MICROS
            for lease in leases:
                if self._rows.run(
                    "UPDATE leases SET expires = ? WHERE lease = ? AND boot = ? AND state = ? AND expires > ?",
                    (expires, lease, boot, OPEN, tick),
                ):
                    alive[lease] = expires
        return alive

    def give_back(self, boot: str, pieces: Iterable[tuple[str, str, str, int]]) -> None:
        """Returns what is unspent: (lease, scope, meter, amount). A lease reaped meanwhile is left alone."""
        with self._rows.writing():
            for lease, scope, meter, amount in pieces:
                row = self._rows.one(
                    "SELECT state FROM leases WHERE lease = ? AND scope = ? AND meter = ? AND boot = ?",
                    (lease, scope, meter, boot),
                )
                if row is not None and row[0] == OPEN:
                    booking.take(self._rows, (lease, scope, meter), amount)

    def recalled(self, boot: str) -> list[tuple[str, str, str]]:
        """Slices of this worker that others wait for; asking clears the mark."""
        rows = self._rows.all("SELECT lease, scope, meter FROM leases WHERE boot = ? AND recall = 1", (boot,))
        if rows:
            with self._rows.writing():
                self._rows.run("UPDATE leases SET recall = 0 WHERE boot = ? AND recall = 1", (boot,))
        return [(lease, scope, meter) for lease, scope, meter in rows]

    # --- booking, for the mover

    def offsets(self) -> dict[str, int]:
        return {segment: int(done) for segment, done in self._rows.all("SELECT segment, done FROM journal")}

    def post(self, batch: Batch) -> None:
        """Books a batch of journal records and remembers how far the journal was read, in one transaction."""
        over = {(ended.attempt.call, ended.attempt.attempt) for ended in batch.ended}
        left = [(begun, batch.boots[begun.call]) for begun in batch.begun if (begun.call, begun.attempt) not in over]
        with self._rows.writing():
            booking.begin(self._rows, left)
            booking.book(self._rows, batch.ended, batch.counted)
            self._rows.many(
                "INSERT INTO journal VALUES (?,?) ON CONFLICT (segment) DO UPDATE SET done = excluded.done",
                list(batch.offsets.items()),
            )
        with self._booking:
            for scopes in (*[ended.scopes for ended in batch.ended], *[kept.scopes for kept in batch.counted]):
                self._booked.update(scopes)

    def correct(self, corrections: Sequence[Correction]) -> int:
        """Moves what was booked to what the attempts cost, once; returns how many changed.

        An attempt that is booked at that cost already, or is not known any more, is left alone. The accounts follow
        by the difference, also above their caps: the money is spent.
        """
        with self._rows.writing():
            changed = booking.correct(self._rows, corrections)
        with self._booking:
            for each in corrections:
                self._booked.update(each.scopes)
        return changed

    def open_attempts(self, boot: str) -> list[Begun]:
        """What a worker has begun and not ended, as far as the journal was posted."""
        rows = self._rows.all("SELECT body FROM running WHERE boot = ?", (boot,))
        return [msgspec.msgpack.decode(body, type=Begun) for (body,) in rows]

    def bury(self, boot: str) -> None:
        """Frees all that a dead worker still holds; its attempts were booked before. Nothing is lent to it ever after."""
        with self._rows.writing():
            self._rows.run("INSERT INTO buried VALUES (?,?) ON CONFLICT DO NOTHING", (boot, self._rows.now()))
            self._rows.run("DELETE FROM workers WHERE boot = ?", (boot,))
            booking.reap(
                self._rows,
                [(a, b, c) for a, b, c in self._rows.all("SELECT lease, scope, meter FROM leases WHERE boot = ?", (boot,))],
            )

    def seen(self, machine: str, boots: Collection[str]) -> None:
        """Notes that these workers of a machine live."""
        rows, upsert = self._rows, "ON CONFLICT (boot) DO UPDATE SET machine = excluded.machine, seen = excluded.seen"
        with rows.writing():
            now = rows.now()
            rows.many(f"INSERT INTO workers VALUES (?,?,?) {upsert}", [(boot, machine, now) for boot in sorted(boots)])

    def machines(self) -> list[Machine]:
        """The machines that share the ledger, with what they hold; of one machine alone nothing is noted."""
        held = "SELECT boot FROM running UNION ALL SELECT boot FROM leases"
        found = self._rows.all(
            "SELECT machine, max(seen), (SELECT count(*) FROM running r JOIN workers b ON b.boot = r.boot"
            " WHERE b.machine = w.machine) FROM workers w GROUP BY machine ORDER BY machine"
        )
        holding = {machine for (machine,) in self._rows.all(f"SELECT machine FROM workers WHERE boot IN ({held})")}
        return [Machine(name=name, seen=seen, attempts=count, holds=name in holding) for name, seen, count in found]

    def workers(self, machine: str) -> list[str]:
        """The workers of a machine that were not buried."""
        return [boot for (boot,) in self._rows.all("SELECT boot FROM workers WHERE machine = ? ORDER BY boot", (machine,))]

    def tick(self) -> int:
        """The store's microseconds by which leases end."""
        return self._rows.tick()

    def expire(self, tick: int, boots: Sequence[str]) -> None:
        """Reaps leases of these workers whose time was over at `tick`; everything begun under them must have been posted.

        Args:
            tick: the store's, read before the journal was.
            boots: the workers whose journals were read.
        """
        ask = "SELECT lease, scope, meter FROM leases WHERE boot = ? AND expires <= ? AND state = ?"
        if not any(self._rows.one(ask, (boot, tick, OPEN)) for boot in boots):
            return
        with self._rows.writing():
            for boot in boots:
                booking.reap(self._rows, [(a, b, c) for a, b, c in self._rows.all(ask, (boot, tick, OPEN))])

    def forget(self, segment: str) -> None:
        """Drops the offset of a segment that was deleted."""
        with self._rows.writing():
            self._rows.run("DELETE FROM journal WHERE segment = ?", (segment,))

    def to_disk(self) -> None:
        """Brings everything that was committed to the disk, so that power loss takes none of it back."""
        self._rows.to_disk()

    def prune(self, before: int) -> int:
        """Forgets attempts booked, windows and runs that ended, before a UTC time; returns how many rows went.

        Their sums stay in `spend`. An attempt is remembered so that it is not booked twice, which can only
        happen while its journal segment exists.
        """
        rows = self._rows
        with rows.writing():
            gone = rows.run("DELETE FROM booked WHERE at < ?", (before,))
            gone += rows.run("DELETE FROM budgets WHERE ends < ?", (before,))
            gone += rows.run("DELETE FROM buried WHERE at < ?", (before,))
            gone += rows.run("DELETE FROM told WHERE start > 0 AND start < ?", (before - 366 * DAY_MICROS,))
            for meter in [row[0] for row in rows.all("SELECT DISTINCT meter FROM accounts")]:
                window = window_in(meter)
                ended = window_of(window, before)[0] if rolling(window) is None else since_of(window, before)
                gone += rows.run(
                    "DELETE FROM accounts WHERE meter = ? AND start > 0 AND start < ? AND leased = 0", (meter, ended)
                )
        return gone

    def has_booked(self, call: str, attempt: int, cost: int | None) -> bool:
        """Whether an attempt was booked at this cost."""
        row = self._rows.one("SELECT cost FROM booked WHERE call = ? AND attempt = ?", (call, attempt))
        return row is not None and row[0] == cost

    def cost_of(self, call: str) -> int:
        """Nano-dollars of all attempts of a call that were booked, as far as they are remembered."""
        row = self._rows.one("SELECT CAST(coalesce(sum(cost),0) AS BIGINT) FROM booked WHERE call = ?", (call,))
        return int(row[0]) if row else 0

    def known(self, attempts: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which of these attempts (call, number) were booked."""
        return booking.known(self._rows, list(attempts))

    def boots(self) -> list[str]:
        """Workers that hold a lease or run an attempt, as far as the journal was posted."""
        return sorted(boot for (boot,) in self._rows.all("SELECT boot FROM running UNION SELECT boot FROM leases"))

    def running(self) -> int:
        """Attempts that were begun and are not booked yet."""
        row = self._rows.one("SELECT count(*) FROM running")
        return int(row[0]) if row else 0


def booking_meter(account: Account) -> str:
    """The meter of an account."""
    return Budget(scope=account.scope, cap=0, window=account.window, unit=account.unit).meter
