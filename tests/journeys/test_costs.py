"""Costs through a whole platform: the mock's bill beside the books, and what had to be estimated corrected by it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tandem_sdk import Client
from tests.journeys.conftest import ADMIN, Platform, bearer, platform, until

pytestmark = pytest.mark.journey


def lose(house: Platform, key: str, fault: str) -> None:
    """A call whose count never comes."""
    body = {
        "model": "assistant",
        "max_tokens": 30,
        "stream": True,
        "messages": [{"role": "user", "content": f"tell me\nx-mock-fault: {fault}"}],
    }
    httpx2.post(f"{house.url}/v1/chat/completions", json=body, headers=bearer(key), timeout=30)


def test_bill_and_books_agree_once_the_estimates_are_corrected(tmp_path: Path) -> None:
    with platform(tmp_path) as house, Client(house.url, ADMIN) as tandem:
        house.api("PUT", "/budgets/key/ci", json={"cap": "1"})
        key = house.key("ci", team="red")
        until(lambda: house.chat(key, stream=True).status_code == 200, "the key reaches the door")
        until(lambda: house.chat(key).status_code == 200 and tandem.budgets.list()[0].reserved, "the cap reaches the door")
        lose(house, key, "cut-after=3")
        house.settle()
        bill = tmp_path / "bill.csv"
        bill.write_bytes(httpx2.get(f"{house.mock_url}/bill.csv").content)
        found = tandem.costs.reconcile(bill)
        assert [cause.why for cause in found.causes] == ["estimated"]
        assert (found.form, found.estimated, found.corrected, found.missing) == ("tandem mock", 1, 0, 0)
        assert found.billed < found.booked == tandem.budgets.spend("key/ci").cost
        held = tandem.budgets.list()[0].settled

        first, again = (tandem.costs.reconcile(bill, apply=True) for _ in range(2))
        assert (first.corrected, again.corrected, again.difference) == (1, 0, 0)
        for scope in ("org", "team/red", "key/ci", "endpoint/assistant"):
            assert tandem.budgets.spend(scope).cost == found.billed
        assert tandem.budgets.list()[0].settled == held + found.difference
        (trace,) = [row.trace for row in tandem.traces.list() if row.outcome != "ok" and row.cost]
        shown = tandem.traces.show(trace)
        (corrected,) = shown.corrections
        assert corrected.booked is not None
        assert corrected.booked > corrected.cost == shown.cost == shown.calls[0].attempts[0].cost
        assert found.id != first.id in corrected.why
        assert [row.action for row in tandem.audit.list() if row.action.startswith("cost.")] == ["cost.reconcile"] * 2
        assert {each.id for each in tandem.costs.reconciliations()} == {found.id, first.id, again.id}
        spending = tandem.costs.show(days=2)
        assert sum(day.cost for day in spending.days) == found.billed == sum(each.cost for each in spending.spent)
