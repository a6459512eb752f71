"""When a budget runs out, from what its scope spent day by day; and whether that changes as it never did.

Method of the forecast: a generalized seasonal block bootstrap of the daily spend (Dudek, Leśkow, Paparoditis and Politis,
Journal of Time Series Analysis 35(2), 2014): each of `PATHS` futures continues what is settled by pairs of days that are
drawn from the same weekdays of the past, until the window ends. The day on which half of the futures have run out is told,
with the days of the 10th and 90th percentile.

Method of the warning: the modified z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, ASQC 1993) of the
change against the same weekday a week before. What is spent of today by now counts as today, so a warning comes early
and an unfinished day never causes one by being unfinished.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tandem.core.clock import Clock, iso
from tandem.core.principal import LOCAL, Principal
from tandem.core.window import CALENDAR, Window
from tandem.governance.audit import Audit
from tandem.governance.bills.overview import DAY, daily
from tandem.governance.bills.repo import Warnings
from tandem.governance.caps import may_see
from tandem.governance.ledger import Account, Ledger
from tandem.store.sql import Sql

Verdict = Literal["runs out", "will last", "not enough data"]
HISTORY = 56
"""Days that are looked at."""
LEAST = 14
"""Whole days since the first spending; fewer forecast nothing."""
WEEK, BLOCK = 7, 2
"""Days of a season, and days that are drawn together."""
PATHS = 1_000
HORIZON = 365
"""Days that a window without an end is looked ahead."""
STEEP = 3.5
"""Modified z-score from which a change is abnormal; the authors' own recommendation."""
CONSISTENT, SPREAD = 0.6745, 1.253314
"""Make a median and a mean absolute deviation an estimate of a normal standard deviation."""
LONG: tuple[Window, ...] = (*CALENDAR, "total")
"""Windows that daily spend says something about."""


def lasting(account: Account) -> bool:
    """Whether daily spend says something about an account: one in dollars, over days or longer, that begins anew at once."""
    return account.unit == "usd" and account.window.partition("@")[0] in LONG


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What becomes of one budget. Amounts are nano-dollars, days are UTC."""

    scope: str
    window: Window
    cap: int
    settled: int
    end: int | None
    """When the window ends, UTC microseconds; None: never."""
    verdict: Verdict
    day: str | None = None
    """On which half of the futures have run out."""
    low: str | None = None
    """On which a tenth have: the early end of an interval of 80 %."""
    high: str | None = None
    """On which nine tenths have; None: not within the window (of one without end, within a year)."""
    chance: float | None = None
    """Of running out before the window ends (of one without end, within a year)."""
    days: int = 0
    """Whole days of spending that it was learned from."""
    mean: int = 0
    """Spent on one of them, on average."""
    steep: float | None = None
    """Modified z-score of today's change against last week; abnormal from 3.5."""
    abnormal: bool = False
    method: str = "seasonal block bootstrap of daily spend (Dudek et al. 2014): season 7 days, block 2 days, 1,000 futures"


