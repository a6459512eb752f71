"""Do the books balance? Calls on every way a call can end, over workers that die, against a bill that somebody else writes.

    python -m bench.proof [--rounds 20] [--steps 60] [--seed 1] [--postgres URL]

One process holds the mock upstream, two door workers and the mover; the ledger is a file, or a database of a PostgreSQL
server. A schedule (random here, hypothesis's in the suite) begins calls that are answered, refused by their provider, cut,
left by their caller, kept from before, answered without usage, or passed on to another target; it kills workers so that
nothing of them is heard again, and sets the clock beyond a window's end. Then, for every schedule:

1. Calls whose usage reached the door are booked at what the bill says, to the nano-dollar.
2. All others are booked as estimated, with bill <= booked <= reserved.
3. A trigger in the ledger lets no account hold more than its cap, in any state that was ever committed; nor does the bill.
4. No call was refused while there was room: at some moment while it was looked for, what was spent and reserved left none.
5. What the ledger says was spent is what the traces say; nothing is lent any more when all is over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import Report
from bench.stage import Failed
from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target, Timeouts
from tandem.core.errors import OverBudget, RateLimited, TandemError, Unavailable
from tandem.core.policy import Budget, unit_of
from tandem.core.principal import Principal
from tandem.core.secret import Secret
from tandem.gateway.cache import Cache
from tandem.gateway.call import Door
from tandem.gateway.door import Handler, streams
from tandem.gateway.http1 import Server
from tandem.gateway.metrics import Metrics
from tandem.gateway.prices import price_of
from tandem.gateway.publish import Publisher
from tandem.gateway.snapshot import Host, Replica, Snapshot
from tandem.gateway.transport import Pool
from tandem.gateway.upstream import Hosts
from tandem.gateway.wires.served import Answering
from tandem.governance.admit import Account, Purse, Reservation
from tandem.governance.digest import PEPPER, digest
from tandem.governance.ledger import Ledger
from tandem.mock.serve import MockHandle, running
from tandem.mock.settings import MockSettings
from tandem.observability.content import Subjects
from tandem.observability.journal import Journal
from tandem.observability.move import Mover
from tandem.observability.record import Begun, Ended, Hold
from tandem.observability.traces import Traces
from tandem.store.raw import PostgresRows, Rows, SqliteRows
from tandem.store.vault import Vault

KEY = "tdm_proof"
MODEL = "gpt-4o-mini"
CALLER = Principal(id="key_1", name="demo", team="risk")
FAULTS = {
    "ok": (),
    "failing": ("500;key=failing",),
    "busy": ("429;retry-after=0;key=busy",),
    "cut": ("cut-after=2;key=cut",),
    "stall": ("stall-after=1;key=stall",),
    "silent": ("stall;key=silent",),
    "broken": ("malformed-after=1;key=broken",),
    "untold": ("usage=missing;key=untold",),
}
"""Endpoint → what goes wrong at its provider, which knows it by its key."""
ROUTES = {**{name: (name,) for name in FAULTS}, "passed-on": ("failing", "ok"), "kept": ("ok",)}
TIMEOUTS = Timeouts(connect=2, first_byte=0.15, idle=0.15, total=5)
ENOUGH = 10**12

Step = tuple[str, int, str, int, int]
"""What, which worker, which endpoint or how far, tokens of output, milliseconds until the caller leaves (0: it stays)."""


class Shifting:
    """The machine's clock, whose date can be set."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        return time.time_ns() // 1000 + self.ahead

    def monotonic(self) -> float:
        return time.monotonic()


