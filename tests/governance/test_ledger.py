"""The ledger's invariant, settled + leased <= cap, over every way a lease can end."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.postgres import Server

from tandem.core.clock import MICROS, FixedClock, micros
from tandem.core.errors import Conflict, NotFound, Unavailable
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.policy import Budget
from tandem.core.secret import Secret
from tandem.core.trace import Attempt
from tandem.governance.ledger import LEASE_SECONDS, Correction, Ledger, NoRoom, Want
from tandem.observability.move import Batch, Counted
from tandem.observability.record import Begun, Ended, Hold
from tandem.store.raw import PostgresRows

SCOPE = "key/demo"
NUMBERS = count()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path, clock: FixedClock) -> Iterator[Ledger]:
    """A new ledger in each of its stores."""
    if request.param == "sqlite":
        ledger = Ledger(tmp_path / "ledger.db", clock)
    else:
        ledger = on_server(request.getfixturevalue("postgres"), clock)
    yield ledger
    ledger.close()


@pytest.fixture
def ledger(empty: Ledger) -> Ledger:
    empty.set_budget(Budget(scope=SCOPE, cap=1000))
    return empty


def on_server(server: Server, clock: FixedClock) -> Ledger:
    """A ledger in a database of its own, by a clock of the test's."""
    name = f"ledger{next(NUMBERS)}"
    return Ledger(PostgresRows(Secret(server.database(name)), "The ledger", clock), clock)


def want(need: int, like: int | None = None, lease: str | None = None) -> Want:
    return Want(scope=SCOPE, meter="day", need=need, like=like or need, lease=lease)


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
    refused = ledger.lease("a", [want(100), Want(scope="org", meter="day", need=50, like=50)])
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


def test_a_long_batch_that_comes_again_with_more_books_only_what_is_new(ledger: Ledger) -> None:
    (lease,) = ledger.lease("a", [want(500)])  # type: ignore[misc]
    records = [begun(Hold(lease.lease, SCOPE, "day", 1))[0] for _ in range(150)]
    posted = [ended(record, 1).ended[0] for record in records]
    ledger.post(Batch(begun=[], ended=posted[:100], offsets={}, boots={}))
    ledger.post(Batch(begun=[], ended=posted, offsets={}, boots={}))
    ledger.post(Batch(begun=[], ended=posted, offsets={}, boots={}))
    assert ledger.spend(SCOPE, since=0, until=2**60) == (150, 150, 0)
    asked = [(record.call, number) for record in records for number in (0, 1)]
    assert ledger.known(asked) == {(record.call, 0) for record in records}
    assert ledger.known([]) == set()


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
    ledger.expire(ledger.tick(), ["a", "b"])
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
    ledger.expire(ledger.tick(), ["a", "b"])
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
    spent, lives = 0, {"a": 0, "b": 0}
    for action, who, number in steps:
        boot = f"{who}{lives.get(str(who), 0)}"  # a worker that died comes back under another name
        if action == "lease":
            given = ledger.lease(boot, [Want(scope=SCOPE, meter="total", need=number, like=number * 3)])
            if isinstance(given, list):
                slices[str(who)].append([given[0].lease, given[0].amount, clock.monotonic() + LEASE_SECONDS])
        elif action == "begin":
            for piece in slices[str(who)]:
                if piece[1] >= number and clock.monotonic() < piece[2]:  # type: ignore[operator]
                    piece[1] -= number  # type: ignore[operator]
                    record, batch = begun(Hold(str(piece[0]), SCOPE, "total", number), boot=boot, at=clock.now())
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
                    ledger.give_back(boot, [(str(piece[0]), SCOPE, "total", int(str(piece[1])))])
                    piece[1] = 0
        elif action == "wait":
            clock.advance(float(str(who)))
            ledger.expire(ledger.tick(), [f"{each}{life}" for each, life in lives.items()])
        elif action == "die":
            for record in ledger.open_attempts(boot):
                spent += record.holds[0].amount
                ledger.post(ended(record, record.holds[0].amount))
            ledger.bury(boot)
            lives[str(who)] += 1
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


