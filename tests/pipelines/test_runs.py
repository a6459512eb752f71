"""Pipelines in their own process: what is done once, what is done again, and what hostile code can do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from tandem.core.errors import Conflict, Forbidden, Invalid, NotFound
from tandem.governance.authorise import ALL
from tandem.governance.lend import lent
from tandem.pipelines.repo import GONE
from tests.journeys.conftest import until
from tests.pipelines.house import House, bounded, person

CHAIN = """
FLOOR = 1

@step
def rows(count: int):
    print("making", count)
    return pl.DataFrame({"a": list(range(count))})

@step
def above(frame):
    return frame.filter(pl.col("a") > FLOOR)

@step
def size(frame):
    return frame.height

@pipeline
def nightly(tandem: Context, count: int = 5):
    return size(above(rows(count)))
"""


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_unchanged_step_is_done_once_and_says_why_it_was_done(house: House) -> None:
    house.add(CHAIN)
    first, second = house.run(), house.run()
    assert first.state == second.state == "succeeded", first.reason
    assert first.outputs["result"] == second.outputs["result"] == 3
    assert house.states(first) == {"rows": "done", "above": "done", "size": "done"}
    assert house.states(second) == {"rows": "cached", "above": "cached", "size": "cached"}
    assert second.outputs["cached"] == 3
    assert {step.source for step in house.steps.of(second.id)} == {first.id}
    assert {step.why for step in house.steps.of(first.id)} == {"it was never done before"}
    assert house.step(first, "rows").log == "making 5\n"
    assert [step.after for step in house.steps.of(first.id)] == [(), (0,), (1,)]


def test_other_code_is_another_key_and_an_equal_result_stops_the_change(house: House) -> None:
    house.add(CHAIN)
    first = house.run()
    house.add(CHAIN.replace("FLOOR = 1", "FLOOR = 2"))
    changed = house.run()
    assert house.states(changed) == {"rows": "cached", "above": "done", "size": "done"}
    assert house.step(changed, "above").why == f"since {first.id}: its code changed"
    assert house.step(changed, "size").why == f"since {first.id}: the input 'frame' changed"
    house.add(CHAIN.replace('print("making", count)', "count = int(count)"))
    again = house.run()
    assert house.states(again) == {"rows": "done", "above": "cached", "size": "cached"}


def test_other_inputs_are_another_key(house: House) -> None:
    house.add(CHAIN)
    house.run()
    more = house.run(count=7)
    assert house.states(more) == {"rows": "done", "above": "done", "size": "done"}
    assert "the input 'count' changed" in house.step(more, "rows").why
    assert house.run(count="7").outputs["cached"] == 3


def test_the_libraries_a_step_names_are_part_of_its_key(house: House) -> None:
    house.add(CHAIN.replace("@step\ndef size", "@step(uses=['polars'])\ndef size"))
    first = house.run()
    assert "polars " in house.step(first, "size").parts.environment
    assert house.step(first, "rows").parts.environment.startswith("sha256:")
    house.add(CHAIN.replace("@step\ndef size", "@step(uses=['polars', 'numpy'])\ndef size"))
    changed = house.run()
    assert house.states(changed) == {"rows": "cached", "above": "cached", "size": "done"}
    assert house.step(changed, "size").why.endswith("the libraries changed")


def test_another_team_and_another_pipeline_share_no_results(house: House) -> None:
    house.add(CHAIN)
    house.add(CHAIN, name="other")
    house.add(CHAIN, name="sales", team="sales")
    house.run()
    assert house.run("other").outputs["cached"] == 0
    assert house.run("sales", by=person(team="sales")).outputs["cached"] == 0


def test_no_cache_does_everything_again(house: House) -> None:
    house.add(CHAIN)
    house.run()
    again = house.run(cache=False)
    assert again.outputs["cached"] == 0
    assert house.step(again, "rows").why == "the cache was not to be used"


def test_what_was_swept_is_done_again(house: House) -> None:
    house.add(CHAIN)
    first = house.run()
    kept = house.steps.sweep(10**9, 30)
    assert len(kept) == 2
    house.results.sweep(kept, grace=0)
    assert house.run().outputs["cached"] == 3
    assert house.steps.sweep(0, 30) == set()
    assert len(house.results.sweep(set(), grace=-1)) == 2
    swept = house.run()
    assert house.states(swept) == {"rows": "done", "above": "done", "size": "cached"}
    assert house.step(first, "size").key != GONE


def test_a_result_that_was_lost_or_damaged_is_made_again(house: House) -> None:
    house.add(CHAIN)
    first = house.run()
    (digest,) = house.step(first, "rows").files.values()
    path = house.results.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"torn")
    again = house.run()
    assert again.outputs["result"] == 3
    assert house.step(again, "rows").state == "done"
    assert house.step(again, "rows").why == "its result is no longer kept"


def test_a_step_that_closes_over_something_is_refused(house: House) -> None:
    house.add("""
@pipeline
def nightly(tandem: Context, much: int = 1):
    @step
    def inner():
        return much
    return inner()
