"""Admit and settle: the purse of one door worker.

The purse holds slices of every capped account this worker has business with. `admit` reserves from
them in memory; when a slice is too small it raises `NeedsLease`, and `top_up` fetches more on a
thread of its own, so that the event loop never waits for the ledger file. `settle` puts back what an
attempt did not use. It knows nothing of prices or wires.

Nothing is spent from a slice in the last two seconds of its lease, by the worker's own monotonic
clock: a worker that was stopped past its lease finds that out before it sends a byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from tandem.core.clock import MICROS, Clock, iso
from tandem.core.errors import OverBudget, Unavailable
from tandem.core.money import dollars
from tandem.core.policy import Window
from tandem.governance.ledger import LEASE_SECONDS, Lease, Ledger, NoRoom, Want
from tandem.observability.record import Hold

SAFETY_SECONDS = 2.0
CALLS_AHEAD, MOST_AHEAD = 64, 65_536
"""A slice is asked for this many calls like the one that needs it; the ledger gives less near a cap."""
TENDS_AHEAD = 20
"""A busy worker's slices hold what it admits between so many looks of `tend`: about two seconds."""
IDLE_SECONDS = 0.5
ACCOUNTS_LIMIT = 10_000
"""Callers whose accounts are remembered."""
RECALL_SECONDS = 2.0
"""How long a call waits for slices that other workers were asked to hand back."""
RECALL_PAUSE = 0.05

T = TypeVar("T")

Account = tuple[str, Window]


@dataclass(slots=True)
class Slice:
    """Money of one account lent to this worker."""

    lease: str
    start: int
    end: int
    free: int
    deadline: float
    """Monotonic second after which nothing more is spent from it."""
    held: int = 0
    """Nano-dollars reserved by calls that run."""
    used_at: float = 0.0
    last: int = 0
    """Nano-dollars that the newest call reserved in it."""
    tight: bool = False
    """The ledger gave less than was asked for, so the cap is near: no more is fetched before a call needs it."""


class Reservation(msgspec.Struct, frozen=True):  # not a dataclass, for speed: one for every attempt
    """What one attempt holds: an upper bound of its cost, in every capped account it touches."""

    amount: int
    holds: tuple[Hold, ...] = ()
    slices: tuple[Slice, ...] = ()
    """Where the holds come from; one that the purse has let go of takes back what nobody counts any more."""


FREE = Reservation(0)
"""The reservation of a call that no cap concerns."""


class NeedsLease(Exception):  # not an error: it tells the caller to await `top_up`
    """The purse holds too little; `await purse.top_up(accounts, amount)` and admit again."""


