"""Admit and settle: the purse of one door worker.

The purse holds slices of every capped account this worker has business with: of dollars and tokens, which an attempt
reserves, and of calls, which a call does. `admit` reserves from them in memory; when a slice is too small it raises
`NeedsLease`, and `top_up` fetches more on a thread of its own, so that the event loop never waits for the ledger.
`settle` puts back what was not used. It knows nothing of prices or wires, nor whether one store lends or two.

Nothing is spent from a slice in the last two seconds of its lease, by the worker's own monotonic
clock: a worker that was stopped past its lease finds that out before it sends a byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import msgspec

from tandem.core.clock import Clock
from tandem.core.errors import TandemError, Unavailable
from tandem.core.policy import Budget, Unit, unit_of
from tandem.core.window import NEVER
from tandem.governance.ledger import LEASE_SECONDS, Lease, NoRoom, Want
from tandem.governance.refusal import refused
from tandem.governance.standing import MEMBER
from tandem.observability.record import Hold

SAFETY_SECONDS = 2.0
CALLS_AHEAD, MOST_AHEAD = 64, 65_536
"""A slice is asked for this many calls like the one that needs it; the ledger gives less near a cap."""
TENDS_AHEAD = 20
"""A busy worker's slices hold what it admits between so many looks of `tend`: about two seconds."""
IDLE_SECONDS = 0.5
UNCAPPED_SECONDS = 0.25
"""How long an account is taken to have no cap after the ledger had none."""
ACCOUNTS_LIMIT = 10_000
"""Callers whose accounts are remembered."""
RECALL_SECONDS = 2.0
"""How long a call waits for slices that other workers were asked to hand back."""
RECALL_PAUSE = 0.05

T = TypeVar("T")

Account = tuple[str, str]
"""Scope and meter."""
Caps = Mapping[str, tuple[str, ...]]
"""Scopes with a hard cap, and by which meters. Under `team/T>` stand those of which each key has a fair share."""


class Accounts(msgspec.Struct, frozen=True):
    """The capped accounts of some scopes, by what is reserved in them: the first two by an attempt, the last by a call."""

    dollars: tuple[Account, ...] = ()
    tokens: tuple[Account, ...] = ()
    call: tuple[Account, ...] = ()
    """Of calls, and of those that run at once."""

    @property
    def bounded(self) -> bool:
        """Whether any of them bounds what an attempt may use."""
        return bool(self.dollars or self.tokens)


class Need(msgspec.Struct, frozen=True):
    """What an attempt may use at most."""

    amount: int
    """Nano-dollars."""
    tokens: int = 0


UNCAPPED = Accounts()
NOTHING = Need(0)


@dataclass(slots=True)
class Slice:
    """A piece of one account lent to this worker."""

    unit: Unit
    lease: str
    start: int
    end: int
    free: int
    deadline: float
    """Monotonic second after which nothing more is spent from it."""
    held: int = 0
    """Reserved by calls that run."""
    used_at: float = 0.0
    last: int = 0
    """What the newest call reserved in it."""
    tight: bool = False
    """The ledger gave less than was asked for, so the cap is near: no more is fetched before a call needs it."""


class Reservation(msgspec.Struct, frozen=True):  # not a dataclass, for speed: one for every attempt
    """What one attempt holds: an upper bound of its cost, in every capped account it touches."""

    amount: int
    """Nano-dollars."""
    holds: tuple[Hold, ...] = ()
    slices: tuple[Slice, ...] = ()
    """Where the holds come from; one that the purse has let go of takes back what nobody counts any more."""


FREE = Reservation(0)
"""The reservation of what no cap concerns."""


class NeedsLease(Exception):  # not an error: it tells the caller to await `top_up`
    """The purse holds too little; `await purse.top_up(…)` and admit again."""