""")
    assert "does not stand at the top of the file" in str(house.run().reason)


def test_a_step_is_tried_again_as_often_as_it_says(house: House) -> None:
    house.add("""
@step(retries=2)
def shaky(path: str):
    with open(path, "a") as file:
        file.write("x")
    if os.path.getsize(path) < 3:
        raise ValueError("not yet")
    return "well"

@pipeline
def nightly(tandem: Context, path: str):
    return shaky(path)
""")
    run = house.run(path=str(house.home / "tries"))
    assert (run.state, run.outputs.get("result")) == ("succeeded", "well")
    assert house.step(run, "shaky").attempts == 3


def test_a_failing_step_ends_the_run_with_its_name_and_line_and_its_log(house: House) -> None:
    house.add("""
@step
def broken():
    print("before it broke")
    raise ValueError("no such home")

@pipeline
def nightly(tandem: Context):
    return broken()
""")
    run = house.run()
    assert run.state == "failed"
    assert run.reason is not None
    assert "The step 'broken' failed: ValueError: no such home (line 9)" in run.reason
    assert house.step(run, "broken").state == "failed"
    assert "before it broke" in house.step(run, "broken").log
    assert house.run().state == "failed", "an error is not kept"


def test_a_pipeline_may_go_on_after_a_failed_step(house: House) -> None:
    house.add("""
@step
def broken():
    raise ValueError("no")

@pipeline
def nightly(tandem: Context):
    try:
        broken()
    except ValueError:
        return "without it"
""")
    assert house.run().outputs["result"] == "without it"


def test_an_endless_step_is_killed_at_its_timeout_and_tried_again(house: House) -> None:
    house.add("""
@step(retries=1, timeout=2)
def endless(path: str):
    with open(path, "a") as file:
        file.write("x")
    while os.path.getsize(path) < 2:
        pass
    return "at last"

@pipeline
def nightly(tandem: Context, path: str):
    return endless(path)
""")
    run = house.run(path=str(house.home / "tries"))
    assert run.outputs.get("result") == "at last", run.reason
    assert house.step(run, "endless").attempts == 2


def test_an_endless_pipeline_is_ended_by_the_deadline(tmp_path: Path) -> None:
    house = House(tmp_path, options=bounded(deadline_seconds=2.0))
    house.add("""
@step
def endless():
    while True:
        pass

@pipeline
def nightly(tandem: Context):
    endless()
""")
    run = house.run()
    assert run.state == "failed"
    assert "took more than 2 s" in str(run.reason)
    assert all(step.state == "failed" for step in house.steps.of(run.id)), "it may not have come so far"


def test_a_process_that_dies_is_told_with_the_step_it_died_in(house: House) -> None:
    house.add("""
@step
def dies():
    print("last words", flush=True)
    os.kill(os.getpid(), 9)

@pipeline
def nightly(tandem: Context):
    dies()
""")
    run = house.run()
    assert "The step 'dies' failed: Its process was killed by SIGKILL" in str(run.reason)
    assert house.step(run, "dies").log == "last words\n"


def test_too_much_memory_is_refused_where_a_bound_is_set(tmp_path: Path) -> None:
    house = House(tmp_path, options=bounded(memory_bytes=3 * 1024**3))
    house.add("""
@step
def greedy():
    return len(bytearray(4 * 1024**3))

@pipeline
def nightly(tandem: Context):
    greedy()
""")
    assert "MemoryError" in str(house.run().reason)


def test_users_code_sees_no_secret_and_its_children_die_with_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TANDEM_MASTER_KEY", "secret-of-control")
    monkeypatch.setenv("MOCK_KEY", "secret-of-provider")
    house.add("""
@step(cache=False)
def look():
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    return [child, dict(os.environ), sys.stdin.read()]

@pipeline
def nightly(tandem: Context):
    return look()
""")
    run = house.run()
    assert run.state == "succeeded", run.reason
    child, environment, read = run.outputs["result"]  # type: ignore[misc]
    assert "secret" not in str(environment)
    assert read == ""
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2])


def test_a_cancelled_run_ends_its_process_and_its_step(house: House) -> None:
    house.add("""
@step
def waits():
    time.sleep(600)

@pipeline
def nightly(tandem: Context):
    waits()
""")
    done = threading.Thread(target=house.run)
    done.start()
    run = until(lambda: next(iter(house.runs.list(ALL)), None))
    until(lambda: house.steps.of(run.id))
    house.jobs.cancel(run.id)
    done.join(30)
    assert house.runs.find(run.id, ALL).state == "cancelled"
    assert house.step(run, "waits").error == "It was cancelled."


def test_a_run_whose_starter_lost_its_key_is_ended(house: House) -> None:
    house.add("""
@step
def waits():
    time.sleep(600)

@pipeline
def nightly(tandem: Context):
    waits()
""")
    done = threading.Thread(target=house.run)
    done.start()
    run = until(lambda: next(iter(house.runs.list(ALL)), None))
    until(lambda: house.steps.of(run.id))
    house.revoked.add("risk-editor")
    done.join(30)
    assert "was revoked" in str(house.runs.find(run.id, ALL).reason)


def test_a_lent_key_names_the_run_and_has_the_starters_rights(house: House) -> None:
    house.add("""
