"""The disk fills up under the jobs: no Run is begun that could not be kept, and one that runs ends when there is room again."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tandem.core.clock import SystemClock
from tandem.core.errors import Unavailable
from tandem.core.principal import LOCAL
from tandem.core.run import ENDED
from tandem.jobs.job import Job
from tandem.jobs.perform import Everywhere
from tandem.jobs.workflow import Jobs
from tests.disks import kinds
from tests.jobs.crash import BEAT, KIND, open_runs
from tests.observability.test_reserve import Disk, disk

__all__ = ["disk"]
MOST = 200
"""Runs after which a full disk must have been noticed; what has room in a page goes on for a while."""
LARGE = "x" * 2**20
"""More than a log of the database has room for by chance."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    metafunc.parametrize("disk", kinds(), indirect=True)


def until(true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(3000):
        if true():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come")


def test_a_run_that_could_not_be_kept_is_refused_and_one_that_runs_ends_when_there_is_room(disk: Disk) -> None:
    kept = open_runs(disk.folder)
    jobs = Jobs(disk.folder / "jobs.db", executor="control", runs=kept, clock=SystemClock(), beat=BEAT)
    inside, go, done = threading.Event(), threading.Event(), list[str]()

    def work(job: Job) -> dict[str, object]:
        def one() -> str:
            done.append("one")
            inside.set()
            assert go.wait(60)
            return LARGE

        def two() -> str:
            done.append("two")
            return "2"

        return {"size": len(job.step("one", one, str)), "two": job.step("two", two, str)}

    def start() -> None:
        for _ in range(MOST):
            jobs.start(KIND, kept.create(KIND, "later", by=LOCAL).id, {"large": LARGE})

    jobs.register(KIND, work)
    jobs.launch()
    try:
        run = kept.create(KIND, "first", by=LOCAL)
        jobs.start(KIND, run.id, {})
        assert inside.wait(30)
        with disk.full():
            with pytest.raises(Unavailable):
                start()
            go.set()
            until(lambda: not jobs._active)
            assert kept.find(run.id, Everywhere()).state == "running"
        until(lambda: kept.find(run.id, Everywhere()).state in ENDED)
        ended = kept.find(run.id, Everywhere())
        assert (ended.state, ended.outputs) == ("succeeded", {"size": len(LARGE), "two": "2"})
        assert done[:2] == ["one", "one"]
    finally:
        jobs.close()
