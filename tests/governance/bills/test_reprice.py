"""A past period priced anew: by counters and the rows that are known now, booked once, and only when told to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.governance.bills.office import ADMIN, AUDITOR, EDITOR, LOST, NOTHING, PRICE, Office, office, used

from tandem.core.clock import micros
from tandem.core.errors import Forbidden, Invalid
from tandem.core.money import Price
from tandem.governance.authorise import ALL
from tandem.governance.bills.reprice import Repricing
from tandem.observability.attempts import tried

MINI = "openai/gpt-4o-mini"


@dataclass
class Desk:
    books: Office
    repricing: Repricing
    rows: dict[tuple[str, str], Price]
    """By target and team; `` is everybody."""


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    books = office(tmp_path)
    rows: dict[tuple[str, str], Price] = {(MINI, ""): PRICE}

    def price(target: str, at: int, team: str) -> Price | None:
        return rows.get((target, team), rows.get((target, "")))

    made = Repricing(
        corrections=books.corrections,
        traces=books.traces,
        audit=books.audit,
        sql=books.sql,
        clock=books.clock,
        known=lambda: price,
    )
    yield Desk(books, made, rows)
    books.sql.close()


def test_nothing_changes_where_no_price_did(desk: Desk) -> None:
    desk.books.call(used())
    found = desk.repricing.reprice(0, None, apply=True, by=ADMIN)
    assert (found.difference, found.changed, found.corrected, found.booked) == (0, 0, 0, 210_000)


def test_each_attempt_is_priced_by_its_own_teams_row(desk: Desk) -> None:
    desk.books.call(used(), team="risk")
    desk.books.call(used(), team="sales")
    desk.books.call(LOST)
    desk.books.call(NOTHING)
    desk.books.call(used(), target="openai/unknown")
    desk.rows[MINI, "risk"] = Price(input=PRICE.input * 2, output=PRICE.output * 2)
    found = desk.repricing.reprice(0, None, apply=False, by=AUDITOR)
    mini, unknown = sorted(found.models, key=lambda row: row.target)
    assert (mini.attempts, mini.changed, mini.booked, mini.cost, mini.estimated) == (2, 1, 420_000, 630_000, 1)
    assert (unknown.attempts, unknown.unpriced) == (0, 1)
    assert (found.difference, found.corrected, found.applied) == (210_000, 0, False)
    assert desk.books.spent() == (1_420_000, 5, 1), "nothing was booked"


def test_it_is_booked_once(desk: Desk) -> None:
    desk.books.call(used(), team="risk")
    desk.books.call(used(), target="openai/unknown")
    desk.rows[MINI, ""] = Price(input=1_000, output=0)
    desk.rows["openai/unknown", ""] = Price(input=2_000, output=0)
    first = desk.repricing.reprice(0, None, apply=True, by=ADMIN)
    again = desk.repricing.reprice(0, None, apply=True, by=ADMIN)
    assert (first.changed, first.corrected, again.changed, again.corrected) == (2, 2, 0, 0)
    assert desk.books.spent() == desk.books.spent("team/risk") == (3_000, 2, 0), "what had no price has one"
    assert [each.cost for each in tried(desk.books.traces, 0, 2**60)] == [1_000, 2_000]
    deeds = desk.books.audit.list(ALL, action="cost.reprice")
    assert len(deeds) == 2
    assert '"difference_nano_usd":-207000' in deeds[1].detail


def test_only_the_period_is_priced(desk: Desk) -> None:
    desk.books.call(used(), at="2026-08-04T12:00:00Z")
    desk.books.call(used(), at="2026-08-05T12:00:00Z")
    desk.rows[MINI, ""] = Price(input=0, output=0)
    since, until = micros("2026-08-05T00:00:00Z"), micros("2026-08-06T00:00:00Z")
    assert desk.repricing.reprice(since, until, apply=True, by=ADMIN).corrected == 1
    assert desk.books.spent()[0] == 210_000


def test_many_are_booked_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tandem.governance.bills.reprice.TOGETHER", 3)
    for _ in range(10):
        desk.books.call(used())
    desk.rows[MINI, ""] = Price(input=1_000, output=0)
    assert desk.repricing.reprice(0, None, apply=True, by=ADMIN).corrected == 10
    assert desk.books.spent()[0] == 10_000


def test_who_may_and_a_time_that_is_none(desk: Desk) -> None:
    for by, apply in ((EDITOR, False), (AUDITOR, True)):
        with pytest.raises(Forbidden):
            desk.repricing.reprice(0, None, apply=apply, by=by)
    with pytest.raises(Invalid, match="ends before it begins"):
        desk.repricing.reprice(5, 5, apply=False, by=ADMIN)