@step(cache=False)
def key(tandem):
    return tandem.client._wire._http.auth._key()

@pipeline
def nightly(tandem: Context):
    return key(tandem)
""")
    run = house.run()
    found = lent(bytes(32), str(run.outputs["result"]), house.clock.now())
    assert found is not None
    assert (found.name, found.role, found.team, found.run) == ("risk-editor", "editor", "risk", run.id)


def test_output_without_end_is_bounded_and_keeps_its_ends(house: House) -> None:
    house.add("""
@step
def loud():
    print("first")
    for _ in range(200_000):
        print("x" * 100)
    print("last")

@pipeline
def nightly(tandem: Context):
    loud()
""")
    log = house.step(house.run(), "loud").log
    assert len(log) < 70_000
    assert log.startswith("first\n")
    assert log.endswith("last\n")
    assert "bytes left out" in log


def test_two_runs_of_one_step_at_once_are_never_torn(house: House) -> None:
    house.add(CHAIN)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(house.run().outputs.get("result"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [3, 3, 3]
    assert house.run().outputs["cached"] == 3


def test_a_viewer_starts_nothing_and_another_team_finds_nothing(house: House) -> None:
    house.add(CHAIN)
    with pytest.raises(Forbidden):
        house.run(by=person("viewer"))
    with pytest.raises(NotFound):
        house.run(by=person(team="sales"))
    with pytest.raises(Forbidden):
        house.add(CHAIN, role="viewer")


def test_a_pipeline_starts_no_pipeline(house: House) -> None:
    house.add(CHAIN)
    with pytest.raises(Conflict, match="cannot start"):
        house.run(by=replace(person(), run="run_1"))


@pytest.mark.parametrize(
    ("given", "field"), [({"count": "many"}, "given.count"), ({"count": True}, "given.count"), ({"size": 1}, "given.size")]
)
def test_parameters_are_known_and_of_their_type(house: House, given: dict[str, object], field: str) -> None:
    house.add(CHAIN)
    with pytest.raises(Invalid) as told:
        house.run(**given)  # type: ignore[arg-type]
    assert told.value.field == field


def test_a_version_tells_its_steps_parameters_and_commit(house: House) -> None:
    git = {"commit": "0" * 40, "dirty": True, "remote": "https://example.org/x"}
    version = house.pipelines.publish(
        "nightly", "from tandem_sdk.pipeline import *\n" + CHAIN, entry="nightly", git=git, by=person()
    )
    meta = version.meta
    assert set(meta["steps"]) == {"rows", "above", "size"}  # type: ignore[call-overload]
    assert meta["parameters"] == {"count": {"type": "integer", "default": 5}}
    assert meta["git"] == git


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "no pipeline"),
        ("from tandem_sdk.pipeline import *\n@pipeline\ndef a(): ...", "first parameter"),
        ("from tandem_sdk.pipeline import *\n@pipeline\ndef a(t: Context, x: set = None): ...", "cannot be set"),
        ("from tandem_sdk.pipeline import *\n@pipeline\ndef a(t: Context): ...\n@pipeline\ndef b(t: Context): ...", "several"),
        ("from tandem_sdk.pipeline import *\n@step(timeout='soon')\ndef a(): ...", "no timeout"),
        ("import sys; sys.exit(3)", "cannot be read"),
    ],
)
def test_a_source_that_is_no_pipeline_is_refused_with_the_reason(house: House, source: str, words: str) -> None:
    with pytest.raises(Invalid, match=words):
        house.pipelines.publish("nightly", source, entry="", git=None, by=person())


KILLED = """
import os, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.pipelines.house import House
House(Path({home!r})).run(path={path!r})
"""


def test_a_run_whose_process_was_killed_goes_on_behind_the_last_step(house: House) -> None:
    house.add("""
@step
def first(path):
    with open(path, "a") as file:
        file.write("first ")
    return pl.DataFrame({"a": [1, 2]})

@step(cache=False)
def second(frame, path):
    with open(path, "a") as file:
        file.write("second ")
    while not os.path.exists(path + ".go"):
        time.sleep(0.02)
    return frame.height

@pipeline
def nightly(tandem: Context, path: str):
    return second(first(path), path)
""")
    path = house.home / "said"
    script = KILLED.format(root=str(Path(__file__).parents[2]), home=str(house.home), path=str(path))
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ)
    until(lambda: path.exists() and path.read_text() == "first second ")
    process.send_signal(signal.SIGKILL)
    process.wait()
    (run,) = house.runs.list(ALL)
    assert run.state == "running"
    Path(f"{path}.go").touch()
    house.jobs.start("pipeline", run.id, run.inputs)
    done = house.runs.find(run.id, ALL)
    assert (done.state, done.outputs["result"]) == ("succeeded", 2)
    assert path.read_text() == "first second second "
    assert not (house.home / "work" / run.id).exists()