def forecast(account: Account, spent: Sequence[int], now: int) -> Forecast:
    """What becomes of a budget.

    Args:
        spent: nano-dollars of its scope day by day, oldest first; the last one is today's by now.
        now: UTC microseconds.
    """
    past, today = _learned(spent)
    steep = change(past, today)
    told = Forecast(
        scope=account.scope,
        window=account.window,
        cap=account.cap,
        settled=account.settled,
        end=None if account.window == "total" else account.end,
        verdict="not enough data",
        days=len(past),
        mean=sum(past) // len(past) if past else 0,
        steep=None if steep is None else round(steep, 2),
        abnormal=steep is not None and steep >= STEEP,
    )
    if account.settled >= account.cap and lasting(account):
        return _told(told, "runs out", now, [0] * PATHS)
    if len(past) < LEAST or not lasting(account):
        return told
    left = HORIZON if account.window == "total" else max(0, (account.end - 1) // DAY - now // DAY)
    dice = random.Random(f"{account.scope} {account.window} {now // DAY}")  # the same all day long
    futures, room = _Futures(past, left, now), account.cap - account.settled
    ends = [None] * PATHS if futures.last(room) else [futures.run_out(room, dice) for _ in range(PATHS)]
    return _told(told, "will last" if ends.count(None) * 2 > PATHS else "runs out", now, ends)


def _learned(spent: Sequence[int]) -> tuple[list[int], int]:
    """The whole days since the first spending, and today."""
    *past, today = spent
    begun = next((place for place, cost in enumerate(past) if cost), len(past))
    return past[begun:], today


class _Futures:
    """Futures of one scope's spending, drawn from its past."""

    def __init__(self, past: Sequence[int], left: int, now: int) -> None:
        self._left, self._rest = left, 1 - now % DAY / DAY
        self._most = max(past)
        self._pairs = [
            [(past[first], past[first + 1]) for first in range(weekday_of(len(past), ahead), len(past) - 1, WEEK)]
            for ahead in range(WEEK)
        ]
        """By weekday, today's first: what was spent on such a day and on the day after it."""

    def run_out(self, room: int, dice: random.Random) -> int | None:
        """In how many days one future uses up `room` nano-dollars; None: not within the window."""
        for day in range(0, self._left + 1, BLOCK):
            pairs = self._pairs[day % WEEK]
            first, second = pairs[int(dice.random() * len(pairs))]
            room -= round(first * self._rest) if day == 0 else first
            if room < 0:
                return day
            room -= second
            if room < 0:
                return day + 1 if day < self._left else None
        return None

    def last(self, room: int) -> bool:
        """Whether no future can use it up: not even one of the dearest days alone."""
        return room >= (self._left + 1) * self._most


def weekday_of(days: int, ahead: int) -> int:
    """The place, 0 to 6, of the first of `days` past days that is of the weekday of a day so far ahead (0: today).

    >>> [weekday_of(14, ahead) for ahead in (0, 1, 7)]
    [0, 1, 0]
    """
    return (days + ahead) % WEEK


def change(past: Sequence[int], today: int) -> float | None:
    """Modified z-score of today's change against the same weekday a week before; None where there is too little to tell.

    >>> change([10, 12, 11, 9, 10, 2, 1] * 4, 500) > 3.5, change([10] * 28, 10)
    (True, 0.0)
    """
    if len(past) < LEAST + WEEK:
        return None
    changes = [later - earlier for earlier, later in zip(past, past[WEEK:], strict=False)]
    mine = today - past[-WEEK]
    middle = statistics.median(changes)
    off = [abs(each - middle) for each in changes]
    scale = statistics.median(off) / CONSISTENT or SPREAD * statistics.fmean(off)
    if not scale:  # spending never changed: any rise beyond a usual day is steep
        usual = max(1, statistics.median(past))
        return STEEP * (mine - middle) / usual if mine > middle else 0.0
    return (mine - middle) / scale


def _told(told: Forecast, verdict: Verdict, now: int, ends: Sequence[int | None]) -> Forecast:
    out = sorted(each for each in ends if each is not None)

    def day(share: float) -> str | None:
        place = int(share * len(ends))
        return iso(now + out[place] * DAY)[:10] if place < len(out) else None

    return Forecast(
        scope=told.scope,
        window=told.window,
        cap=told.cap,
        settled=told.settled,
        end=told.end,
        verdict=verdict,
        day=day(0.5),
        low=day(0.1),
        high=day(0.9),
        chance=len(out) / len(ends),
        days=told.days,
        mean=told.mean,
        steep=told.steep,
        abnormal=told.abnormal,
    )


class Forecasts:
    """Forecasts of every budget, and the warnings that the audit gets."""

    def __init__(self, *, ledger: Ledger, audit: Audit, sql: Sql, clock: Clock) -> None:
        self._ledger, self._audit, self._sql, self._clock = ledger, audit, sql, clock
        self._warnings = Warnings()

    def every(self, by: Principal) -> tuple[Forecast, ...]:
        """What becomes of every budget that `by` sees, by scope and window."""
        now = self._clock.now()
        seen = [each for each in self._ledger.accounts() if each.unit == "usd" and may_see(by, each.scope)]
        return tuple(forecast(account, self._spent(account, now), now) for account in seen)

    def warn(self) -> int:
        """Writes `budget.forecast` into the audit for each budget whose spending changes abnormally, once a window."""
        now, warned = self._clock.now(), 0
        for account in self._ledger.accounts():
            if not lasting(account):
                continue
            steep = change(*_learned(self._spent(account, now)))
            if steep is None or steep < STEEP:
                continue
            found = forecast(account, self._spent(account, now), now)
            with self._sql.write() as conn:
                if not self._warnings.claim(conn, account.scope, account.window, account.start, now):
                    continue
                kind, _, name = account.scope.partition("/")
                self._audit.append(
                    conn,
                    actor=LOCAL.name,
                    action="budget.forecast",
                    subject=account.scope,
                    team=name if kind == "team" else LOCAL.team,
                    detail={
                        "window": account.window,
                        "z": str(found.steep),
                        "today_nano_usd": self._ledger.spend(account.scope, since=now, until=now)[0],
                        "mean_nano_usd": found.mean,
                        "cap_nano_usd": account.cap,
                        "verdict": found.verdict,
                        "day": found.day,
                    },
                )
                warned += 1
        return warned

    def _spent(self, account: Account, now: int) -> list[int]:
        return [day.cost for day in daily(self._ledger, account.scope, days=HISTORY + 1, now=now)]
