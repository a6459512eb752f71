"""Books with attempts in them, and no door: what the tests of bills share."""

from __future__ import annotations

import io
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from tests.migrated import migrated

from tandem.core.clock import FixedClock, micros
from tandem.core.ids import CallId, TraceId
from tandem.core.money import Price, Usage
from tandem.core.policy import Budget
from tandem.core.principal import Principal
from tandem.core.trace import Attempt, Trace
from tandem.governance.audit import Audit
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.export import Columns
from tandem.governance.bills.found import Reconciliation
from tandem.governance.bills.reconcile import Asked, Bills
from tandem.governance.ledger import Ledger
from tandem.observability.move import Batch
from tandem.observability.record import Begun, Ended
from tandem.observability.traces import Entry, Traces
from tandem.store.sql import Sql
from tandem.store.vault import Vault

ADMIN = Principal(id="key_a", name="ada", team="default", role="admin")
AUDITOR = Principal(id="key_b", name="bo", team="default", role="auditor")
EDITOR = Principal(id="key_c", name="cy", team="risk", role="editor")
PRICE = Price(input=150_000, output=600_000, cache_read=75_000)
"""0.15, 0.60 and 0.075 dollars a million tokens: nano-dollars are 150 a thousand tokens in, and so on."""
NOON = "2026-08-05T12:00:00Z"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"


def identified(prefix: str, at: int, number: int) -> str:
    """An id as it would have been made at a UTC time (microseconds)."""
    ms = at // 1000
    when = "".join(_LETTERS[ms >> 5 * place & 31] for place in reversed(range(10)))
    return f"{prefix}_{when}{number:016d}"


def price(target: str, at: int, team: str) -> Price | None:
    return PRICE if target == "openai/gpt-4o-mini" else None


@dataclass
class Office:
    """Ledger, traces and audit, and bills over them."""

    home: Path
    clock: FixedClock
    sql: Sql
    audit: Audit
    ledger: Ledger
    traces: Traces
    bills: Bills
    corrections: Corrections
    made: int = 0

    def call(
        self,
        usage: Usage,
        *,
        at: str = NOON,
        target: str = "openai/gpt-4o-mini",
        cost: int | None = None,
        reserved: int = 1_000_000,
        outcome: str = "ok",
        team: str = "risk",
        endpoint: str = "assistant",
        attempt: int = 0,
        kept: tuple[str, bytes] = ("", b""),
        booked: bool = True,
    ) -> Attempt:
        """Books a call of one attempt, as the mover would; or dies between its trace and the books."""
        self.made += 1
        start = micros(at)
        call, trace = CallId(identified("cal", start, self.made)), TraceId(identified("trc", start, self.made))
        known = price(target, start, team)
        if cost is None and usage.source != "none":
            cost = reserved if usage.source == "estimated" else None if known is None else known.cost(usage)
        tried = Attempt(
            call=call,
            attempt=attempt,
            target=target,
            usage=usage,
            cost=0 if usage.source == "none" else cost,
            reserved=reserved,
            outcome=outcome,
            start=start,
            end=start + 1_000_000,
        )
        scopes = ("org", f"team/{team}", "key/ci", f"endpoint/{endpoint}")
        record = Trace(
            id=trace,
            call=call,
            parent=None,
            endpoint=endpoint,
            kind="chat",
            team=team,
            principal="ci",
            start=start,
            end=tried.end,
            outcome=outcome,
            status=200,
            cost=tried.cost,
            spans=[],
            attempts=[tried],
            attributes={},
        )
        self.traces.store([Entry(trace=record, subject=kept[0], sealed=kept[1])], [(trace, tried, scopes)])
        if not booked:
            return tried
        begun = Begun(call, attempt, trace, None, start, target, endpoint, "chat", team, "ci", scopes, reserved, ())
        self.ledger.post(Batch(begun=[begun], ended=[Ended(trace, tried, (), scopes)], offsets={}, boots={call: "b"}))
        return tried

    def spent(self, scope: str = "org") -> tuple[int, int, int]:
        return self.ledger.spend(scope, since=0, until=2**60)

    def reconcile(self, text: str, *, apply: bool = False, columns: Columns | None = None, **more: int) -> Reconciliation:
        asked = replace(Asked(provider="openai", columns=columns, apply=apply), **more)  # type: ignore[arg-type]  # since and until
        return self.bills.reconcile(io.StringIO(text), "bill.csv", asked, by=ADMIN)


def office(home: Path, traces: Traces | None = None) -> Office:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    clock = FixedClock(micros=micros("2026-08-10T00:00:00Z"))
    sql = Sql(url)
    audit = Audit(sql, Vault(bytes(32)), clock, home / "audit.head")
    ledger, traces = Ledger(home / "ledger.db", clock), traces or Traces(home / "traces")
    corrections = Corrections(ledger, traces, clock, nullcontext)
    bills = Bills(
        corrections=corrections, traces=traces, audit=audit, sql=sql, clock=clock, known=lambda: price, work=home / "work"
    )
    return Office(
        home=home, clock=clock, sql=sql, audit=audit, ledger=ledger, traces=traces, bills=bills, corrections=corrections
    )


def used(input: int = 1000, output: int = 100, cached: int = 0) -> Usage:
    """What a provider counted."""
    return Usage(input=input, output=output, cache_read=cached, source="provider")


LOST = Usage(source="estimated")
NOTHING = Usage()
CAP = Budget(scope="key/demo", cap=10**12, window="total")