@dataclass(slots=True)
class Witness:
    """What was really spent and reserved in each account, told apart from the ledger; and what was refused wrongly."""

    caps: Mapping[Account, int]
    used: dict[Account, int] = field(default_factory=dict)
    history: list[tuple[Account, int]] = field(default_factory=list)
    """Every change: the account, and what stands against it since."""
    open: dict[int, tuple[str, Reservation]] = field(default_factory=dict)
    """By the reservation's identity: whose it is."""
    kept: dict[int, int] = field(default_factory=dict)
    """By a hold's identity: what was used of it."""
    holds: list[Hold] = field(default_factory=list)
    """Kept, so that no identity is given twice."""
    wrong: list[str] = field(default_factory=list)
    refusals: int = 0

    def move(self, account: Account, amount: int) -> None:
        self.used[account] = self.used.get(account, 0) + amount
        self.history.append((account, self.used[account]))

    def reserved(self, boot: str, reservation: Reservation) -> None:
        self.open[id(reservation)] = (boot, reservation)
        for hold in reservation.holds:
            self.holds.append(hold)
            self.move((hold.scope, hold.window), hold.amount)

    def settled(self, reservation: Reservation, cost: int, tokens: int | None, entered: bool) -> None:
        if self.open.pop(id(reservation), None) is None:
            return
        for hold in reservation.holds:
            kept = {"usd": cost, "tokens": hold.amount if tokens is None else tokens, "requests": int(entered), "calls": 0}
            self.kept[id(hold)] = kept[unit_of(hold.window)]
            self.move((hold.scope, hold.window), self.kept[id(hold)] - hold.amount)

    def died(self, boot: str, begun: Sequence[Hold], ended: set[int]) -> None:
        """A worker is gone: what it had begun is spent as it was reserved, whatever it knew; the rest was never used."""
        known = {id(hold) for hold in begun} | ended
        for key, (owner, reservation) in list(self.open.items()):
            if owner != boot:
                continue
            del self.open[key]
            for hold in reservation.holds:
                if id(hold) not in known or unit_of(hold.window) == "calls":
                    self.move((hold.scope, hold.window), -hold.amount)
        for hold in begun:
            if id(hold) in self.kept and unit_of(hold.window) != "calls":  # it had ended, and nobody was told
                self.move((hold.scope, hold.window), hold.amount - self.kept[id(hold)])

    def refused(self, error: TandemError, wants: Sequence[tuple[Account, int]], since: int) -> None:
        """A call was refused that looked for room since a place in the history."""
        self.refusals += 1
        scope, _, meter = (error.field or "").partition(":")
        account, need = (scope, meter), dict(wants).get((scope, meter), 0)
        before = [used for each, used in self.history[:since] if each == account][-1:] or [0]
        during = [used for each, used in self.history[since:] if each == account]
        most = max(before + during)
        if self.caps[account] - most >= need:
            self.wrong.append(f"{account} had {self.caps[account] - most} left, {need} were needed: {error}")


class Watched(Purse):
    """A purse whose every step the witness hears of."""

    witness: Witness

    def _reserve(self, groups: Sequence[tuple[Sequence[Account], int]], amount: int) -> Reservation:
        reservation = super()._reserve(groups, amount)
        if reservation.holds:
            self.witness.reserved(self.boot, reservation)
        return reservation

    def settle(self, reservation: Reservation, cost: int, tokens: int | None = 0, *, entered: bool = True) -> None:
        super().settle(reservation, cost, tokens, entered=entered)
        self.witness.settled(reservation, cost, tokens, entered)

    async def top_up(self, wants: Sequence[tuple[Account, int]], opens: Budget | None = None) -> None:
        since = len(self.witness.history)
        try:
            await super().top_up(wants, opens)
        except (OverBudget, RateLimited) as error:
            self.witness.refused(error, wants, since)
            raise


class Mortal(Journal):
    """A journal that can end as `kill -9` ends one: what was written stays, and nothing follows."""

    killed = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, reserve_bytes=1 << 20)
        self.begun: dict[tuple[str, int], tuple[Hold, ...]] = {}
        self.ended: set[int] = set()
        """Identities of holds that are on record as used."""

    def begin(self, record: Begun) -> None:
        if self.killed:  # nobody is there any more to send anything
            raise Unavailable("The worker is dead.")
        super().begin(record)
        self.begun[record.call, record.attempt] = record.holds

    def write(self, *records: object) -> None:
        if self.killed:
            return
        super().write(*records)  # type: ignore[arg-type]  # the same records
        for record in records:
            if isinstance(record, Ended):
                self.begun.pop((record.attempt.call, record.attempt.attempt), None)
                self.ended |= {id(hold) for hold in record.holds}

    def kill(self) -> list[Hold]:
        """Ends it; returns the holds that were begun and not ended."""
        self.killed = True
        self._stop.set()
        self._syncer.join(2)
        os.close(self._lock)
        return [hold for holds in self.begun.values() for hold in holds]


