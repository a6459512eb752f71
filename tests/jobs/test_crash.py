"""A process is killed in the middle of a Run's second step; the next one finishes the Run, or says why not."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs.crash import KIND, open_runs, steps

from tandem.core.clock import SystemClock
from tandem.core.principal import LOCAL
from tandem.core.run import ENDED, Run
from tandem.jobs.job import Job, Work
from tandem.jobs.perform import Everywhere
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import ATTEMPTS, Jobs

RUN = "run_crashed"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home as a process left it that died by SIGKILL inside the step `two`."""
    home = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-m", "tests.jobs.crash", str(home), RUN, "control", "die"]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    return home


@pytest.fixture
def home(killed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(killed, tmp_path / "home"))


def restarted(home: Path, works: dict[str, Work], *, until: Callable[[Runs], bool]) -> Runs:
    """The Runs after a new process of the same name has worked until the condition held."""
    kept = open_runs(home)
    jobs = Jobs(home / "jobs.db", executor="control", runs=kept, clock=SystemClock())
    for name, work in works.items():
        jobs.register(name, work)
    jobs.launch()
    waiting = threading.Event()
    for _ in range(3000):
        if until(kept):
            break
        waiting.wait(0.01)
    jobs.close()
    return kept


def ended(kept: Runs) -> bool:
    return find(kept).state in ENDED


def find(kept: Runs) -> Run:
    return kept.find(RUN, Everywhere())


def log(home: Path) -> list[str]:
    return (home / "log.txt").read_text().split()


def statuses(home: Path) -> list[str]:
    with sqlite3.connect(home / "jobs.db") as conn:
        return [row[0] for row in conn.execute("SELECT status FROM workflow_status")]


def test_the_killed_run_is_left_running_and_its_first_step_kept(home: Path) -> None:
    assert find(open_runs(home)).state == "running"
    assert log(home) == ["one", "two"]
    assert statuses(home) == ["PENDING"]


def test_the_same_workflow_resumes_at_the_unfinished_step_and_finishes_once(home: Path) -> None:
    works = {KIND: steps(home, "one", "two", "three")}
    run = find(restarted(home, works, until=ended))
    assert (run.state, run.reason, run.outputs) == ("succeeded", None, {"one": "one", "two": "two", "three": "three"})
    assert log(home) == ["one", "two", "two", "three"]
    assert statuses(home) == ["SUCCESS"]
    again = find(restarted(home, works, until=lambda kept: True))
    assert again == run
    assert log(home) == ["one", "two", "two", "three"]


@pytest.mark.parametrize(
    ("names", "said", "done"),
    [
        (("first", "two", "three"), "'first' now stands where another step was done", []),
        (("one", "zwei", "three"), "'zwei' now stands where another step was done", []),
        (("two", "one", "three"), "'two' now stands where another step was done", []),
        (("one",), "2 steps were begun and it now has 1", []),
    ],
)
def test_other_steps_end_the_run_with_the_reason(home: Path, names: tuple[str, ...], said: str, done: list[str]) -> None:
    run = find(restarted(home, {KIND: steps(home, *names)}, until=ended))
    assert run.state == "failed"
    assert run.reason is not None
    assert said in run.reason
    assert "Start a new run." in run.reason
    assert run.ended_at is not None
    assert log(home) == ["one", "two", *done]
    assert "PENDING" not in statuses(home)


def test_a_step_added_at_the_end_is_done_too(home: Path) -> None:
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three", "four")}, until=ended))
    assert (run.state, log(home)) == ("succeeded", ["one", "two", "two", "three", "four"])


def test_a_result_that_a_new_version_cannot_read_ends_the_run(home: Path) -> None:
    def work(job: Job) -> dict[str, object]:
        job.step("one", lambda: 1, int)
        raise AssertionError("went on")

    run = find(restarted(home, {KIND: work}, until=ended))
    assert run.state == "failed"
    assert "result that this version does not understand" in str(run.reason)


def test_a_workflow_that_is_gone_ends_the_run(home: Path) -> None:
    run = find(restarted(home, {"other": lambda job: {}}, until=ended))
    assert run.state == "failed"
    assert "no workflow 'train'" in str(run.reason)
    assert "PENDING" not in statuses(home)


def test_a_run_that_was_cancelled_before_the_restart_is_not_resumed(home: Path) -> None:
    with sqlite3.connect(home / "jobs.db") as conn:  # as a killed process leaves it between asking and stopping
        conn.execute("UPDATE workflow_status SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL")
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended))
    assert (run.state, log(home)) == ("cancelled", ["one", "two"])


def test_a_run_that_keeps_killing_its_process_is_given_up(home: Path) -> None:
    with sqlite3.connect(home / "jobs.db") as conn:
        conn.execute("UPDATE workflow_status SET recovery_attempts = ?", (ATTEMPTS,))
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended))
    assert (run.state, log(home)) == ("failed", ["one", "two"])
    assert f"begun {ATTEMPTS} times" in str(run.reason)


