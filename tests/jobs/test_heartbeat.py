"""Two processes on one jobs database: one dies or is held up, the other finishes its work."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from tests.jobs.crash import BEAT, KIND, open_runs, place, steps
from tests.postgres import Server, needed

from tandem.core.clock import FixedClock, SystemClock
from tandem.core.errors import Unavailable
from tandem.core.principal import LOCAL
from tandem.core.run import ENDED, Run
from tandem.jobs.engine import engine
from tandem.jobs.heartbeat import Heartbeat
from tandem.jobs.perform import Everywhere
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs

RUN = "run_shared"


class Pair:
    """`a` is a process in the middle of the Run's second step; `b` is the engine of this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: Runs = open_runs(home)
        command = [sys.executable, "-m", "tests.jobs.crash", str(home), RUN, "a", "hang"]
        self.a = subprocess.Popen(command)
        self.until(lambda: self.log() == ["one", "two"])
        self.engine = engine(place(home))
        self.b = Jobs(place(home), executor="b", runs=self.runs, clock=SystemClock(), beat=BEAT)
        self.b.register(KIND, steps(home, "one", "two", "three"))
        self.b.launch()

    def log(self) -> list[str]:
        path = self.home / "log.txt"
        return path.read_text().split() if path.exists() else []

    def run(self) -> Run:
        return self.runs.find(RUN, Everywhere())

    def beats(self, executor: str) -> int:
        with self.engine.connect() as conn:
            found = conn.execute(text("SELECT at FROM tandem_executors WHERE id = :id"), {"id": executor})
            return int(found.scalar_one())

    def until(self, condition: Callable[[], bool]) -> None:
        waiting = threading.Event()
        for _ in range(3000):
            if condition():
                return
            waiting.wait(0.01)
        raise AssertionError("it did not happen")

    def some_beats(self, executor: str, count: int) -> None:
        for _ in range(count):
            last = self.beats(executor)
            self.until(lambda last=last: self.beats(executor) > last)  # type: ignore[misc]


@pytest.fixture(params=["file", pytest.param("server", marks=needed)])
def pair(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Pair]:
    if request.param == "server":
        server: Server = request.getfixturevalue("postgres")
        (tmp_path / "url").write_text(server.database(f"jobs_{uuid4().hex}"))
    made = Pair(tmp_path)
    yield made
    made.a.kill()
    made.a.wait()
    made.b.close()
    made.engine.dispose()


def test_a_peer_lets_a_living_process_work_and_finishes_for_a_dead_one(pair: Pair) -> None:
    pair.some_beats("b", 6)
    assert (pair.run().state, pair.log()) == ("running", ["one", "two"])
    pair.a.kill()
    pair.until(lambda: pair.run().state in ENDED)
    assert (pair.run().state, pair.run().outputs) == ("succeeded", {"one": "one", "two": "two", "three": "three"})
    assert pair.log() == ["one", "two", "two", "three"]


def test_a_process_that_was_held_up_does_not_go_on_with_what_a_peer_took_over(pair: Pair) -> None:
    pair.a.send_signal(signal.SIGSTOP)
    pair.until(lambda: pair.run().state in ENDED)
    ended = pair.run()
    (pair.home / "go").touch()
    pair.a.send_signal(signal.SIGCONT)
    pair.until(lambda: "two-went-on" in pair.log())
    pair.some_beats("a", 2)
    assert pair.log() == ["one", "two", "two", "three", "two-went-on"]
    assert pair.run() == ended


def test_a_run_is_cancelled_through_another_process(pair: Pair) -> None:
    pair.b.cancel(RUN)
    (pair.home / "go").touch()
    pair.until(lambda: pair.run().state == "cancelled")
    pair.some_beats("b", 2)
    assert "three" not in pair.log()


def test_a_process_that_closes_leaves_its_work_to_its_peers_at_once(tmp_path: Path) -> None:
    file = create_engine(f"sqlite:///{tmp_path / 'jobs.db'}")
    clock = FixedClock()
    one, two = Heartbeat(file, "one", clock), Heartbeat(file, "two", clock)
    one.begin()
    two.begin()
    assert two.beat() == frozenset({"one", "two"})
    one.end()
    assert two.beat() == frozenset({"two"})
    file.dispose()