@dataclass(slots=True)
class Worker:
    """One door worker, in this process."""

    handler: Handler
    server: Server
    port: int
    journal: Mortal
    upkeep: asyncio.Task[None]

    async def end(self) -> None:
        """Ends as SIGTERM does."""
        await self.server.drain(1)
        self.upkeep.cancel()
        with suppress(asyncio.CancelledError):
            await self.upkeep
        await self.handler.answering.close()
        await self.handler.control.close()
        self.handler.door.purse.close()
        self.journal.close()
        self.handler.door.replica.close()

    async def die(self, witness: Witness) -> None:
        """Ends as SIGKILL does: connections break, and whatever it would have said or written is not."""
        witness.died(self.journal.boot, self.journal.kill(), self.journal.ended)
        self.upkeep.cancel()
        with suppress(asyncio.CancelledError):
            await self.upkeep
        await self.server.drain(0)
        await self.handler.answering.close()
        await self.handler.control.close()
        purse = self.handler.door.purse
        for asking in purse._asking:
            asking.cancel()
        purse._thread.shutdown(wait=True)
        purse.ledger.close()
        self.handler.door.replica.close()


@dataclass(slots=True)
class Place:
    """Everything of one schedule."""

    home: Path
    rows: object
    """Where the ledger is: a path, or a server's URL."""
    clock: Shifting
    vault: Vault
    mock: MockHandle
    ledger: Ledger
    traces: Traces
    mover: Mover
    witness: Witness
    workers: list[Worker] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    """Answers by status; 0 for callers that left or were cut off."""

    def open_ledger(self) -> Ledger:
        return Ledger(_rows(self.rows, self.clock), self.clock)

    async def worker(self) -> Worker:
        clock = self.clock
        journal = Mortal(self.home / "journal")
        purse = Watched(ledger=self.open_ledger(), boot=journal.boot, clock=clock)
        purse.witness = self.witness
        door = Door(
            replica=Replica(self.home / "replica.db", self.vault.derive(PEPPER), clock),
            purse=purse,
            journal=journal,
            vault=self.vault,
            clock=clock,
            metrics=Metrics("0"),
        )
        hosts = Hosts(self.vault, Cache(self.home / "cache.db", self.vault, clock))
        handler = Handler(door=door, answering=Answering(hosts, {}), control=Pool(f"unix:{self.home}/none.sock"))
        server = Server(handler, stream_path=streams, on_fault=lambda error: self.witness.wrong.append(f"fault: {error!r}"))
        port = await server.listen("127.0.0.1", 0)

        async def tend() -> None:
            while True:
                await purse.tend()
                await asyncio.sleep(0.02)

        return Worker(handler, server, port, journal, asyncio.create_task(tend()))


def _rows(place: object, clock: Shifting) -> Rows:
    if isinstance(place, Secret):
        return PostgresRows(place, "The ledger", clock)
    assert isinstance(place, Path)
    return SqliteRows(place, clock, "The ledger")


def _guard(ledger: Ledger) -> None:
    """A trigger that refuses any state in which an account holds more than its cap."""
    rows = ledger._rows
    asks = "NEW.settled + NEW.leased > (SELECT cap FROM budgets b WHERE b.scope = NEW.scope AND b.meter = NEW.meter)"
    if isinstance(rows, SqliteRows):
        for event in ("INSERT", "UPDATE"):
            rows.run(
                f"CREATE TRIGGER cap_{event} AFTER {event} ON accounts WHEN {asks}"
                " BEGIN SELECT RAISE(ABORT, 'an account holds more than its cap'); END"
            )
        return
    rows.run(
        "CREATE FUNCTION held() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF {asks} THEN RAISE EXCEPTION 'an account holds more than its cap'; END IF; RETURN NEW; END $$"
    )
    rows.run("CREATE TRIGGER cap_held AFTER INSERT OR UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION held()")