# --- other units, windows and modes


def used(
    record: Begun, *, cost: int = 0, usage: Usage | None = None, at: int = 0, scopes: tuple[str, ...] = (SCOPE,), number: int = 0
) -> Batch:
    attempt = Attempt(
        call=record.call,
        attempt=number,
        target="mock/m",
        usage=usage or Usage(source="provider"),
        cost=cost,
        reserved=0,
        outcome="ok",
        start=at,
        end=at,
    )
    return Batch(begun=[], ended=[Ended(record.trace, attempt, record.holds, scopes)], offsets={}, boots={})


def standing(ledger: Ledger, scope: str = SCOPE, unit: str = "usd") -> tuple[int, int]:
    (found,) = [each for each in ledger.accounts() if each.scope == scope and each.unit == unit]
    return found.settled, found.reserved


def hold(ledger: Ledger, scope: str, meter: str, need: int, boot: str = "a") -> Hold:
    given = ledger.lease(boot, [Want(scope=scope, meter=meter, need=need, like=need)])
    assert isinstance(given, list), given
    return Hold(given[0].lease, scope, meter, need)


def test_tokens_and_calls_are_booked_in_their_own_units(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=1000, unit="tokens", window="minute"))
    empty.set_budget(Budget(scope=SCOPE, cap=5, unit="requests", window="minute"))
    empty.set_budget(Budget(scope=SCOPE, cap=2, unit="calls", window="total"))
    holds = tuple(
        hold(empty, SCOPE, meter, need) for meter, need in (("tokens/minute", 400), ("requests/minute", 1), ("calls/total", 1))
    )
    now = clock.now()
    record = Begun(new_call(), 0, new_trace(), None, now, "mock/m", "e", "chat", "t", "demo", (SCOPE,), 0, holds)
    empty.post(Batch(begun=[record], ended=[], offsets={}, boots={record.call: "a"}))
    empty.post(used(record, usage=Usage(input=30, cache_read=5, output=60, reasoning=5, source="provider"), at=now))
    assert standing(empty, unit="tokens") == (100, 300)
    assert standing(empty, unit="requests") == (1, 0)
    assert standing(empty, unit="calls") == (0, 1)  # the worker's own, until it gives it back
    later = Begun(record.call, 1, record.trace, None, now, "mock/m", "e", "chat", "t", "demo", (SCOPE,), 0, ())
    empty.post(used(later, usage=Usage(input=1, source="provider"), at=now, number=1))
    assert standing(empty, unit="requests") == (1, 0)  # a further attempt of the same call is no further call
    assert standing(empty, unit="tokens") == (101, 300)


def test_of_an_attempt_that_told_nothing_all_tokens_that_were_held_count(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=1000, unit="tokens", window="minute"))
    held = hold(empty, SCOPE, "tokens/minute", 400)
    record, batch = begun(held, at=clock.now())
    empty.post(batch)
    empty.post(used(record, usage=Usage(source="estimated"), at=clock.now()))
    assert standing(empty, unit="tokens") == (400, 0)


def test_an_answer_that_was_kept_counts_as_a_call_once(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=5, unit="requests", window="minute"))
    empty.set_budget(Budget(scope="org", cap=5, unit="requests", window="day", mode="soft"))
    held = hold(empty, SCOPE, "requests/minute", 1)
    kept = Counted(call=new_call(), at=clock.now(), holds=(held,), scopes=("org", SCOPE))
    for _ in range(2):
        empty.post(Batch(begun=[], ended=[], offsets={}, boots={}, counted=[kept]))
    assert standing(empty, unit="requests") == (1, 0)
    assert standing(empty, "org", "requests") == (1, 0)


def test_a_soft_cap_counts_and_lends_nothing(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=10, mode="soft"))
    assert empty.lease("a", [Want(scope=SCOPE, meter="day", need=1000, like=1000)]) == []
    record = Begun(new_call(), 0, new_trace(), None, clock.now(), "mock/m", "e", "chat", "t", "demo", (SCOPE,), 9, ())
    empty.post(used(record, cost=25, at=clock.now()))
    assert standing(empty) == (25, 0)


