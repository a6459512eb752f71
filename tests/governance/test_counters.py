"""Limits counted in Redis: `taken <= cap` over every way a slice can go, and what holds while one of the stores is away."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.postgres import Server
from tests.redis_server import RedisServer

from tandem.core.clock import MICROS, FixedClock, SystemClock
from tandem.core.errors import Invalid, OverBudget, RateLimited, Unavailable
from tandem.core.ids import new_call, new_trace
from tandem.core.money import Usage
from tandem.core.policy import Budget, Mode, unit_of, window_in
from tandem.core.secret import Secret
from tandem.core.trace import Attempt
from tandem.governance.admit import Accounts, Need, NeedsLease, Purse, Reservation
from tandem.governance.counters import Counters, counted_here
from tandem.governance.ledger import LEASE_SECONDS, Account, Lease, Ledger, NoRoom, Want
from tandem.governance.shared import SharedBooks
from tandem.observability.move import Batch
from tandem.observability.record import Begun, Ended, Hold
from tandem.store.raw import PostgresRows

SCOPE = "key/demo"
REQUESTS, TOKENS, CALLS = "requests/minute", "tokens/day", "calls/total"
NUMBERS = count()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Secret:
    redis_server.flush()
    return Secret(redis_server.url)


class Office:
    """A ledger in a file, and as many workers as a test wants, all by one clock."""

    def __init__(self, folder: Path, url: Secret, clock: FixedClock) -> None:
        self.folder, self.url, self.clock = folder, url, clock
        self.ledger = self.connect()
        self._open: list[SharedBooks] = []

    def connect(self) -> Ledger:
        return Ledger(self.folder / "ledger.db", self.clock)

    def limit(self, cap: int, meter: str = REQUESTS, scope: str = SCOPE, mode: Mode = "hard", *, fair: bool = False) -> None:
        budget = Budget(scope=scope, cap=cap, unit=unit_of(meter), window=window_in(meter), mode=mode, fair=fair)
        self.ledger.set_budget(budget)
        self.look()

    def look(self) -> None:
        """Lets every worker look at the caps again."""
        self.clock.advance(0.2)

    def books(self, ledger: Ledger | None = None) -> SharedBooks:
        books = SharedBooks(ledger or self.connect(), self.url, self.clock, self.clock)
        self._open.append(books)
        return books

    def purse(self, boot: str = "a", ledger: Ledger | None = None) -> Purse:
        return Purse(ledger=self.books(ledger), boot=boot, clock=self.clock)

    def close(self) -> None:
        for books in self._open:
            books.close()
        self.ledger.close()


@pytest.fixture
def office(tmp_path: Path, redis_url: Secret, clock: FixedClock) -> Iterator[Office]:
    made = Office(tmp_path, redis_url, clock)
    yield made
    made.close()


def want(need: int, like: int | None = None, meter: str = REQUESTS, lease: str | None = None, scope: str = SCOPE) -> Want:
    return Want(scope=scope, meter=meter, need=need, like=like or need, lease=lease)


def lent(books: SharedBooks, boot: str, *wants: Want) -> list[Lease]:
    found = books.lease(boot, wants)
    assert isinstance(found, list), found
    return found


def refused(books: SharedBooks, boot: str, *wants: Want) -> NoRoom:
    found = books.lease(boot, wants)
    assert isinstance(found, NoRoom), found
    return found


def taken(books: SharedBooks, meter: str = REQUESTS, scope: str = SCOPE) -> int:
    """What an account has taken, by what a refusal says."""
    return refused(books, "asker", want(10**12, meter=meter, scope=scope)).settled


def back(books: SharedBooks, boot: str, lease: Lease, amount: int) -> None:
    books.give_back(boot, [(lease.lease, lease.scope, lease.meter, amount)])


# --- what is lent


def test_a_limit_lends_no_more_than_its_cap_and_recalls_what_others_hold(office: Office) -> None:
    office.limit(10)
    one, two = office.books(), office.books()
    (slice_,) = lent(one, "a", want(6))
    room = refused(two, "b", want(5))
    assert (room.cap, room.settled, room.elsewhere, room.end) == (10, 6, True, slice_.end)
    assert one.recalled("a") == [(slice_.lease, SCOPE, REQUESTS)]
    assert one.recalled("a") == []
    back(one, "a", slice_, 4)
    assert lent(two, "b", want(8))[0].amount == 8
    assert taken(one) == 10


def test_who_has_just_handed_back_what_it_had_is_not_waited_for(office: Office) -> None:
    office.limit(10)
    one, two = office.books(), office.books()
    (slice_,) = lent(one, "a", want(10))
    assert refused(two, "b", want(1)).elsewhere
    back(one, "a", slice_, 0)  # all of it is spent
    assert not refused(two, "b", want(1)).elsewhere
    office.clock.advance(1)
    assert refused(two, "b", want(1)).elsewhere  # by now a call may have ended there


def test_all_accounts_of_a_call_are_lent_or_none(office: Office) -> None:
    office.limit(100)
    office.limit(3, CALLS)
    books = office.books()
    assert refused(books, "a", want(50), want(4, meter=CALLS)).meter == CALLS
    assert (taken(books), taken(books, CALLS)) == (0, 0)
    assert [each.amount for each in lent(books, "a", want(50), want(3, meter=CALLS))] == [50, 3]


def test_slices_shrink_near_the_cap(office: Office) -> None:
    office.limit(1000)
    books = office.books()
    amounts = [lent(books, "a", want(10, 1000))[0].amount for _ in range(6)]
    assert amounts[0] == 250
    assert amounts == sorted(amounts, reverse=True)


def test_a_lease_grows_instead_of_a_second_one(office: Office) -> None:
    office.limit(100)
    books = office.books()
    (first,) = lent(books, "a", want(10))
    (grown,) = lent(books, "a", want(20, lease=first.lease))
    assert (grown.lease, grown.amount) == (first.lease, 20)
    (other,) = lent(books, "b", want(5, lease=first.lease))  # somebody else's
    assert other.lease != first.lease
    back(books, "a", first, 30)
    assert taken(books) == 5


@pytest.mark.parametrize(
    ("scope", "meter", "here"),
    [
        (SCOPE, "requests/minute", True),
        ("org", "tokens/hour", True),
        (SCOPE, "tokens/day@Europe/Berlin", True),
        (SCOPE, "calls/total", True),
        (SCOPE, "day", False),
        (SCOPE, "requests/week", False),
        (SCOPE, "requests/month@Asia/Kolkata", False),
        (SCOPE, "tokens/total", False),
        (SCOPE, "requests/rolling-60s", False),
        ("team/red>key/demo", "requests/minute", False),
        ("run/red/nightly", "tokens/day", False),
    ],
)
def test_which_caps_are_counted_in_redis(office: Office, scope: str, meter: str, here: bool) -> None:
    assert counted_here(scope, meter) is here
    budget = Budget(scope=scope.partition(">")[0], cap=100, unit=unit_of(meter), window=window_in(meter))
    office.ledger.set_budget(budget)
    books = office.books()
    (slice_,) = lent(books, "a", want(5, meter=meter, scope=scope))
    assert slice_.lease.startswith("cnt_" if here else "lea_")
    back(books, "a", slice_, 5)
    assert lent(books, "a", want(100, meter=meter, scope=scope))[0].amount == 100


def test_a_fair_cap_is_the_ledgers_and_a_soft_one_nobodys(office: Office) -> None:
    office.limit(100, fair=True)
    office.limit(100, TOKENS, mode="soft")
    books = office.books()
    (slice_,) = lent(books, "a", want(5), want(5, meter=TOKENS), want(5, meter=CALLS))
    assert (slice_.meter, slice_.lease[:4]) == (REQUESTS, "lea_")


def test_a_new_cap_is_seen_by_whom_it_concerns_at_once(office: Office) -> None:
    office.limit(100)
    books = office.books()
    lent(books, "a", want(1))
    office.ledger.set_budget(Budget(scope=SCOPE, cap=3, unit="calls", window="total"))  # nobody has looked since
    assert lent(books, "a", want(3, meter=CALLS))[0].lease.startswith("cnt_")


def test_dollars_and_limits_are_lent_together_or_not(office: Office) -> None:
    office.limit(100)
    office.ledger.set_budget(Budget(scope=SCOPE, cap=1000))
    books = office.books()
    dollars = want(600, meter="day")
    assert [each.amount for each in lent(books, "a", want(10), dollars)] == [10, 600]
    assert refused(books, "b", want(10), dollars).meter == "day"
    assert taken(books) == 10
    assert refused(books, "b", want(91), want(100, meter="day")).meter == REQUESTS
    assert next(each.reserved for each in office.ledger.accounts() if each.unit == "usd") == 600


# --- how a lease ends


def test_what_was_spent_counts_until_its_window_is_over(office: Office) -> None:
    office.limit(10)
    books = office.books()
    (slice_,) = lent(books, "a", want(10))
    back(books, "a", slice_, 3)
    assert taken(books) == 7
    office.clock.advance(60)
    assert taken(books) == 0
    (fresh,) = lent(books, "a", want(10, lease=slice_.lease))
    assert (fresh.start, fresh.lease != slice_.lease) == (slice_.end, True)


def test_requests_stay_counted_and_calls_are_freed_when_a_lease_is_not_renewed(office: Office) -> None:
    office.limit(10, "requests/day")
    office.limit(4, CALLS)
    books = office.books()
    gone, alive = [lent(books, boot, want(3, meter="requests/day"), want(2, meter=CALLS)) for boot in "ab"]
    office.clock.advance(LEASE_SECONDS - 1)
    assert books.renew("a", [alive[0].lease]) == {}  # not its own
    assert list(books.renew("b", [alive[0].lease])) == [alive[0].lease]
    office.clock.advance(2)
    assert (taken(books, "requests/day"), taken(books, CALLS)) == (6, 2)
    assert books.renew("a", [gone[0].lease]) == {}
    for slice_ in gone:  # a worker that wakes up late changes nothing
        back(books, "a", slice_, slice_.amount)
    assert (taken(books, "requests/day"), taken(books, CALLS)) == (6, 2)


def test_a_give_back_counts_once_and_never_more_than_was_lent(office: Office) -> None:
    office.limit(10)
    books = office.books()
    (slice_,) = lent(books, "a", want(4))
    back(books, "b", slice_, 4)  # not its own
    back(books, "a", slice_, 9)
    back(books, "a", slice_, 4)
    assert taken(books) == 0


# --- a cap that changes


def test_a_lowered_cap_recalls_every_slice(office: Office) -> None:
    office.limit(100)
    books = office.books()
    lent(books, "a", want(50))
    assert books.recalled("a") == []
    office.limit(20)
    assert [each[1:] for each in books.recalled("a")] == [(SCOPE, REQUESTS)]
    assert books.recalled("a") == []
    assert refused(books, "a", want(1)).cap == 20


async def take(purse: Purse, accounts: Accounts, need: Need = Need(0)) -> Reservation:  # noqa: B008  # frozen
    while True:
        try:
            return purse.admit(accounts, need) if need.amount or need.tokens else purse.enter(accounts)
        except NeedsLease:
            await purse.top_up(purse.wants(accounts, need if need.amount or need.tokens else None))


async def test_a_lower_cap_holds_for_what_a_purse_holds_already(office: Office) -> None:
    office.limit(100)
    purse, accounts = office.purse(), Accounts(call=((SCOPE, REQUESTS),))
    purse.settle(await take(purse, accounts), 0)
    office.limit(2)
    await purse.tend()
    purse.settle(await take(purse, accounts), 0)
    with pytest.raises(RateLimited, match="2 requests a minute"):
        await take(purse, accounts)


async def test_an_idle_slice_returns_to_others(office: Office) -> None:
    office.limit(4, CALLS)
    one, two, accounts = office.purse("a"), office.purse("b"), Accounts(call=((SCOPE, CALLS),))
    one.settle(await take(one, accounts), 0)
    office.clock.advance(0.6)
    await one.tend()
    assert one.slices == {}
    for _ in range(4):
        await take(two, accounts)
    with pytest.raises(RateLimited, match="may have 4 calls at once"):
        await take(two, accounts)


# --- Redis away, or empty


def test_redis_away_is_named_left_alone_for_a_moment_and_found_again(office: Office, redis_server: RedisServer) -> None:
    office.limit(10)
    office.ledger.set_budget(Budget(scope=SCOPE, cap=1000))
    books = office.books()
    lent(books, "a", want(1))
    redis_server.stop()
    try:
        with pytest.raises(Unavailable, match="Redis, which counts the limits, did not answer") as fault:
            books.lease("a", [want(1)])
        assert fault.value.retry_after == 1
        assert lent(books, "a", want(5, meter="day"))[0].amount == 5  # dollars go on
    finally:
        redis_server.start()
    with pytest.raises(Unavailable, match="did not answer"):  # nobody has asked it
        books.lease("a", [want(1)])
    office.clock.advance(60)
    lent(books, "a", want(1))


async def test_calls_that_fit_into_slices_go_on_while_redis_is_away(office: Office, redis_server: RedisServer) -> None:
    office.limit(100)
    office.ledger.set_budget(Budget(scope=SCOPE, cap=10_000))
    purse = office.purse()
    accounts = Accounts(call=((SCOPE, REQUESTS),), dollars=((SCOPE, "day"),))
    await take(purse, accounts)
    free, deadline = purse.slices[SCOPE, REQUESTS].free, purse.slices[SCOPE, REQUESTS].deadline
    redis_server.stop()
    try:
        for _ in range(free):
            await take(purse, accounts)
            office.clock.advance(0.25)  # the slice lives on to its deadline, though nobody can renew it
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(purse, "_ahead", 1)
                await tend(purse)
        assert purse.slices[SCOPE, REQUESTS].deadline == deadline
        with pytest.raises(Unavailable, match="Redis"):
            await take(purse, accounts)
        await take(purse, accounts, Need(7))
    finally:
        redis_server.start()


async def tend(purse: Purse) -> None:
    try:
        await purse.tend()
    except Unavailable:
        pass


def test_an_account_that_redis_does_not_know_begins_with_what_the_ledger_does(office: Office, redis_server: RedisServer) -> None:
    office.limit(10, "requests/day")
    (before,) = office.ledger.lease("old", [want(4, meter="requests/day")])  # type: ignore[misc]
    book(office.ledger, Hold(before.lease, SCOPE, "requests/day", 1), office.clock.now())
    books = office.books()
    assert taken(books, "requests/day") == 4  # one settled, three lent
    (slice_,) = lent(books, "a", want(6, meter="requests/day"))
    for _ in range(2):
        book(office.ledger, Hold(slice_.lease, SCOPE, "requests/day", 1), office.clock.now())
    assert settled(office.ledger) == 3
    redis_server.flush()
    office.clock.advance(1)
    assert books.recalled("a") == [("", SCOPE, "requests/day")]  # what was lent before is counted nowhere
    assert books.renew("a", [slice_.lease]) == {}
    assert taken(books, "requests/day") == 6  # three settled, three lent
    assert books.recalled("a") == []


def test_what_the_ledger_has_lent_of_calls_at_once_is_free_when_it_ends(office: Office) -> None:
    office.limit(5, CALLS)
    office.ledger.lease("old", [want(3, meter=CALLS)])
    books = office.books()
    assert taken(books, CALLS) == 3
    office.clock.advance(LEASE_SECONDS + 1)
    assert lent(books, "a", want(5, meter=CALLS))[0].amount == 5


def test_a_server_that_began_anew_with_old_data_is_not_believed(office: Office, redis_server: RedisServer) -> None:
    office.limit(10, "requests/day")
    books = office.books()
    (slice_,) = lent(books, "a", want(2, meter="requests/day"))
    for _ in range(2):
        book(office.ledger, Hold(slice_.lease, SCOPE, "requests/day", 1), office.clock.now())
    (key,) = redis_server.run("KEYS", "tandem:account:*")  # type: ignore[misc]
    redis_server.run("HSET", key, "taken", 0)  # as an older copy of the data has it
    redis_server.run("HSET", "tandem:life", "server", "before")
    office.clock.advance(1)
    assert taken(books, "requests/day") == 2


def book(ledger: Ledger, hold: Hold, at: int) -> None:
    """Books a call that was let in by a hold, as the mover does it."""
    record = Begun(new_call(), 0, new_trace(), None, at, "mock/m", "e", "chat", "t", "demo", (SCOPE,), 0, (hold,))
    attempt = Attempt(
        call=record.call,
        attempt=0,
        target="mock/m",
        usage=Usage(input=30, output=12, source="provider"),
        cost=0,
        reserved=0,
        outcome="ok",
        start=at,
        end=at,
    )
    ledger.post(Batch(begun=[record], ended=[], offsets={}, boots={record.call: "a"}))
    ledger.post(Batch(begun=[], ended=[Ended(record.trace, attempt, (hold,), (SCOPE,))], offsets={}, boots={}))


def settled(ledger: Ledger) -> int:
    (account,) = ledger.accounts()
    return account.settled


@pytest.mark.parametrize(("meter", "used"), [("requests/day", 1), (TOKENS, 42), (CALLS, 0)])
def test_holds_of_redis_are_booked_in_the_ledgers_accounts(office: Office, meter: str, used: int) -> None:
    office.limit(1000, meter)
    (slice_,) = lent(office.books(), "a", want(100, meter=meter))
    book(office.ledger, Hold(slice_.lease, SCOPE, meter, 100), office.clock.now())
    office.ledger.expire(office.ledger.tick(), ["a"])
    assert settled(office.ledger) == used
    assert office.ledger.running() == 0


# --- the SQL store away


class Away(Ledger):
    """A ledger whose store a test takes away."""

    away = False

    def _check(self) -> None:
        if self.away:
            raise Unavailable("The ledger did not answer.", retry_after=1)

    def caps_version(self) -> int:
        self._check()
        return super().caps_version()

    def accounts(self, scopes: Collection[str] | None = None) -> list[Account]:
        self._check()
        return super().accounts(scopes)

    def lease(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom:
        self._check()
        return super().lease(boot, wants)

    def renew(self, boot: str, leases: Any) -> dict[str, int]:
        self._check()
        return super().renew(boot, leases)

    def recalled(self, boot: str) -> list[tuple[str, str, str]]:
        self._check()
        return super().recalled(boot)


def test_limits_go_on_by_the_last_known_caps_while_the_sql_store_is_away(office: Office, redis_server: RedisServer) -> None:
    office.limit(10)
    office.limit(10, "requests/day", "org")
    office.ledger.set_budget(Budget(scope=SCOPE, cap=1000))
    ledger = Away(office.folder / "ledger.db", office.clock)
    books = office.books(ledger)
    lent(books, "a", want(4), want(4, meter="requests/day", scope="org"))
    ledger.away = True
    for _ in range(2):
        office.clock.advance(60)  # a window that Redis was there to see from its beginning
        assert lent(books, "a", want(10))[0].amount == 10
        assert refused(books, "a", want(1)).cap == 10
    with pytest.raises(Unavailable, match="ledger"):
        books.lease("a", [want(1, meter="requests/day", scope="org"), want(1, meter="day")])
    assert taken(books, "requests/day", "org") == 4  # what the first had lent was taken back
    with pytest.raises(Unavailable, match="ledger"):
        books.lease("a", [want(1, meter=CALLS)])  # a cap that nobody here knows
    redis_server.flush()
    with pytest.raises(Unavailable, match="does not know yet what was used of org"):
        books.lease("a", [want(1, meter="requests/day", scope="org")])
    office.clock.advance(60)
    lent(books, "a", want(10))
    ledger.away = False
    office.clock.advance(20)
    lent(books, "a", want(1, meter="requests/day", scope="org"), want(1, meter="day"))


async def test_calls_that_run_keep_their_places_while_the_sql_store_is_away(office: Office) -> None:
    office.limit(4, CALLS)
    office.ledger.set_budget(Budget(scope=SCOPE, cap=100_000))
    ledger = Away(office.folder / "ledger.db", office.clock)
    purse = office.purse(ledger=ledger)
    accounts = Accounts(call=((SCOPE, CALLS),), dollars=((SCOPE, "day"),))
    await take(purse, accounts)
    await take(purse, accounts, Need(10))
    ledger.away = True
    for _ in range(3 * LEASE_SECONDS):
        office.clock.advance(1)
        if (SCOPE, "day") in purse.slices and purse.slices[SCOPE, "day"].deadline > office.clock.monotonic():
            purse.admit(accounts, Need(40))  # dollars from the slice, as long as it lasts: it is soon to be filled up
        await tend(purse)
    for _ in range(3):
        await take(purse, accounts)
    with pytest.raises(RateLimited):
        await take(purse, accounts)


@pytest.mark.slow
async def test_limits_go_on_while_postgresql_is_away(
    postgres: Server, redis_url: Secret, clock: FixedClock, tmp_path: Path
) -> None:
    url = Secret(postgres.database(f"counters{next(NUMBERS)}"))
    ledger = Ledger(PostgresRows(url, "The ledger", clock), clock)
    ledger.set_budget(Budget(scope=SCOPE, cap=10, unit="requests", window="minute"))
    ledger.set_budget(Budget(scope=SCOPE, cap=100))
    purse = Purse(ledger=SharedBooks(ledger, redis_url, clock, clock), boot="a", clock=clock)
    limited, paid = Accounts(call=((SCOPE, REQUESTS),)), Accounts(dollars=((SCOPE, "day"),))
    await take(purse, limited)
    await take(purse, paid, Need(10))
    postgres.stop()
    try:
        for _ in range(9):
            await take(purse, limited)
        with pytest.raises(RateLimited):
            await take(purse, limited)
        await tend(purse)
        await take(purse, paid, Need(10))
        with pytest.raises(Unavailable, match="The ledger did not answer"):
            await take(purse, paid, Need(80))
        clock.advance(60)
        await take(purse, limited)
    finally:
        postgres.start()
    clock.advance(60)
    await take(purse, paid, Need(40))
    with pytest.raises(OverBudget):
        await take(purse, paid, Need(50))
    purse.close()


# --- replies that are lost


@dataclass
class Line:
    """Between counters and Redis: loses replies, or keeps what was sent to deliver it late."""

    ask: Callable[..., Any]
    broken: bool = False
    late: bool = False
    kept: list[tuple[Any, ...]] = field(default_factory=list)

    def __call__(self, *asked: Any) -> Any:
        if self.late:
            self.kept.append(asked)
        elif self.broken:
            self.ask(*asked)
        else:
            return self.ask(*asked)
        raise Unavailable("Redis did not answer.", retry_after=1)


@pytest.fixture
def line(office: Office, monkeypatch: pytest.MonkeyPatch) -> tuple[Counters, Line]:
    counters = Counters(office.url, office.clock, office.ledger.accounts, office.clock)
    line = Line(counters._redis.ask)
    monkeypatch.setattr(counters._redis, "ask", line)
    return counters, line


@pytest.mark.parametrize("meter", [REQUESTS, CALLS])
def test_a_lease_whose_reply_was_lost_is_taken_back(office: Office, line: tuple[Counters, Line], meter: str) -> None:
    office.limit(10, meter)
    (counters, wire), books, caps = line, office.books(), {(SCOPE, meter): 10}
    (first,) = counters.lease("a", [want(2, meter=meter)], caps)  # type: ignore[misc]
    wire.broken = True
    with pytest.raises(Unavailable):
        counters.lease("a", [want(3, meter=meter, lease=first.lease)], caps)
    assert taken(books, meter) == 5
    wire.broken = False
    assert list(counters.renew("a", [first.lease])) == [first.lease]
    assert taken(books, meter) == 2


def test_a_lease_that_comes_after_it_was_taken_back_counts_no_more(office: Office, line: tuple[Counters, Line]) -> None:
    office.limit(10)
    (counters, wire), books, caps = line, office.books(), {(SCOPE, REQUESTS): 10}
    counters.lease("a", [want(1)], caps)
    wire.late = True
    with pytest.raises(Unavailable):
        counters.lease("a", [want(3)], caps)
    wire.late = False
    counters.recalled("a")
    assert wire.ask(*wire.kept[0])[0] == "over"
    assert taken(books) == 1


def test_a_server_that_hangs_is_given_up_and_what_it_does_later_is_undone(office: Office, redis_server: RedisServer) -> None:
    office.limit(10)
    books = office.books()
    lent(books, "a", want(2))
    redis_server.freeze()
    try:
        with pytest.raises(Unavailable, match="Redis"):
            books.lease("a", [want(3)])
    finally:
        redis_server.thaw()
    office.clock.advance(5)
    books.recalled("a")
    assert taken(office.books()) == 2


@pytest.mark.parametrize("how", ["broken", "late"])
def test_a_give_back_that_failed_is_made_up_for_once(office: Office, line: tuple[Counters, Line], how: str) -> None:
    office.limit(10)
    (counters, wire), books, caps = line, office.books(), {(SCOPE, REQUESTS): 10}
    (slice_,) = counters.lease("a", [want(8)], caps)  # type: ignore[misc]
    setattr(wire, how, True)
    counters.give_back("a", [(slice_.lease, SCOPE, REQUESTS, 3)])
    assert taken(books) == (5 if how == "broken" else 8)
    setattr(wire, how, False)
    for _ in range(2):
        counters.recalled("a")
    assert taken(books) == 5
    for asked in wire.kept:
        wire.ask(*asked)
    assert taken(books) == 5


def test_what_is_owed_is_forgotten_when_its_lease_is_over(office: Office, line: tuple[Counters, Line]) -> None:
    office.limit(10, "requests/day")
    (counters, wire), caps = line, {(SCOPE, "requests/day"): 10}
    (slice_,) = counters.lease("a", [want(8, meter="requests/day")], caps)  # type: ignore[misc]
    wire.late = True
    counters.give_back("a", [(slice_.lease, SCOPE, "requests/day", 3)])
    wire.late = False
    office.clock.advance(LEASE_SECONDS + 1)
    counters.recalled("a")
    assert not counters._owed
    assert taken(office.books(), "requests/day") == 8


def test_what_is_owed_is_tried_only_as_long_as_its_lease_lasts(office: Office, line: tuple[Counters, Line]) -> None:
    office.limit(10)
    (counters, wire), caps = line, {(SCOPE, REQUESTS): 10}
    (slice_,) = counters.lease("a", [want(8)], caps)  # type: ignore[misc]
    wire.late = True
    for _ in range(4):
        counters.give_back("a", [(slice_.lease, SCOPE, REQUESTS, 1)])
        office.clock.advance(LEASE_SECONDS / 2 + 1)
    assert len(counters._owed) == 2


# --- many at once


@pytest.mark.parametrize("meter", ["requests/day", CALLS])
def test_no_cap_is_passed_by_many_threads(office: Office, meter: str) -> None:
    """Each worker leases, spends, gives back and renews at random; of requests leases expire, too."""
    cap, lock = 100, threading.Lock()
    office.limit(cap, meter)
    out, most = [0], [0]

    def work(number: int) -> None:
        rng, books, boot = random.Random(number), office.books(), f"w{number}"
        held: list[list[Any]] = []
        for _ in range(60):
            act = rng.random()
            if act < 0.5:
                found = books.lease(boot, [want(rng.randint(1, 6), rng.randint(6, 60), meter)])
                if isinstance(found, list):
                    held.append([found[0], found[0].amount])
                    with lock:
                        out[0] += found[0].amount
                        most[0] = max(most[0], out[0])
            elif act < 0.8 and held:
                slice_, free = held.pop(rng.randrange(len(held)))
                spent = rng.randint(0, min(2, free)) if meter != CALLS else 0
                with lock:
                    out[0] -= free - spent
                back(books, boot, slice_, free - spent)
            elif act < 0.95:
                books.renew(boot, [slice_.lease for slice_, _ in held])
            elif meter != CALLS:
                held.clear()  # lost: they stay counted
        assert taken(books, meter) <= cap

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < most[0] <= cap
    assert taken(office.books(), meter) == out[0]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("lease"), st.sampled_from("ab"), st.integers(1, 40)),
        st.tuples(st.just("grow"), st.sampled_from("ab"), st.integers(1, 40)),
        st.tuples(st.just("return"), st.integers(0, 9), st.integers(0, 100)),
        st.tuples(st.just("renew"), st.sampled_from("ab"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 20), st.just(0)),
        st.tuples(st.just("cap"), st.integers(0, 150), st.just(0)),
    ),
    max_size=30,
)


@dataclass
class Row:
    boot: str
    expires: int
    amount: dict[str, int]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_counters_do_as_their_model(redis_server: RedisServer, steps: list[tuple[str, Any, int]]) -> None:
    """Leases, growth, returns, renewals, ends and changed caps of two workers, against sums kept by hand."""
    redis_server.flush()
    clock = FixedClock(micros=1_750_032_000 * MICROS)  # a UTC midnight: no example lasts a day
    counters = Counters(Secret(redis_server.url), clock, lambda scopes: [], clock)
    meters = (TOKENS, CALLS)
    caps = dict.fromkeys([(SCOPE, meter) for meter in meters], 100)
    rows: dict[str, Row] = {}
    tokens, highest = 0, 100

    def places() -> int:
        return sum(row.amount[CALLS] for row in rows.values() if row.expires > clock.now())

    for step, who, number in steps:
        if step in ("lease", "grow"):
            own = next((lease for lease, row in rows.items() if row.boot == who and step == "grow"), None)
            wants = [want(number, number * 3, meter, own) for meter in meters]
            found = counters.lease(who, wants, caps)
            room = {TOKENS: caps[SCOPE, TOKENS] - tokens, CALLS: caps[SCOPE, CALLS] - places()}
            assert isinstance(found, list) == all(each >= number for each in room.values())
            for lease in found if isinstance(found, list) else ():
                assert lease.amount == min(number * 3, max(number, room[lease.meter] // 4))
                row = rows.setdefault(lease.lease, Row(who, 0, dict.fromkeys(meters, 0)))
                row.expires = lease.expires
                row.amount[lease.meter] += lease.amount
                tokens += lease.amount if lease.meter == TOKENS else 0
        elif step == "return" and rows:
            lease_id, row = list(rows.items())[who % len(rows)]
            pieces = [(lease_id, SCOPE, meter, row.amount[meter] * number // 100) for meter in meters]
            counters.give_back(row.boot, pieces)
            if row.expires > clock.now():
                tokens -= pieces[0][3]
                for _, _, meter, amount in pieces:
                    row.amount[meter] -= amount
        elif step == "renew":
            own_rows = {lease: row for lease, row in rows.items() if row.boot == who}
            alive = counters.renew(who, own_rows)
            assert set(alive) == {lease for lease, row in own_rows.items() if row.expires > clock.now()}
            for lease_id, expires in alive.items():
                rows[lease_id].expires = expires
        elif step == "wait":
            clock.advance(who)
        elif step == "cap":
            caps = dict.fromkeys(caps, who)
            highest = max(highest, who)
        for meter, expected in ((TOKENS, tokens), (CALLS, places())):
            asked = counters.lease("asker", [want(10**12, meter=meter)], caps)
            assert isinstance(asked, NoRoom)
            assert asked.settled == expected <= highest
    counters.close()


def test_redis_own_clock_says_when_windows_begin_and_leases_end(office: Office, redis_server: RedisServer) -> None:
    office.limit(10, "requests/hour")
    machine = FixedClock(micros=1_600_000_000 * MICROS)  # years behind
    books = SharedBooks(office.connect(), office.url, machine)
    (slice_,) = lent(books, "a", want(10, meter="requests/hour"))
    now = SystemClock().now()
    (key,) = redis_server.run("KEYS", "tandem:account:*")  # type: ignore[misc]
    start = int(key.rpartition(":")[2])
    assert start <= now + 60 * MICROS
    assert now - start < 2 * 3600 * MICROS
    assert abs(slice_.expires - now) < 600 * MICROS
    assert slice_.start <= machine.now() < slice_.end  # told in this machine's time
    assert slice_.end - slice_.start == 3600 * MICROS
    books.close()


def test_keys_end_by_themselves(office: Office, redis_server: RedisServer) -> None:
    office.limit(10)
    books = office.books()
    back(books, "a", lent(books, "a", want(5))[0], 2)
    refused(office.books(), "b", want(9))
    keys: list[str] = redis_server.run("KEYS", "*")  # type: ignore[assignment]
    assert {key.split(":")[0] for key in keys} == {"tandem"}
    assert [key for key in keys if redis_server.run("TTL", key) == -1] == ["tandem:life"]


# --- the client


def test_the_client_is_imported_when_it_is_used() -> None:
    code = "import sys, tandem.governance.shared, tandem.governance.admit; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_the_client_it_is_said_how_to_get_it(clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(Invalid, match=r"tandem-ai\[redis\]"):
        Counters(Secret("redis://127.0.0.1"), clock, lambda scopes: [])


def test_an_address_that_is_none_is_refused_without_repeating_it(clock: FixedClock) -> None:
    with pytest.raises(Invalid) as fault:
        Counters(Secret("http://:secret@host"), clock, lambda scopes: [])
    assert "secret" not in str(fault.value)
