"""Booking: what became of each attempt, once per (call, attempt), in the ledger's own transaction.

Money moves from leased to settled; so do tokens and calls. A cap for which an attempt holds nothing (a soft one, or one that
was set while it ran) is charged all the same. It knows no journal file, no worker and no price.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.clock import MICROS
from tandem.core.policy import unit_of, window_in
from tandem.core.trace import Attempt
from tandem.core.window import rolling, window_of
from tandem.observability.move import Counted
from tandem.observability.record import Begun, Ended, Hold
from tandem.store.raw import Rows

OPEN, REAPED = 0, 1
DAY_MICROS = 86_400 * MICROS
ANSWERED_BEFORE = -1
"""The attempt's number under which a call is remembered that needed none, because its answer was kept."""

ASKED = 64
"""Calls that are looked for at once."""
BOOKED = f"SELECT call, attempt FROM booked WHERE call IN ({', '.join('?' * ASKED)})"

LeaseKey = tuple[str, str, str]
"""Lease, scope, meter."""
AccountKey = tuple[str, str, int]
"""Scope, meter, start."""


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


def used(meter: str, attempt: Attempt, held: int) -> int:
    """How much of a meter's unit an attempt used, of which it held at most `held`."""
    match unit_of(meter):
        case "usd":
            return attempt.cost or 0
        case "tokens":
            usage = attempt.usage
            return held if usage.source == "estimated" else usage.total_input + usage.total_output
        case "requests":
            return int(attempt.attempt <= 0)
        case "calls":
            return 0


def start_of(meter: str, at: int) -> int:
    """Where the account begins that a booking at a time belongs to."""
    return window_of(window_in(meter), at)[0]


def take(rows: Rows, key: LeaseKey, amount: int) -> None:
    """Lowers a lease and its account; a lease at zero is gone."""
    row = rows.one("SELECT start FROM leases WHERE lease = ? AND scope = ? AND meter = ?", key)
    if row is None:
        return
    rows.run(
        "UPDATE accounts SET leased = leased - ? WHERE scope = ? AND meter = ? AND start = ?", (amount, key[1], key[2], row[0])
    )
    rows.run("UPDATE leases SET amount = amount - ? WHERE lease = ? AND scope = ? AND meter = ?", (amount, *key))
    rows.run("DELETE FROM leases WHERE lease = ? AND scope = ? AND meter = ? AND amount = 0", key)


def begin(rows: Rows, begun: Sequence[tuple[Begun, str]]) -> None:
    """Remembers attempts that run, each with the boot of its worker."""
    rows.many(
        "INSERT INTO running VALUES (?,?,?,?) ON CONFLICT DO NOTHING",
        [(record.call, record.attempt, boot, msgspec.msgpack.encode(record)) for record, boot in begun],
    )


def book(rows: Rows, ended: Sequence[Ended], counted: Sequence[Counted]) -> None:
    """Books what was not booked before: every account, lease and day once, with the sum of all attempts."""
    fresh = _fresh(rows, ended)
    rows.many("DELETE FROM running WHERE call = ? AND attempt = ?", [(e.attempt.call, e.attempt.attempt) for e in ended])
    sums = _Sums(rows)
    for record in fresh:
        attempt = record.attempt
        held: set[tuple[str, str]] = set()
        for hold in record.holds:
            held.add((hold.scope, hold.window))
            sums.settle(hold, used(hold.window, attempt, hold.amount), attempt.start, attempt.end)
        for scope in record.scopes:
            for meter in sums.meters(scope):
                if (scope, meter) not in held:
                    sums.charge(scope, meter, used(meter, attempt, 0), attempt.end)
        sums.spend(record.scopes, attempt)
    for kept in _fresh_counted(rows, counted):
        held = {(hold.scope, hold.window) for hold in kept.holds}
        for hold in kept.holds:
            sums.settle(hold, int(unit_of(hold.window) == "requests"), kept.at, kept.at)
        for scope in kept.scopes:
            for meter in sums.meters(scope):
                if unit_of(meter) == "requests" and (scope, meter) not in held:
                    sums.charge(scope, meter, 1, kept.at)
    sums.write()


