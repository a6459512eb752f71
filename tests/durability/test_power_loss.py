"""The power goes: what was promised is on the disk, what was not is gone whole, and the next start finds its way."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from tandem.core.policy import Budget
from tandem.governance.audit import Audit
from tandem.governance.ledger import Want
from tandem.observability import journal as module
from tandem.observability.days import FileDays
from tandem.observability.journal import Journal
from tandem.observability.record import Hold
from tandem.store.raw import Rows
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests import power
from tests.jobs.crash import KIND, steps
from tests.jobs.test_crash import RUN, find, log, restarted
from tests.jobs.test_crash import ended as run_ended
from tests.observability.test_journal import Office, begun, closed, ended
from tests.registry.conftest import House, house, person

WANT = Want(scope="key/demo", meter="day", need=2000, like=2000)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    (tmp_path / "home").mkdir()
    return Office(tmp_path / "home")


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(3000):
        if true():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come")


def left(office: Office, home: Path) -> Office:
    """What the next start finds of the stores, at worst."""
    before = office.folder.parent
    days = office.traces._days
    assert isinstance(days, FileDays)
    places: dict[str, Rows] = {"ledger.db": office.ledger._rows, "subjects.db": office.subjects._rows}
    for name, rows in (places | {f"traces/traces-{day}.db": each for day, each in days._open.items()}).items():
        power.database(before / name, home / name, rows.all("PRAGMA synchronous")[0][0])
    return Office(home)


# --- the door


@pytest.mark.parametrize("tail", [b"", bytes(4096), b"\x50\x00\x00\x00" * 1024], ids=["nothing", "zeros", "old blocks"])
def test_a_journal_loses_what_was_not_synced_yet_and_no_more(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tail: bytes
) -> None:
    synced = power.Synced(monkeypatch)
    journal = Journal(office.folder)
    answered, running, late = begun(), begun(), begun()
    journal.begin(answered)
    journal.write(ended(answered), closed(answered))
    journal.begin(running)
    (segment,) = office.folder.glob("*.jnl")
    until(lambda: synced.size(segment) == segment.stat().st_size)
    synced.off()
    journal.begin(late)
    journal.write(ended(late), closed(late))
    synced.left(office.folder, tmp_path / "again" / "journal", tail)
    again = Office(tmp_path / "again")
    again.mover.drain()
    outcomes = {
        call: again.traces.find(each.trace, team="t").calls[0].outcome for call, each in (("a", answered), ("r", running))
    }
    assert outcomes == {"a": "ok", "r": "crashed"}
    assert again.traces.counts() == {"calls": 2, "attempts": 2}
    assert again.ledger.spend("org", since=0, until=2**62) == (600, 2, 0)  # 100 as told, 500 as reserved
    journal.close()


def test_a_journal_is_synced_at_least_twenty_times_a_second() -> None:
    assert module.SYNC_SECONDS <= 0.05


# --- the ledger


def test_a_cap_and_a_lease_are_on_the_disk_when_they_are_given(office: Office, tmp_path: Path) -> None:
    office.ledger.set_budget(Budget(scope="key/demo", cap=5000))
    assert isinstance(office.ledger.lease("a", [WANT]), list)
    (account,) = left(office, tmp_path / "again").ledger.accounts()
    assert (account.cap, account.settled, account.reserved) == (5000, 0, 2000)


def test_a_segment_of_the_journal_goes_only_when_its_bookings_are_on_the_disk(office: Office, tmp_path: Path) -> None:
    office.ledger.set_budget(Budget(scope="key/demo", cap=5000))
    journal = Journal(office.folder)
    given = office.ledger.lease(journal.boot, [WANT])
    assert isinstance(given, list)
    record = begun(holds=(Hold(given[0].lease, "key/demo", "day", 500),))
    journal.begin(record)
    journal.write(ended(record), closed(record))
    journal.close()
    office.mover.step()
    assert list(office.folder.iterdir()) == []
    again = left(office, tmp_path / "again")
    assert again.ledger.spend("org", since=0, until=2**62) == (100, 1, 0)
    assert [call.outcome for call in again.traces.find(record.trace, team="t").calls] == ["ok"]
    (account,) = again.ledger.accounts()
    assert (account.settled, account.reserved) == (100, 0)


# --- control


def test_a_change_of_control_is_on_the_disk_when_it_is_answered_and_a_torn_one_is_gone_whole(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    here = house(tmp_path / "home")
    first, second = here.prompt(template="1"), here.prompt(template="2")
    here.registry.promote(first.ref, "production", by=person("approver"))
    wal = here.home / "control.db-wal"
    before, anchor = wal.stat().st_size, (here.home / "audit.head").read_bytes()
    here.registry.promote(second.ref, "production", by=person("approver"))
    with here.sql.write() as conn:
        synchronous = int(conn.execute(text("PRAGMA synchronous")).scalar_one())
    power.database(here.home / "control.db", tmp_path / "whole" / "control.db", synchronous)
    data = (tmp_path / "whole" / "control.db-wal").read_bytes()
    seen = set()
    for cut in [*range(before, len(data), 1500), len(data)]:
        seen.add(_after(tmp_path / str(cut), tmp_path / "whole" / "control.db", data[:cut], anchor, here))
    assert seen == {1, 2}
    assert _after(tmp_path / "last", tmp_path / "whole" / "control.db", data, anchor, here) == 2


def _after(home: Path, db: Path, wal: bytes, anchor: bytes, here: House) -> int:
    """The version in production of what is left; alias, moves and audit agree."""
    home.mkdir()
    shutil.copyfile(db, home / "control.db")
    (home / "control.db-wal").write_bytes(wal)
    (home / "audit.head").write_bytes(anchor)
    sql = Sql(f"sqlite:///{home / 'control.db'}")
    report = Audit(sql, Vault(bytes(32)), here.clock, home / "audit.head").verify()
    assert report.ok, report.problems
    with sql.read() as conn:
        version = int(conn.execute(text("SELECT version FROM aliases WHERE alias = 'production'")).scalar_one())
        promoted = conn.execute(text("SELECT count(*) FROM audit WHERE action = 'alias.promote'")).scalar_one()
    sql.close()
    assert promoted == version
    return version


# --- jobs


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as a process left it that ended inside the second of three steps."""
    home = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-m", "tests.jobs.crash", str(home), RUN, "control", "die"], timeout=60, check=False)
    return home


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.9, 1])
def test_steps_whose_checkpoint_was_not_on_the_disk_are_done_again(killed: Path, tmp_path: Path, share: float) -> None:
    home = Path(shutil.copytree(killed, tmp_path / "home"))
    wal = home / "jobs.db-wal"
    wal.write_bytes(wal.read_bytes()[: int(wal.stat().st_size * share)])
    (home / "jobs.db-shm").unlink()
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=run_ended))
    assert (run.state, run.outputs) == ("succeeded", {"one": "one", "two": "two", "three": "three"})
    again = log(home)[2:]
    assert again == ["two", "three"] if share == 1 else again in (["one", "two", "three"], ["two", "three"])