@asynccontextmanager
async def place(home: Path, budgets: Sequence[Budget], server: str | None = None) -> AsyncIterator[Place]:
    """A mock, a ledger with these caps, a mover, and two workers before them.

    Args:
        server: URL of an empty PostgreSQL database for the ledger, instead of a file in `home`.
    """
    clock, vault = Shifting(), Vault(bytes(32))
    faults = tuple(spec for specs in FAULTS.values() for spec in specs)
    async with running(MockSettings(port=0, latency_ms=2, per_token_ms=0.2, jitter_ms=3, faults=faults), clock) as mock:
        now = clock.now()
        price = price_of(MODEL, "openai", now)
        assert price is not None
        caps: dict[str, tuple[str, ...]] = {}
        for budget in budgets:
            caps[budget.scope] = (*caps.get(budget.scope, ()), budget.meter)
        snapshot = Snapshot(
            version=1,
            compiled_at=now,
            hosts={
                name: Host(
                    name=name,
                    protocol="openai",
                    base_url=f"{mock.url}/v1",
                    keys=(vault.seal("provider", name.encode(), name.encode()),),
                )
                for name in FAULTS
            },
            endpoints={name: _endpoint(name, route) for name, route in ROUTES.items()},
            prices={f"{name}/{MODEL}": price for name in FAULTS},
            budgets=caps,
        )
        publisher = Publisher(home / "replica.db")
        publisher.write(snapshot, 1, [(digest(vault.derive(PEPPER), KEY), CALLER)])
        rows: object = home / "ledger.db" if server is None else Secret(server)
        ledger = Ledger(_rows(rows, clock), clock)
        for budget in budgets:
            ledger.set_budget(budget)
        _guard(ledger)
        traces, subjects = Traces(home / "traces"), Subjects(home / "subjects.db", vault)
        mover = Mover(home / "journal", traces=traces, subjects=subjects, books=ledger, vault=vault, clock=clock)
        witness = Witness({(budget.scope, budget.meter): budget.cap for budget in budgets})
        made = Place(home, rows, clock, vault, mock, ledger, traces, mover, witness)
        made.workers = [await made.worker() for _ in range(2)]
        moving = asyncio.create_task(_moving(made))
        try:
            yield made
        finally:
            for worker in made.workers:
                await worker.end()
            moving.cancel()
            with suppress(asyncio.CancelledError):
                await moving
            ledger.close()
            traces.close()
            subjects.close()
            publisher.close()


def _endpoint(name: str, route: Sequence[str]) -> Endpoint:
    targets = tuple(Target(target=f"{each}/{MODEL}", priority=rank) for rank, each in enumerate(route))
    seconds = 60 if name == "kept" else 0
    return Endpoint(name=name, kind="chat", route=targets, retries=1, timeouts=TIMEOUTS, cache_seconds=seconds)


async def _moving(made: Place) -> None:
    while True:
        await asyncio.to_thread(made.mover.step)
        await asyncio.sleep(0.02)


async def play(made: Place, steps: Sequence[Step]) -> None:
    """Plays a schedule and waits until every call of it is over."""
    calls: list[asyncio.Task[None]] = []
    for what, which, where, tokens, leave in steps:
        worker = made.workers[which % 2]
        if what == "kill":
            made.workers[which % 2] = await made.worker()
            await worker.die(made.witness)
        elif what == "wait":
            await asyncio.sleep(tokens / 1000)
        elif what == "jump":
            made.clock.ahead += tokens * 3600 * MICROS
        else:
            body = {
                "model": where,
                "max_tokens": tokens,
                "stream": what == "stream",
                "messages": [{"role": "user", "content": f"say a: {tokens % 3} of b: 2"}],
            }
            calls.append(asyncio.create_task(_call(made, worker.port, json.dumps(body).encode(), leave)))
            await asyncio.sleep(0.001)
    await asyncio.gather(*calls)


