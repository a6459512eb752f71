"""A Run goes from queued through running to one end, and is seen by its team."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.migrated import migrated

from tandem.core.clock import FixedClock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.run import ENDED, Run
from tandem.jobs.repo import Runs
from tandem.store.sql import Sql

ADA = Principal(id="key_1", name="ada", team="risk", role="editor")


@dataclass(frozen=True)
class Teams:
    team: str | None = None


EVERY = Teams()


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def runs(tmp_path: Path, clock: FixedClock) -> Iterator[Runs]:
    url = f"sqlite:///{tmp_path / 'control.db'}"
    migrated(url)
    sql = Sql(url)
    yield Runs(sql, clock)
    sql.close()


def test_a_run_from_its_beginning_to_its_end(runs: Runs, clock: FixedClock) -> None:
    run = runs.create("train", "tumor", inputs={"data": "dataset/rows@1"}, by=ADA)
    assert (run.state, run.team, run.created_by, run.id[:4]) == ("queued", "risk", "ada", "run_")
    assert runs.find(run.id, EVERY) == run
    clock.advance(1)
    started = runs.start(run.id)
    assert (started.state, started.started_at) == ("running", clock.now())
    half = runs.progress(run.id, 0.5, "fold 3 of 5")
    assert (half.progress, half.stage) == (0.5, "fold 3 of 5")
    clock.advance(1)
    done = runs.finish(run.id, "succeeded", outputs={"asset": "model/tumor@1"})
    assert done == replace(half, state="succeeded", progress=1.0, ended_at=clock.now(), outputs={"asset": "model/tumor@1"})
    assert runs.find(run.id, EVERY) == done


def test_a_failed_run_says_why_and_keeps_how_far_it_came(runs: Runs) -> None:
    run = runs.create("train", "tumor", by=ADA)
    runs.start(run.id)
    runs.progress(run.id, 0.25)
    failed = runs.finish(run.id, "failed", reason="out of memory")
    assert (failed.state, failed.reason, failed.progress) == ("failed", "out of memory", 0.25)


def test_an_ended_run_does_not_change(runs: Runs, clock: FixedClock) -> None:
    run = runs.create("train", "tumor", by=ADA)
    done = runs.finish(run.id, "cancelled", reason="asked")
    clock.advance(5)
    assert runs.finish(run.id, "cancelled", reason="again") == done
    for act in (
        lambda: runs.start(run.id),
        lambda: runs.progress(run.id, 0.1),
        lambda: runs.finish(run.id, "succeeded"),
    ):
        with pytest.raises(Conflict, match="has cancelled"):
            act()
    assert runs.find(run.id, EVERY) == done


def test_a_replaced_executor_goes_on_with_the_same_run(runs: Runs, clock: FixedClock) -> None:
    run = runs.create("train", "tumor", by=ADA, id="run_fixed")
    first = runs.start(run.id)
    clock.advance(60)
    assert runs.create("train", "tumor", by=ADA, id="run_fixed") == first
    assert runs.start(run.id).started_at == first.started_at


def test_an_id_of_another_run_is_not_taken_over(runs: Runs) -> None:
    runs.create("train", "tumor", by=ADA, id="run_fixed")
    for kind, by in (("ingest", ADA), ("train", replace(ADA, team="sales"))):
        with pytest.raises(Conflict):
            runs.create(kind, "tumor", by=by, id="run_fixed")


def test_a_run_is_seen_by_its_team(runs: Runs) -> None:
    mine = runs.create("train", "tumor", by=ADA)
    other = runs.create("train", "churn", by=replace(ADA, team="sales"))
    assert [run.id for run in runs.list(Teams("risk"))] == [mine.id]
    assert {run.id for run in runs.list(EVERY)} == {mine.id, other.id}
    with pytest.raises(NotFound):
        runs.find(other.id, Teams("risk"))


def test_the_list_is_newest_first_and_can_be_narrowed(runs: Runs, clock: FixedClock) -> None:
    made: list[Run] = []
    for kind in ("train", "ingest", "train"):
        made.append(runs.create(kind, f"n{len(made)}", by=ADA))
        clock.advance(1)
    runs.start(made[0].id)
    assert [run.name for run in runs.list(EVERY)] == ["n2", "n1", "n0"]
    assert [run.name for run in runs.list(EVERY, limit=1)] == ["n2"]
    assert [run.name for run in runs.list(EVERY, kind="train")] == ["n2", "n0"]
    assert [run.name for run in runs.list(EVERY, state="running")] == ["n0"]
    assert [run.name for run in runs.list(EVERY, name="n1")] == ["n1"]


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_progress_lies_between_none_and_all(runs: Runs, fraction: float) -> None:
    run = runs.create("train", "tumor", by=ADA)
    with pytest.raises(Invalid):
        runs.progress(run.id, fraction)


def test_what_is_no_end_or_no_json_is_refused(runs: Runs) -> None:
    run = runs.create("train", "tumor", by=ADA)
    with pytest.raises(Invalid):
        runs.finish(run.id, "running")
    with pytest.raises(Invalid):
        runs.finish(run.id, "succeeded", outputs={"x": {1, 2}})
    with pytest.raises(Invalid):
        runs.create("train", "tumor", inputs={"x": b"bytes"}, by=ADA)
    assert runs.find(run.id, EVERY).state == "queued"


def test_a_run_that_is_not_there_is_told(runs: Runs) -> None:
    for act in (
        lambda: runs.find("run_x", EVERY),
        lambda: runs.start("run_x"),
        lambda: runs.progress("run_x", 0.1),
        lambda: runs.finish("run_x", "failed"),
    ):
        with pytest.raises(NotFound, match="run_x"):
            act()


STEPS = st.sampled_from(["start", "progress", "succeeded", "failed", "cancelled"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(STEPS, max_size=8))
def test_no_order_of_steps_leaves_an_end(runs: Runs, steps: list[str]) -> None:
    id = runs.create("train", "tumor", by=ADA).id
    ended: str | None = None
    for step in steps:
        try:
            if step == "start":
                runs.start(id)
            elif step == "progress":
                runs.progress(id, 0.5)
            else:
                runs.finish(id, step)  # type: ignore[arg-type]
                ended = ended or step
        except Conflict:
            assert ended is not None
        run = runs.find(id, EVERY)
        assert (run.state in ENDED) == (ended is not None)
        assert ended in (None, run.state)
