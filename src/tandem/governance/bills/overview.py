"""What was spent: day by day from the ledger, and by team, endpoint and model from the newest traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.clock import MICROS, iso
from tandem.core.principal import Principal
from tandem.governance.authorise import scope_of
from tandem.governance.ledger import Ledger
from tandem.observability.attempts import Spent, spent
from tandem.observability.traces import Traces

DAY = 86_400 * MICROS
TRACED = 7
"""Days of traces that are summed: each is read whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """What a scope spent on one UTC day."""

    day: str
    cost: int
    """Nano-dollars."""
    attempts: int
    unpriced: int
    """Attempts without a known price; they are not in `cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What was spent, as far as its reader may see it."""

    scope: str
    """Whose spending the days show: the widest scope that the reader sees."""
    days: tuple[Daily, ...]
    """Oldest first."""
    traced: int
    """How many of the newest days the next line sums."""
    spent: tuple[Spent, ...]
    """By team, endpoint and target, the dearest first."""


def daily(ledger: Ledger, scope: str, *, days: int, now: int) -> tuple[Daily, ...]:
    """What a scope spent on each of the last days, today included, oldest first."""
    found = []
    for back in reversed(range(days)):
        at = now - back * DAY
        cost, attempts, unpriced = ledger.spend(scope, since=at, until=at)
        found.append(Daily(day=iso(at)[:10], cost=cost, attempts=attempts, unpriced=unpriced))
    return tuple(found)


def overview(ledger: Ledger, traces: Traces, *, by: Principal, days: int, now: int) -> Overview:
    """What `by` may see of what was spent."""
    team = scope_of(by).team
    scope = "org" if team is None else f"team/{team}"
    traced = min(days, TRACED)
    return Overview(
        scope=scope,
        days=daily(ledger, scope, days=days, now=now),
        traced=traced,
        spent=spent(traces, traced, team),
    )


def grouped(rows: Sequence[Spent], by: str) -> tuple[Spent, ...]:
    """The rows summed over everything but one of `team`, `endpoint` and `target`, the dearest first."""
    sums: dict[str, Spent] = {}
    for row in rows:
        name = {"team": row.team, "endpoint": row.endpoint, "target": row.target}[by]
        before = sums.get(name)
        sums[name] = Spent(
            team=row.team if by == "team" else "",
            endpoint=row.endpoint if by == "endpoint" else "",
            target=row.target if by == "target" else "",
            cost=row.cost + (0 if before is None else before.cost),
            attempts=row.attempts + (0 if before is None else before.attempts),
            unpriced=row.unpriced + (0 if before is None else before.unpriced),
        )
    return tuple(sorted(sums.values(), key=lambda each: (-each.cost, each.team, each.endpoint, each.target)))
