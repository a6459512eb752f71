"""Attempts over many days: each once, in bounded pages, and at what they are booked at now."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.governance.bills.office import LOST, Office, office, used
from tests.observability.conftest import Place

from tandem.core.clock import iso, micros
from tandem.core.trace import Corrected
from tandem.observability import attempts
from tandem.observability.attempts import correct, spent, tried
from tandem.observability.traces import Traces

DAY = 86_400_000_000
NOON = micros("2026-08-05T12:00:00Z")


@pytest.fixture
def books(tmp_path: Path, place: Place) -> Iterator[Office]:
    found = office(tmp_path, Traces(place.traces))
    yield found
    found.sql.close()
    found.traces.close()


def test_more_days_than_are_open_at_once(books: Office) -> None:
    for back in range(20):
        books.call(used(), at=iso(NOON - back * DAY))
    assert len(list(tried(books.traces, 0, 2**60))) == 20
    assert len(books.traces.list(team=None, limit=50)) == 20
    assert sum(row.attempts for row in spent(books.traces, 30, None)) == 20
    books.call(used(), at=iso(NOON - 30 * DAY))  # older than every day that is open
    assert books.traces.counts() == {"calls": 21, "attempts": 21}


def test_pages_hold_everything_once(books: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempts, "PAGE", 3)
    made = [books.call(used(), at=iso(NOON + number)).call for number in range(10)]
    assert [each.attempt.call for each in tried(books.traces, 0, 2**60)] == made
    assert [each.attempt.call for each in tried(books.traces, NOON + 2, NOON + 5)] == made[2:5]
    assert list(tried(books.traces, 2**60, 2**62)) == []


def test_sums_are_of_one_team_or_of_all(books: Office) -> None:
    books.call(used(), team="risk")
    books.call(used(), team="sales")
    books.call(used(), team="sales", target="openai/unknown")
    mine = spent(books.traces, 1, "sales")
    assert [(row.team, row.target, row.cost, row.attempts, row.unpriced) for row in mine] == [
        ("sales", "openai/gpt-4o-mini", 210_000, 1, 0),
        ("sales", "openai/unknown", 0, 1, 1),
    ]
    assert len(spent(books.traces, 1, None)) == 3


def righted(each: attempts.Tried, cost: int) -> Corrected:
    a = each.attempt
    return Corrected(call=a.call, attempt=a.attempt, trace=each.trace, booked=each.cost, cost=cost, at=1, by="ada", why="a bill")


def test_a_correction_keeps_what_was_booked_first(books: Office) -> None:
    books.call(LOST)
    for cost in (5, 7, 7):
        (each,) = tried(books.traces, 0, 2**60)
        correct(books.traces, [righted(each, cost)])
    (each,) = tried(books.traces, 0, 2**60)
    assert (each.cost, each.attempt.cost) == (7, 1_000_000)
    (kept,) = books.traces.find(each.trace, team=None).corrections
    assert (kept.booked, kept.cost) == (1_000_000, 7)


def test_what_was_thinned_out_is_not_corrected(books: Office) -> None:
    books.call(LOST)
    (each,) = tried(books.traces, 0, 2**60)
    assert books.traces.thin(NOON + DAY, kind=None, team=None) == 1
    correct(books.traces, [righted(each, 5)])
    assert books.traces.read("2026-08-05", "SELECT count(*) FROM corrections") == [(0,)]


def test_a_day_of_an_earlier_version_tells_who_paid(tmp_path: Path) -> None:
    books = office(tmp_path)
    books.call(used())
    books.traces.close()
    (path,) = (tmp_path / "traces").glob("*.db")
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE attempts DROP COLUMN scopes")
        db.execute("DROP TABLE corrections")
    db.close()
    (each,) = tried(Traces(tmp_path / "traces"), 0, 2**60)
    assert each.scopes == ("org", "team/risk", "key/ci", "endpoint/assistant")
    assert each.payer == "risk"
    books.sql.close()