async def _call(made: Place, port: int, body: bytes, leave: int) -> None:
    """One call on a connection of its own; a caller that leaves cuts it."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: door\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\n"
    status = b"0"
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            async with asyncio.timeout(leave / 1000 if leave else 20):
                said = await reader.read()
            status = said.split(b" ", 2)[1] if said else b"0"
        except TimeoutError:
            pass
        finally:
            writer.transport.abort()
    made.statuses[int(status)] = made.statuses.get(int(status), 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a schedule proved."""

    attempts: int
    exact: int
    """Whose usage reached the door: booked at what the bill says."""
    estimated: int
    error: int
    """Nano-dollars that were booked otherwise than the bill says, over the exact ones."""
    over: int
    """Nano-dollars booked beyond the bill, over the estimated ones."""
    refusals: int
    wrong: tuple[str, ...]
    """What should not be."""


async def settle(made: Place) -> None:
    """Ends both workers and moves whatever is left, so that all that was begun is booked."""
    for worker in made.workers:
        await worker.end()
    made.workers = []
    for _ in range(100):
        await asyncio.sleep(0.02)
        await asyncio.to_thread(made.mover.drain)
        if not made.mock.mock.bill.open and not made.ledger.running():
            return
    raise AssertionError(f"{made.mock.mock.bill.open} requests are open at the mock, {made.ledger.running()} in the ledger")


def judge(made: Place) -> Verdict:
    """Lays bill, traces and ledger beside each other."""
    wrong, attempts = list(made.witness.wrong), _attempts(made.home)
    bill: dict[tuple[str, int], int] = {}
    for row in made.mock.bill():
        key = (row.call or "", int(row.attempt or 0))
        if key in bill:
            wrong.append(f"{key} is on the bill twice")
        bill[key] = row.cost_nano or 0
    exact = estimated = error = over = 0
    for key, (cost, reserved, source, outcome) in attempts.items():
        billed = bill.pop(key, 0)
        if source == "provider":
            exact += 1
            error += abs(cost - billed)
            if cost != billed:
                wrong.append(f"{key} ({outcome}) is booked at {cost} and billed at {billed}")
        elif source == "estimated":
            estimated += 1
            over += cost - billed
            if not billed <= cost <= reserved:
                wrong.append(f"{key} ({outcome}) is booked at {cost}, billed at {billed} and was reserved at {reserved}")
        elif billed:
            wrong.append(f"{key} ({outcome}) is booked at nothing and billed at {billed}")
    wrong += [f"{key} is billed at {cost} and recorded nowhere" for key, cost in bill.items()]
    spent = made.ledger.spend("org", since=0, until=2**62)[0]
    if spent != sum(cost for cost, *_ in attempts.values()):
        wrong.append(f"the ledger says {spent}, the traces {sum(cost for cost, *_ in attempts.values())}")
    for account in made.ledger.accounts():
        if account.reserved:
            wrong.append(f"{account.reserved} of {account.scope} {account.unit} {account.window} are still lent")
        if account.unit == "usd" and account.window == "total" and account.settled != spent:
            wrong.append(f"{account.scope} has settled {account.settled} of {spent}")
    return Verdict(
        attempts=len(attempts),
        exact=exact,
        estimated=estimated,
        error=error,
        over=over,
        refusals=made.witness.refusals,
        wrong=tuple(wrong),
    )


def _attempts(home: Path) -> dict[tuple[str, int], tuple[int, int, str, str]]:
    found: dict[tuple[str, int], tuple[int, int, str, str]] = {}
    for file in sorted((home / "traces").glob("traces-*.db")):
        with sqlite3.connect(file) as db:
            for call, attempt, cost, reserved, source, outcome in db.execute(
                "SELECT call, attempt, cost, reserved, source, outcome FROM attempts"
            ):
                found[call, attempt] = (cost, reserved, source, outcome)
    return found


