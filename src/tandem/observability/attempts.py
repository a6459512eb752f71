"""Attempts as whoever counts money reads them: which there were, what each is booked at, and what replaced it.

They lie in the days of `traces`. It does not know what an attempt should have cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tandem.core.clock import MICROS, iso
from tandem.core.trace import Attempt, Corrected
from tandem.observability.traces import SHADOW, Traces, day_of
from tandem.store.raw import Rows

DAY = 86_400 * MICROS
LAST = 250_000_000_000 * MICROS
"""The last moment that a date of four digits can hold, nearly."""
PAGE = 500
"""Attempts that are read at once."""
READ = (
    "SELECT a.call, a.attempt, a.trace, a.cost, a.scopes, a.body, c.team, c.principal, c.endpoint, c.kind, instr(c.body, ?) > 0"
    " FROM attempts a LEFT JOIN calls c ON c.call = a.call WHERE (a.call, a.attempt) > (?, ?) ORDER BY a.call, a.attempt LIMIT ?"
)
SUM = (
    "SELECT c.team, c.endpoint, a.target, CAST(coalesce(sum(a.cost), 0) AS BIGINT), count(*), count(*) - count(a.cost)"
    " FROM attempts a JOIN calls c ON c.call = a.call WHERE (CAST(? AS TEXT) IS NULL OR c.team = ?) GROUP BY 1, 2, 3"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt, and whose it was."""

    trace: str
    attempt: Attempt
    """As it was booked at first."""
    cost: int | None
    """Nano-dollars that are booked now; None where no price was known."""
    scopes: tuple[str, ...]
    """Every scope its spend is reported under."""
    team: str
    """Empty, as the next three, where the call never closed."""
    principal: str
    endpoint: str
    kind: str

    @property
    def payer(self) -> str:
        """The team that pays: of a shadow that of its endpoint, else the caller's."""
        return next((scope.partition("/")[2] for scope in self.scopes if scope.startswith("team/")), self.team)


def tried(traces: Traces, since: int, until: int) -> Iterator[Tried]:
    """Attempts that began between two UTC times (microseconds), day by day, by call; one page of them is in memory."""
    first, last = (iso(max(0, min(at, LAST)))[:10] for at in (since - DAY, until))
    for day in sorted(day for day in traces.days() if first <= day <= last):  # a nested call lies in the day its trace began
        at = ("", -1)
        while True:
            rows = traces.read(day, READ, (SHADOW, *at, PAGE))
            if not rows:
                break
            at = (rows[-1][0], rows[-1][1])
            for row in rows:
                attempt = msgspec.json.decode(row[5], type=Attempt)
                if since <= attempt.start < until:
                    yield _tried(row, attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one team spent at one endpoint on one target."""

    team: str
    endpoint: str
    target: str
    cost: int
    """Nano-dollars of the attempts with a known price."""
    attempts: int
    unpriced: int
    """Attempts without a known price."""


def spent(traces: Traces, days: int, team: str | None) -> tuple[Spent, ...]:
    """Sums over the attempts of the newest days that hold any, the dearest first.

    Args:
        team: of this team only; None sees all.
    """
    sums: dict[tuple[str, str, str], list[int]] = {}
    for day in traces.days()[:days]:
        for owner, endpoint, target, *found in traces.read(day, SUM, (team, team)):
            before = sums.setdefault((owner, endpoint, target), [0, 0, 0])
            for place, more in enumerate(found):
                before[place] += more
    found = [
        Spent(team=owner, endpoint=endpoint, target=target, cost=cost, attempts=attempts, unpriced=unpriced)
        for (owner, endpoint, target), (cost, attempts, unpriced) in sums.items()
    ]
    return tuple(sorted(found, key=lambda each: (-each.cost, each.team, each.endpoint, each.target)))


def correct(traces: Traces, corrections: Sequence[Corrected]) -> None:
    """Puts costs in the place of what is booked; what was booked at first is kept beside them. Twice is once.

    Raises:
        Unavailable: the disk is full.
    """
    by_day: dict[str, list[Corrected]] = {}
    for each in corrections:
        by_day.setdefault(day_of(each.trace), []).append(each)
    for day in sorted(by_day):
        with traces.writing(day) as rows:
            if rows is not None:
                for each in by_day[day]:
                    _correct(rows, each)


def _correct(rows: Rows, each: Corrected) -> None:
    key = (each.call, each.attempt)
    if not rows.run("UPDATE attempts SET cost = ? WHERE call = ? AND attempt = ?", (each.cost, *key)):
        return  # thinned out meanwhile
    before = rows.one("SELECT body FROM corrections WHERE call = ? AND attempt = ?", key)
    first = each.booked if before is None else msgspec.json.decode(before[0], type=Corrected).booked
    rows.run(
        "INSERT INTO corrections VALUES (?,?,?,?) ON CONFLICT (call, attempt)"
        " DO UPDATE SET trace = excluded.trace, body = excluded.body",
        (*key, each.trace, msgspec.json.encode(replace(each, booked=first))),
    )


def _tried(row: Sequence[Any], attempt: Attempt) -> Tried:
    _, _, trace, cost, scopes, _, team, principal, endpoint, kind, trial = row
    if not scopes and endpoint is not None:  # an earlier version did not write down who pays
        own = () if trial else (f"key/{principal}",)
        scopes = "\n".join(("org", f"team/{team}", *own, f"{'shadow' if trial else 'endpoint'}/{endpoint}"))
    return Tried(
        trace=trace,
        attempt=attempt,
        cost=cost,
        scopes=tuple(scopes.split("\n")) if scopes else (),
        team=team or "",
        principal=principal or "",
        endpoint=endpoint or "",
        kind=kind or "",
    )