@dataclass(slots=True)
class Purse:
    """The slices of one worker. Slices change on the event loop only; the thread speaks to the ledger file."""

    ledger: Ledger
    boot: str
    clock: Clock
    slices: dict[Account, Slice] = field(default_factory=dict)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="purse"))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _renewed: float = 0.0
    _ahead: int = CALLS_AHEAD
    _admitted: int = 0
    """Calls since `tend` looked last."""
    _budgets: Mapping[str, tuple[Window, ...]] = field(default_factory=dict)
    _accounts: dict[tuple[str, ...], tuple[Account, ...]] = field(default_factory=dict)
    """Capped accounts by scopes, for the budgets above."""

    def accounts(self, scopes: Sequence[str], budgets: Mapping[str, tuple[Window, ...]]) -> tuple[Account, ...]:
        """The capped accounts of the scopes, worked out once per snapshot."""
        if budgets is not self._budgets or len(self._accounts) > ACCOUNTS_LIMIT:
            self._budgets, self._accounts = budgets, {}
        key = tuple(scopes)
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = tuple([(scope, window) for scope in key for window in budgets.get(scope, ())])
        return found

    def admit(self, scopes: Sequence[str], budgets: Mapping[str, tuple[Window, ...]], amount: int) -> Reservation:
        """Reserves `amount` nano-dollars in every capped account of the scopes.

        Raises:
            NeedsLease: at least one slice holds too little or is too old.
        """
        if amount == 0:  # what costs nothing needs no room
            return FREE
        if not budgets:
            return Reservation(amount)
        accounts = self.accounts(scopes, budgets)
        if not accounts:
            return Reservation(amount)
        now, tick, known = self.clock.now(), self.clock.monotonic(), self.slices
        slices, holds = [], []
        for account in accounts:
            piece = known.get(account)
            if piece is None or piece.free < amount or tick >= piece.deadline or not piece.start <= now < piece.end:
                raise NeedsLease
            slices.append(piece)
            holds.append(Hold(piece.lease, account[0], account[1], amount))
        for piece in slices:
            piece.free -= amount
            piece.held += amount
            piece.used_at = tick
            piece.last = amount
        self._admitted += 1
        return Reservation(amount, tuple(holds), tuple(slices))

    def fresh(self, reservation: Reservation) -> bool:
        """Whether all leases of a reservation may still be spent from; asked after *begun* is in the journal."""
        tick = self.clock.monotonic()
        return all(tick < piece.deadline for piece in reservation.slices)

    def settle(self, reservation: Reservation, cost: int) -> None:
        """Puts back what an attempt did not use; a slice that is gone meanwhile is the mover's business."""
        amount = reservation.amount
        for piece in reservation.slices:
            piece.held -= amount
            piece.free += amount - cost

    async def top_up(self, scopes: Sequence[str], budgets: Mapping[str, tuple[Window, ...]], amount: int) -> None:
        """Leases enough for a call of `amount` in all its accounts.

        Raises:
            OverBudget: a fresh read of the ledger shows that a cap has no room.
            Unavailable: the ledger cannot be written.
        """
        waited = 0.0
        while True:
            async with self._turn:
                room = await self._lease(self.accounts(scopes, budgets), amount)
            if room is None:
                return
            if not room.elsewhere or waited >= RECALL_SECONDS:
                own = self.slices.get((room.scope, room.window))
                raise _over(room, amount, 0 if own is None else max(0, own.free), self.clock.now())
            await asyncio.sleep(RECALL_PAUSE)
            waited += RECALL_PAUSE

    async def _lease(self, accounts: Sequence[Account], amount: int) -> NoRoom | None:
        tick, now = self.clock.monotonic(), self.clock.now()
        stale: list[tuple[str, str, str, int]] = []
        wants: list[Want] = []
        for account in accounts:
            piece = self.slices.get(account)
            if piece is not None and not (tick < piece.deadline and piece.start <= now < piece.end):
                stale.append((piece.lease, account[0], account[1], max(0, piece.free)))
                self._drop(account)
                piece = None
            free = 0 if piece is None else piece.free
            if free < amount:
                own = None if piece is None else piece.lease
                wants.append(Want(scope=account[0], window=account[1], lease=own, need=amount - free, like=amount * self._ahead))
        if not wants and not stale:
            return None
        outcome = await self._on_thread(lambda: self._exchange(stale, wants))
        if isinstance(outcome, NoRoom):
            return outcome
        for lease in outcome:
            self._take_in(lease, tick)
        return None

    def _exchange(self, back: Sequence[tuple[str, str, str, int]], wants: Sequence[Want]) -> list[Lease] | NoRoom:
        if back:
            self.ledger.give_back(self.boot, back)
        return self.ledger.lease(self.boot, wants) if wants else []

    def _take_in(self, lease: Lease, tick: float) -> None:
        deadline = tick + LEASE_SECONDS - SAFETY_SECONDS
        piece = self.slices.get((lease.scope, lease.window))
        if piece is not None and piece.lease == lease.lease:
            piece.free += lease.amount
            piece.deadline = deadline
            return
        self.slices[lease.scope, lease.window] = Slice(
            lease=lease.lease, start=lease.start, end=lease.end, free=lease.amount, deadline=deadline, used_at=tick
        )

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def tend(self) -> None:
        """Ten times a second: hands back idle and recalled slices, renews the ones in use."""
        self._ahead = min(MOST_AHEAD, max(CALLS_AHEAD, self._ahead // 2, self._admitted * TENDS_AHEAD))
        self._admitted = 0
        if not self.slices:
            return
        async with self._turn:
            await self._refill()
            recalled = {(scope, window) for _, scope, window in await self._on_thread(lambda: self.ledger.recalled(self.boot))}
            tick, now = self.clock.monotonic(), self.clock.now()
            back: list[tuple[str, str, str, int]] = []
            for account, piece in list(self.slices.items()):
                over = now >= piece.end or tick >= piece.deadline
                idle = tick - piece.used_at >= IDLE_SECONDS and piece.held == 0
                if not (over or idle or account in recalled):
                    continue
                back.append((piece.lease, account[0], account[1], max(0, piece.free)))
                piece.free = min(0, piece.free)
                if over or piece.held == 0:
                    self._drop(account)
            if back:
                await self._on_thread(lambda: self.ledger.give_back(self.boot, back))
            if self.slices and tick - self._renewed >= LEASE_SECONDS / 4:
                self._renewed = tick
                await self._renew(tick)

    async def _refill(self) -> None:
        """Fetches more for slices that are half used, before a call has to wait for it; no room is no fault here."""
        tick, wants = self.clock.monotonic(), []
        for (scope, window), piece in self.slices.items():
            like = piece.last * self._ahead
            busy = tick - piece.used_at < IDLE_SECONDS / 2
            if busy and not piece.tight and piece.free < like // 2:
                wants.append(Want(scope=scope, window=window, lease=piece.lease, need=1, like=like))
        if not wants:
            return
        outcome = await self._on_thread(lambda: self.ledger.lease(self.boot, wants))
        given = {} if isinstance(outcome, NoRoom) else {(lease.scope, lease.window): lease for lease in outcome}
        for want in wants:
            found, account = given.get((want.scope, want.window)), (want.scope, want.window)
            if found is not None:
                self._take_in(found, tick)
            if account in self.slices:
                self.slices[account].tight = found is None or found.amount < want.like

    async def _renew(self, tick: float) -> None:
        leases = {piece.lease for piece in self.slices.values()}
        alive = await self._on_thread(lambda: self.ledger.renew(self.boot, leases))
        for account, piece in list(self.slices.items()):
            if piece.lease in alive:
                piece.deadline = max(piece.deadline, tick + LEASE_SECONDS - SAFETY_SECONDS)
            elif piece.lease in leases:
                self._drop(account)

    def _drop(self, account: Account) -> None:
        """Lets go of a slice; whoever still holds a part of it finds it stale."""
        self.slices.pop(account).deadline = 0.0

    def close(self) -> None:
        """Hands everything back and ends the thread; what the ledger does not take now is free when its lease ends."""
        self._thread.shutdown(wait=True)
        back = [(p.lease, scope, window, max(0, p.free)) for (scope, window), p in self.slices.items()]
        self.slices.clear()
        with suppress(Unavailable):
            if back:
                self.ledger.give_back(self.boot, back)
        self.ledger.close()


def _over(room: NoRoom, amount: int, own: int, now: int) -> OverBudget:
    left = max(0, room.cap - room.settled - room.leased + own)
    resets = "" if room.window == "total" else f" It resets at {iso(room.end)}."
    return OverBudget(
        f"The budget of {room.scope} ({dollars(room.cap)} USD a {room.window}) has {dollars(left)} USD left;"
        f" this call may cost up to {dollars(amount)} USD.{resets}",
        hint="Ask for a smaller max_tokens, or raise the cap with `tandem budget set`.",
        retry_after=None if room.window == "total" else (room.end - now) / MICROS,
    )


def unpriced(target: str, scope: str) -> Unavailable:
    """The refusal of a call whose cost cannot be bounded under a hard cap."""
    return Unavailable(
        f"No price is known for {target}, so the hard cap of {scope} cannot be kept; the call was not sent.",
        hint="Name its price source in the provider's settings, or call an endpoint with a priced model.",
        status=403,
        code="unpriced_under_cap",
    )
