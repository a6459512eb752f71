"""Triggers: every cause begins one Run or is named by one, whoever looks and whoever dies."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import text, update

from tandem.core.clock import FixedClock
from tandem.core.errors import Forbidden, Invalid, NotFound, TandemError, Unavailable
from tandem.core.monitor import Monitor, Report
from tandem.core.run import Run
from tandem.governance.authorise import ALL, Scope
from tandem.monitoring.repo import Standing as Watched
from tandem.pipelines.repo import Trigger, triggers
from tandem.store.canonical import canonical
from tests.pipelines.house import House, person

EMPTY = """
@pipeline
def nightly(tandem: Context, much: int = 1):
    return much
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(tmp_path, clock=FixedClock(), carried=False)
    made.add(EMPTY)
    return made


def clock(house: House) -> FixedClock:
    assert isinstance(house.clock, FixedClock)
    return house.clock


def add(house: House, on: str, what: str, **more: object) -> Trigger:
    return house.triggering.add("nightly", on=on, what=what, given={}, by=person(), **more)  # type: ignore[arg-type]


def runs(house: House) -> list[Run]:
    return sorted(house.runs.list(ALL, kind="pipeline"), key=lambda run: run.created_at)


def because(run: Run) -> list[str]:
    found = run.inputs["because"]
    assert isinstance(found, list)
    return found


def test_a_schedule_begins_one_run_however_many_times_were_missed(house: House) -> None:
    add(house, "every", "3600")
    assert house.triggering.step() == 0
    clock(house).advance(3600)
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    clock(house).advance(10 * 3600)
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    assert len(house.begun) == 2
    assert because(runs(house)[0]) == ["1 hours were over at 2025-06-15T16:06"]


def test_a_cron_line_is_due_at_its_minute_in_utc(house: House) -> None:
    add(house, "cron", "0 4 * * *")
    begun = 0
    for _ in range(48):
        clock(house).advance(1800)
        begun += house.triggering.step()
    assert begun == 1
    assert because(runs(house)[0]) == ["'0 4 * * *' was due at 2025-06-16T04:00"]


def test_each_new_version_of_a_dataset_is_a_cause_once(house: House) -> None:
    house.rows("homes")
    add(house, "data", "dataset/homes")
    assert house.triggering.step() == 0, "what was there before is no cause"
    house.rows("homes")
    house.rows("homes")
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    (run,) = runs(house)
    assert because(run) == ["dataset/homes@2 came", "dataset/homes@3 came"]
    assert (run.team, run.created_by) == ("risk", "risk-editor")


def test_a_version_that_the_pipeline_made_itself_begins_nothing(house: House) -> None:
    house.rows("homes")
    add(house, "data", "dataset/homes")
    own = house.pipelines.start("nightly", given={}, by=person())
    nested = house.runs.create("ingest", "homes", by=replace(person(), run=own.id))
    house.rows("homes", run=nested.id)
    assert house.triggering.step() == 0
    clock(house).advance(1)
    house.rows("homes")
    assert house.triggering.step() == 1
    assert because(runs(house)[-1]) == ["dataset/homes@3 came"]


def test_while_a_run_is_open_causes_wait_and_are_named_by_the_next(house: House) -> None:
    house.rows("homes")
    trigger = add(house, "data", "dataset/homes")
    run = house.runs.create("pipeline", "nightly", by=person())
    for _ in range(25):
        house.rows("homes")
        assert house.triggering.step() == 0
    standing = house.triggers.find(trigger.id, ALL)[1]
    assert (len(standing.causes), standing.more) == (20, 5)
    clock(house).advance(1)
    house.runs.finish(run.id, "cancelled")
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    newest = runs(house)[-1]
    assert because(newest)[0] == "dataset/homes@2 came"
    assert because(newest)[-1] == "and 5 more"


def test_a_cooldown_holds_causes_back(house: House) -> None:
    house.rows("homes")
    add(house, "data", "dataset/homes", cooldown=60.0)
    house.rows("homes")
    assert house.triggering.step() == 1
    house.rows("homes")
    assert house.triggering.step() == 0
    clock(house).advance(61)
    assert house.triggering.step() == 1
    assert because(runs(house)[-1]) == ["dataset/homes@3 came"]


def test_labels_are_counted_until_there_are_enough(house: House) -> None:
    meta = {"signature": {"inputs": ["a"]}, "metrics": {"mae": 1.0}}
    house.rows("homes")
    house.registry.publish("model", "price", members={"m": b"m"}, meta=meta, parents=("dataset/homes@1",), by=person())
    add(house, "labels", "model/price", at_least=100)
    house.triggering.labels_came("risk", "price", 60)
    house.triggering.labels_came("risk", "other", 60)
    house.triggering.labels_came("sales", "price", 60)
    assert house.triggering.step() == 0
    house.triggering.labels_came("risk", "price", 45)
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    assert because(runs(house)[0]) == ["105 labels of model/price came"]


def test_an_alarm_of_a_monitor_is_a_cause(house: House) -> None:
    monitor = house.monitors.add(Monitor(name="watched", team="risk", endpoint="price"), by=person())
    add(house, "alarm", "watched")

    def report(alarm: bool, number: int) -> None:
        now = clock(house).now()
        kept = Report(
            id=f"rpt_{number}", monitor=monitor.name, team="risk", at=now, trigger="asked", verdict="drifted", alarm=alarm,
            n=1, since=0, until=now, level=0.05, reference="", coverage={}, findings=(), note="",
        )  # fmt: skip
        house.monitors.keep(kept, Watched(), None)

    clock(house).advance(1)
    report(False, 1)
    assert house.triggering.step() == 0
    clock(house).advance(1)
    report(True, 2)
    assert [house.triggering.step(), house.triggering.step()] == [1, 0]
    assert because(runs(house)[0]) == ["monitor/watched raised an alarm (rpt_2)"]


