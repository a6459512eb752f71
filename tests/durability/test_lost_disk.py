"""The disk with the home is lost: the door notices and refuses, and the last backup brings back all that was there by then."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tandem.core.clock import SystemClock
from tandem.core.errors import Unavailable
from tandem.governance.backup import back_up
from tandem.governance.restore import Given, restore
from tandem.observability.journal import Journal
from tandem.store.vault import Vault
from tests.jobs.crash import KIND, steps
from tests.jobs.test_crash import RUN, find, log, restarted
from tests.jobs.test_crash import ended as run_ended
from tests.journeys.conftest import ADMIN, TLS, Platform, bearer, platform, until
from tests.migrated import migrated
from tests.observability.test_journal import begun, closed, ended


def quiet(fraction: float, stage: str) -> None:
    assert 0 <= fraction <= 1


def copied(home: Path, archive: Path) -> Path:
    """A backup of a home, with its key."""
    return Path(back_up(home, archive, Vault.load(home, {}), SystemClock(), with_key=True, progress=quiet).path)


def put_back(archive: Path, home: Path) -> None:
    found = restore(archive, home, Given(environment={}), SystemClock(), progress=quiet)
    assert (found.audit_ok, found.unbooked) == (True, 0)


# --- the door


@pytest.mark.skipif(sys.platform != "linux", reason="has no file whose writes fail")
def test_a_journal_whose_disk_answers_with_errors_takes_no_new_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    running = begun()
    journal.begin(running)
    kept, broken = os.dup(journal._file), os.open("/proc/self/mem", os.O_WRONLY)  # whose first page nobody can write to
    os.dup2(broken, journal._file)
    with pytest.raises(Unavailable, match="Input/output error"):
        journal.begin(begun())
    journal.write(ended(running), closed(running))  # waits in memory
    os.dup2(kept, journal._file)
    assert journal.flush()
    journal.begin(begun())
    journal.close()
    for file in (kept, broken):
        os.close(file)


def test_a_journal_whose_home_was_removed_takes_no_new_call(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin(begun())
    shutil.rmtree(tmp_path / "journal")
    until(lambda: journal.fault is not None, "it is noticed", 10)
    with pytest.raises(Unavailable, match="its file was removed"):
        journal.begin(begun())
    journal.close()


# --- a platform, from its backup


@dataclass
class Story:
    """A platform that lost its disk after a backup, and was put back."""

    house: Platform
    before: str
    """The key that was there at the backup."""
    after: str
    """The key that was made since."""
    traces: tuple[str, str]
    """A call from before the backup, and one since."""
    billed: int


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("lost")
    with platform(folder) as house:
        before = house.key("before")
        house.api("PUT", "/budgets/key/before", json={"cap": "0.05", "window": "total"})
        until(lambda: house.chat(before).status_code == 200)
        first = house.chat(before).headers["x-tandem-trace-id"]
        house.settle()
        archive = copied(house.home, folder / "backup.tandem")
        after = house.key("after")
        until(lambda: house.chat(after).status_code == 200)
        second = house.chat(before).headers["x-tandem-trace-id"]
        house.down(signal.SIGKILL)
        until(lambda: not house.pids("door") and not house.pids("control"), "all of it is gone")
        shutil.rmtree(house.home)
        put_back(archive, house.home)
        house.up()
        billed = httpx2.get(f"{house.mock_url}/bill", verify=TLS).json()["totals"]["cost_nano"]
        yield Story(house, before, after, (first, second), int(billed))


def found(house: Platform, trace: str) -> int:
    return httpx2.get(f"{house.url}/api/v1/traces/{trace}", headers=bearer(ADMIN), timeout=30, verify=TLS).status_code


@pytest.mark.journey
def test_the_door_answers_whom_the_backup_knows(story: Story) -> None:
    assert story.house.chat(story.before).status_code == 200
    assert story.house.chat(story.after).status_code == 401


@pytest.mark.journey
def test_control_knows_what_was_done_before_the_backup_and_that_it_was_put_back(story: Story) -> None:
    assert [found(story.house, trace) for trace in story.traces] == [200, 404]
    assert {row["name"] for row in story.house.api("GET", "/keys")} >= {"before"}
    assert "after" not in {row["name"] for row in story.house.api("GET", "/keys")}
    assert story.house.api("POST", "/audit/verify")["ok"]
    assert "restore" in " ".join(row["action"] for row in story.house.api("GET", "/audit"))


@pytest.mark.journey
def test_the_ledger_remembers_the_money_of_before_the_backup_and_its_caps(story: Story) -> None:
    (budget,) = story.house.api("GET", "/budgets")
    assert budget["cap"] == 50_000_000
    assert 0 < budget["settled"] < story.billed


# --- jobs


def test_a_run_that_was_under_way_at_the_backup_is_done_from_its_last_step_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    migrated(f"sqlite:///{home / 'control.db'}")
    Vault.load(home, {})
    command = [sys.executable, "-m", "tests.jobs.crash", str(home), RUN, "control", "hang"]
    with subprocess.Popen(command) as working:
        until(lambda: (home / "log.txt").exists() and log(home) == ["one", "two"], "it is in its second step")
        archive = copied(home, tmp_path / "backup.tandem")
        working.kill()
    shutil.rmtree(home)
    put_back(archive, home)
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=run_ended))
    assert (run.state, run.outputs) == ("succeeded", {"one": "one", "two": "two", "three": "three"})
    assert log(home) == ["one", "two", "two", "three"]
