"""The network is cut between the door and a provider, and between the platform and PostgreSQL: silent, or with a reset."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select

from tandem.core.clock import FixedClock
from tandem.core.endpoint import Endpoint, Target, Timeouts
from tandem.core.errors import Unavailable
from tandem.core.policy import Budget
from tandem.core.secret import Secret
from tandem.governance.ledger import LEASE_SECONDS, Ledger, Want
from tandem.observability.record import Hold
from tandem.store import raw
from tandem.store import sql as module
from tandem.store.raw import PostgresRows
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.cut import How, Line, line, needed
from tests.gateway.conftest import KEY, House, house
from tests.governance.test_ledger import SCOPE, account, begun, ended
from tests.postgres import Server

pytestmark = needed
NUMBERS = count()
TIMEOUTS = Timeouts(connect=1, first_byte=1, idle=1, total=5)
CAP = 1_000_000_000
CUTS: tuple[How, ...] = ("silence", "reset")


# --- the door and a provider


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        made.cap(CAP)
        yield made


@pytest.fixture
def far(door: House) -> Iterator[Line]:
    """The provider `far`, behind a line: alone at the endpoint `alone`, before another at `spare`."""
    near, key = door.snapshot.hosts["mock"], Vault(bytes(32)).seal("provider", b"mk", b"far")
    with line(int(door.mock.url.rpartition(":")[2])) as made:
        far, here = Target(target="far/gpt-4o-mini", priority=0), Target(target="mock/gpt-4o-mini", priority=1)
        once = Endpoint(name="alone", kind="chat", route=(far,), retries=0, timeouts=TIMEOUTS)
        door.publish(
            hosts={"mock": near, "far": replace(near, name="far", base_url=f"http://127.0.0.1:{made.port}/v1", keys=(key,))},
            endpoints={"alone": once, "spare": replace(once, name="spare", route=(far, here), retries=1)},
            prices={**door.snapshot.prices, "far/gpt-4o-mini": door.snapshot.prices["mock/gpt-4o-mini"]},
        )
        yield made


async def ask(door: House, model: str) -> httpx2.Response:
    body = {"model": model, "max_tokens": 8, "messages": [{"role": "user", "content": "hello"}]}
    async with httpx2.AsyncClient(timeout=20) as http:
        return await http.post(f"{door.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})


def booked(door: House) -> tuple[int, int]:
    """Nano-dollars that the ledger has settled, and those that attempts still hold, once the purse has handed the rest back."""
    door.handler.door.purse.close()
    door.move()
    (found,) = door.ledger.accounts()
    return found.settled, found.reserved


def bill(door: House) -> int:
    return sum(row.cost_nano or 0 for row in door.mock.bill())


@pytest.mark.parametrize("how", CUTS)
async def test_a_cut_to_a_provider_ends_a_call_in_time_and_the_next_target_answers(door: House, far: Line, how: How) -> None:
    assert (await ask(door, "alone")).status_code == 200
    far.cut(how)
    assert (await ask(door, "spare")).status_code == 200
    refused = [await ask(door, "alone") for _ in range(2)]  # the first on a connection that was open
    assert {reply.status_code for reply in refused} <= ({504} if how == "silence" else {502})
    far.mend()
    assert (await ask(door, "alone")).status_code == 200
    settled, reserved = booked(door)
    assert reserved == 0
    assert bill(door) <= settled <= CAP


async def test_an_answer_that_is_lost_on_its_way_is_booked_no_lower_than_it_was_billed(door: House, far: Line) -> None:
    far.lose_reply(b"POST")
    assert (await ask(door, "alone")).status_code == 502
    assert far.lost.is_set()
    assert bill(door) > 0
    settled, reserved = booked(door)
    assert reserved == 0
    assert bill(door) <= settled


# --- the platform and PostgreSQL


@pytest.fixture
def wire(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """A line to the server, on which nobody waits longer than a few seconds."""
    monkeypatch.setattr(raw, "STATEMENT_SECONDS", 3)
    for each in (raw, module):
        monkeypatch.setattr(each, "SILENT_SECONDS", 2)
    monkeypatch.setattr(raw, "CONNECT_SECONDS", 2)
    for name, value in (("connect_timeout", 2), ("keepalives_idle", 1), ("keepalives_interval", 1), ("tcp_user_timeout", 2000)):
        monkeypatch.setitem(module.PATIENCE, name, value)
    with line(postgres.port) as made:
        yield made


def database(postgres: Server, wire: Line, driver: str = "") -> tuple[str, str]:
    """A new database: its URL over the line, and past it."""
    name = f"cut{next(NUMBERS)}"
    postgres.database(name)
    direct = postgres.url(name, driver=driver)
    return direct.replace(f":{postgres.port}/", f":{wire.port}/"), direct


def ledger_at(url: str, clock: FixedClock) -> Ledger:
    return Ledger(PostgresRows(Secret(url), "The ledger", clock), clock)


WANT = Want(scope=SCOPE, meter="day", need=40, like=40)


@pytest.mark.parametrize("how", CUTS)
def test_the_ledger_says_soon_that_it_is_cut_off_and_goes_on(postgres: Server, wire: Line, how: How) -> None:
    ledger = ledger_at(database(postgres, wire)[0], FixedClock())
    ledger.set_budget(Budget(scope=SCOPE, cap=100))
    wire.cut(how)
    for _ in range(2):
        with pytest.raises(Unavailable, match="The ledger did not answer"):
            ledger.lease("a", [WANT])
    wire.mend()
    assert isinstance(ledger.lease("a", [WANT]), list)
    assert account(ledger) == (0, 40)
    ledger.close()


def test_a_lease_whose_answer_is_lost_holds_its_room_until_it_ends(postgres: Server, wire: Line) -> None:
    clock = FixedClock()
    ledger = ledger_at(database(postgres, wire)[0], clock)
    ledger.set_budget(Budget(scope=SCOPE, cap=100))
    wire.lose_reply(b"COMMIT")
    with pytest.raises(Unavailable):
        ledger.lease("a", [WANT])
    assert wire.lost.is_set()
    assert account(ledger) == (0, 40)
    clock.advance(LEASE_SECONDS + 1)
    ledger.expire(ledger.tick(), ["a"])
    assert account(ledger) == (0, 0)
    ledger.close()


def test_a_batch_whose_answer_is_lost_is_booked_once(postgres: Server, wire: Line) -> None:
    ledger = ledger_at(database(postgres, wire)[0], FixedClock())
    ledger.set_budget(Budget(scope=SCOPE, cap=100))
    given = ledger.lease("a", [WANT])
    assert isinstance(given, list)
    record, first = begun(Hold(given[0].lease, SCOPE, "day", 40))
    ledger.post(first)
    wire.lose_reply(b"COMMIT")
    with pytest.raises(Unavailable):
        ledger.post(ended(record, 30))
    assert wire.lost.is_set()
    ledger.post(ended(record, 30))  # as the mover does, from the same place of the journal
    assert account(ledger) == (30, 10)
    assert ledger.spend(SCOPE, since=0, until=2**62) == (30, 1, 0)
    ledger.close()


@pytest.mark.parametrize("why", ["cut off", "stopped"])
def test_a_writer_of_the_ledger_that_is_heard_no_more_holds_up_nobody(postgres: Server, wire: Line, why: str) -> None:
    over, direct = database(postgres, wire)
    clock = FixedClock()
    cut_off, other = ledger_at(over, clock), ledger_at(direct, clock)
    other.set_budget(Budget(scope=SCOPE, cap=100))

    def write() -> None:
        with cut_off._rows.writing():
            cut_off._rows.run("UPDATE budgets SET cap = 7")
            if why == "cut off":
                wire.cut()
            assert isinstance(other.lease("a", [WANT]), list)
            cut_off._rows.run("UPDATE budgets SET cap = 8")

    with pytest.raises(Unavailable, match="did not answer"):
        write()
    wire.mend()
    assert account(other) == (0, 40)
    assert [budget.cap for budget in cut_off.budgets()] == [100]
    for ledger in (cut_off, other):
        ledger.close()


NOTES = Table("notes", MetaData(), Column("id", Integer, primary_key=True))


@pytest.fixture
def control(postgres: Server, wire: Line) -> Iterator[tuple[Sql, Sql]]:
    """The database of control over the line, and past it."""
    over, direct = (Sql(url) for url in database(postgres, wire, "+psycopg"))
    with direct.write() as conn:
        NOTES.create(conn)
    yield over, direct
    wire.mend()
    for each in (over, direct):
        each.close()


def notes(sql: Sql) -> list[int]:
    with sql.read() as conn:
        return sorted(conn.execute(select(NOTES.c.id)).scalars())


def note(sql: Sql, number: int, then: Callable[[], object] = lambda: None) -> None:
    with sql.write() as conn:
        conn.execute(insert(NOTES).values(id=number))
        then()


@pytest.mark.parametrize("how", CUTS)
def test_control_says_soon_that_its_database_is_cut_off_and_goes_on(control: tuple[Sql, Sql], wire: Line, how: How) -> None:
    over, _ = control
    note(over, 1)
    wire.cut(how)
    for work in (lambda: note(over, 2), lambda: notes(over)):
        with pytest.raises(Unavailable, match="did not answer"):
            work()
    wire.mend()
    note(over, 3)
    assert notes(over) == [1, 3]


def test_a_change_of_control_whose_answer_is_lost_was_done(control: tuple[Sql, Sql], wire: Line) -> None:
    over, _ = control
    wire.lose_reply(b"COMMIT")
    with pytest.raises(Unavailable):
        note(over, 1)
    assert wire.lost.is_set()
    assert notes(over) == [1]


@pytest.mark.parametrize("why", ["cut off", "stopped"])
def test_a_writer_of_control_that_is_heard_no_more_holds_up_nobody(control: tuple[Sql, Sql], wire: Line, why: str) -> None:
    over, direct = control

    def silence() -> None:
        if why == "cut off":
            wire.cut()
        note(direct, 2)

    with pytest.raises(Unavailable):
        note(over, 1, silence)
    wire.mend()
    assert notes(over) == [2]


def test_no_wait_for_a_database_is_without_an_end() -> None:
    patience = module.PATIENCE
    silent = patience["keepalives_idle"] + patience["keepalives_interval"] * patience["keepalives_count"]
    assert max(silent, patience["tcp_user_timeout"] / 1000) + patience["connect_timeout"] <= 15
