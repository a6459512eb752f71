"""A process that does one Run and is killed, or kills itself, in the middle of its second step.

    python -m tests.jobs.crash HOME RUN EXECUTOR HOW      HOW: `die` (SIGKILL itself) or `hang` (until HOME/go is there)

HOME holds everything, or the file `url` of a server that does. `log.txt` there gets a line for every step that begins.
Used by the tests of this folder.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from tandem.core.clock import SystemClock
from tandem.core.principal import LOCAL
from tandem.core.secret import Secret
from tandem.jobs.job import Job, Work
from tandem.jobs.repo import Runs, runs
from tandem.jobs.workflow import Jobs
from tandem.store.sql import Sql

KIND = "train"
BEAT = 0.2
"""Seconds."""
OPENED: list[Sql] = []
"""What this process opened; a test closes it."""


def place(home: Path) -> Path | Secret:
    """Where the jobs lie: a file of the home, or the server whose URL is in it."""
    url = home / "url"
    return Secret(url.read_text()) if url.exists() else home / "jobs.db"


def open_runs(home: Path) -> Runs:
    at = place(home)
    sql = Sql(f"sqlite:///{home / 'control.db'}" if isinstance(at, Path) else at.reveal())
    OPENED.append(sql)
    with sql.write() as conn:
        runs.create(conn, checkfirst=True)
    return Runs(sql, SystemClock())


def note(home: Path, line: str) -> dict[str, str]:
    with (home / "log.txt").open("a") as log:
        log.write(f"{line}\n")
    return {"said": line}


def steps(home: Path, *names: str, then: Callable[[str], object] = lambda name: None) -> Work:
    """A workflow of these steps; `then` is called inside each after its line was written."""

    def work(job: Job) -> Mapping[str, object]:
        def one(name: str) -> dict[str, str]:
            said = note(home, name)
            then(name)
            return said

        return {name: job.step(name, partial(one, name), dict[str, str])["said"] for name in names}

    return work


def stop(home: Path, name: str, how: str) -> None:
    if name != "two":
        return
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    while not (home / "go").exists():
        threading.Event().wait(0.01)
    note(home, "two-went-on")


def main(home: Path, run_id: str, executor: str, how: str) -> None:
    kept = open_runs(home)
    kept.create(KIND, "tumor", by=LOCAL, id=run_id)
    jobs = Jobs(place(home), executor=executor, runs=kept, clock=SystemClock(), beat=BEAT)
    jobs.register(KIND, steps(home, "one", "two", "three", then=lambda name: stop(home, name, how)))
    jobs.launch()
    jobs.start(KIND, run_id, {})
    threading.Event().wait(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