def test_two_control_processes_begin_one_run(house: House) -> None:
    house.rows("homes")
    add(house, "data", "dataset/homes")
    house.rows("homes")
    gate = threading.Barrier(4)
    begun: list[int] = []

    def look() -> None:
        triggering = house.another()
        gate.wait()
        begun.append(triggering.step())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(begun) == 1
    assert len(runs(house)) == 1
    assert len(house.begun) == 1
    assert _audited(house, "pipeline.start") == 1


def test_whoever_dies_between_deciding_and_beginning_loses_no_cause(house: House) -> None:
    trigger, start = _decided(house), house.pipelines.start

    def dies(*arguments: object, **more: object) -> Run:
        raise Unavailable("The process is gone.")

    house.pipelines.start = dies  # type: ignore[assignment,method-assign]
    with pytest.raises(Unavailable):
        house.triggering.step()
    assert house.triggers.find(trigger.id, ALL)[1].because
    house.pipelines.start = start  # type: ignore[method-assign]
    assert [house.another().step(), house.triggering.step()] == [1, 0]
    assert [because(run) for run in runs(house)] == [["dataset/homes@2 came"]]


def test_whoever_dies_after_beginning_begins_it_once(house: House) -> None:
    _decided(house)
    move = house.triggers.move
    calls: list[bool] = []

    def once(*arguments: object) -> bool:
        calls.append(True)
        if len(calls) == 2:
            raise Unavailable("The process is gone.")
        return move(*arguments)  # type: ignore[arg-type]

    house.triggers.move = once  # type: ignore[assignment,method-assign]
    with pytest.raises(Unavailable):
        house.triggering.step()
    assert house.triggering.step() == 1
    assert len(runs(house)) == len(house.begun) == _audited(house, "pipeline.start") == 1


def test_a_trigger_rests_when_its_makers_key_is_revoked_and_says_so(house: House) -> None:
    trigger = _decided(house)
    house.revoked.add("risk-editor")
    assert house.triggering.step() == 0
    paused, standing = house.triggers.find(trigger.id, ALL)
    assert paused.paused
    assert "was revoked" in standing.note
    assert runs(house) == []
    assert _audited(house, "trigger.pause") == 1


def test_a_paused_trigger_counts_what_came_when_it_goes_on(house: House) -> None:
    trigger = _decided(house)
    house.triggering.pause(trigger.id, True, by=person())
    assert house.triggering.step() == 0
    house.rows("homes")
    house.triggering.pause(trigger.id, False, by=person())
    assert house.triggering.step() == 1
    assert because(runs(house)[0]) == ["dataset/homes@2 came", "dataset/homes@3 came"]
    house.triggering.remove(trigger.id, by=person())
    house.rows("homes")
    assert house.triggering.step() == 0
    assert [_audited(house, f"trigger.{deed}") for deed in ("add", "pause", "resume", "remove")] == [1, 1, 1, 1]


def test_one_broken_trigger_does_not_hold_the_others_up(house: House) -> None:
    _decided(house)
    broken = add(house, "every", "3600")
    with house.sql.write() as conn:
        body = house.triggers.find(broken.id, ALL)[0]
        told = canonical(msgspec.to_builtins(replace(body, on="data", what="dataset/gone")))
        conn.execute(update(triggers).where(triggers.c.id == broken.id).values(body=told))
    assert house.triggering.step() == 1
    assert house.triggers.find(broken.id, ALL)[0].paused


@pytest.mark.parametrize(
    ("on", "what", "error"),
    [
        ("every", "5", Invalid),
        ("every", "soon", Invalid),
        ("cron", "0 4 * *", Invalid),
        ("cron", "0 4 31 2 *", Invalid),
        ("cron", "* * * * * *", Invalid),
        ("data", "dataset/none", NotFound),
        ("data", "model/price", Invalid),
        ("data", "dataset/homes@1", Invalid),
        ("labels", "model/none", NotFound),
        ("alarm", "none", NotFound),
    ],
)
def test_what_can_never_happen_is_refused(house: House, on: str, what: str, error: type[TandemError]) -> None:
    house.rows("homes")
    with pytest.raises(error):
        add(house, on, what)


def test_only_who_may_write_in_the_team_makes_and_changes_triggers(house: House) -> None:
    trigger = _decided(house)
    deeds: list[Callable[[], object]] = [
        lambda: house.triggering.add("nightly", on="every", what="60", given={}, by=person("viewer")),
        lambda: house.triggering.pause(trigger.id, True, by=person("viewer")),
        lambda: house.triggering.remove(trigger.id, by=person("viewer")),
        lambda: house.triggering.add("nightly", on="every", what="60", given={}, by=replace(person(), run="run_1")),
    ]
    for deed in deeds:
        with pytest.raises(Forbidden):
            deed()
    with pytest.raises(NotFound):
        house.triggering.remove(trigger.id, by=person(team="sales"))
    with pytest.raises(Invalid):
        house.triggering.add("nightly", on="every", what="60", given={"none": 1}, by=person())
    assert len(house.triggers.list(Scope("risk"))) == 1


def _decided(house: House) -> Trigger:
    """A trigger with a cause that nobody has looked at."""
    house.rows("homes")
    trigger = add(house, "data", "dataset/homes")
    house.rows("homes")
    return trigger


def _audited(house: House, action: str) -> int:
    with house.sql.read() as conn:
        return int(conn.execute(text("SELECT count(*) FROM audit WHERE action = :action"), {"action": action}).scalar_one())