def test_a_cap_that_is_set_while_a_call_runs_is_charged_with_it(empty: Ledger, clock: FixedClock) -> None:
    record = Begun(new_call(), 0, new_trace(), None, clock.now(), "mock/m", "e", "chat", "t", "demo", (SCOPE,), 9, ())
    empty.post(Batch(begun=[record], ended=[], offsets={}, boots={record.call: "a"}))
    empty.set_budget(Budget(scope=SCOPE, cap=100))
    empty.post(used(record, cost=9, at=clock.now()))
    assert standing(empty) == (9, 0)


def test_a_new_cap_counts_what_its_days_have_spent_already(empty: Ledger, clock: FixedClock) -> None:
    record = Begun(new_call(), 0, new_trace(), None, clock.now(), "mock/m", "e", "chat", "t", "demo", (SCOPE,), 9, ())
    empty.post(used(record, cost=70, at=clock.now()))
    empty.set_budget(Budget(scope=SCOPE, cap=100, window="month"))
    empty.set_budget(Budget(scope=SCOPE, cap=100, window="rolling-24h"))
    found = {each.window: each.settled for each in empty.accounts()}
    assert found == {"month": 70, "rolling-24h": 0}
    empty.set_budget(Budget(scope=SCOPE, cap=80, window="month"))  # another cap does not count it twice
    assert {each.window: each.settled for each in empty.accounts()}["month"] == 70


def test_credits_are_paid_in_once_each_and_can_be_spent(empty: Ledger, clock: FixedClock) -> None:
    assert empty.credit(SCOPE, 100, reference="inv-1", actor="ada")
    assert not empty.credit(SCOPE, 100, reference="inv-1", actor="ada")
    with pytest.raises(Conflict, match="another amount"):
        empty.credit(SCOPE, 7, reference="inv-1", actor="ada")
    held = hold(empty, SCOPE, "total", 100)
    assert isinstance(empty.lease("b", [Want(scope=SCOPE, meter="total", need=1, like=1)]), NoRoom)
    empty.credit(SCOPE, 50, reference="inv-2", actor="ada")
    hold(empty, SCOPE, "total", 50, "b")
    (account,) = empty.accounts()
    assert (account.mode, account.cap, account.reserved, held.amount) == ("prepaid", 150, 150, 100)
    empty.set_budget(Budget(scope="org", cap=5, window="total"))
    with pytest.raises(Conflict, match="not prepaid"):
        empty.credit("org", 5, reference="x", actor="ada")


def test_sums_of_money_are_told_above_what_four_bytes_hold(empty: Ledger, clock: FixedClock) -> None:
    large = 3_000_000_000  # three dollars
    assert empty.credit(SCOPE, large, reference="inv-1", actor="ada")
    assert empty.credit(SCOPE, large, reference="inv-2", actor="ada")
    assert empty.accounts()[0].cap == 2 * large
    record, batch = begun(Hold("lea_x", SCOPE, "total", 0), at=clock.now())
    empty.post(batch)
    for number in (0, 1):
        empty.post(used(record, cost=large, at=clock.now(), number=number))
    assert empty.spend(SCOPE, since=clock.now(), until=clock.now())[0] == 2 * large
    assert empty.cost_of(record.call) == 2 * large


def test_a_run_opens_its_budget_and_is_over_when_it_ends(empty: Ledger, clock: FixedClock) -> None:
    scope = "run/red/nightly"
    opens = Budget(scope=scope, cap=100, window="total", alerts=(), ends=clock.now() + 60 * MICROS)
    want = Want(scope=scope, meter="total", need=80, like=80, opens=opens)
    assert empty.lease("a", [Want(scope=scope, meter="total", need=80, like=80)]) == []  # nobody has set one
    assert isinstance(empty.lease("a", [want]), list)
    refused = empty.lease("b", [want])  # the second call to bring it opens no second one
    assert isinstance(refused, NoRoom)
    assert not refused.over
    clock.advance(61)
    over = empty.lease("b", [Want(scope=scope, meter="total", need=1, like=1)])
    assert isinstance(over, NoRoom)
    assert over.over
    other = Budget(scope="run/red/other", cap=9, window="total")
    empty.lease("a", [Want(scope=other.scope, meter="total", need=1, like=1, opens=other)])
    empty.end_run("run/red/other")
    with pytest.raises(NotFound):
        empty.end_run("run/red/other")


