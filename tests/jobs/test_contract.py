"""What every engine for Runs keeps to: the durable one and the one that works in the caller's thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from uuid import uuid4

import pytest
from tests.postgres import needed

from tandem.core.clock import SystemClock
from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.core.principal import LOCAL
from tandem.core.run import ENDED, Run
from tandem.core.secret import Secret
from tandem.jobs.fake import InlineJobs
from tandem.jobs.job import Job, Work, Workflows
from tandem.jobs.perform import Everywhere
from tandem.jobs.repo import Runs, runs
from tandem.jobs.workflow import Jobs
from tandem.store.sql import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """A step's result with a type of its own."""

    value: float
    parts: tuple[int, ...]


class Floor:
    """One engine with its Runs; a single launch serves all tests of the module, works are looked up late."""

    def __init__(self, engine: Workflows, kept: Runs) -> None:
        self.engine, self.runs = engine, kept
        self.work: Work = lambda job: {}
        engine.register("train", lambda job: self.work(job))

    def begin(self, work: Work, inputs: Mapping[str, object] | None = None) -> str:
        self.work = work
        run = self.runs.create("train", "tumor", inputs=inputs, by=LOCAL)
        self.engine.start("train", run.id, inputs or {})
        return run.id

    def find(self, run_id: str) -> Run:
        return self.runs.find(run_id, Everywhere())

    def ended(self, run_id: str) -> Run:
        waiting = threading.Event()
        for _ in range(3000):
            run = self.find(run_id)
            if run.state in ENDED:
                return run
            waiting.wait(0.01)
        raise AssertionError(f"{run} did not end")

    def do(self, work: Work, inputs: Mapping[str, object] | None = None) -> Run:
        return self.ended(self.begin(work, inputs))


@pytest.fixture(scope="module", params=["durable", "inline", pytest.param("server", marks=needed)])
def floor(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floor]:
    home = tmp_path_factory.mktemp("home")
    url = request.getfixturevalue("postgres").database(f"jobs_{uuid4().hex}") if request.param == "server" else ""
    sql = Sql(url or f"sqlite:///{home / 'control.db'}")
    with sql.write() as conn:
        runs.create(conn)
    kept = Runs(sql, SystemClock())
    engine: Workflows
    if request.param == "inline":
        engine = InlineJobs(kept, SystemClock())
    else:
        engine = Jobs(Secret(url) if url else home / "jobs.db", executor="test", runs=kept, clock=SystemClock())
    made = Floor(engine, kept)
    engine.launch()
    yield made
    engine.close()
    sql.close()


def fails(error: Exception) -> Callable[[], dict[str, object]]:
    def work() -> dict[str, object]:
        raise error

    return work


def test_a_run_succeeds_with_its_outputs_and_times(floor: Floor) -> None:
    def work(job: Job) -> Mapping[str, object]:
        first = job.step("first", lambda: {"n": 1}, dict[str, int])
        second = job.step("second", lambda: first["n"] + 1, int)
        return {"sum": second, "name": job.run.name, "given": job.inputs["x"], "by": job.by.name}

    run = floor.do(work, {"x": [1, 2]})
    assert (run.state, run.reason, run.progress) == ("succeeded", None, 1.0)
    assert run.outputs == {"sum": 2, "name": "tumor", "given": [1, 2], "by": "local"}
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.created_at <= run.started_at <= run.ended_at


def test_a_step_gives_back_its_type_after_a_round_through_json(floor: Floor) -> None:
    seen: list[object] = []

    def work(job: Job) -> Mapping[str, object]:
        seen.append(job.step("half", lambda: Half(value=0.5, parts=(1, 2)), Half))
        return {}

    assert floor.do(work).state == "succeeded"
    assert seen == [Half(value=0.5, parts=(1, 2))]


