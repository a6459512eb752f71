"""`tandem cost` against a fake platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tandem.cli.options import moment_of
from tandem_sdk.fake import FakePlatform

FOUND: dict[str, Any] = {
    "id": "rec_1",
    "provider": "openai",
    "form": "openai usage",
    "since": 1_785_888_000_000_000,
    "until": 1_785_974_400_000_000,
    "rows": 3,
    "priced": True,
    "billed": 420_000,
    "booked": 1_210_000,
    "difference": -790_000,
    "differing": 1,
    "same": 2,
    "lines": [
        {
            "day": "2026-08-05",
            "model": "gpt-4o-mini\x1b[31m",
            "key": "",
            "billed": 420_000,
            "booked": 1_210_000,
            "difference": -790_000,
            "requests": 2,
            "attempts": 2,
            "causes": [{"why": "estimated", "amount": -790_000, "count": 1, "tokens": 1100}],
            "keys": [{"key": "k1", "billed": 400_000}, {"key": "", "billed": 20_000}],
        }
    ],
    "causes": [{"why": "estimated", "amount": -790_000, "count": 1, "tokens": 1100}],
    "estimated": 1,
    "missing": 1,
    "corrected": 0,
    "applied": False,
    "at": 1_785_974_400_000_000,
    "by": "ada",
}


def test_a_bill_is_sent_and_its_differences_are_told(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    bill = tmp_path / "usage.csv"
    bill.write_text("Day,Model\n")
    platform.on("POST", "/api/v1/cost/reconcile", FOUND, {**FOUND, "applied": True, "corrected": 1}, FOUND)
    done = tandem(
        "cost",
        "reconcile",
        str(bill),
        "--provider",
        "openai",
        "--since",
        "2026-08-05",
        "--columns",
        "date=Day,model=Model,cost=7",
    )
    assert done.code == 0, done.err
    asked = platform.asked[0]
    assert asked.query == {
        "name": "usage.csv",
        "provider": "openai",
        "since": "1785888000000000",
        "columns": "date=Day,model=Model,cost=7",
    }
    assert asked.body == b"Day,Model\n"
    for text in (
        "-$0.00079",
        "gpt-4o-mini?[31m",
        "no count came",
        "tokens at the platform's prices",
        "2 of 3 lines",
        "k1 $0.0004, (none) $0.00002",
        "--apply",
        "not whole",
    ):
        assert text in done.out
    assert "1 attempts that were booked as estimated are corrected" in tandem("cost", "reconcile", str(bill), "--apply").out
    assert platform.asked[1].query["apply"] == "true"
    assert tandem("cost", "reconcile", str(bill), "--json").json()["lines"][0]["causes"][0]["why"] == "estimated"  # type: ignore[index]


def test_history_and_show(tandem, platform: FakePlatform) -> None:
    platform.on("GET", "/api/v1/cost/reconciliations", [FOUND], [])
    assert "openai" in tandem("cost", "history").out
    assert "tandem cost reconcile FILE.csv" in tandem("cost", "history").out
    days = [{"day": "2026-08-05", "cost": 5_000_000, "attempts": 2, "unpriced": 1}, {"day": "2026-08-06"}]
    spent = [{"team": "risk", "endpoint": "assistant", "target": "openai/gpt-4o-mini", "cost": 5_000_000, "attempts": 2}]
    platform.on("GET", "/api/v1/cost/spend", {"scope": "org", "days": days, "traced": 7, "spent": spent})
    shown = tandem("cost", "show", "--days", "2").out
    assert platform.asked[-1].query == {"days": "2"}
    for text in ("2026-08-05", "$0.005", "risk", "openai/gpt-4o-mini"):
        assert text in shown
    assert "2026-08-06" not in shown


@pytest.mark.parametrize("text", ["tomorrow", "1969-12-31", "2026-13-01"])
def test_a_time_that_is_none_is_wrong_usage(tandem, platform: FakePlatform, tmp_path: Path, text: str) -> None:
    bill = tmp_path / "usage.csv"
    bill.write_text("x\n")
    assert tandem("cost", "reconcile", str(bill), "--since", text).code == 2


def test_a_time_may_be_told_as_long_ago() -> None:
    day, week = moment_of("1d"), moment_of("7d")
    assert day is not None
    assert week is not None
    assert 5 * 86_400_000_000 < day - week <= 6 * 86_400_000_000


PRICE = {
    "target": "openai/gpt-4o-mini",
    "team": "red",
    "since": "2026-08-01",
    "origin": "hand",
    "source": "set by ada",
    "holds": True,
    "rates": {"input": "0.12", "output": "0.48", "cache_read": "0.06"},
}


def test_prices_are_set_listed_dropped_and_imported(tandem, platform: FakePlatform, tmp_path: Path) -> None:
    platform.on("PUT", "/api/v1/cost/prices/openai/gpt-4o-mini", PRICE)
    platform.on("GET", "/api/v1/cost/prices", [PRICE, {"target": "gpu/m", "origin": "none"}], [])
    platform.on("DELETE", "/api/v1/cost/prices/openai/gpt-4o-mini", {"rows": 2})
    platform.on("POST", "/api/v1/cost/prices/import", {"rows": 3, "changed": True}, {"rows": 3, "changed": False})
    words = ("--input", "0.12", "--output", "0.48", "--cache-read", "0.06", "--rate", "request=0.01", "--team", "red")
    done = tandem("cost", "price", "set", "openai/gpt-4o-mini", *words, "--from", "2026-08-01")
    assert done.code == 0, done.err
    assert platform.asked[0].json() == {
        "rates": {"input": "0.12", "output": "0.48", "cache_read": "0.06", "request": "0.01"},
        "team": "red",
        "since": "2026-08-01",
    }
    listed = tandem("cost", "price", "list").out
    for text in ("cache_read 0.06", "set by ada", "no price is known", "everybody"):
        assert text in listed
    assert "No endpoint leads to a model yet" in tandem("cost", "price", "list").out
    assert "2 of the prices" in tandem("cost", "price", "drop", "openai/gpt-4o-mini", "--team", "red").out
    assert platform.asked[-1].query == {"team": "red"}
    file = tmp_path / "prices.json"
    file.write_text("{}")
    assert "3 rows hold" in tandem("cost", "price", "import", str(file)).out
    assert platform.asked[-1].json() == {"name": "prices.json", "text": "{}"}
    assert "Nothing changed" in tandem("cost", "price", "import", str(file)).out
    assert tandem("cost", "price", "import", str(tmp_path / "none.json")).code == 1
    assert tandem("cost", "price", "set", "openai/gpt-4o-mini", "--input", "1").code == 2


def test_a_past_period_is_priced_anew(tandem, platform: FakePlatform) -> None:
    model = {"target": "openai/m", "attempts": 3, "changed": 2, "booked": 5, "cost": 7, "difference": 2, "estimated": 1}
    told = {"id": "rep_1", "models": [model], "booked": 5, "cost": 7, "difference": 2, "changed": 2}
    platform.on("POST", "/api/v1/cost/reprice", told, {**told, "applied": True, "corrected": 2})
    shown = tandem("cost", "reprice", "--since", "1970-01-02", "--until", "1970-01-03").out
    assert platform.asked[0].json() == {"since": 86_400_000_000, "until": 172_800_000_000, "apply": False}
    for text in ("openai/m", "$0.000000002", "--apply books it"):
        assert text in shown
    assert "2 attempts are booked anew" in tandem("cost", "reprice", "--since", "30d", "--apply").out
    assert tandem("cost", "reprice").code == 2


def test_what_would_have_been_saved_and_what_lies_ahead(tandem, platform: FakePlatform) -> None:
    saving = {
        "measure": "exact cache",
        "enough": True,
        "n": 240,
        "touched": 80,
        "amount": 2_000_000,
        "low": 1_000_000,
        "high": 3_000_000,
        "share": 0.25,
        "share_low": 0.2,
        "share_high": 0.3,
        "assumed": "answers may be given again",
    }
    little = {"measure": "prompt cache", "n": 7, "assumed": "the provider keeps prompts"}
    platform.on(
        "GET", "/api/v1/cost/audit", {"calls": 240, "cost": 8_000_000, "hours": 20, "unread": 3, "measures": [saving, little]}
    )
    shown = tandem("cost", "audit", "--days", "7").out
    assert platform.asked[0].query == {"days": "7"}
    for text in (
        "$0.002",
        "$0.001 to $0.003",
        "25.0% [20.0%, 30.0%]",
        "not enough data",
        "of 3 the content",
        "answers may be given",
    ):
        assert text in shown
    foretold = {
        "scope": "team/red",
        "window": "month",
        "cap": 10**9,
        "settled": 10**8,
        "verdict": "runs out",
        "day": "2026-08-25",
        "low": "2026-08-21",
        "high": None,
        "chance": 0.73,
        "days": 28,
        "abnormal": True,
        "method": "a method",
    }
    lasts = {"scope": "org", "window": "total", "verdict": "will last", "chance": 0.0, "days": 28}
    platform.on("GET", "/api/v1/cost/forecast", [foretold, lasts], [])
    shown = tandem("cost", "forecast").out
    for text in (
        "runs out 2026-08-25",
        "2026-08-21 to after the window",
        "73%",
        "rises as it never did",
        "will last",
        "By a method.",
    ):
        assert text in shown
    assert "No cap is set" in tandem("cost", "forecast").out
