"""A workflow with a queue of its own is held up by no other Run, and holds up none."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from tests.jobs.crash import open_runs

from tandem.core.clock import SystemClock
from tandem.core.errors import Unavailable
from tandem.core.principal import LOCAL
from tandem.core.run import ENDED
from tandem.jobs.job import Job
from tandem.jobs.perform import Everywhere
from tandem.jobs.workflow import Jobs


def test_runs_that_wait_do_not_hold_up_the_others(tmp_path: Path) -> None:
    kept = open_runs(tmp_path)
    jobs = Jobs(tmp_path / "jobs.db", executor="control", runs=kept, clock=SystemClock(), queued=1)
    release, begun = threading.Event(), threading.Semaphore(0)

    def long(job: Job) -> dict[str, object]:
        begun.release()
        release.wait(30)
        return {}

    jobs.register("batch", long, at_once=2)
    jobs.register("train", lambda job: {})
    jobs.launch()
    try:

        def started(kind: str) -> str:
            run = kept.create(kind, "x", by=LOCAL)
            jobs.start(kind, run.id, {})
            return run.id

        slow = [
            started("batch"),
        ]
        assert begun.acquire(timeout=20)
        slow.append(started("batch"))
        assert begun.acquire(timeout=20)
        slow.append(started("batch"))  # waits
        with pytest.raises(Unavailable):
            started("batch")
        quick = started("train")
        waiting = threading.Event()
        for _ in range(2000):
            if kept.find(quick, Everywhere()).state in ENDED:
                break
            waiting.wait(0.01)
        assert kept.find(quick, Everywhere()).state == "succeeded"
        assert [kept.find(run, Everywhere()).state for run in slow] == ["running", "running", "queued"]
    finally:
        release.set()
        jobs.close()