def test_a_rolling_window_gives_room_back_step_by_step(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=100, window="rolling-1h"))
    for _ in range(2):
        record, batch = begun(hold(empty, SCOPE, "rolling-1h", 50), at=clock.now())
        empty.post(batch)
        empty.post(used(record, cost=50, at=clock.now()))
        clock.advance(1200)
    refused = empty.lease("a", [Want(scope=SCOPE, meter="rolling-1h", need=30, like=30)])
    assert isinstance(refused, NoRoom)
    wait = (refused.end - clock.now()) / MICROS
    assert 1200 < wait <= 1200 + 2 * 60  # when the first has left, to the step
    clock.advance(wait - 1)
    assert isinstance(empty.lease("a", [Want(scope=SCOPE, meter="rolling-1h", need=30, like=30)]), NoRoom)
    clock.advance(2)
    assert isinstance(empty.lease("a", [Want(scope=SCOPE, meter="rolling-1h", need=50, like=50)]), list)
    assert isinstance(empty.lease("a", [Want(scope=SCOPE, meter="rolling-1h", need=1, like=1)]), NoRoom)


def test_a_fair_cap_leaves_each_key_its_share(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope="team/red", cap=90, unit="requests", window="minute", fair=True))
    meter = "requests/minute"

    def take(key: str, need: int) -> bool:
        wants = [Want(scope=scope, meter=meter, need=need, like=need) for scope in ("team/red", f"team/red>key/{key}")]
        return isinstance(empty.lease("a", wants), list)

    assert take("b", 1)
    assert take("c", 1)
    assert take("a", 30)  # its share
    assert not take("a", 1)  # what is left belongs to the two others
    assert take("b", 29)
    assert take("c", 29)
    assert not take("b", 1)
    clock.advance(60)
    assert take("a", 30)  # the others were here a minute ago: their shares wait for them
    assert not take("a", 1)
    clock.advance(120)
    assert take("a", 90)  # nobody else for a while: all of it


def test_each_percentage_is_told_once_a_window(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=100))
    (account,) = empty.accounts()
    assert empty.tell(account, 80)
    assert not empty.tell(account, 80)
    assert empty.tell(account, 100)
    clock.advance(86_400)
    (account,) = empty.accounts()
    assert empty.tell(account, 80)


def test_an_expiry_is_of_the_workers_that_were_read(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=100))
    hold(empty, SCOPE, "day", 40, "a")
    hold(empty, SCOPE, "day", 40, "elsewhere")
    clock.advance(LEASE_SECONDS + 1)
    empty.expire(empty.tick(), ["a"])
    assert standing(empty) == (0, 40)  # another machine's journal may still tell of it


def test_a_clock_that_is_set_moves_no_lease(empty: Ledger, clock: FixedClock) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=100))
    held = hold(empty, SCOPE, "day", 40)
    clock.micros += 12 * 3600 * MICROS
    empty.expire(empty.tick(), ["a"])
    assert list(empty.renew("a", [held.lease])) == [held.lease]


