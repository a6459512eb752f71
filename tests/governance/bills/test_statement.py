"""Booked is billed: at once where the count came, within the reservation where not, and in all once it is corrected."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.conftest import KEY, house
from tests.governance.bills.office import ADMIN
from tests.migrated import migrated

from tandem.core.endpoint import Timeouts
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.governance.bills.correct import Corrections
from tandem.governance.bills.reconcile import Asked, Bills
from tandem.observability.attempts import tried
from tandem.observability.explain import explain
from tandem.observability.move import between_passes
from tandem.store.sql import Sql
from tandem.store.vault import Vault

QUICK = Timeouts(connect=2, first_byte=0.15, idle=0.15, total=5)
FAULTS = (
    "",
    "",
    "429*1",
    "500*1",
    "error-after=2",
    "cut-after=3",
    "stall-after=2",
    "stall",
    "malformed-after=1",
    "reset*1",
    "usage=missing",
    "usage=double",
    "refuse",
)


@dataclass(frozen=True)
class Ask:
    """One call, and what goes wrong with it."""

    fault: str
    stream: bool
    tokens: int
    leaves: bool
    """Whether the caller goes away at the first byte."""


asks = st.builds(Ask, fault=st.sampled_from(FAULTS), stream=st.booleans(), tokens=st.integers(1, 40), leaves=st.booleans())


async def send(http: httpx2.AsyncClient, ask: Ask) -> None:
    body = {
        "model": "assistant",
        "max_tokens": ask.tokens,
        "stream": ask.stream,
        "messages": [{"role": "user", "content": "tell me of it"}],
    }
    async with http.stream("POST", "/v1/chat/completions", json=body) as reply:
        try:
            async for _ in reply.aiter_bytes():
                if ask.leaves:
                    return
        except httpx2.HTTPError:
            return


@given(st.lists(asks, min_size=1, max_size=6))
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_booked_is_billed(asked: list[Ask]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(scene(Path(folder), asked))


async def scene(home: Path, asked: list[Ask]) -> None:
    url = f"sqlite:///{home / 'control.db'}"
    migrated(url)
    async with house(home) as door:
        assistant = replace(door.snapshot.endpoints["assistant"], timeouts=QUICK, retries=1)
        door.publish(endpoints={**door.snapshot.endpoints, "assistant": assistant})
        door.cap(10**12)
        async with httpx2.AsyncClient(base_url=door.url, headers={"authorization": f"Bearer {KEY}"}, timeout=10) as http:
            for ask in asked:
                door.mock.faults([ask.fault] if ask.fault else [])
                await send(http, ask)
        door.mock.faults([])
        for _ in range(400):
            door.move()
            if not door.ledger.running() and not door.mock.mock.bill.open:
                break
            await asyncio.sleep(0.01)
        bill = {(row.call, row.attempt): row.cost_nano or 0 for row in door.mock.bill()}
        before = list(tried(door.traces, 0, 2**62))
        for each in before:
            attempt, billed = each.attempt, bill.get((each.attempt.call, str(each.attempt.attempt)), 0)
            assert attempt.cost is not None
            if attempt.usage.source == "provider":
                assert attempt.cost == billed, attempt
            else:
                assert billed <= attempt.cost <= attempt.reserved, attempt
        assert set(bill) <= {(each.attempt.call, str(each.attempt.attempt)) for each in before}
        if not bill:
            return
        sql, clock = Sql(url), door.handler.door.clock
        audit = Audit(sql, Vault(bytes(32)), clock, home / "audit.head")
        prices = door.snapshot.prices
        bills = Bills(
            corrections=Corrections(door.ledger, door.traces, clock, lambda: between_passes(home / "journal")),
            traces=door.traces,
            audit=audit,
            sql=sql,
            clock=clock,
            known=lambda: lambda target, at, team: prices.get(target),
            work=home / "work",
        )
        whole = Asked(provider="mock", since=0, until=2**61, apply=True)

        def once() -> int:
            return bills.reconcile(io.StringIO(door.mock.mock.bill.csv(None).decode()), "bill.csv", whole, by=ADMIN).corrected

        wrong = sum(each.cost != bill.get((each.attempt.call, str(each.attempt.attempt)), 0) for each in before)
        assert once() == wrong
        assert once() == 0
        sql.close()
        for each in tried(door.traces, 0, 2**62):
            cost = bill.get((each.attempt.call, str(each.attempt.attempt)), 0)
            assert each.cost == cost
            assert door.ledger.has_booked(each.attempt.call, each.attempt.attempt, cost)
            shown = explain(door.traces, door.subjects, each.trace, team=None, content=False)
            costs = {(a.call, a.attempt): a.cost for call in shown.calls for a in call.attempts}
            assert costs.get((each.attempt.call, each.attempt.attempt), cost) == cost
            told = [c.booked for c in shown.corrections if (c.call, c.attempt) == (each.attempt.call, each.attempt.attempt)]
            assert told == ([each.attempt.cost] if each.attempt.cost != cost else [])
        total = sum(bill.values())
        for scope in ("org", "team/risk", "key/demo", "endpoint/assistant"):
            assert door.ledger.spend(scope, since=0, until=2**60)[0] == total
        (account,) = door.ledger.accounts()
        assert account.settled == total
        assert account.settled + account.reserved <= account.cap
        deeds = Audit(again := Sql(url), Vault(bytes(32)), clock, home / "audit.head").list(ALL, action="cost.reconcile")
        again.close()
        assert len(deeds) == 2
