"""How an account stands: what its cap is, what was used and lent in the window that holds now, and what room that leaves.

It reads the ledger's rows and changes none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tandem.core.clock import MICROS
from tandem.core.policy import Budget, unit_of, window_in
from tandem.core.window import NEVER, rolling, since_of, window_of
from tandem.store.raw import Row, Rows

MEMBER = ">"
"""Between a scope and the key whose share of it is meant; no name holds it."""
COLUMNS = "scope, meter, cap, mode, fair, alerts, ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How an account stands at one moment."""

    cap: int
    settled: int
    leased: int
    room: int
    start: int
    """Of the account that leases go to."""
    end: int
    over: bool = False


class Standings:
    """The accounts of one ledger."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def of(self, scope: str, meter: str, budget: Budget, now: int) -> Standing:
        """How an account stands under a cap."""
        window = window_in(meter)
        start, end = window_of(window, now)
        if rolling(window) is None:
            row = self._rows.one(
                "SELECT settled, leased FROM accounts WHERE scope = ? AND meter = ? AND start = ?", (scope, meter, start)
            )
        else:
            row = self._rows.one(
                "SELECT CAST(coalesce(sum(settled),0) AS BIGINT), CAST(coalesce(sum(leased),0) AS BIGINT) FROM accounts"
                " WHERE scope = ? AND meter = ? AND (start = 0 OR start >= ?)",
                (scope, meter, since_of(window, now)),
            )
            start, end = 0, NEVER
        settled, leased = (int(row[0]), int(row[1])) if row else (0, 0)
        over = budget.ends is not None and now >= budget.ends
        return Standing(
            cap=budget.cap,
            settled=settled,
            leased=leased,
            room=0 if over else budget.cap - settled - leased,
            start=start,
            end=end,
            over=over,
        )

    def cap(self, scope: str, meter: str) -> Budget | None:
        """The cap of an account; of a key's share in a fair one, that one."""
        whole = scope.partition(MEMBER)[0]
        row = self._rows.one(f"SELECT {COLUMNS} FROM budgets WHERE scope = ? AND meter = ?", (whole, meter))
        return None if row is None else budget_of(row)

    def asked(self, scope: str, meter: str, now: int, opens: Budget | None = None) -> Standing | None:
        """How an account stands that somebody wants to spend from; None when it has no cap that refuses.

        Args:
            opens: the cap that it gets where it has none.
        """
        budget = self.cap(scope, meter) or opens
        if budget is None or budget.mode == "soft":
            return None
        standing = self.of(scope, meter, budget, now)
        return standing if MEMBER not in scope else self._share(scope, meter, budget, standing, now)

    def _share(self, scope: str, meter: str, budget: Budget, own: Standing, now: int) -> Standing:
        """The room of one key in a fair cap: what leaves each other key that was active lately its even share."""
        window, whole = window_in(meter), scope.partition(MEMBER)[0]
        seconds = rolling(window)
        since = since_of(window, now) if seconds is not None else window_of(window, own.start - 1)[0] if own.start else 0
        first = own.start if seconds is None else since
        used: dict[str, int] = {scope: 0}
        for member, start, settled, leased in self._rows.all(
            "SELECT scope, start, settled, leased FROM accounts"
            " WHERE scope > ? AND scope < ? AND meter = ? AND (start = 0 OR start >= ?)",
            (whole + MEMBER, whole + chr(ord(MEMBER) + 1), meter, since),
        ):
            counts = start >= first or (seconds is not None and start == 0)
            used[member] = used.get(member, 0) + (settled + leased if counts else 0)
        share, mine = budget.cap // len(used), used.pop(scope)
        left = budget.cap - mine - sum(used.values())
        kept = sum(max(0, share - theirs) for theirs in used.values())
        room = max(left - kept, min(share - mine, left))
        return replace(own, cap=mine + max(0, room), room=room)

    def until(self, meter: str, scope: str, need: int, standing: Standing, now: int) -> int:
        """When an account has room again, if nothing more is used."""
        window = window_in(meter)
        seconds = rolling(window)
        if seconds is None:
            return standing.end
        missing, step = need - standing.room, window_of(window, now)[1] - window_of(window, now)[0]
        for start, settled in self._rows.all(
            "SELECT start, settled FROM accounts WHERE scope = ? AND meter = ? AND start >= ? AND start > 0 ORDER BY start",
            (scope, meter, since_of(window, now)),
        ):
            missing -= settled
            if missing <= 0:
                return int(start) + step + seconds * MICROS
        return now + step  # what is lent comes back sooner than that


def budget_of(row: Row) -> Budget:
    """A row of `budgets`, in the order of `COLUMNS`."""
    scope, meter, cap, mode, fair, alerts, ends = row
    return Budget(
        scope=str(scope),
        cap=int(str(cap)),
        window=window_in(str(meter)),
        unit=unit_of(str(meter)),
        mode=mode,
        fair=bool(fair),
        alerts=tuple(int(each) for each in str(alerts).split(",") if each),
        ends=None if ends is None else int(str(ends)),
    )
