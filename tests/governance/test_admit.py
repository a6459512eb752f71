"""The purse of a worker: what it reserves, hands back, and refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tandem.core.clock import FixedClock
from tandem.core.errors import OverBudget
from tandem.core.policy import Budget
from tandem.governance.admit import FREE, Need, NeedsLease, Purse, Reservation
from tandem.governance.ledger import LEASE_SECONDS, REAPED_SECONDS, Ledger, NoRoom, Want

SCOPES = ("org", "team/t", "key/demo")
CAPS = {"key/demo": ("day",), "org": ("total",)}


class Office:
    def __init__(self, folder: Path) -> None:
        self.clock, self.folder = FixedClock(), folder
        self.ledger = Ledger(folder / "ledger.db", self.clock)
        self.ledger.set_budget(Budget(scope="key/demo", cap=10_000))
        self.ledger.set_budget(Budget(scope="org", cap=100_000, window="total"))

    def purse(self, boot: str = "a") -> Purse:
        return Purse(ledger=Ledger(self.folder / "ledger.db", self.clock), boot=boot, clock=self.clock)

    def reserved(self, scope: str = "key/demo") -> int:
        return next(account.reserved for account in self.ledger.accounts() if account.scope == scope)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


async def take(purse: Purse, amount: int, tokens: int = 0) -> Reservation:
    accounts, need = purse.accounts(SCOPES, CAPS), Need(amount, tokens)
    while True:
        try:
            return purse.admit(accounts, need)
        except NeedsLease:
            await purse.top_up(purse.wants(accounts, need))


async def test_without_a_cap_nothing_is_leased(office: Office) -> None:
    purse = office.purse()
    assert purse.admit(purse.accounts(SCOPES, {}), Need(0)) is FREE
    assert purse.admit(purse.accounts(SCOPES, CAPS), Need(0)) is FREE
    assert purse.admit(purse.accounts(SCOPES, {"key/other": ("day",)}), Need(7)) == Reservation(7)
    assert purse.slices == {}


async def test_far_from_a_cap_one_lease_serves_many_calls(office: Office) -> None:
    purse = office.purse()
    first = await take(purse, 10)
    assert {hold.scope for hold in first.holds} == {"org", "key/demo"}
    for _ in range(40):
        assert purse.admit(purse.accounts(SCOPES, CAPS), Need(10)).amount == 10  # synchronous: the slice holds enough


async def test_what_is_not_used_comes_back(office: Office) -> None:
    purse = office.purse()
    held = await take(purse, 6000)
    with pytest.raises(OverBudget, match=r"budget of key/demo .*may cost up to 0\.000006 USD"):
        await take(purse, 6000)
    purse.settle(held, 1000)
    assert (await take(purse, 6000)).amount == 6000
    with pytest.raises(OverBudget):
        await take(purse, 4000)


async def test_an_idle_slice_returns_to_others(office: Office) -> None:
    one, two = office.purse("a"), office.purse("b")
    one.settle(await take(one, 9000), 0)
    office.clock.advance(0.6)
    await one.tend()
    assert one.slices == {}
    assert office.reserved() == 0
    assert (await take(two, 9000)).amount == 9000


async def test_a_call_waits_for_recalled_slices_before_it_is_refused(office: Office) -> None:
    one, two = office.purse("a"), office.purse("b")
    one.settle(await take(one, 9000), 0)  # free, not idle long enough to be returned by itself

    async def tend() -> None:
        while True:
            await asyncio.sleep(0.02)
            await one.tend()

    keeper = asyncio.create_task(tend())
    assert (await take(two, 9000)).amount == 9000
    keeper.cancel()


@pytest.mark.slow
async def test_money_that_runs_elsewhere_is_no_room(office: Office) -> None:
    one, two = office.purse("a"), office.purse("b")
    await take(one, 9000)

    async def tend() -> None:
        while True:
            await asyncio.sleep(0.02)
            await one.tend()

    keeper = asyncio.create_task(tend())
    with pytest.raises(OverBudget):
        await take(two, 2000)
    keeper.cancel()


async def test_who_is_cut_off_is_waited_for_only_until_its_lease_is_over(office: Office) -> None:
    one, two = office.purse("a"), office.purse("b")
    await take(one, 9000)  # and hears of no recall from now on
    office.clock.advance(LEASE_SECONDS + REAPED_SECONDS - 1)
    assert isinstance(short := two.ledger.lease("b", [Want(scope="key/demo", meter="day", need=2000, like=2000)]), NoRoom)
    assert short.elsewhere
    office.clock.advance(1)
    assert isinstance(short := two.ledger.lease("b", [Want(scope="key/demo", meter="day", need=2000, like=2000)]), NoRoom)
    assert not short.elsewhere
    assert short.leased >= 9000, "what it holds stays reserved"
    with pytest.raises(OverBudget):
        await take(two, 2000)


async def test_nothing_is_spent_from_a_lease_near_its_end(office: Office) -> None:
    purse = office.purse()
    held = await take(purse, 10)
    assert purse.fresh(held)
    office.clock.advance(LEASE_SECONDS - 1)
    assert not purse.fresh(held)
    with pytest.raises(NeedsLease):
        purse.admit(purse.accounts(SCOPES, CAPS), Need(10))


async def test_a_used_lease_is_renewed(office: Office) -> None:
    purse = office.purse()
    held = await take(purse, 10)
    for _ in range(10):
        office.clock.advance(LEASE_SECONDS / 3)
        await purse.tend()
        office.ledger.expire(office.ledger.tick(), ["a"])
        assert purse.fresh(held)


async def test_a_lower_cap_holds_at_once(office: Office) -> None:
    purse = office.purse()
    purse.settle(await take(purse, 100), 100)
    office.ledger.set_budget(Budget(scope="key/demo", cap=150))
    await purse.tend()
    with pytest.raises(OverBudget):
        await take(purse, 100)
    assert (await take(purse, 50)).amount == 50


async def test_closing_hands_everything_back(office: Office) -> None:
    purse = office.purse()
    purse.settle(await take(purse, 100), 40)
    purse.close()
    assert office.reserved() == 40  # spent, and still to be booked by the mover


@pytest.mark.slow
async def test_many_calls_at_once_never_pass_the_cap(office: Office) -> None:
    purses = [office.purse(name) for name in "abc"]
    admitted = 0

    async def one(number: int) -> None:
        nonlocal admitted
        try:
            await take(purses[number % 3], 300)
        except OverBudget:
            return
        admitted += 300

    async def tend() -> None:
        while True:
            await asyncio.sleep(0.02)
            await asyncio.gather(*[purse.tend() for purse in purses])

    keeper = asyncio.create_task(tend())
    await asyncio.gather(*[one(number) for number in range(60)])
    keeper.cancel()
    assert admitted == 9900  # 33 calls of 300 fit into 10,000, and none of them was refused while there was room