def test_a_run_without_a_workflow_is_begun_from_its_own_row(home: Path) -> None:
    for path in home.glob("jobs.db*"):
        path.unlink()
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended))
    assert (run.state, log(home)) == ("succeeded", ["one", "two", "one", "two", "three"])


def test_a_run_that_ended_before_its_workflow_did_stays_ended(home: Path) -> None:
    before = open_runs(home).finish(RUN, "failed", reason="as it was")
    works = {KIND: steps(home, "one", "two", "three")}
    kept = restarted(home, works, until=lambda kept: statuses(home) == ["SUCCESS"])
    assert find(kept) == before
    assert log(home) == ["one", "two"]


def test_a_workflow_that_ended_without_its_run_ends_the_run(home: Path) -> None:
    with sqlite3.connect(home / "jobs.db") as conn:
        conn.execute("UPDATE workflow_status SET status = 'ERROR', owner_xid = NULL")
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended))
    assert run.state == "failed"
    assert "not written down" in str(run.reason)


def test_closing_leaves_the_run_to_the_next_process(home: Path) -> None:
    begun = threading.Event()

    def work(job: Job) -> dict[str, object]:
        def wait() -> dict[str, object]:
            begun.set()
            while not job.cancelled():
                threading.Event().wait(0.01)
            raise RuntimeError("the child was killed")

        job.step("one", dict, dict[str, object])
        return job.step("two", wait, dict[str, object])

    kept = restarted(home, {KIND: work}, until=lambda kept: begun.is_set())
    assert (find(kept).state, statuses(home)) == ("running", ["PENDING"])
    run = find(restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended))
    assert (run.state, log(home)) == ("succeeded", ["one", "two", "two", "three"])


def test_nothing_in_the_jobs_database_is_a_pickle(home: Path) -> None:
    restarted(home, {KIND: steps(home, "one", "two", "three")}, until=ended)
    with sqlite3.connect(home / "jobs.db") as conn:
        kinds = conn.execute(
            "SELECT serialization FROM workflow_status UNION SELECT serialization FROM operation_outputs"
        ).fetchall()
        first = conn.execute("SELECT output FROM operation_outputs WHERE function_name = 'one'").fetchone()
        mode = conn.execute("PRAGMA journal_mode").fetchone()
    assert kinds == [("tandem_json",)]
    assert first == ('"{\\"said\\":\\"one\\"}"',)
    assert mode == ("wal",)


def test_the_queue_is_in_order_and_bounded(tmp_path: Path) -> None:
    from tandem.core.errors import Unavailable

    kept = open_runs(tmp_path)
    jobs = Jobs(tmp_path / "jobs.db", executor="control", runs=kept, clock=SystemClock(), at_once=1, queued=2)
    begun, free, order = threading.Event(), threading.Event(), list[str]()

    def work(job: Job) -> dict[str, object]:
        order.append(job.run_id)
        begun.set()
        free.wait(30)
        return {}

    jobs.register(KIND, work)
    jobs.launch()
    ids = [kept.create(KIND, "x", by=LOCAL).id for _ in range(4)]
    jobs.start(KIND, ids[0], {})
    assert begun.wait(30)
    jobs.start(KIND, ids[1], {})
    jobs.start(KIND, ids[2], {})
    assert [kept.find(id, Everywhere()).state for id in ids[:3]] == ["running", "queued", "queued"]
    with pytest.raises(Unavailable, match="2 runs are waiting") as refused:
        jobs.start(KIND, ids[3], {})
    assert refused.value.hint
    assert kept.find(ids[3], Everywhere()).state == "failed"
    jobs.start(KIND, ids[2], {})  # it waits already, so a full queue is no obstacle
    jobs.cancel(ids[1])
    assert kept.find(ids[1], Everywhere()).state == "cancelled"
    free.set()
    waiting = threading.Event()
    while kept.find(ids[2], Everywhere()).state not in ENDED:
        waiting.wait(0.01)
    jobs.close()
    assert order == [ids[0], ids[2]]
    assert [kept.find(id, Everywhere()).state for id in ids] == ["succeeded", "cancelled", "succeeded", "failed"]


def test_before_launch_and_after_close_work_is_refused(tmp_path: Path) -> None:
    from tandem.core.errors import Unavailable

    kept = open_runs(tmp_path)
    jobs = Jobs(tmp_path / "jobs.db", executor="control", runs=kept, clock=SystemClock())
    run = kept.create(KIND, "x", by=LOCAL)
    with pytest.raises(Unavailable, match="not running"):
        jobs.start(KIND, run.id, {})
    jobs.close()