def test_our_error_is_the_reason_with_its_hint_and_not_logged(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = floor.do(lambda job: job.step("bad", fails(Forbidden("No such column.", hint="Use another.")), dict[str, object]))
    assert (run.state, run.reason) == ("failed", "No such column. Use another.")
    assert run.ended_at is not None
    assert caplog.records == []


def test_any_other_error_is_the_reason_with_its_type_and_logged_once(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run = floor.do(lambda job: job.step("bad", fails(ZeroDivisionError("by zero")), dict[str, object]))
    assert (run.state, run.reason) == ("failed", "ZeroDivisionError: by zero")
    assert [(record.name, record.message) for record in caplog.records] == [("tandem.jobs", "run failed")]
    assert caplog.records[0].exc_info is not None


def test_a_work_may_catch_a_steps_error_and_go_on(floor: Floor) -> None:
    def work(job: Job) -> Mapping[str, object]:
        try:
            job.step("bad", fails(Forbidden("no")), dict[str, object])
        except Forbidden:
            return job.step("instead", lambda: {"instead": True}, dict[str, object])
        return {}

    assert floor.do(work).outputs == {"instead": True}


def test_outputs_and_results_that_are_not_json_fail_the_run(floor: Floor) -> None:
    assert "not finite" in str(floor.do(lambda job: {"loss": float("nan")}).reason)
    assert floor.do(lambda job: job.step("odd", lambda: {"x": object()}, dict[str, object])).state == "failed"


def test_progress_is_seen_while_it_runs(floor: Floor) -> None:
    seen: list[Run] = []

    def work(job: Job) -> Mapping[str, object]:
        job.progress(0.25, "fold 1")
        job.progress(0.30, "fold 1")  # too soon after the first to be worth a transaction
        seen.append(floor.find(job.run_id))
        job.progress(7.0, "fold 2")
        seen.append(floor.find(job.run_id))
        raise Forbidden("enough")

    run = floor.do(work)
    assert [(look.state, look.progress, look.stage) for look in seen] == [("running", 0.25, "fold 1"), ("running", 1.0, "fold 2")]
    assert (run.state, run.stage) == ("failed", "fold 2")


def test_starting_a_run_again_does_nothing(floor: Floor) -> None:
    times: list[int] = []

    def work(job: Job) -> Mapping[str, object]:
        times.append(1)
        return {}

    run_id = floor.begin(work)
    floor.engine.start("train", run_id, {})
    floor.ended(run_id)
    floor.engine.start("train", run_id, {})
    floor.do(lambda job: {})  # the queue is in order, so a second attempt would have come before this
    assert times == [1]


def test_a_run_that_several_threads_start_is_done_once(floor: Floor) -> None:
    done: list[str] = []
    gate = threading.Barrier(4)

    def work(job: Job) -> Mapping[str, object]:
        done.append(job.run.id)
        time.sleep(0.05)
        return {}

    floor.work = work
    run = floor.runs.create("train", "tumor", inputs={}, by=LOCAL)

    def start() -> None:
        gate.wait()
        floor.engine.start("train", run.id, {})

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert floor.ended(run.id).state == "succeeded"
    assert done == [run.id]


def test_a_cancelled_job_stops_and_its_run_is_cancelled(floor: Floor) -> None:
    def work(job: Job) -> Mapping[str, object]:
        job.step("first", lambda: None, type(None))
        floor.engine.cancel(job.run_id)
        assert job.cancelled()
        job.step("second", fails(AssertionError("was begun")), dict[str, object])
        raise AssertionError("went on")

    run = floor.do(work)
    assert (run.state, run.reason) == ("cancelled", "It was cancelled on request.")
    assert run.ended_at is not None


def test_the_error_with_which_a_work_obeys_a_cancel_is_no_failure(floor: Floor, caplog: pytest.LogCaptureFixture) -> None:
    def inside(job: Job) -> dict[str, object]:
        floor.engine.cancel(job.run_id)
        raise RuntimeError("the child was killed")

    run = floor.do(lambda job: job.step("train", lambda: inside(job), dict[str, object]))
    assert (run.state, caplog.records) == ("cancelled", [])


def test_a_step_that_is_deaf_to_a_cancel_ends_the_run_when_it_is_over(floor: Floor) -> None:
    def deaf(job: Job) -> dict[str, object]:
        floor.engine.cancel(job.run_id)
        return {}

    def work(job: Job) -> Mapping[str, object]:
        job.step("deaf", lambda: deaf(job), dict[str, object])
        job.step("next", fails(AssertionError("was begun")), dict[str, object])
        return {}

    assert floor.do(work).state == "cancelled"


def test_what_has_ended_cannot_be_cancelled(floor: Floor) -> None:
    with pytest.raises(Conflict, match="has succeeded already"):
        floor.engine.cancel(floor.do(lambda job: {}).id)
    with pytest.raises(NotFound):
        floor.engine.cancel("run_none")


def test_a_run_that_was_not_started_yet_is_cancelled_at_once_and_never_done(floor: Floor) -> None:
    run = floor.runs.create("train", "tumor", by=LOCAL)
    floor.engine.cancel(run.id)
    floor.engine.cancel(run.id)
    assert floor.find(run.id).state == "cancelled"
    floor.work = lambda job: {"done": True}
    floor.engine.start("train", run.id, {})
    floor.do(lambda job: {})
    assert floor.find(run.id).outputs == {}


def test_what_cannot_be_started_fails_with_the_reason(floor: Floor) -> None:
    unknown = floor.runs.create("dream", "x", by=LOCAL)
    with pytest.raises(NotFound, match="no workflow 'dream'"):
        floor.engine.start("dream", unknown.id, {})
    other = floor.runs.create("train", "x", by=LOCAL)
    with pytest.raises(Invalid, match="of the kind 'train'"):
        floor.engine.start("ingest", other.id, {})
    odd = floor.runs.create("train", "x", by=LOCAL)
    with pytest.raises(Invalid, match="not finite"):
        floor.engine.start("train", odd.id, {"x": float("inf")})
    found = [floor.find(run.id) for run in (unknown, other, odd)]
    assert [run.state for run in found] == ["failed"] * 3
    assert all(run.reason for run in found)
    with pytest.raises(NotFound):
        floor.engine.start("train", "run_none", {})
