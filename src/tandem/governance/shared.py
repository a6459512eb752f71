"""Shared books: a worker's slices from two stores, dollars from the ledger and what many machines share from Redis.

Which limits are counted in Redis is said by `counters.counted_here`: hard ones of requests and tokens whose window is a minute,
an hour or a day, and of calls at once. All other caps are the ledger's. A call gets all it wants from both stores, or nothing.

Each store has a clock of its own, and says by it when a window begins; here both are told in this machine's time, so that
the purse compares like with like.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from tandem.core.clock import Clock
from tandem.core.errors import Unavailable
from tandem.core.policy import Budget
from tandem.core.secret import Secret
from tandem.core.window import NEVER
from tandem.governance.counters import LENT, Cap, Counters, Piece, counted_here
from tandem.governance.ledger import Account, Lease, Ledger, NoRoom, Want
from tandem.store.pause import Pause

LOOK_SECONDS = 0.1
"""How old what is known of the caps may be."""

T = TypeVar("T")


class SharedBooks:
    """Where the purse of one worker gets its slices from."""

    def __init__(self, ledger: Ledger, redis: Secret, clock: Clock, server: Clock | None = None) -> None:
        """Speaks to nobody yet.

        Args:
            ledger: the worker's own connection, which is closed with this.
            redis: the URL of the counters.
            clock: of this machine.
            server: instead of Redis' own clock, for tests.

        Raises:
            Invalid: the URL is none, or the client of Redis is not installed.
        """
        self._ledger, self._clock, self._pause = ledger, clock, Pause(clock)
        self._counters = Counters(redis, clock, self._standing, server)
        self._caps: dict[Cap, Budget] | None = None
        self._version, self._looked = -1, 0.0
        self._changed: set[Cap] = set()

    def close(self) -> None:
        self._counters.close()
        self._ledger.close()

    def now(self) -> int:
        """This machine's UTC microseconds, in which all leases are told."""
        return self._clock.now()

    def lease(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom:
        """Lends slices of all the accounts at once, or none of them; what no hard cap concerns is left out of the result.

        Raises:
            Unavailable: a store that something is wanted of is away.
        """
        caps = self._hard([_account(want) for want in wants])
        amounts = {account: cap.cap for account, cap in caps.items() if not cap.fair}
        counted = [want for want in wants if _account(want) in amounts]
        booked = [want for want in wants if not counted_here(*_account(want)) or _account(want) in caps.keys() - amounts.keys()]
        given: list[Lease] | NoRoom = self._counters.lease(boot, counted, amounts) if counted else []
        if isinstance(given, NoRoom):
            return given
        given = [_told_here(lease, self._counters.ahead) for lease in given]
        if not booked:
            return given
        more: list[Lease] | NoRoom | None = None
        try:
            more = self._booked(boot, booked)
        finally:
            if given and not isinstance(more, list):
                self._counters.give_back(boot, [(lease.lease, lease.scope, lease.meter, lease.amount) for lease in given])
        return more if isinstance(more, NoRoom) else [*given, *more]

    def _hard(self, accounts: Sequence[Cap]) -> dict[Cap, Budget]:
        """The hard caps of those accounts that are counted in Redis unless they are fair."""
        shared = [account for account in accounts if counted_here(*account)]
        if not shared:
            return {}
        caps = self._known()
        if any(account not in caps or caps[account].mode == "soft" for account in shared):
            caps = self._known(fresh=True)  # who wants of them has read of a hard cap, and may know better
        return {account: caps[account] for account in shared if account in caps and caps[account].mode == "hard"}

    def _booked(self, boot: str, wants: Sequence[Want]) -> list[Lease] | NoRoom:
        with self._pause.asking():
            ahead = self._ledger.now() - self._clock.now()
            given = self._ledger.lease(boot, wants)
        return given if isinstance(given, NoRoom) else [_told_here(lease, ahead) for lease in given]

    def _known(self, *, fresh: bool = False) -> dict[Cap, Budget]:
        """The caps that are set, as of a moment ago; while the ledger is away, as they were.

        Args:
            fresh: as of now.

        Raises:
            Unavailable: the ledger is away, and what is known does not do.
        """
        tick = self._clock.monotonic()
        if self._caps is not None and not fresh and tick - self._looked < LOOK_SECONDS:
            return self._caps
        self._looked = tick
        try:
            with self._pause.asking():
                version = self._ledger.caps_version()
                if self._caps is None or version != self._version:
                    self._learn({(cap.scope, cap.meter): cap for cap in self._ledger.budgets()})
                    self._version = version
        except Unavailable:
            if self._caps is None or fresh:
                raise
        assert self._caps is not None
        return self._caps

    def _learn(self, caps: dict[Cap, Budget]) -> None:
        """Every slice of a cap that changed goes back, so that a lower one holds at once."""
        before = caps if self._caps is None else self._caps
        self._changed |= {account for account in {*before, *caps} if before.get(account) != caps.get(account)}
        self._caps = caps

    def _standing(self, scopes: Collection[str]) -> Sequence[Account]:
        with self._pause.asking():
            return self._ledger.accounts(scopes)

    def give_back(self, boot: str, pieces: Iterable[Piece]) -> None:
        """Returns what is unspent: (lease, scope, meter, amount). A lease that ended meanwhile is left alone.

        Raises:
            Unavailable: the ledger is away; Redis takes its own later.
        """
        counted, booked = _by_store(pieces, lambda piece: piece[0])
        if counted:
            self._counters.give_back(boot, counted)
        if booked:
            with self._pause.asking():
                self._ledger.give_back(boot, booked)

    def renew(self, boot: str, leases: Iterable[str]) -> dict[str, int]:
        """Moves the expiry of a worker's leases; returns the new expiry of those that still stand, 0 where nobody can tell."""
        counted, booked = _by_store(leases, lambda lease: lease)
        alive: dict[str, int] = {}
        try:
            alive |= self._counters.renew(boot, counted) if counted else {}
        except Unavailable:
            alive |= dict.fromkeys(counted, 0)
        try:
            with self._pause.asking():
                alive |= self._ledger.renew(boot, booked) if booked else {}
        except Unavailable:
            alive |= dict.fromkeys(booked, 0)
        return alive

    def recalled(self, boot: str) -> list[tuple[str, str, str]]:
        """Slices to hand back: others wait for them, their cap changed, or Redis knows nothing of them any more.

        A store that is away recalls nothing.
        """
        found: list[tuple[str, str, str]] = []
        with suppress(Unavailable):
            found += self._counters.recalled(boot)
        with suppress(Unavailable), self._pause.asking():
            found += self._ledger.recalled(boot)
        with suppress(Unavailable):
            caps = self._known()
            accounts, self._changed = self._changed, set()
            if self._counters.forgotten():
                accounts |= caps.keys()
            found += [("", scope, meter) for scope, meter in accounts if counted_here(scope, meter)]
        return found


def _by_store(things: Iterable[T], lease_of: Callable[[T], str]) -> tuple[list[T], list[T]]:
    """Those of the counters, and those of the ledger."""
    known = list(things)
    counted = [each for each in known if lease_of(each).startswith(f"{LENT}_")]
    return counted, [each for each in known if not lease_of(each).startswith(f"{LENT}_")]


def _account(want: Want) -> Cap:
    return want.scope, want.meter


def _told_here(lease: Lease, ahead: int) -> Lease:
    """A lease with its window in this machine's time, of a store whose clock is `ahead` of it by so many microseconds."""
    end = lease.end if lease.end == NEVER else lease.end - ahead
    return replace(lease, start=lease.start - ahead, end=end)
