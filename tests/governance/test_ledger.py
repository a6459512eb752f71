"""The ledger's invariant, settled + leased <= cap, over every way a lease can end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem.core.clock import FixedClock, micros
from tandem.core.errors import NotFound
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.policy import Budget
from tandem.core.trace import Attempt
from tandem.governance.ledger import LEASE_SECONDS, Correction, Ledger, NoRoom, Want, window_of
from tandem.observability.move import Batch
from tandem.observability.record import Begun, Ended, Hold

SCOPE = "key/demo"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def ledger(tmp_path: Path, clock: FixedClock) -> Ledger:
    ledger = Ledger(tmp_path / "ledger.db", clock)
    ledger.set_budget(Budget(scope=SCOPE, cap=1000))
    return ledger


def want(need: int, like: int | None = None, lease: str | None = None) -> Want:
    return Want(scope=SCOPE, window="day", need=need, like=like or need, lease=lease)


def begun(hold: Hold, boot: str = "a", at: int = 0) -> tuple[Begun, Batch]:
    record = Begun(new_call(), 0, new_trace(), None, at, "mock/m", "e", "chat", "t", "demo", (SCOPE,), hold.amount, (hold,))
    return record, Batch(begun=[record], ended=[], offsets={}, boots={record.call: boot})


def ended(record: Begun, cost: int) -> Batch:
    attempt = Attempt(
        call=record.call,
        attempt=0,
        target="mock/m",
        usage=Usage(source="provider"),
        cost=cost,
        reserved=record.holds[0].amount,
        outcome="ok",
        start=record.at,
        end=record.at,
    )
    return Batch(begun=[], ended=[Ended(record.trace, attempt, record.holds, (SCOPE,))], offsets={}, boots={})


def account(ledger: Ledger) -> tuple[int, int]:
    (found,) = ledger.accounts()
    return found.settled, found.reserved


def test_a_lease_lends_no_more_than_the_cap(ledger: Ledger) -> None:
    first = ledger.lease("a", [want(600)])
    assert isinstance(first, list)
    assert first[0].amount == 600
    refused = ledger.lease("b", [want(500)])
    assert isinstance(refused, NoRoom)
    assert refused.elsewhere
    assert (refused.cap, refused.settled, refused.leased) == (1000, 0, 600)
    assert [row[1:] for row in ledger.recalled("a")] == [(SCOPE, "day")]
    assert ledger.recalled("a") == []


def test_all_accounts_of_a_call_are_leased_or_none(ledger: Ledger) -> None:
    ledger.set_budget(Budget(scope="org", cap=10))
    refused = ledger.lease("a", [want(100), Want(scope="org", window="day", need=50, like=50)])
    assert isinstance(refused, NoRoom)
    assert refused.scope == "org"
    assert {(a.scope, a.reserved) for a in ledger.accounts()} == {(SCOPE, 0), ("org", 0)}


def test_a_slice_shrinks_near_the_cap(ledger: Ledger) -> None:
    amounts = []
    for _ in range(6):
        given = ledger.lease("a", [want(10, 1000)])
        assert isinstance(given, list)
        amounts.append(given[0].amount)
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[0] == 250
    assert sum(amounts) < 1000


def test_booking_moves_money_from_leased_to_settled_once(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(500)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 500))
    ledger.post(batch)
    ledger.post(ended(record, 120))
    ledger.post(ended(record, 120))
    assert account(ledger) == (120, 380)
    ledger.give_back("a", [(lease.lease, SCOPE, "day", 380)])
    assert account(ledger) == (120, 0)
    assert ledger.spend(SCOPE, since=0, until=2**60) == (120, 1, 0)


def test_a_returned_lease_keeps_what_is_spent_and_not_booked(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(500)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 300))
    ledger.post(batch)
    ledger.give_back("a", [(lease.lease, SCOPE, "day", 400)])  # the worker settled at 100 before the mover came
    assert account(ledger) == (0, 100)
    ledger.post(ended(record, 100))
    assert account(ledger) == (100, 0)


def test_an_expired_lease_keeps_only_what_runs(ledger: Ledger, clock: FixedClock) -> None:
    (lease,) = ledger.lease("a", [want(800)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 200), at=clock.now())
    ledger.post(batch)
    clock.advance(LEASE_SECONDS)
    ledger.expire(clock.now())
    assert account(ledger) == (0, 200)
    assert ledger.renew("a", [lease.lease]) == {}
    ledger.give_back("a", [(lease.lease, SCOPE, "day", 600)])  # a worker that wakes up late changes nothing
    assert account(ledger) == (0, 200)
    ledger.post(ended(record, 150))
    assert account(ledger) == (150, 0)


def test_renewing_keeps_a_lease_alive(ledger: Ledger, clock: FixedClock) -> None:
    (lease,) = ledger.lease("a", [want(800)])  # type: ignore[misc]
    clock.advance(LEASE_SECONDS - 1)
    assert ledger.renew("b", [lease.lease]) == {}
    assert list(ledger.renew("a", [lease.lease])) == [lease.lease]
    clock.advance(LEASE_SECONDS - 1)
    ledger.expire(clock.now())
    assert account(ledger) == (0, 800)


def test_burying_a_dead_worker_frees_its_leases(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(800)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 300))
    ledger.post(batch)
    assert [found.call for found in ledger.open_attempts("a")] == [record.call]
    ledger.post(ended(record, 300))
    ledger.bury("a")
    assert account(ledger) == (300, 0)
    assert ledger.running() == 0


def test_a_lease_grows_instead_of_a_second_one(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(100)])  # type: ignore[misc]
    (grown,) = ledger.lease("a", [want(200, lease=lease.lease)])  # type: ignore[misc]
    assert grown.lease == lease.lease
    assert account(ledger) == (0, 300)


def test_a_new_window_has_its_own_account(ledger: Ledger, clock: FixedClock) -> None:
    (lease,) = ledger.lease("a", [want(1000)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 1000), at=clock.now())
    ledger.post(batch)
    ledger.post(ended(record, 1000))
    assert isinstance(ledger.lease("a", [want(1)]), NoRoom)
    clock.advance(86_400)
    assert isinstance(ledger.lease("a", [want(1000)]), list)


def test_a_budget_that_is_gone_is_not_found(ledger: Ledger) -> None:
    ledger.drop_budget(SCOPE, "day")
    assert ledger.lease("a", [want(5)]) == []
    with pytest.raises(NotFound):
        ledger.drop_budget(SCOPE, "day")


@pytest.mark.parametrize(
    ("window", "start", "end"),
    [
        ("minute", "2024-02-29T23:59:00Z", "2024-03-01T00:00:00Z"),
        ("hour", "2024-02-29T23:00:00Z", "2024-03-01T00:00:00Z"),
        ("day", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
        ("month", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
    ],
)
def test_windows_are_calendar_windows(window: str, start: str, end: str) -> None:
    at = micros("2024-02-29T23:59:59.999999Z")
    assert window_of(window, at) == (micros(start), micros(end))  # type: ignore[arg-type]
    assert window_of("total", at)[0] == 0


steps = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.sampled_from("ab"), st.integers(1, 400)),
        st.tuples(st.just("begin"), st.sampled_from("ab"), st.integers(1, 300)),
        st.tuples(st.just("end"), st.integers(0, 5), st.integers(0, 100)),
        st.tuples(st.just("return"), st.sampled_from("ab"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 20), st.just(0)),
        st.tuples(st.just("die"), st.sampled_from("ab"), st.just(0)),
        st.tuples(st.just("cap"), st.integers(0, 2000), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_no_interleaving_passes_the_cap(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object, int]]) -> None:
    """Random leases, calls, returns, expiries and deaths of two workers: what was spent never passes the highest cap so far."""
    clock = FixedClock()
    ledger = Ledger(tmp_path_factory.mktemp("l") / "ledger.db", clock)
    cap = highest = 1000
    ledger.set_budget(Budget(scope=SCOPE, cap=cap, window="total"))
    slices: dict[str, list[list[object]]] = {"a": [], "b": []}  # [lease, free, deadline]
    open_calls: list[tuple[Begun, list[object]]] = []
    spent = 0
    for action, who, number in steps:
        if action == "lease":
            given = ledger.lease(str(who), [Want(scope=SCOPE, window="total", need=number, like=number * 3)])
            if isinstance(given, list):
                slices[str(who)].append([given[0].lease, given[0].amount, clock.monotonic() + LEASE_SECONDS])
        elif action == "begin":
            for piece in slices[str(who)]:
                if piece[1] >= number and clock.monotonic() < piece[2]:  # type: ignore[operator]
                    piece[1] -= number  # type: ignore[operator]
                    record, batch = begun(Hold(str(piece[0]), SCOPE, "total", number), boot=str(who), at=clock.now())
                    ledger.post(batch)
                    open_calls.append((record, piece))
                    break
        elif action == "end" and open_calls:
            record, piece = open_calls.pop(int(str(who)) % len(open_calls))
            cost = record.holds[0].amount * number // 100
            piece[1] += record.holds[0].amount - cost  # type: ignore[operator]
            spent += cost
            ledger.post(ended(record, cost))
        elif action == "return":
            for piece in slices[str(who)]:
                if clock.monotonic() < piece[2]:  # type: ignore[operator]
                    ledger.give_back(str(who), [(str(piece[0]), SCOPE, "total", int(str(piece[1])))])
                    piece[1] = 0
        elif action == "wait":
            clock.advance(float(str(who)))
            ledger.expire(clock.now())
        elif action == "die":
            for record in ledger.open_attempts(str(who)):
                spent += record.holds[0].amount
                ledger.post(ended(record, record.holds[0].amount))
            ledger.bury(str(who))
            open_calls = [pair for pair in open_calls if pair[1] not in slices[str(who)]]
            slices[str(who)] = []
        elif action == "cap":
            cap = int(str(who))
            highest = max(highest, cap)
            ledger.set_budget(Budget(scope=SCOPE, cap=cap, window="total"))
        (found,) = ledger.accounts()
        assert found.settled == spent
        assert found.settled + found.reserved <= highest
        assert found.reserved >= sum(record.holds[0].amount for record, _ in open_calls)
    ledger.close()


def test_a_correction_moves_everything_by_the_difference_once(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(500)])  # type: ignore[misc]
    record, batch = begun(Hold(lease.lease, SCOPE, "day", 500), at=micros("2025-06-15T16:00:00Z"))
    ledger.post(batch)
    ledger.post(ended(record, 400))
    assert account(ledger) == (400, 100)
    better = Correction(call=record.call, attempt=0, cost=150, scopes=(SCOPE,), at=record.at)
    unknown = Correction(call="cal_x", attempt=0, cost=150, scopes=(SCOPE,), at=record.at)
    assert ledger.correct([better, unknown]) == 1
    assert ledger.correct([better]) == 0
    assert account(ledger) == (150, 100)
    assert ledger.spend(SCOPE, since=0, until=2**60) == (150, 1, 0)
    assert ledger.has_booked(record.call, 0, 150)
    ledger.post(ended(record, 400))  # the journal read twice books nothing anew
    assert account(ledger) == (150, 100)


def test_a_correction_gives_a_price_to_what_had_none(ledger: Ledger) -> None:
    record, batch = begun(Hold("lea_x", SCOPE, "day", 0), at=micros("2025-06-15T16:00:00Z"))
    ledger.post(batch)
    attempt = Attempt(
        call=record.call,
        attempt=0,
        target="m",
        usage=Usage(),
        cost=None,
        reserved=0,
        outcome="ok",
        start=record.at,
        end=record.at,
    )
    ledger.post(Batch(begun=[], ended=[Ended(record.trace, attempt, (), (SCOPE,))], offsets={}, boots={}))
    assert ledger.spend(SCOPE, since=0, until=2**60) == (0, 1, 1)
    assert ledger.correct([Correction(call=record.call, attempt=0, cost=0, scopes=(SCOPE,), at=record.at)]) == 1
    assert ledger.spend(SCOPE, since=0, until=2**60) == (0, 1, 0)
    assert ledger.correct([Correction(call=record.call, attempt=0, cost=7, scopes=(SCOPE,), at=record.at)]) == 1
    assert ledger.spend(SCOPE, since=0, until=2**60) == (7, 1, 0)


def test_a_cap_that_was_set_after_the_attempt_does_not_fall_below_zero(ledger: Ledger) -> None:
    record, batch = begun(Hold("lea_x", "org", "day", 0), at=micros("2025-06-15T16:00:00Z"))
    ledger.post(batch)
    attempt = Attempt(
        call=record.call, attempt=0, target="m", usage=Usage(), cost=90, reserved=90, outcome="ok", start=record.at, end=record.at
    )
    ledger.post(Batch(begun=[], ended=[Ended(record.trace, attempt, (), (SCOPE,))], offsets={}, boots={}))
    ledger.lease("a", [want(10)])  # opens the account
    ledger.correct([Correction(call=record.call, attempt=0, cost=10, scopes=(SCOPE,), at=record.at)])
    assert account(ledger) == (0, 10)