def correct(rows: Rows, corrections: Sequence[Correction]) -> int:
    """Moves what was booked to what the attempts cost, once; returns how many changed.

    No account falls below zero, since a cap that was set after the attempt never held it.
    """
    changed = 0
    for each in corrections:
        row = rows.one("SELECT cost, at FROM booked WHERE call = ? AND attempt = ?", (each.call, each.attempt))
        if row is None or row[0] == each.cost:
            continue
        changed += 1
        more, ended = each.cost - (row[0] or 0), int(row[1])
        rows.run("UPDATE booked SET cost = ? WHERE call = ? AND attempt = ?", (each.cost, each.call, each.attempt))
        for scope in each.scopes:
            rows.run(
                "UPDATE spend SET cost = cost + ?, unpriced = unpriced - ? WHERE scope = ? AND day = ?",
                (more, int(row[0] is None), scope, ended // DAY_MICROS),
            )
            for meter, mode in rows.all("SELECT meter, mode FROM budgets WHERE scope = ?", (scope,)):
                if unit_of(meter) != "usd":
                    continue
                held = mode != "soft" and rolling(window_in(meter)) is None  # booked where its lease began
                rows.run(
                    "UPDATE accounts SET settled = CASE WHEN settled + ? > 0 THEN settled + ? ELSE 0 END"
                    " WHERE scope = ? AND meter = ? AND start = ?",
                    (more, more, scope, meter, start_of(meter, each.at if held else ended)),
                )
    return changed


def reap(rows: Rows, keys: Iterable[LeaseKey]) -> None:
    """Ends leases whose worker may spend them no more: what is left of each is exactly what running attempts hold."""
    wanted = set(keys)
    held: dict[LeaseKey, int] = {}
    for (body,) in rows.all("SELECT body FROM running") if wanted else ():
        for hold in msgspec.msgpack.decode(body, type=Begun).holds:
            key = (hold.lease, hold.scope, hold.window)
            if key in wanted:
                held[key] = held.get(key, 0) + hold.amount
    for key in wanted:
        row = rows.one("SELECT amount, state FROM leases WHERE lease = ? AND scope = ? AND meter = ?", key)
        if row is None or row[1] == REAPED:
            continue
        rows.run("UPDATE leases SET state = ? WHERE lease = ? AND scope = ? AND meter = ?", (REAPED, *key))
        take(rows, key, max(0, row[0] - held.get(key, 0)))


def known(rows: Rows, attempts: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which of these attempts (call, number) were booked before."""
    found: set[tuple[str, int]] = set()
    for start in range(0, len(attempts), ASKED):
        calls = [call for call, _ in attempts[start : start + ASKED]]
        padded = [*calls, *[calls[-1]] * (ASKED - len(calls))]  # one statement, whatever the number
        found.update((call, attempt) for call, attempt in rows.all(BOOKED, padded))
    return found.intersection(attempts)


def _fresh(rows: Rows, records: Sequence[Ended]) -> list[Ended]:
    """Remembers the attempts; returns those that were not known before."""
    keys = [(record.attempt.call, record.attempt.attempt) for record in records]
    before = known(rows, keys)
    fresh = {key: ended for ended, key in zip(records, keys, strict=True) if key not in before}
    rows.many(
        "INSERT INTO booked VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        [(e.attempt.call, e.attempt.attempt, e.attempt.cost, e.attempt.outcome, e.attempt.end) for e in fresh.values()],
    )
    return list(fresh.values())


def _fresh_counted(rows: Rows, records: Sequence[Counted]) -> list[Counted]:
    before = known(rows, [(record.call, ANSWERED_BEFORE) for record in records])
    fresh = [record for record in records if (record.call, ANSWERED_BEFORE) not in before]
    rows.many(
        "INSERT INTO booked VALUES (?,?,?,?,?) ON CONFLICT DO NOTHING",
        [(record.call, ANSWERED_BEFORE, 0, "kept", record.at) for record in fresh],
    )
    return fresh


@dataclass(slots=True)
class _Sums:
    """What a batch changes, gathered so that every row is written once."""

    rows: Rows
    leases: dict[LeaseKey, tuple[int, int, int] | None] = field(default_factory=dict)
    """Start, state and amount of each lease that is held; None of one that is gone."""
    taken: dict[LeaseKey, int] = field(default_factory=dict)
    settled: dict[AccountKey, int] = field(default_factory=dict)
    days: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    _meters: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def settle(self, hold: Hold, amount: int, begun: int, ended: int) -> None:
        """Moves what was held to what was used."""
        key = (hold.lease, hold.scope, hold.window)
        if key not in self.leases:
            row = self.rows.one("SELECT start, state, amount FROM leases WHERE lease = ? AND scope = ? AND meter = ?", key)
            self.leases[key] = None if row is None else (row[0], row[1], row[2])
        lease = self.leases[key]
        if rolling(window_in(hold.window)) is not None:
            start = start_of(hold.window, ended)
        else:  # of a lease that is gone all holds were released; what was used is booked all the same
            start = start_of(hold.window, begun) if lease is None else lease[0]
        if lease is not None:
            self.taken[key] = self.taken.get(key, 0) + (hold.amount if lease[1] == REAPED else amount)
        if amount:
            account = (hold.scope, hold.window, start)
            self.settled[account] = self.settled.get(account, 0) + amount

    def charge(self, scope: str, meter: str, amount: int, at: int) -> None:
        if amount:
            account = (scope, meter, start_of(meter, at))
            self.settled[account] = self.settled.get(account, 0) + amount

    def spend(self, scopes: Sequence[str], attempt: Attempt) -> None:
        day = attempt.end // DAY_MICROS
        for scope in dict.fromkeys(scopes):
            sums = self.days.setdefault((scope, day), [0, 0, 0])
            for at, more in enumerate((attempt.cost or 0, 1, int(attempt.cost is None))):
                sums[at] += more

    def meters(self, scope: str) -> tuple[str, ...]:
        """What is counted for a scope, but for calls at once, which nothing is left of."""
        found = self._meters.get(scope)
        if found is None:
            rows = self.rows.all("SELECT meter FROM budgets WHERE scope = ?", (scope,))
            found = self._meters[scope] = tuple([meter for (meter,) in rows if unit_of(meter) != "calls"])
        return found

    def write(self) -> None:
        for key, amount in self.taken.items():
            lease = self.leases[key]
            assert lease is not None
            take(self.rows, key, min(lease[2], amount))
        self.rows.many(
            "INSERT INTO accounts (scope, meter, start, settled, leased) VALUES (?,?,?,?,0)"
            " ON CONFLICT (scope, meter, start) DO UPDATE SET settled = accounts.settled + excluded.settled",
            [(*account, amount) for account, amount in sorted(self.settled.items())],
        )
        self.rows.many(
            "INSERT INTO spend VALUES (?,?,?,?,?) ON CONFLICT (scope, day) DO UPDATE SET cost = spend.cost + excluded.cost,"
            " attempts = spend.attempts + excluded.attempts, unpriced = spend.unpriced + excluded.unpriced",
            [(*key, *sums) for key, sums in sorted(self.days.items())],
        )