def test_a_ledger_of_version_0_1_is_read_on(tmp_path: Path, clock: FixedClock) -> None:
    path = tmp_path / "ledger.db"
    old = sqlite3.connect(path)
    old.executescript(
        """
        CREATE TABLE budgets (scope TEXT NOT NULL, window TEXT NOT NULL, cap INTEGER NOT NULL CHECK (cap >= 0),
            PRIMARY KEY (scope, window)) STRICT, WITHOUT ROWID;
        CREATE TABLE accounts (scope TEXT NOT NULL, window TEXT NOT NULL, start INTEGER NOT NULL,
            settled INTEGER NOT NULL DEFAULT 0, leased INTEGER NOT NULL DEFAULT 0 CHECK (leased >= 0),
            PRIMARY KEY (scope, window, start)) STRICT, WITHOUT ROWID;
        CREATE TABLE leases (lease TEXT NOT NULL, scope TEXT NOT NULL, window TEXT NOT NULL, start INTEGER NOT NULL,
            boot TEXT NOT NULL, amount INTEGER NOT NULL CHECK (amount >= 0), expires INTEGER NOT NULL, state INTEGER NOT NULL,
            recall INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (lease, scope, window)) STRICT, WITHOUT ROWID;
        CREATE INDEX leases_by_account ON leases (scope, window, start);
        INSERT INTO budgets VALUES ('key/demo', 'total', 500);
        INSERT INTO accounts VALUES ('key/demo', 'total', 0, 120, 30);
        INSERT INTO leases VALUES ('lea_1', 'key/demo', 'total', 0, 'gone', 30, 1, 0, 0);
        """
    )
    old.close()
    for _ in range(2):
        ledger = Ledger(path, clock)
        assert [(a.cap, a.settled, a.mode, a.unit, a.alerts) for a in ledger.accounts()] == [(500, 120, "hard", "usd", (80, 100))]
        ledger.bury("gone")
        assert standing(ledger) == (120, 0)
        ledger.close()


def test_a_server_that_is_away_is_told_of_and_found_again(postgres: Server, clock: FixedClock) -> None:
    ledger = on_server(postgres, clock)
    ledger.set_budget(Budget(scope=SCOPE, cap=100))
    postgres.stop()
    try:
        with pytest.raises(Unavailable, match="The ledger did not answer"):
            ledger.lease("a", [Want(scope=SCOPE, meter="day", need=4, like=4)])
    finally:
        postgres.start()
    hold(ledger, SCOPE, "day", 4)
    assert standing(ledger) == (0, 4)
    ledger.close()


def test_two_writers_on_a_server_take_turns(postgres: Server, clock: FixedClock) -> None:
    name = postgres.database("turns")
    ledgers = [Ledger(PostgresRows(Secret(name), "The ledger", clock), clock) for _ in range(4)]
    ledgers[0].set_budget(Budget(scope=SCOPE, cap=100))
    given: list[int] = []

    def take(ledger: Ledger) -> None:
        for _ in range(30):
            found = ledger.lease("a", [Want(scope=SCOPE, meter="day", need=1, like=1)])
            given.append(len(found) if isinstance(found, list) else 0)

    threads = [threading.Thread(target=take, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(given) == 100
    for ledger in ledgers:
        ledger.close()


def test_nothing_is_lent_to_a_worker_that_was_buried(empty: Ledger) -> None:
    empty.set_budget(Budget(scope=SCOPE, cap=100))
    hold(empty, SCOPE, "day", 40)
    empty.bury("a")
    assert standing(empty) == (0, 0)
    with pytest.raises(Unavailable, match="taken for dead"):
        empty.lease("a", [Want(scope=SCOPE, meter="day", need=4, like=4)])
    hold(empty, SCOPE, "day", 4, "b")


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


def test_a_cap_that_was_set_after_the_attempt_follows_its_correction(ledger: Ledger) -> None:
    record, batch = begun(Hold("lea_x", "org", "day", 0), at=micros("2025-06-15T16:00:00Z"))
    ledger.post(batch)
    attempt = Attempt(
        call=record.call, attempt=0, target="m", usage=Usage(), cost=90, reserved=90, outcome="ok", start=record.at, end=record.at
    )
    ledger.post(Batch(begun=[], ended=[Ended(record.trace, attempt, (), (SCOPE,))], offsets={}, boots={}))
    ledger.lease("a", [want(10)])  # opens the account
    ledger.correct([Correction(call=record.call, attempt=0, cost=10, scopes=(SCOPE,), at=record.at)])
    assert account(ledger) == (10, 10)
