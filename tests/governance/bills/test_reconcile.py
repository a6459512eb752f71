"""A bill beside the books: each difference is told with its cause, the causes add up, and only estimates are corrected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.governance.bills.office import (
    ADMIN,
    AUDITOR,
    EDITOR,
    LOST,
    NOON,
    NOTHING,
    PRICE,
    Office,
    office,
    used,
)

from tandem.core.errors import Forbidden, Invalid
from tandem.core.money import Usage
from tandem.core.trace import Attempt
from tandem.governance.authorise import ALL, Scope
from tandem.governance.bills.causes import Cause, Sums, apart
from tandem.governance.bills.export import Billed, by_hand
from tandem.governance.bills.found import Reconciliation
from tandem.governance.bills.reconcile import Asked
from tandem.governance.ledger import Correction
from tandem.observability.attempts import tried
from tandem.observability.move import Batch
from tandem.observability.record import Ended

HEAD = "time,model,key,call,attempt,prompt_tokens,cached_tokens,written_tokens,completion_tokens,cost_nano\n"
DAILY = by_hand(["date=day", "model=model", "key=key", "requests=n", "input=in", "cached=cached", "output=out", "cost=usd"])
DAYS = "day,model,key,n,in,cached,out,usd\n"


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Office]:
    found = office(tmp_path)
    yield found
    found.sql.close()


def row(attempt: Attempt | str, cost: int | str, usage: Usage | None = None, *, at: str = NOON, number: int = 0) -> str:
    call = attempt if isinstance(attempt, str) else attempt.call
    u = usage or (used() if isinstance(attempt, str) else attempt.usage)
    return f"{at},gpt-4o-mini,k,{call},{number},{u.total_input},{u.cache_read},0,{u.total_output},{cost}\n"


def why(found: Reconciliation) -> dict[str, tuple[int, int]]:
    return {cause.why: (cause.amount, cause.count) for cause in found.causes}


def adds_up(found: Reconciliation) -> None:
    assert found.difference == found.billed - found.booked
    for line in found.lines:
        assert sum(cause.amount for cause in line.causes) == line.difference == line.billed - line.booked
    assert sum(cause.amount for cause in found.causes) == found.difference


def test_what_agrees_is_no_line(books: Office) -> None:
    attempt = books.call(used())
    found = books.reconcile(HEAD + row(attempt, attempt.cost or 0))
    assert (found.lines, found.same, found.billed, found.booked) == ((), 1, 210_000, 210_000)


def test_each_cause_is_told(books: Office) -> None:
    lost, dear, cached, other, failed, twice, gone = (
        books.call(LOST, outcome="timed_out"),
        books.call(used()),
        books.call(used(cached=1000)),
        books.call(used()),
        books.call(NOTHING, outcome="server_error"),
        books.call(used()),
        books.call(used()),
    )
    plain = PRICE.cost(used(input=2000))
    text = (
        HEAD
        + row(lost, 300_000, used())
        + row(dear, 420_000)
        + row(cached, plain)
        + row(other, 220_000, used(input=1050))
        + row(failed, 500, used())
        + row(twice, 210_000)
        + row(twice, 210_000)
        + row(twice, 77, number=1)
        + row("cal_nobody", 5_000)
    )
    found = books.reconcile(text)
    assert why(found) == {
        "estimated": (300_000 - 1_000_000, 1),
        "price": (210_000, 1),
        "cached": (75_000, 1),
        "tokens": (10_000, 1),
        "failed": (500, 1),
        "retries": (210_077, 2),
        "unrecorded": (5_000, 1),
        "unbilled": (-210_000, 1),
    }
    adds_up(found)
    assert (found.estimated, found.missing, found.rows) == (1, 1, 9)
    assert gone.cost == 210_000


def test_a_nano_dollar_is_rounding_and_no_price_is_told(books: Office) -> None:
    one, unpriced = books.call(used()), books.call(used(), target="openai/secret-model")
    found = books.reconcile(HEAD + row(one, 210_001) + row(unpriced, 99))
    assert why(found) == {"rounding": (1, 1), "unpriced": (99, 1)}
    adds_up(found)


def test_apply_corrects_estimates_once_and_nothing_else(books: Office) -> None:
    lost, unknown, dear = books.call(LOST), books.call(LOST, target="openai/secret", reserved=0), books.call(used())
    text = HEAD + row(lost, 300_000, used()) + row(unknown, 70_000, used()) + row(dear, 999_999)
    assert books.spent() == (1_210_000, 3, 0)
    first = books.reconcile(text, apply=True)
    assert (first.estimated, first.corrected, first.applied) == (2, 2, True)
    assert books.spent() == books.spent("team/risk") == books.spent("endpoint/assistant") == (580_000, 3, 0)
    again = books.reconcile(text, apply=True)
    assert (again.estimated, again.corrected) == (0, 0)
    assert books.spent() == (580_000, 3, 0)
    deeds = books.audit.list(ALL, action="cost.reconcile")
    assert [deed.subject for deed in deeds] == ["provider/openai", "provider/openai"]
    assert books.audit.verify().ok
    costs = {each.attempt.call: each.cost for each in tried(books.traces, 0, 2**60)}
    assert costs == {lost.call: 300_000, unknown.call: 70_000, dear.call: 210_000}


def test_what_broke_off_between_ledger_and_traces_is_finished(books: Office) -> None:
    lost = books.call(LOST)
    (each,) = tried(books.traces, 0, 2**60)
    better = Correction(call=lost.call, attempt=0, cost=300_000, scopes=each.scopes, at=lost.start)
    assert books.ledger.correct([better]) == 1
    found = books.reconcile(HEAD + row(lost, 300_000, used()), apply=True)
    assert (found.estimated, found.corrected) == (1, 0)
    assert books.spent()[0] == 300_000
    assert [each.cost for each in tried(books.traces, 0, 2**60)] == [300_000]


def test_what_is_traced_and_not_booked_yet_is_left_to_the_next_time(books: Office) -> None:
    lost = books.call(LOST, booked=False)
    bill = HEAD + row(lost, 300_000, used())
    assert books.reconcile(bill, apply=True).corrected == 0
    assert [each.cost for each in tried(books.traces, 0, 2**60)] == [lost.cost], "ledger and traces tell the same"
    (each,) = tried(books.traces, 0, 2**60)
    books.ledger.post(Batch(begun=[], ended=[Ended(each.trace, lost, (), each.scopes)], offsets={}, boots={}))
    assert books.reconcile(bill, apply=True).corrected == 1
    assert books.spent()[0] == 300_000
    assert [each.cost for each in tried(books.traces, 0, 2**60)] == [300_000]


def test_what_a_whole_bill_lacks_was_free(books: Office) -> None:
    lost, counted = books.call(LOST), books.call(used())
    found = books.reconcile(HEAD + row(counted, counted.cost or 0), apply=True, until=2**61)
    assert (found.missing, found.corrected) == (0, 1)
    assert books.spent()[0] == counted.cost
    assert lost.cost == 1_000_000


def test_a_bill_with_gaps_frees_nothing(books: Office) -> None:
    """It may be that of one key among several: what was surely used and is missing says so."""
    lost, counted, other = books.call(LOST), books.call(used()), books.call(used())
    found = books.reconcile(HEAD + row(counted, counted.cost or 0), apply=True)
    assert (found.missing, found.estimated, found.corrected) == (1, 0, 0)
    assert books.spent()[0] == sum(each.cost or 0 for each in (lost, counted, other))


def test_what_began_after_the_last_row_is_not_missed(books: Office) -> None:
    early, late = books.call(used()), books.call(LOST, at="2026-08-05T18:00:00Z")
    found = books.reconcile(HEAD + row(early, early.cost or 0), apply=True)
    assert (found.booked, found.corrected) == (early.cost, 0)
    assert books.spent()[0] == (early.cost or 0) + (late.cost or 0)


def test_other_providers_are_left_alone(books: Office) -> None:
    mine = books.call(used())
    books.call(LOST, target="mock/gpt-4o-mini")
    found = books.reconcile(HEAD + row(mine, mine.cost or 0), apply=True)
    assert (found.booked, found.corrected, found.lines) == (mine.cost, 0, ())


def test_by_sums_it_agrees_to_the_day_and_model(books: Office) -> None:
    books.call(used())
    books.call(used(cached=500))
    text = DAYS + f"2026-08-05,gpt-4o-mini-2024-07-18,a,1,1000,0,100,{0.00021:.9f}\n"
    text += f"2026-08-05,gpt-4o-mini-2024-07-18,b,1,1500,500,100,{0.0002475:.9f}\n"
    found = books.reconcile(text, columns=DAILY)
    assert (found.lines, found.same, found.difference, found.priced) == ((), 1, 0, False)


@pytest.mark.parametrize(
    ("bill", "cause"),
    [
        ("1,1000,0,100,0.000420000", "price"),
        ("1,1000,500,100,0.000172500", "cached"),
        ("3,3000,0,300,0.000630000", "unrecorded"),
        ("1,1000,0,100,0.000210001", "rounding"),
        ("1,500,0,50,0.000105000", "unbilled"),
    ],
)
def test_by_sums_each_cause_is_told(books: Office, bill: str, cause: str) -> None:
    books.call(used())
    found = books.reconcile(DAYS + f"2026-08-05,gpt-4o-mini,k,{bill}\n", columns=DAILY)
    assert [each.why for each in found.causes] == [cause]
    adds_up(found)


def test_by_sums_keys_are_compared_together_and_told_apart(books: Office) -> None:
    books.call(used())
    text = DAYS + "".join(
        f"2026-08-05,gpt-4o-mini,{key},1,500,0,50,{usd}\n" for key, usd in (("a", "0.1"), ("b", "0.2"), ("a", "0.3"))
    )
    (line,) = books.reconcile(text, columns=DAILY).lines
    assert [(each.key, each.billed) for each in line.keys] == [("a", 400_000_000), ("b", 200_000_000)]
    assert line.billed == 600_000_000


def test_by_sums_estimates_and_failed_retries_are_told(books: Office) -> None:
    books.call(used())
    books.call(LOST)
    text = DAYS + "2026-08-05,gpt-4o-mini,k,2,2000,0,200,0.000420000\n"
    found = books.reconcile(text, columns=DAILY)
    (cause,) = found.causes
    assert (cause.why, cause.amount, cause.count, cause.tokens) == ("estimated", 210_000 - 1_000_000, 1, 1100)
    adds_up(found)


def test_by_sums_a_failed_attempt_that_is_billed_is_a_retry(books: Office) -> None:
    books.call(used())
    books.call(NOTHING, outcome="server_error")
    found = books.reconcile(DAYS + "2026-08-05,gpt-4o-mini,k,2,2000,0,200,0.000420000\n", columns=DAILY)
    assert why(found) == {"retries": (210_000, 1)}
    adds_up(found)


def test_days_that_only_one_side_knows(books: Office) -> None:
    books.call(used(), at="2026-08-04T12:00:00Z")
    books.call(used(), at="2026-08-05T12:00:00Z")
    text = DAYS + "2026-08-05,gpt-4o-mini,k,1,1000,0,100,0.000210000\n2026-08-05,o9,k,4,1,0,1,0.5\n"
    found = books.reconcile(text, columns=DAILY, since=0)
    assert why(found) == {"unrecorded": (500_000_000, 4), "unbilled": (-210_000, 1)}
    assert [(line.day, line.model) for line in found.lines] == [("2026-08-05", "o9"), ("2026-08-04", "gpt-4o-mini")]
    adds_up(found)


def test_an_export_without_amounts_is_priced_by_our_rows(books: Office) -> None:
    books.call(used())
    columns = by_hand(["date=day", "model=model", "input=in", "cached=cached", "output=out"])
    found = books.reconcile(DAYS.replace("usd", "x") + "2026-08-05,gpt-4o-mini,k,1,1000,0,110,\n", columns=columns)
    assert found.priced
    assert (found.billed, found.difference) == (216_000, 6_000)
    adds_up(found)


def test_an_export_with_amounts_alone_tells_what_it_can(books: Office) -> None:
    books.call(LOST)
    columns = by_hand(["date=day", "model=model", "cost=usd"])
    text = DAYS + "2026-08-05,gpt-4o-mini,k,1,1000,0,110,{}\n"
    assert why(books.reconcile(text.format("0.0009"), columns=columns)) == {"estimated": (-100_000, 1)}
    assert why(books.reconcile(text.format("0.9"), columns=columns)) == {"unexplained": (899_000_000, 1)}
    assert why(books.reconcile(text.format("0.00"), columns=columns)) == {"rounding": (-1_000_000, 1)}


def test_sums_correct_nothing(books: Office) -> None:
    books.call(LOST)
    with pytest.raises(Invalid, match="does not say which attempts"):
        books.reconcile(DAYS + "2026-08-05,gpt-4o-mini,k,1,1,0,1,0.1\n", columns=DAILY, apply=True)


def test_who_may_and_what_is_refused(books: Office) -> None:
    import io

    text = HEAD + row("cal_x", 1)
    for by, apply in ((EDITOR, False), (AUDITOR, True)):
        with pytest.raises(Forbidden):
            books.bills.reconcile(io.StringIO(text), "b", Asked(provider="openai", apply=apply), by=by)
    assert books.bills.reconcile(io.StringIO(text), "b", Asked(provider="openai"), by=AUDITOR).rows == 1
    with pytest.raises(Invalid, match="no row in the time"):
        books.reconcile(text, since=2**60)
    with pytest.raises(Invalid, match="ends before it begins"):
        books.reconcile(text, since=5, until=5)
    assert list((books.home / "work").iterdir()) == []


def test_a_fault_late_in_the_file_changes_nothing(books: Office) -> None:
    lost = books.call(LOST)
    with pytest.raises(Invalid, match="line 3"):
        books.reconcile(HEAD + row(lost, 5) + "what,ever\n", apply=True)
    assert books.spent()[0] == lost.cost
    assert books.audit.list(ALL, action="cost.reconcile") == ()


def test_what_was_found_is_kept_for_those_who_see_every_team(books: Office) -> None:
    attempt = books.call(used())
    found = books.reconcile(HEAD + row(attempt, 5))
    assert books.bills.kept.list(ALL) == (found,)
    assert books.bills.kept.list(Scope("risk")) == ()
    assert found.by == ADMIN.name


counts = st.integers(0, 10**6)


@given(counts, counts, counts, st.integers(0, 10**9), st.integers(0, 3), st.integers(0, 3), counts, counts, counts, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_causes_always_add_up(
    plain: int, cached: int, out: int, cost: int, estimated: int, failed: int, a: int, b: int, c: int, priced: bool
) -> None:
    billed = Billed(
        line=2, at=0, model="m", key="", call="", attempt=0, requests=3, input=plain, cached=cached, written=None, output=out,
        cost=cost, places=9,
    )  # fmt: skip
    counted = Usage(input=a, cache_read=b, output=c, source="provider")
    reserved = estimated * 1_000
    sums = Sums(
        attempts=1 + estimated + failed,
        booked=PRICE.cost(counted) + reserved,
        counted=counted,
        estimated=estimated,
        reserved=reserved,
        failed=failed,
    )
    causes: tuple[Cause, ...] = apart(billed, True, 5, sums, PRICE if priced else None)
    assert sum(cause.amount for cause in causes) == cost - sums.booked
    assert all(cause.amount for cause in causes)
