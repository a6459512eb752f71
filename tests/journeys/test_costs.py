"""Costs through a whole platform: the mock's bill beside the books, and what had to be estimated corrected by it."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tandem_sdk import Client, Invalid
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
        (ahead,) = tandem.costs.forecast()
        assert (ahead.scope, ahead.verdict, ahead.days, ahead.settled) == (
            "key/ci",
            "not enough data",
            0,
            held + found.difference,
        )
        savings = tandem.costs.audit(days=2)
        assert savings.calls == len([row for row in tandem.traces.list() if row.outcome == "ok"]) > 1
        assert [each.enough for each in savings.measures] == [False] * 4
        assert tandem.costs.reprice(0).difference == 0
        spending = tandem.costs.show(days=2)
        assert sum(day.cost for day in spending.days) == found.billed == sum(each.cost for each in spending.spent)


def test_a_team_pays_its_own_price_and_a_bad_file_changes_nothing(house: Platform) -> None:
    with Client(house.url, ADMIN) as tandem:
        red, blue = house.key("red-ci", team="red"), house.key("blue-ci", team="blue")
        tandem.prices.set("mock/gpt-4o-mini", {"input": "150", "output": "600"}, team="red")

        def paid(key: str) -> str:
            return str(house.chat(key, tokens=5).headers["x-tandem-trace-id"])

        def priced(trace: str) -> str:
            until(lambda: any(row.trace == trace for row in tandem.traces.list(limit=5)), "the trace is there")
            spans = [span for call in tandem.traces.show(trace).calls for span in call.spans]
            return str(next((span.attributes["tandem.price"] for span in spans if "tandem.price" in span.attributes), ""))

        until(lambda: priced(paid(red)) == f"set by hand for the team red, from {tandem.prices.list()[0].since}", "the row holds")
        own, common = paid(red), paid(blue)
        assert (priced(own)[:6], priced(common)[:12]) == ("set by", "genai-prices")
        assert tandem.traces.show(own).cost == 1000 * (tandem.traces.show(common).cost or 0)
        assert tandem.prices.drop("mock/gpt-4o-mini", team="red") == 1

        file = house.home.parent / "prices.json"
        file.write_text('{"prices": [{"target": "mock/imported", "input": "1", "output": "2"}]}')
        assert (tandem.prices.load(file).changed, tandem.prices.load(file).changed) == (True, False)
        file.write_text('{"prices": [{"target": "mock/imported", "input": "1"}]}')
        with pytest.raises(Invalid, match=r"prices.json, row 1 \(mock/imported\), has no rate for output"):
            tandem.prices.load(file)
        (held,) = [price for price in tandem.prices.list() if price.target == "mock/imported"]
        assert (held.rates, held.origin, held.holds) == ({"input": "1", "output": "2"}, "import", True)