def test_who_missed_two_beats_is_dead_but_who_slept_draws_no_conclusions(tmp_path: Path) -> None:
    file = create_engine(f"sqlite:///{tmp_path / 'jobs.db'}")
    clock = FixedClock()
    one, two = Heartbeat(file, "one", clock, seconds=5), Heartbeat(file, "two", clock, seconds=5)
    one.begin()
    two.begin()
    clock.advance(5)
    two.beat()
    clock.advance(5)
    assert two.beat() == frozenset({"one", "two"})
    clock.advance(0.1)
    assert two.beat() == frozenset({"two"})
    assert one.beat() is None
    assert one.beat() == frozenset({"one", "two"})
    clock.advance(60)
    assert two.beat() is None
    file.dispose()


def test_a_run_that_was_never_started_waits_for_its_starter_and_is_then_begun(tmp_path: Path) -> None:
    kept = open_runs(tmp_path)
    jobs = Jobs(tmp_path / "jobs.db", executor="b", runs=kept, clock=SystemClock(), beat=0.05)
    jobs.register(KIND, steps(tmp_path, "one"))
    jobs.launch()
    run = kept.create(KIND, "tumor", by=LOCAL)
    waiting = threading.Event()
    while kept.find(run.id, Everywhere()).state not in ENDED:
        waiting.wait(0.01)
    jobs.close()
    assert kept.find(run.id, Everywhere()).outputs == {"one": "one"}


@needed
def test_who_gives_work_away_does_none_of_it(tmp_path: Path, postgres: Server) -> None:
    (tmp_path / "url").write_text(postgres.database(f"jobs_{uuid4().hex}"))
    kept = open_runs(tmp_path)
    giver = Jobs(place(tmp_path), executor="giver", runs=kept, clock=SystemClock(), beat=BEAT, performs=False)
    giver.register(KIND, steps(tmp_path, "one"))
    giver.launch()
    run = kept.create(KIND, "tumor", by=LOCAL)
    giver.start(KIND, run.id, {})
    for _ in range(10):
        giver._beat()
    assert kept.find(run.id, Everywhere()).state == "queued"
    giver.close()
    doer = Jobs(place(tmp_path), executor="doer", runs=kept, clock=SystemClock(), beat=BEAT)
    doer.register(KIND, steps(tmp_path, "one"))
    doer.launch()
    waiting = threading.Event()
    while kept.find(run.id, Everywhere()).state not in ENDED:
        waiting.wait(0.01)
    doer.close()
    assert kept.find(run.id, Everywhere()).outputs == {"one": "one"}


@needed
def test_a_server_that_goes_away_in_the_middle_of_a_run_delays_it_and_no_more(tmp_path: Path) -> None:
    server = Server()
    (tmp_path / "url").write_text(server.database("jobs"))
    kept = open_runs(tmp_path)
    jobs = Jobs(place(tmp_path), executor="b", runs=kept, clock=SystemClock(), beat=BEAT)

    def outage(name: str) -> None:
        if name == "two":
            server.stop()
            threading.Timer(1.0, server.start).start()

    jobs.register(KIND, steps(tmp_path, "one", "two", "three", then=outage))
    jobs.launch()
    run = kept.create(KIND, "tumor", by=LOCAL)
    jobs.start(KIND, run.id, {})
    waiting = threading.Event()
    ended = None
    for _ in range(6000):
        waiting.wait(0.01)
        with suppress(Unavailable):
            ended = kept.find(run.id, Everywhere())
            if ended.state in ENDED:
                break
    jobs.close()
    assert ended is not None
    assert (ended.state, ended.outputs) == ("succeeded", {"one": "one", "two": "two", "three": "three"})
    assert (tmp_path / "log.txt").read_text().split() == ["one", "two", "three"]
    server.close()


@needed
def test_a_launch_that_finds_the_server_away_can_be_tried_again(tmp_path: Path) -> None:
    server = Server()
    (tmp_path / "url").write_text(server.database("jobs"))
    kept = open_runs(tmp_path)
    jobs = Jobs(place(tmp_path), executor="b", runs=kept, clock=SystemClock(), beat=BEAT)
    jobs.register(KIND, steps(tmp_path, "one"))
    server.stop()
    for _ in range(2):
        with pytest.raises(Unavailable):
            jobs.launch()
    server.start()
    jobs.launch()
    run = kept.create(KIND, "tumor", by=LOCAL)
    jobs.start(KIND, run.id, {})
    waiting = threading.Event()
    while kept.find(run.id, Everywhere()).state not in ENDED:
        waiting.wait(0.01)
    jobs.close()
    assert kept.find(run.id, Everywhere()).outputs == {"one": "one"}
    server.close()
