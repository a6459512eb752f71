"""One call through the door, from the key to the ledger. Knows no SQL, no provider, no framework.

    open span -> identify -> resolve -> admit -> route -> settle -> record

The first three are plain synchronous calls; admit awaits only near a cap. A `Call` settles and is
recorded exactly once, on whatever path it ends: `close` runs before the caller's last byte, and once
more, without effect, when the handler is left.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.clock import MICROS, Clock
from tandem.core.endpoint import HOSTED, Endpoint, EndpointKind, Target
from tandem.core.errors import Forbidden, TandemError, Unavailable
from tandem.core.ids import CallId, TraceId, new_call, new_trace
from tandem.core.money import Price, Usage
from tandem.core.policy import Budget
from tandem.core.principal import Principal
from tandem.core.trace import Attempt, Span, Trace
from tandem.gateway.billed import Billed
from tandem.gateway.metrics import Metrics
from tandem.gateway.snapshot import Replica, Snapshot
from tandem.governance.admit import FREE, NOTHING, UNCAPPED, Accounts, Need, NeedsLease, Purse, Reservation
from tandem.governance.refusal import unpriced
from tandem.observability.content import SegmentSeal, Vault
from tandem.observability.journal import Journal
from tandem.observability.record import Begun, Closed, Ended, Hold

CONTENT_BYTES = 256 * 1024
"""Bytes of a request or an answer that are kept for the trace; the rest is cut, and the trace says so."""
FIRST_WORD = "gen_ai.response.time_to_first_chunk"
"""Attribute of an attempt's span: seconds."""
NOTHING_SENT = Usage(source="none")
UNKNOWN = Usage(source="estimated")


class Content(msgspec.Struct, frozen=True):
    """What was asked and answered, as it is sealed."""

    request: bytes
    answer: bytes
    cut: bool = False
    notes: Mapping[str, object] = {}
    """What the target found beside its answer."""


@dataclass(slots=True, kw_only=True)
class Door:
    """What one door worker holds; every call is opened on it."""

    replica: Replica
    purse: Purse
    journal: Journal
    vault: Vault
    clock: Clock
    metrics: Metrics
    dice: random.Random = field(default_factory=random.Random)
    _seal: tuple[str, SegmentSeal] | None = None

    def seal(self, content: Content) -> bytes:
        """Content encrypted under the key of the segment that the next record goes to."""
        segment = self.journal.segment
        if self._seal is None or self._seal[0] != segment:
            self._seal = (segment, SegmentSeal(self.vault, segment))
        return self._seal[1].seal(msgspec.msgpack.encode(content))


@dataclass(slots=True)
class Running:
    """The attempt that is under way."""

    number: int
    target: str
    price: Price | None
    reservation: Reservation
    holds: tuple[Hold, ...]
    """All that is on record as held: the reservation's, and with the first attempt the call's own."""
    span: Span


