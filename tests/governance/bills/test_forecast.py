"""The day a budget runs out: near the truth on simulated spending, silent on too little of it, and warned of once a window."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.governance.bills.office import ADMIN, EDITOR, Office, office, used

from tandem.core.clock import iso, micros
from tandem.core.policy import Budget
from tandem.governance.authorise import ALL
from tandem.governance.bills.forecast import DAY, STEEP, Forecasts, change, forecast
from tandem.governance.ledger import Account

NOW = micros("2026-08-10T12:00:00Z")
MONTH = Account(
    scope="org",
    window="month",
    unit="usd",
    mode="hard",
    cap=2_500,
    settled=1_000,
    reserved=0,
    start=micros("2026-08-01T00:00:00Z"),
    end=micros("2026-09-01T00:00:00Z"),
)


def test_constant_spending_runs_out_on_the_day_that_division_says() -> None:
    """50 of today are still to come, then 100 a day: 1,500 are used up on the 15th day after today."""
    found = forecast(MONTH, [100] * 28 + [50], NOW)
    assert (found.verdict, found.day, found.low, found.high, found.chance) == (
        "runs out",
        "2026-08-25",
        "2026-08-25",
        "2026-08-25",
        1.0,
    )
    assert (found.days, found.mean, found.abnormal) == (28, 100, False)


def test_a_budget_that_lasts_and_one_that_is_used_up() -> None:
    lasts = forecast(replace(MONTH, cap=5_000), [100] * 28 + [50], NOW)
    assert (lasts.verdict, lasts.day, lasts.chance) == ("will last", None, 0.0)
    gone = forecast(replace(MONTH, cap=1_000), [100] * 28 + [50], NOW)
    assert (gone.verdict, gone.day, gone.chance) == ("runs out", "2026-08-10", 1.0)


def test_weekends_stay_weekends() -> None:
    """100 on weekdays, nothing on Saturday and Sunday; it is Monday noon, and 650 are left: seven weekdays from now on."""
    week = [100, 100, 100, 100, 100, 0, 0]  # the 10th is a Monday, and so is the first day of the past
    found = forecast(replace(MONTH, cap=1_640), week * 4 + [50], NOW)
    assert (found.day, found.chance) == ("2026-08-18", 1.0)


@pytest.mark.parametrize("days", [0, 1, 13])
def test_too_little_says_so(days: int) -> None:
    found = forecast(MONTH, [0] * (30 - days) + [100] * days + [50], NOW)
    assert (found.verdict, found.day, found.chance, found.days) == ("not enough data", None, None, days)


@pytest.mark.parametrize("window", ["hour", "minute"])
def test_windows_shorter_than_a_day_are_not_foretold(window: str) -> None:
    assert forecast(replace(MONTH, window=window), [100] * 28 + [50], NOW).verdict == "not enough data"  # type: ignore[arg-type]


def test_a_budget_of_a_day_and_one_without_end() -> None:
    day = replace(MONTH, window="day", cap=120, settled=100, start=NOW - NOW % DAY, end=NOW - NOW % DAY + DAY)
    assert forecast(day, [100] * 28 + [100], NOW).day == "2026-08-10"
    assert forecast(replace(day, cap=200), [100] * 28 + [100], NOW).verdict == "will last"
    total = forecast(replace(MONTH, window="total", end=2**62, cap=11_000), [100] * 28 + [50], NOW)
    assert (total.day, total.end) == (iso(NOW + 100 * DAY)[:10], None)
    assert forecast(replace(MONTH, window="total", end=2**62, cap=10**9), [100] * 28 + [50], NOW).verdict == "will last"


def test_the_interval_covers_what_comes() -> None:
    """Of simulated scopes with a weekly pattern and noise, about 80 % run out within the interval; it is not a formality."""
    dice, covered, runs = random.Random(7), 0, 150
    for _ in range(runs):
        level = [dice.uniform(50, 150) for _ in range(7)]
        days = [max(0, round(dice.gauss(level[day % 7], 30))) for day in range(28 + 40)]
        found = forecast(replace(MONTH, window="total", end=2**62), [*days[:28], 0], NOW)
        room, ran_out = MONTH.cap - MONTH.settled - days[28] // 2, 0
        while room >= 0:
            ran_out += 1
            room -= days[28 + ran_out]
        truth = iso(NOW + ran_out * DAY)[:10]
        covered += (found.low or "") <= truth <= (found.high or "9999")
    assert 0.7 <= covered / runs <= 0.97


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=57), st.integers(0, 10**13), st.integers(0, 10**13))
def test_a_forecast_is_never_beside_itself(spent: list[int], cap: int, settled: int) -> None:
    found = forecast(replace(MONTH, cap=cap, settled=settled), spent, NOW)
    if found.chance is not None:
        assert 0 <= found.chance <= 1
        assert (found.verdict == "runs out") == (found.chance >= 0.5)
        days = [day for day in (found.low, found.day, found.high) if day is not None]
        assert days == sorted(days)
        assert all("2026-08-10" <= day <= "2026-08-31" for day in days)
    else:
        assert found.verdict == "not enough data"


def test_the_same_day_tells_the_same() -> None:
    dice = random.Random(3)
    spent = [dice.randint(0, 200) for _ in range(29)]
    assert forecast(MONTH, spent, NOW) == forecast(MONTH, spent, NOW + 1)


def test_what_is_abnormal() -> None:
    week = [100, 110, 90, 105, 95, 20, 10]
    past = [round(cost * scale) for scale in (1, 1.1, 0.9, 1.05) for cost in week]
    usual, steep = change(past, 100), change(past, 400)
    assert usual is not None
    assert steep is not None
    assert abs(usual) < STEEP <= steep
    assert change(past[:20], 400) is None, "three weeks are needed"
    assert change(past, 0) is not None
    assert (change(past, 0) or 0) < 0, "an unfinished day is no rise"
    monday = change([0, 500, 500, 500, 500, 500, 0] * 4 + [0], 500)
    assert monday is not None
    assert monday < STEEP, "a Monday is no news"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Office]:
    found = office(tmp_path)
    found.clock.micros = NOW
    for back in range(1, 29):
        found.call(used(output=100 + back % 3), at=iso(NOW - back * DAY))
    yield found
    found.sql.close()


def test_a_warning_is_given_once_a_window(books: Office) -> None:
    forecasts = Forecasts(ledger=books.ledger, audit=books.audit, sql=books.sql, clock=books.clock)
    books.ledger.set_budget(Budget(scope="team/risk", cap=10**12, window="month"))
    books.ledger.set_budget(Budget(scope="org", cap=10**12, window="hour"))
    assert forecasts.warn() == 0
    for _ in range(50):
        books.call(used(), at=iso(NOW))
    assert (forecasts.warn(), forecasts.warn()) == (1, 0)
    (deed,) = books.audit.list(ALL, action="budget.forecast")
    assert (deed.subject, deed.team, deed.actor) == ("team/risk", "risk", "local")
    assert books.audit.verify().ok
    books.clock.advance(30 * 86_400)
    for back in range(29):
        books.call(used(output=100 + back % 3), at=iso(books.clock.now() - back * DAY))
    for _ in range(60):
        books.call(used(), at=iso(books.clock.now()))
    assert forecasts.warn() == 1, "the next month is another window"


def test_each_sees_the_own_budgets(books: Office) -> None:
    forecasts = Forecasts(ledger=books.ledger, audit=books.audit, sql=books.sql, clock=books.clock)
    for scope in ("org", "team/risk", "team/sales"):
        books.ledger.set_budget(Budget(scope=scope, cap=10**9, window="month"))
    assert [each.scope for each in forecasts.every(ADMIN)] == ["org", "team/risk", "team/sales"]
    (mine,) = forecasts.every(EDITOR)
    assert (mine.scope, mine.verdict, mine.days) == ("team/risk", "will last", 28)
