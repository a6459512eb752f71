"""What traffic would have saved: known savings are found, with an interval around them; too little says nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest
from tests.governance.bills.office import ADMIN, EDITOR, NOON, Office, office, used

from tandem.core.clock import iso, micros
from tandem.core.money import Price, Usage
from tandem.core.principal import Principal
from tandem.governance.bills.savings import MEASURES, Audits, Saving, Savings
from tandem.observability.content import Subjects
from tandem.observability.explain import Kept
from tandem.store.vault import Vault

MINI, BIG = "openai/gpt-4o-mini", "openai/big"
ROWS = {MINI: Price(input=100, output=200, cache_read=10, cache_write=150), BIG: Price(input=1_000, output=2_000)}
HOUR = 3_600_000_000


@dataclass
class Desk:
    books: Office
    subjects: Subjects
    audits: Audits

    def chat(self, text: str, at: int, *, usage: Usage | None = None, target: str = MINI, kept: bool = True, **more: str) -> int:
        """Records a chat; returns what it cost."""
        usage = usage or used()
        cost = ROWS[target].cost(usage)
        sealed = ("", b"")
        if kept:
            body = {"model": "assistant", "messages": [{"role": "user", "content": text}], "stream": bool(at % 2)}
            content = msgspec.msgpack.encode(Kept(json.dumps(body).encode(), b"{}"))
            sealed = self.subjects.keep("principal:ci", content, begun=at, now=at)
        self.books.call(usage, at=iso(at), target=target, cost=cost, kept=sealed, **more)  # type: ignore[arg-type]
        return cost

    def audit(self, by: Principal = ADMIN) -> Savings:
        return self.audits.audit(30, by=by)

    def saving(self, measure: str) -> Saving:
        return next(each for each in self.audit().measures if each.measure == measure)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    books = office(tmp_path)
    subjects = Subjects(tmp_path / "subjects.db", Vault(bytes(32)))
    audits = Audits(
        traces=books.traces,
        subjects=subjects,
        clock=books.clock,
        known=lambda: lambda target, at, team: ROWS.get(target),
        routes=lambda: {"assistant": (MINI, BIG)},
    )
    yield Desk(books, subjects, audits)
    subjects.close()
    books.sql.close()


START = micros(NOON)


def hours(count: int) -> Iterator[int]:
    """Times over twenty hours."""
    for number in range(count):
        yield START + number % 20 * HOUR + number * 1_000_000


def test_too_little_says_so(desk: Desk) -> None:
    for number, at in enumerate(hours(99)):
        desk.chat(f"question {number}", at, kept=False)
    found = desk.audit()
    assert [(each.measure, each.enough, each.amount) for each in found.measures] == [(name, False, 0) for name in MEASURES]
    assert (found.calls, found.unread, found.hours) == (99, 99, 20)
    for number in range(200):
        desk.chat(f"question {number}", START + number, kept=False, endpoint="other")
    assert desk.saving("output cap").enough, "the hours are those of all calls"


def test_what_is_asked_again_is_saved(desk: Desk) -> None:
    """Every question three times within minutes: two of three are free."""
    times = sorted(hours(120))
    costs = [desk.chat(f"question {number // 3}", at, usage=used(output=number)) for number, at in enumerate(times)]
    found = desk.saving("exact cache")
    assert (found.enough, found.n, found.touched) == (True, 120, 80)
    assert found.amount == sum(cost for number, cost in enumerate(costs) if number % 3)
    assert found.low < found.amount < found.high
    assert found.share == pytest.approx(found.amount / sum(costs))
    assert 0.6 < found.share_low <= found.share <= found.share_high < 0.7


def test_another_team_or_another_day_is_another_question(desk: Desk) -> None:
    for number, at in enumerate(hours(60)):
        desk.chat(f"question {number}", at, team="risk")
        desk.chat(f"question {number}", at, team="sales")
        desk.chat(f"question {number}", at + 25 * HOUR, team="risk")
    assert (desk.saving("exact cache").touched, desk.saving("exact cache").n) == (0, 180)


def test_the_cheapest_target_of_the_route(desk: Desk) -> None:
    costs = [desk.chat(f"q{number}", at, target=BIG if number % 2 else MINI, kept=False) for number, at in enumerate(hours(120))]
    found = desk.saving("cheapest target")
    dear = sum(costs[1::2])
    assert (found.touched, found.amount) == (60, dear - dear // 10)


def test_what_begins_alike_is_read_from_the_cache(desk: Desk) -> None:
    """Pairs of prompts of 2,000 tokens that share all but the last words: one is written, the other read."""
    common = "policy " * 500
    for number, at in enumerate(sorted(hours(60))):
        for turn in range(2):
            text = f"{number:03d} {common} and now: {turn}{'x' * 30}"
            desk.chat(text, at + turn * 60_000_000, usage=used(input=2_000))
    found = desk.saving("prompt cache")
    assert (found.n, found.touched) == (120, 60)
    tokens = 1_920  # 2,000 less the last words, in steps of 128
    assert found.amount == 60 * ((tokens * 90 - tokens * 50) // 1000)


def test_short_prompts_and_warm_ones_save_nothing(desk: Desk) -> None:
    for at in sorted(hours(60)):
        desk.chat("the same", at, usage=used(input=1_000))
        desk.chat("the same", at + 1, usage=used(input=1_000))
        desk.chat("warm " * 500, at, usage=used(input=28, cached=3_072))
        desk.chat("warm " * 500, at + 1, usage=used(input=28, cached=3_072))
    assert desk.saving("prompt cache").touched == 0


def test_answers_are_cut_at_the_percentile_of_their_endpoint(desk: Desk) -> None:
    for number, at in enumerate(hours(100)):
        desk.chat(f"q{number}", at, usage=used(output=1_000 if number >= 98 else 100), kept=False)
    found = desk.saving("output cap")
    assert (found.touched, found.amount) == (2, 2 * 900 * 200 // 1000)


def test_failed_calls_and_those_that_are_erased_are_passed_by(desk: Desk) -> None:
    for number, at in enumerate(hours(100)):
        desk.chat(f"q{number}", at)
    desk.chat("lost", START, usage=Usage(source="estimated"), kept=False)
    desk.books.call(used(), outcome="gone")
    found = desk.audit()
    assert (found.calls, found.unread) == (100, 0)
    assert desk.subjects.erase("principal:ci", START + 10**12)
    assert desk.audit().unread == 100


def test_a_team_sees_its_own_calls(desk: Desk) -> None:
    desk.chat("mine", START, team="risk")
    desk.chat("theirs", START, team="sales")
    assert (desk.audit(EDITOR).calls, desk.audit(ADMIN).calls) == (1, 2)
    assert desk.audit(replace(EDITOR, team="none")).calls == 0