@dataclass(slots=True, kw_only=True)
class Call:
    """One call and all that is known of it. An explicit state machine: open, then closed, once."""

    door: Door
    kind: EndpointKind
    address: str
    snapshot: Snapshot
    start: int
    id: CallId = field(default_factory=new_call)
    trace: TraceId = field(default_factory=new_trace)
    parent: CallId | None = None
    principal: Principal | None = None
    endpoint: Endpoint | None = None
    granted: Endpoint | None = None
    """Where this call goes because of how the endpoint around it was set up, whatever its caller may call directly."""
    subject: str | None = None
    request: bytes = b""
    answer: list[bytes] = field(default_factory=list)
    notes: Mapping[str, object] = field(default_factory=dict)
    """What the target found beside its answer; content, like it."""
    spans: list[Span] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    attributes: dict[str, object] = field(default_factory=dict)
    reservation: Reservation = FREE
    """Of the next attempt."""
    place: Reservation = FREE
    """What the call itself holds from its admission to its end: its place among those that run, and that it counts as one."""
    paid_by: tuple[str, ...] = ()
    """The caller's scopes, widest first; of a nested call, all those of the one around it."""
    inside: bool = False
    """Whether it is made by another call, which was counted already."""
    billed: Billed | None = None
    """What its caller names for the bill: tags, a run."""
    run: Budget | None = None
    """The budget of the run it belongs to, where its caller brings one."""
    answered_before: bool = False
    """Whether its answer was kept from an earlier call, so that nobody is asked."""
    reported: str = "endpoint"
    """Under which kind of scope the spend of its endpoint is reported: `shadow/NAME` is no one's bill but the trial's."""
    anew: bool = False
    """Whether the caller wants no answer that was given before."""
    closed: bool = False
    _running: Running | None = None
    _pending: list[tuple[Ended, Reservation, int | None]] = field(default_factory=list)
    """Attempts that ended and are not on record yet, each with what it held and the tokens it used."""
    _scopes: tuple[str, ...] = ()
    _need: Need = NOTHING
    _accounts: Accounts | None = None
    _places: Accounts = UNCAPPED
    _kept: int = 0

    # --- the law, in the order it is asked

    def identify(self, token: str | None) -> Principal:
        """Finds out who calls.

        Raises:
            Unauthenticated: nobody we know.
            Unavailable: the policy the door holds is older than it may be.
            Forbidden: the caller's role may not call.
        """
        max_age = self.snapshot.max_age
        if max_age is not None and self.door.replica.age() > max_age:
            raise Unavailable(
                f"The policy this door holds is older than {max_age:g} s.",
                hint="The control process is away; see `tandem doctor`.",
            )
        principal = self.principal = self.door.replica.identify(token, str(self.attributes.get("client.address", "")))
        if not principal.may("call"):
            raise Forbidden(
                f"The key '{principal.name}' (role {principal.role}) may not call.", hint="Use a viewer's or editor's key."
            )
        if principal.run:
            self.attributes["tandem.run"] = principal.run
        self.paid_by = principal.budget_scopes
        if self.billed is not None:
            self.paid_by = (*self.paid_by, *self.billed.scopes(principal))
            self.run = self.billed.budget(principal, self.start)
        self.spans.append(Span(name="identify", start=self.start, end=self.door.clock.now()))
        return principal

    def enter(self, address: str) -> Endpoint:
        """Resolves the address for the caller.

        Raises:
            NotFound, Forbidden: nothing answers there for this caller.
        """
        assert self.principal is not None
        start = self.spans[-1].end if self.spans else self.start
        self.address = address
        if self.granted is not None:
            endpoint = self.snapshot.permitted(self.granted, self.principal)
        elif self.parent is not None:  # which kinds its key may make, a caller was asked at the call around this one
            endpoint = self.snapshot.permitted(self.snapshot.resolve(address, self.principal, self.kind), self.principal)
        else:
            endpoint = self.snapshot.enter(address, self.principal, self.kind)
        self.endpoint = endpoint
        self.spans.append(Span(name="resolve", start=start, end=self.door.clock.now(), attributes={"endpoint": endpoint.name}))
        return endpoint

    def admit(self, tokens_in: int, tokens_out: int, candidates: Sequence[Target]) -> bool:
        """Reserves the upper bound of what any candidate may cost; tokens are upper bounds too.

        Returns:
            Whether `reserve` has to be awaited, because the purse held too little.

        Raises:
            Unavailable: a hard cap applies and a candidate has no known price.
        """
        accounts, amount = self._capped(), 0
        for target in candidates:
            price = self.price(target.target)
            if price is not None:
                amount = max(amount, price.bound(tokens_in, tokens_out))
            elif accounts.dollars:
                raise unpriced(target.target, accounts.dollars[0][0])
        return self._admit(Need(amount, tokens_in + tokens_out))

    def price(self, target: str) -> Price | None:
        """What a target costs the team that pays for this call; None where nobody knows."""
        assert self.principal is not None
        assert self.endpoint is not None
        shadow = self.reported == "shadow"  # paid for by the team whose endpoint it is
        return self.snapshot.price(target, self.endpoint.team if shadow else self.principal.team)

    def admit_seconds(self, seconds: float, price: Price | None) -> bool:
        """Reserves what an answer of our own may cost that takes so many seconds at most; else as `admit`."""
        self._capped()
        return self._admit(Need(0 if price is None else price.cost(Usage(compute=round(seconds * MICROS)))))

    def _capped(self) -> Accounts:
        """The accounts of this call that have a cap, found once."""
        assert self.endpoint is not None
        if self._accounts is None:
            purse, caps, scopes = self.door.purse, self.snapshot.budgets, self.scopes
            accounts = purse.accounts(scopes, caps) if caps else UNCAPPED
            self._places = accounts
            if self.inside:  # the call around it was let in as one, and has a place
                self._places = purse.accounts([scope for scope in scopes if scope not in self.paid_by], caps)
            run = next((scope for scope in self.paid_by if scope.startswith("run/")), None)
            if run is not None:
                accounts = msgspec.structs.replace(accounts, dollars=(*accounts.dollars, (run, "total")))
            self._accounts = accounts
        return self._accounts

    def _admit(self, need: Need) -> bool:
        span = Span(name="admit", start=self.door.clock.now(), attributes={"reserved_nano_usd": need.amount})
        self.spans.append(span)
        self._need = need
        try:
            self._reserve()
        except NeedsLease:
            return True
        span.end = self.door.clock.now()
        return False

    def _reserve(self) -> None:
        assert self._accounts is not None
        self._record()  # what an earlier attempt left is room for this one
        if self.place is FREE and self._places.call:
            self.place = self.door.purse.enter(self._places)
        self.reservation = self.door.purse.admit(self._accounts, self._need)

    async def reserve(self) -> None:
        """Holds for the next attempt what `admit` found; awaits only when the purse holds too little.

        Raises:
            OverBudget, RateLimited: a cap has no room.
            Forbidden: the run is over.
        """
        assert self._accounts is not None
        purse = self.door.purse
        while True:
            try:
                self._reserve()
                return
            except NeedsLease:
                wants = purse.wants(self._accounts, self._need)
                if self.place is FREE:
                    wants += purse.wants(self._places, None)
                await purse.top_up(wants, self.run)

    # --- attempts: what is priced and booked

    def begin(self, target: str, name: str, attributes: dict[str, object], price: Price | None = None) -> Running:
        """Writes *begun*; no byte may go upstream before this returns.

        Args:
            price: of what has no row of its own in the price list: an answer of ours.

        Raises:
            Unavailable: the journal takes nothing, or the lease ran out between admit and now.
        """
        assert self.principal is not None
        assert self.endpoint is not None
        self._record()
        now = self.door.clock.now()
        number = len(self.attempts)
        price = price or self.price(target)
        reservation = self.reservation
        holds = reservation.holds if number else (*reservation.holds, *self.place.holds)
        if price is not None:
            attributes["tandem.price"] = price.source
        span = Span(name=name, start=now, attributes=attributes)
        self.door.journal.begin(
            Begun(
                self.id,
                number,
                self.trace,
                self.parent,
                now,
                target,
                self.endpoint.name,
                self.kind,
                self.principal.team,
                self.principal.name,
                self.scopes,
                None if price is None and self.kind in HOSTED else reservation.amount,
                holds,
            )
        )
        self._running = Running(number, target, price, reservation, holds, span)
        self.spans.append(span)
        self.reservation = FREE
        if not self.door.purse.fresh(reservation):
            self.end("lease_expired", NOTHING_SENT)
            raise Unavailable("The worker was held up and its money lease ran out; nothing was sent.", retry_after=0)
        return self._running

    def end(self, outcome: str, usage: Usage, error: str | None = None) -> None:
        """Prices the attempt that is under way; it is settled when its record is written, with the next one."""
        running = self._running
        assert running is not None
        self._running = None
        now = self.door.clock.now()
        running.span.end = now
        running.span.error = error
        if outcome != "ok":
            running.span.attributes["error.type"] = outcome
        self.door.metrics.attempted(outcome)
        priced = self.kind in HOSTED or running.price is not None
        if usage.source == "none" or not priced:
            cost: int | None = 0
        elif running.price is None:
            cost = None
        elif usage.source == "provider":
            cost = running.price.cost(usage)
        else:
            cost = running.reservation.amount
        attempt = Attempt(
            call=self.id,
            attempt=running.number,
            target=running.target,
            usage=usage,
            cost=cost,
            reserved=running.reservation.amount,
            outcome=outcome,
            start=running.span.start,
            end=now,
        )
        tokens = None if usage.source == "estimated" else usage.total_input + usage.total_output
        self.attempts.append(attempt)
        self._pending.append((Ended(self.trace, attempt, running.holds, self.scopes), running.reservation, tokens))

    def _record(self, *closed: Closed) -> None:
        """Writes what ended, and only then lets go of what it held.

        In the other order a worker that is killed in between would be booked at a reservation that others spend already.
        """
        if not self._pending and not closed:
            return
        self.door.journal.write(*[ended for ended, _, _ in self._pending], *closed)
        for ended, reservation, tokens in self._pending:
            self.door.purse.settle(reservation, ended.attempt.cost or 0, tokens)
        self._pending.clear()

    def stage(self, name: str, start: int) -> None:
        """Notes a stage that began at `start` and ends now."""
        self.spans.append(Span(name=name, start=start, end=self.door.clock.now()))

    @property
    def has_caps(self) -> bool:
        """Whether a cap bounds what an attempt may use, so that its output needs a bound too."""
        return self._capped().bounded

    @property
    def capped(self) -> bool:
        """Whether the attempt under way spends from a hard cap."""
        return self._running is not None and bool(self._running.reservation.holds)

    @property
    def w3c(self) -> str:
        """The trace's id as W3C Trace Context writes it (32 hex digits); made once, and kept for the record."""
        known = self.attributes.get("otel.trace_id")
        if not isinstance(known, str):
            known = self.attributes["otel.trace_id"] = f"{self.door.dice.getrandbits(128):032x}"
        return known

    @property
    def running(self) -> bool:
        """Whether an attempt is under way."""
        return self._running is not None

    def first_byte(self) -> None:
        """Notes on the attempt's span that the caller is about to see its first byte."""
        if self._running is not None:
            span = self._running.span
            span.attributes[FIRST_WORD] = (self.door.clock.now() - span.start) / 1e6

    @property
    def scopes(self) -> tuple[str, ...]:
        """Every scope this call's spend is reported under; found once, when it is let in."""
        assert self.endpoint is not None
        if not self._scopes:
            own = f"{self.reported}/{self.endpoint.name}"
            self._scopes = self.paid_by if own in self.paid_by else (*self.paid_by, own)
        return self._scopes

    # --- the end

    def keep(self, piece: bytes) -> None:
        """Remembers a piece of the answer for the trace, up to a bound."""
        if self._kept < CONTENT_BYTES:
            self.answer.append(piece)
            self._kept += len(piece)

    def close(self, outcome: str, status: int, error: TandemError | None = None) -> None:
        """Settles and records the call. The first time counts; later ones change nothing."""
        if self.closed:
            return
        self.closed = True
        if self._running is not None:  # left in the middle: what the upstream did is not known
            self.end(outcome, UNKNOWN, error.message if error else None)
        if self.reservation is not FREE:  # admitted, never begun
            self.door.purse.settle(self.reservation, 0)
        now = self.door.clock.now()
        if error is not None:
            self.keep(error.words.encode())
            self.attributes["error"] = {"code": error.code, "message": error.message, "hint": error.hint, "field": error.field}
        self.attributes["snapshot"] = self.snapshot.version
        endpoint, principal = self.endpoint, self.principal
        costs = [attempt.cost for attempt in self.attempts]
        trace = Trace(
            id=self.trace,
            call=self.id,
            parent=self.parent,
            endpoint=endpoint.name if endpoint else self.address,
            kind=self.kind,
            team=principal.team if principal else "",
            principal=principal.name if principal else "",
            start=self.start,
            end=now,
            outcome=outcome,
            status=status,
            cost=None if None in costs else sum(cost or 0 for cost in costs),
            spans=self.spans,
            attempts=self.attempts,
            attributes=self.attributes,
            subject=self.subject,
        )
        counted = (self.place.holds, self.scopes) if self.answered_before else ((), ())
        self._record(Closed(trace, self._content(), *counted))
        if self.place is not FREE:
            self.door.purse.settle(self.place, 0, entered=bool(self.attempts) or self.answered_before)
        self.door.metrics.count(self.kind, outcome, (now - self.start) / 1e6, trace.cost or 0)

    def _content(self) -> bytes:
        kept = (
            self.endpoint is not None and self.endpoint.record_content and self.principal is not None and self.principal.content
        )
        if not kept or not (self.request or self.answer):
            return b""
        cut = len(self.request) > CONTENT_BYTES or self._kept > CONTENT_BYTES
        answer = b"".join(self.answer)[:CONTENT_BYTES]
        return self.door.seal(Content(self.request[:CONTENT_BYTES], answer, cut, self.notes))


def open_call(door: Door, kind: EndpointKind, address: str = "", *, attributes: Mapping[str, object] | None = None) -> Call:
    """A call at its very beginning: its trace exists first, so that a refusal has one too."""
    return Call(
        door=door,
        kind=kind,
        address=address,
        snapshot=door.replica.snapshot,
        start=door.clock.now(),
        attributes=dict(attributes or {}),
    )


def open_nested(parent: Call, kind: EndpointKind, attributes: Mapping[str, object]) -> Call:
    """A call made inside another: same trace, same caller, same snapshot, its own attempts and cost."""
    return Call(
        door=parent.door,
        kind=kind,
        address="",
        snapshot=parent.snapshot,
        start=parent.door.clock.now(),
        trace=parent.trace,
        parent=parent.id,
        principal=parent.principal,
        paid_by=parent.scopes,
        inside=True,
        run=parent.run,
        subject=parent.subject,
        attributes=dict(attributes),
    )