def caps_of(dice: random.Random) -> list[Budget]:
    """Caps of every unit, some of which bind."""
    return [
        Budget(scope="org", cap=dice.choice([300_000, 1_500_000, ENOUGH]), window="total"),
        Budget(scope="team/risk", cap=dice.choice([500_000, ENOUGH]), window="day"),
        Budget(scope="key/demo", cap=dice.choice([2_000, ENOUGH]), unit="tokens", window="hour"),
        Budget(scope="key/demo", cap=dice.choice([25, 1000]), unit="requests", window="day"),
        Budget(scope="key/demo", cap=dice.choice([5, 1000]), unit="calls", window="total"),
    ]


def schedule_of(dice: random.Random, length: int) -> list[Step]:
    """A random schedule."""
    steps: list[Step] = []
    for _ in range(length):
        what = dice.choices(["whole", "stream", "wait", "kill", "jump"], [8, 8, 3, 1, 0.3])[0]
        leave = dice.choice([0, 0, 0, 1, 4, 9, 20])
        amount = {"wait": dice.randrange(1, 40), "jump": dice.choice([1, 24])}.get(what, dice.choice([1, 5, 12, 40]))
        steps.append((what, dice.randrange(2), dice.choice(list(ROUTES)), amount, leave))
    return steps


async def prove(home: Path, budgets: Sequence[Budget], steps: Sequence[Step], server: str | None = None) -> Verdict:
    """Plays one schedule and judges it."""
    async with place(home, budgets, server) as made:
        await play(made, steps)
        await settle(made)
        return judge(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How long is proven."""

    rounds: int = 20
    steps: int = 60
    seed: int = 1
    postgres: str | None = None
    """URL of a server; each round takes a database of its own there."""


def proven(options: Options) -> Verdict:
    """As many random schedules as are asked for, judged together; what is wrong names its seed."""
    total = Verdict(attempts=0, exact=0, estimated=0, error=0, over=0, refusals=0, wrong=())
    for number in range(options.rounds):
        dice = random.Random(options.seed + number)
        with tempfile.TemporaryDirectory() as folder:
            database = _database(options.postgres, number)
            found = asyncio.run(prove(Path(folder), caps_of(dice), schedule_of(dice, options.steps), database))
        sums = {
            name: getattr(total, name) + getattr(found, name)
            for name in ("attempts", "exact", "estimated", "error", "over", "refusals")
        }
        seeded = tuple(f"seed {options.seed + number}: {line}" for line in found.wrong)
        total = Verdict(**sums, wrong=(*total.wrong, *seeded))
    return total


def told(total: Verdict, rounds: int) -> list[str]:
    """The verdict in three lines."""
    return [
        f"{rounds} schedules, {total.attempts} attempts, {total.refusals} refusals: {len(total.wrong)} statements broken",
        f"ledger error {total.error} nano-dollars over {total.exact} attempts that told their usage",
        f"{total.estimated} estimated ones are booked {total.over} nano-dollars above the bill, none above its reservation",
    ]


def measure(options: Options) -> Report:
    """The proof as a comparison without rows.

    Raises:
        Failed: a statement is broken.
    """
    total = proven(options)
    if total.wrong:
        raise Failed("; ".join(total.wrong))
    return Report(title="The books, by every way a call can end", rows=(), notes=told(total, options.rounds))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", help="URL of a server; each round takes a database of its own there")
    given = parser.parse_args()
    total = proven(Options(rounds=given.rounds, steps=given.steps, seed=given.seed, postgres=given.postgres))
    for line in total.wrong:
        print(line, file=sys.stderr)
    print("\n".join(told(total, given.rounds)))
    return 1 if total.wrong else 0


def _database(server: str | None, number: int) -> str | None:
    if server is None:
        return None
    import psycopg

    name = f"proof_{os.getpid()}_{number}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    return server.rpartition("/")[0] + f"/{name}"


if __name__ == "__main__":
    sys.exit(main())