class Lender(Protocol):
    """Where slices come from: the ledger, or the ledger and the counters that machines share."""

    def now(self) -> int: ...
    def lease(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom: ...
    def give_back(self, boot: str, pieces: Iterable[tuple[str, str, str, int]]) -> None: ...
    def renew(self, boot: str, leases: Iterable[str]) -> dict[str, int]:
        """The new expiry of the leases that still stand; 0 of one whose store cannot be asked, which lasts as long as it did."""
        ...

    def recalled(self, boot: str) -> list[tuple[str, str, str]]: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Purse:
    """The slices of one worker. Slices change on the event loop only; the thread speaks to the ledger."""

    ledger: Lender
    boot: str
    clock: Clock
    slices: dict[Account, Slice] = field(default_factory=dict)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="purse"))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _asking: set[asyncio.Task[NoRoom | None]] = field(default_factory=set)
    _renewed: float = 0.0
    _ahead: int = CALLS_AHEAD
    _admitted: int = 0
    """Calls since `tend` looked last."""
    _skew: int = 0
    """Microseconds that the ledger's clock is ahead of this machine's."""
    _caps: Caps = field(default_factory=dict)
    _accounts: dict[tuple[str, ...], Accounts] = field(default_factory=dict)
    """Capped accounts by scopes, for the caps above."""

    def accounts(self, scopes: Sequence[str], caps: Caps) -> Accounts:
        """The capped accounts of the scopes, worked out once per snapshot."""
        if caps is not self._caps or len(self._accounts) > ACCOUNTS_LIMIT:
            self._caps, self._accounts = caps, {}
        key = tuple(scopes)
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = _accounts(key, caps)
        return found

    def admit(self, accounts: Accounts, need: Need) -> Reservation:
        """Reserves what an attempt may use, in every account that counts it.

        Raises:
            NeedsLease: at least one slice holds too little or is too old.
        """
        dollars, tokens = accounts.dollars if need.amount else (), accounts.tokens if need.tokens else ()
        if not dollars and not tokens:  # what uses nothing needs no room
            return Reservation(need.amount) if need.amount else FREE
        return self._reserve(((dollars, need.amount), (tokens, need.tokens)), need.amount)

    def enter(self, accounts: Accounts) -> Reservation:
        """Reserves one call in every account that counts calls.

        Raises:
            NeedsLease: at least one slice holds too little or is too old.
        """
        return self._reserve(((accounts.call, 1),), 0)

    def _reserve(self, groups: Sequence[tuple[Sequence[Account], int]], amount: int) -> Reservation:
        now, tick, known = self.clock.now() + self._skew, self.clock.monotonic(), self.slices
        slices, holds = [], []
        for accounts, need in groups:
            for account in accounts:
                piece = known.get(account)
                if piece is None or piece.free < need or tick >= piece.deadline or not piece.start <= now < piece.end:
                    raise NeedsLease
                slices.append(piece)
                holds.append(Hold(piece.lease, account[0], account[1], need))
        for piece, hold in zip(slices, holds, strict=True):
            need = hold.amount
            piece.free -= need
            piece.held += need
            piece.used_at = tick
            piece.last = need
        self._admitted += 1
        return Reservation(amount, tuple(holds), tuple(slices))

    def fresh(self, reservation: Reservation) -> bool:
        """Whether all leases of a reservation may still be spent from; asked after *begun* is in the journal."""
        tick = self.clock.monotonic()
        return all(tick < piece.deadline for piece in reservation.slices)

    def settle(self, reservation: Reservation, cost: int, tokens: int | None = 0, *, entered: bool = True) -> None:
        """Puts back what was not used; a slice that is gone meanwhile is the mover's business.

        Args:
            reservation: an attempt's, or a call's.
            cost: nano-dollars used.
            tokens: used; None where nobody told, so that all that was held counts.
            entered: of a call's: whether it counts as one.
        """
        for piece, hold in zip(reservation.slices, reservation.holds, strict=True):
            unit = piece.unit
            if unit == "usd":
                used = cost
            elif unit == "tokens":
                used = hold.amount if tokens is None else tokens
            else:  # of calls at once nothing is used up
                used = int(entered and unit == "requests")
            piece.held -= hold.amount
            piece.free += hold.amount - used

    async def top_up(self, wants: Sequence[tuple[Account, int]], opens: Budget | None = None) -> None:
        """Leases enough for a call in all the accounts.

        Args:
            wants: each account with what is needed of it.
            opens: the budget of the run that the call belongs to, which its first call brings along.

        Raises:
            OverBudget, RateLimited: a fresh read of the ledger shows that a cap has no room.
            Forbidden: the run is over.
            Unavailable: the ledger cannot be written.
        """
        waited = 0.0
        while True:
            asking = asyncio.create_task(self._in_turn(wants, opens))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
            room = await asyncio.shield(asking)  # a caller that leaves meanwhile must not leave a lease that nobody knows
            if room is None:
                return
            if not room.elsewhere or waited >= RECALL_SECONDS:
                raise self._refusal(room, wants)
            await asyncio.sleep(RECALL_PAUSE)
            waited += RECALL_PAUSE

    def _refusal(self, room: NoRoom, wants: Sequence[tuple[Account, int]]) -> TandemError:
        account = (room.scope, room.meter)
        own = self.slices.get(account)
        free = 0 if own is None else max(0, own.free)
        return refused(room, dict(wants).get(account, 0), free, self.clock.now() + self._skew)

    def wants(self, accounts: Accounts, need: Need | None) -> list[tuple[Account, int]]:
        """What `top_up` has to see to before `admit`, or before `enter` where nothing is needed of an attempt."""
        if need is None:
            return [(account, 1) for account in accounts.call]
        dollars = [(account, need.amount) for account in accounts.dollars] if need.amount else []
        return [*dollars, *[(account, need.tokens) for account in accounts.tokens if need.tokens]]

    async def _in_turn(self, wanted: Sequence[tuple[Account, int]], opens: Budget | None) -> NoRoom | None:
        async with self._turn:
            return await self._lease(wanted, opens)

    async def _lease(self, wanted: Sequence[tuple[Account, int]], opens: Budget | None) -> NoRoom | None:
        tick, now = self.clock.monotonic(), self.clock.now() + self._skew
        stale: list[tuple[str, str, str, int]] = []
        wants: list[Want] = []
        for account, need in wanted:
            piece = self.slices.get(account)
            if piece is not None and not (tick < piece.deadline and piece.start <= now < piece.end):
                stale.append((piece.lease, account[0], account[1], max(0, piece.free)))
                self._drop(account)
                piece = None
            free = 0 if piece is None else piece.free
            if free < need:
                own = None if piece is None else piece.lease
                opened = opens if opens is not None and (opens.scope, opens.meter) == account else None
                like = need * self._ahead
                wants.append(Want(scope=account[0], meter=account[1], lease=own, need=need - free, like=like, opens=opened))
        if not wants and not stale:
            return None
        outcome, skew = await self._on_thread(lambda: self._exchange(stale, wants))
        self._skew = skew
        if isinstance(outcome, NoRoom):
            return outcome
        given = {(lease.scope, lease.meter) for lease in outcome}
        for lease in outcome:
            self._take_in(lease, tick)
        for want in wants:  # a cap that is gone: the call goes on without it, until the snapshot says so too
            if (want.scope, want.meter) not in given:
                self.slices[want.scope, want.meter] = Slice(
                    unit=unit_of(want.meter),
                    lease="",
                    start=0,
                    end=NEVER,
                    free=NEVER,
                    deadline=tick + UNCAPPED_SECONDS,
                    used_at=tick,
                )
        return None

    def _exchange(self, back: Sequence[tuple[str, str, str, int]], wants: Sequence[Want]) -> tuple[list[Lease] | NoRoom, int]:
        if back:
            self.ledger.give_back(self.boot, back)
        outcome = self.ledger.lease(self.boot, wants) if wants else []
        return outcome, self.ledger.now() - self.clock.now()

    def _take_in(self, lease: Lease, tick: float) -> None:
        deadline = tick + LEASE_SECONDS - SAFETY_SECONDS
        piece = self.slices.get((lease.scope, lease.meter))
        if piece is not None and piece.lease == lease.lease:
            piece.free += lease.amount
            piece.deadline = deadline
            return
        self.slices[lease.scope, lease.meter] = Slice(
            unit=unit_of(lease.meter),
            lease=lease.lease,
            start=lease.start,
            end=lease.end,
            free=lease.amount,
            deadline=deadline,
            used_at=tick,
        )

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def tend(self) -> None:
        """Ten times a second: hands back idle and recalled slices, renews the ones in use."""
        self._ahead = min(MOST_AHEAD, max(CALLS_AHEAD, self._ahead // 2, self._admitted * TENDS_AHEAD))
        self._admitted = 0
        if not self.slices:
            return
        away: Unavailable | None = None
        async with self._turn:
            try:
                await self._refill()
            except Unavailable as error:  # what is held already is looked after all the same
                away = error
            recalled = {(scope, meter) for _, scope, meter in await self._on_thread(lambda: self.ledger.recalled(self.boot))}
            tick, now = self.clock.monotonic(), self.clock.now() + self._skew
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
            back = [piece for piece in back if piece[0]]
            if back:
                await self._on_thread(lambda: self.ledger.give_back(self.boot, back))
            if self.slices and tick - self._renewed >= LEASE_SECONDS / 4:
                self._renewed = tick
                await self._renew(tick)
        if away is not None:
            raise away

    async def _refill(self) -> None:
        """Fetches more for slices that are half used, before a call has to wait for it; no room is no fault here."""
        tick, wants = self.clock.monotonic(), []
        for (scope, meter), piece in self.slices.items():
            like = piece.last * self._ahead
            busy = tick - piece.used_at < IDLE_SECONDS / 2
            if busy and not piece.tight and piece.free < like // 2 and piece.lease:
                wants.append(Want(scope=scope, meter=meter, lease=piece.lease, need=1, like=like))
        if not wants:
            return
        outcome = await self._on_thread(lambda: self.ledger.lease(self.boot, wants))
        given = {} if isinstance(outcome, NoRoom) else {(lease.scope, lease.meter): lease for lease in outcome}
        for want in wants:
            found, account = given.get((want.scope, want.meter)), (want.scope, want.meter)
            if found is not None:
                self._take_in(found, tick)
            if account in self.slices:
                self.slices[account].tight = found is None or found.amount < want.like

    async def _renew(self, tick: float) -> None:
        leases = {piece.lease for piece in self.slices.values() if piece.lease}
        alive = await self._on_thread(lambda: self.ledger.renew(self.boot, leases))
        for account, piece in list(self.slices.items()):
            if alive.get(piece.lease):
                piece.deadline = max(piece.deadline, tick + LEASE_SECONDS - SAFETY_SECONDS)
            elif piece.lease in leases and piece.lease not in alive:
                self._drop(account)

    def _drop(self, account: Account) -> None:
        """Lets go of a slice; whoever still holds a part of it finds it stale."""
        self.slices.pop(account).deadline = 0.0

    def close(self) -> None:
        """Hands everything back and ends the thread; what the ledger does not take now is free when its lease ends."""
        for asking in self._asking:  # what it was given meanwhile is freed with everything else that this worker held
            asking.cancel()
        self._thread.shutdown(wait=True)
        back = [(p.lease, scope, meter, max(0, p.free)) for (scope, meter), p in self.slices.items() if p.lease]
        self.slices.clear()
        with suppress(Unavailable):
            if back:
                self.ledger.give_back(self.boot, back)
        self.ledger.close()


def _accounts(scopes: tuple[str, ...], caps: Caps) -> Accounts:
    key = next((scope for scope in scopes if scope.startswith("key/")), None)
    found: list[Account] = []
    for scope in dict.fromkeys(scopes):
        found += [(scope, meter) for meter in caps.get(scope, ())]
        if key is not None:
            found += [(f"{scope}{MEMBER}{key}", meter) for meter in caps.get(scope + MEMBER, ())]
    units = [(account, unit_of(account[1])) for account in dict.fromkeys(found)]
    return Accounts(
        dollars=tuple([account for account, unit in units if unit == "usd"]),
        tokens=tuple([account for account, unit in units if unit == "tokens"]),
        call=tuple([account for account, unit in units if unit in ("requests", "calls")]),
    )
