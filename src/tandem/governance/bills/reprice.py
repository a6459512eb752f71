"""A past period priced anew: what was used is kept as counters, so the rows that are known now can price it again.

Each attempt is priced by the row that holds for its own moment and team, as it is known now. What was estimated has
no counters and stays as it is. It knows no price and no wire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import msgspec

from tandem.core.clock import Clock
from tandem.core.endpoint import HOSTED
from tandem.core.errors import Invalid
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.reconcile import Known, Pricing
from tandem.governance.bills.sheet import TOGETHER, Fix
from tandem.governance.booking import Correction
from tandem.observability.attempts import Tried, tried
from tandem.observability.traces import Traces
from tandem.store.sql import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """One model, priced anew. Amounts are nano-dollars."""

    target: str
    attempts: int = 0
    """That have counters and a price now."""
    changed: int = 0
    """Of them, those that cost something else now."""
    booked: int = 0
    cost: int = 0
    """By the rows that are known now."""
    difference: int = 0
    """The cost now minus what is booked."""
    estimated: int = 0
    """Attempts without counters, which stay as they are."""
    unpriced: int = 0
    """Attempts that nobody has a price for, which stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A past period priced anew."""

    id: str
    since: int
    until: int
    """UTC microseconds."""
    models: tuple[Anew, ...]
    """The largest difference first."""
    booked: int
    cost: int
    difference: int
    changed: int
    corrected: int
    """Attempts that this changed in the ledger."""
    applied: bool


class Repricing:
    """Prices past periods anew."""

    def __init__(self, *, corrections: Corrections, traces: Traces, audit: Audit, sql: Sql, clock: Clock, known: Known) -> None:
        self._corrections, self._traces, self._audit, self._sql = corrections, traces, audit, sql
        self._clock, self._known = clock, known

    def reprice(self, since: int, until: int | None, *, apply: bool, by: Principal) -> Repriced:
        """Prices the attempts that began between two UTC times (microseconds) anew; with `apply` that is booked.

        Raises:
            Forbidden: `by` is no auditor, or no admin and it is to be booked.
            Invalid: the time ends before it begins.
            Unavailable: the disk is full.
        """
        authorise(by, "admin" if apply else "audit")
        end = self._clock.now() if until is None else until
        if since >= end:
            raise Invalid("The time that is to be priced ends before it begins.", hint="Give an earlier --since.", field="until")
        price, identity = self._known(), new_id("rep")
        models: dict[str, Anew] = {}
        digest = hashlib.sha256()
        for each in tried(self._traces, since, end):
            if each.kind in HOSTED and each.attempt.usage.source != "none":
                target = each.attempt.target
                models[target] = _added(models.get(target, Anew(target=target)), each, price)
                fix = _fix(each, price)
                if fix is not None:
                    digest.update(msgspec.json.encode(fix.correction))
        rows = sorted(models.values(), key=lambda row: (-abs(row.difference), row.target))
        found = Repriced(
            id=identity,
            since=since,
            until=end,
            models=tuple(rows),
            booked=sum(row.booked for row in rows),
            cost=sum(row.cost for row in rows),
            difference=sum(row.difference for row in rows),
            changed=sum(row.changed for row in rows),
            corrected=0,
            applied=apply,
        )
        return replace(found, corrected=self._apply(found, price, digest.hexdigest(), by)) if apply else found

    def _apply(self, found: Repriced, price: Pricing, digest: str, by: Principal) -> int:
        # The deed is written down first; should the rest break off, the same command does what is left, and nothing twice.
        with self._sql.write() as conn:
            self._audit.append(
                conn,
                actor=by.name,
                action="cost.reprice",
                subject="cost/org",
                team=by.team,
                detail={
                    "repricing": found.id,
                    "since": found.since,
                    "until": found.until,
                    "attempts": found.changed,
                    "difference_nano_usd": found.difference,
                    "corrections_sha256": digest,
                },
            )
        why = f"prices that are known now, {found.id}"
        return sum(self._corrections.apply(fixes, by=by.name, why=why) for fixes in _together(self._traces, found, price))


def _together(traces: Traces, found: Repriced, price: Pricing) -> Iterator[Sequence[Fix]]:
    fixes = (
        fix for each in tried(traces, found.since, found.until) if each.kind in HOSTED and (fix := _fix(each, price)) is not None
    )
    while some := list(islice(fixes, TOGETHER)):
        yield some


def _anew(each: Tried, price: Pricing) -> int | None:
    """What an attempt costs by the rows that are known now; None where it has no counters or no price."""
    attempt = each.attempt
    if attempt.usage.source != "provider":
        return None
    row = price(attempt.target, attempt.start, each.payer)
    return None if row is None else row.cost(attempt.usage)


def _fix(each: Tried, price: Pricing) -> Fix | None:
    cost = _anew(each, price)
    if cost is None or cost == each.cost:
        return None
    attempt = each.attempt
    return Fix(
        trace=each.trace,
        booked=each.cost,
        correction=Correction(call=attempt.call, attempt=attempt.attempt, cost=cost, scopes=each.scopes, at=attempt.start),
    )


def _added(row: Anew, each: Tried, price: Pricing) -> Anew:
    if each.attempt.usage.source == "estimated":
        return replace(row, estimated=row.estimated + 1)
    cost = _anew(each, price)
    if cost is None:
        return replace(row, unpriced=row.unpriced + 1)
    booked = each.cost or 0
    return replace(
        row,
        attempts=row.attempts + 1,
        changed=row.changed + int(cost != each.cost),
        booked=row.booked + booked,
        cost=row.cost + cost,
        difference=row.difference + cost - booked,
    )
