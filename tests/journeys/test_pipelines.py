"""Pipelines on a whole platform: data to promotion, the cache, a kill, triggers, rights, and the pages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tandem_sdk import Client, Forbidden, RunFailed
from tests.journeys.conftest import ADMIN, Platform, platform, until

pytestmark = pytest.mark.journey

NIGHTLY = """
import polars as pl
from tandem_sdk.pipeline import Context, Dataset, pipeline, step

FLOOR = 40

@step
def clean(rows: Dataset) -> pl.DataFrame:
    print("cleaning", rows.ref)
    return rows.frame().filter(pl.col("area") > FLOOR)

@pipeline
def nightly(tandem: Context, source: str = "dataset/homes", promote: bool = False):
    data = tandem.publish("homes-clean", clean(tandem.data(source)), id_column="id")
    model = tandem.train("price", data=data, target="price", algorithm="linear")
    if promote:
        tandem.promote(model)
    return {"model": str(model), "r2": model.metrics["r2"], "because": list(tandem.because)}
"""
SLOW = """
import os, time
from pathlib import Path
from tandem_sdk.pipeline import Context, pipeline, step

@step
def first(folder: str) -> str:
    with open(folder + "/said", "a") as file:
        file.write("first ")
    return "one"

@step
def second(one: str, folder: str) -> str:
    with open(folder + "/said", "a") as file:
        file.write("second ")
    while not Path(folder, "go").exists():
        time.sleep(0.02)
    return one + " two"

@pipeline
def slow(tandem: Context, folder: str):
    told = second(first(folder), folder)
    rows = tandem.data("dataset/homes")
    return [told, tandem.train("slow", data=rows, target="price", algorithm="linear").ref]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(tmp_path_factory.mktemp("pipelines")) as running:
        homes(running, 200)
        yield running


def homes(house: Platform, count: int) -> None:
    rows = "".join(f"{n},{30 + n % 90},{1000 * (30 + n % 90) + n}\n" for n in range(count))
    house.api("POST", "/datasets/homes?format=csv&id=id", content="id,area,price\n" + rows)


@pytest.fixture
def tandem(house: Platform) -> Iterator[Client]:
    with Client(house.url, ADMIN) as client:
        yield client


def command(house: Platform, *words: str) -> Any:
    environment = {**os.environ, "TANDEM_URL": house.url, "TANDEM_KEY": ADMIN}
    done = subprocess.run(
        [sys.executable, "-m", "tandem", *words, "--json"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def states(tandem: Client, run: str) -> dict[str, str]:
    return {step.name: step.state for step in tandem.pipelines.steps(run)}


def test_from_data_to_a_promoted_model_each_step_is_done_once(house: Platform, tandem: Client, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    file = tmp_path / "nightly.py"
    file.write_text(NIGHTLY)
    made = ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one"]
    subprocess.run(["git", "-C", tmp_path, "add", "."], check=True)
    subprocess.run(["git", "-C", tmp_path, *made], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", "https://me:secret@example.org/it.git"], check=True)
    version = command(house, "pipeline", "add", "nightly", str(file))
    assert version["ref"] == "pipeline/nightly@1"
    git = version["meta"]["git"]
    assert len(git["commit"]) == 40
    assert (git["dirty"], git["remote"]) == (False, "https://example.org/it.git")

    first = command(house, "pipeline", "run", "nightly")
    told = first["outputs"]["result"]
    assert told["model"] == "model/price@1"
    assert told["r2"] > 0.9
    assert first["outputs"]["made"] == ["dataset/homes-clean@1", "model/price@1"]
    again = command(house, "pipeline", "run", "nightly")
    assert again["outputs"]["result"] == told
    assert states(tandem, again["run"]) == {
        "find dataset/homes": "done",
        "clean": "cached",
        "publish homes-clean": "cached",
        "train price": "cached",
    }

    lineage = {node.ref for node in tandem.assets.lineage("model/price@1").nodes}
    assert {"dataset/homes-clean@1", "dataset/homes@1"} <= lineage
    nested = tandem.runs.list(parent=first["run"])
    assert sorted(run.kind for run in nested) == ["ingest", "train"]
    assert nested[0].parent == first["run"]

    tandem.gates.set("model/price", metric="mae", margin=500)
    promoted = command(house, "pipeline", "run", "nightly", "--set", "promote=true")
    assert "production" in tandem.assets.version("model/price@1").aliases
    audit = house.api("GET", "/audit?limit=50")
    rows = {row["action"]: row for row in reversed(audit)}
    assert rows["alias.promote"]["detail"]["run"] == promoted["run"]
    assert rows["pipeline.start"]["detail"]["commit"] == git["commit"]

    shown = command(house, "pipeline", "show", "nightly")
    assert [run["id"] for run in shown["runs"]] == [promoted["run"], again["run"], first["run"]]
    log = next(step.log for step in tandem.pipelines.steps(first["run"], log=True) if step.name == "clean")
    assert log == "cleaning dataset/homes@1\n"

    with httpx2.Client(base_url=house.url, headers={"origin": house.url}, timeout=30) as browser:
        assert browser.post("/console/sign-in", data={"key": ADMIN}).status_code in (200, 303)
        paths = ("/pipelines/nightly", f"/runs/{first['run']}", "/assets/pipeline/nightly/1")
        pages = {path: browser.get(path) for path in paths}

    for path, page in pages.items():
        assert page.status_code == 200, path
        assert "clean" in page.text, path
    assert '<rect class="node k-pipeline' in pages["/pipelines/nightly"].text


def test_a_killed_platform_goes_on_behind_the_last_step_and_trains_once(house: Platform, tandem: Client, tmp_path: Path) -> None:
    tandem.pipelines.add("slow", SLOW)
    run = tandem.pipelines.run("slow", given={"folder": str(tmp_path)})
    said = tmp_path / "said"
    until(lambda: said.exists() and said.read_text() == "first second ")
    child = _child(run.id)
    for pid in house.pids("control"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{child}").exists(), "the child ends with its platform")
    (tmp_path / "go").touch()
    ended = until(lambda: _ended(house, run.id))
    assert ended["state"] == "succeeded", ended
    assert ended["outputs"]["result"] == ["one two", "model/slow@1"]
    assert said.read_text() == "first second second "
    assert [nested.kind for nested in tandem.runs.list(parent=run.id)] == ["train"]


def test_a_pipeline_has_the_rights_of_who_started_it_and_no_more(house: Platform, tandem: Client) -> None:
    tandem.gates.set("model/price", metric="mae", margin=500)
    with Client(house.url, house.key("pipe-viewer", role="viewer")) as viewer:
        with pytest.raises(Forbidden):
            viewer.pipelines.add("theirs", NIGHTLY)
        with pytest.raises(Forbidden):
            viewer.pipelines.run("nightly")
        with pytest.raises(Forbidden):
            viewer.pipelines.add_trigger("nightly", on="every", what="60")
    with Client(house.url, house.key("pipe-editor", role="editor")) as editor:
        editor.pipelines.add("theirs", NIGHTLY.replace('"price", data', '"theirs", data').replace("homes-clean", "their-homes"))
        run = editor.pipelines.run("theirs", given={"promote": True})
        with pytest.raises(RunFailed, match="no right to approve"):
            editor.runs.wait(run.id)
        assert states(editor, run.id)["train theirs"] == "done"


CALLING = """
from tandem_sdk.pipeline import Context, pipeline, step

@step(cache=False)
def ask(tandem: Context) -> str:
    return tandem.client.chat("assistant", "hello", max_tokens=8).trace

@pipeline
def calling(tandem: Context):
    return ask(tandem)
"""


def test_a_call_made_in_a_run_names_it_in_its_trace_and_is_paid_by_the_starter(house: Platform, tandem: Client) -> None:
    key = house.key("pipe-caller", role="editor")
    tandem.pipelines.add("calling", CALLING)
    with Client(house.url, key) as caller:
        run = caller.runs.wait(caller.pipelines.run("calling").id)
    trace = run.outputs["result"]
    until(lambda: any(row["trace"] == trace for row in house.api("GET", "/traces")))
    told = house.api("GET", f"/traces/{trace}")
    assert run.id in json.dumps(told)
    assert "pipe-caller" in json.dumps(told)


def test_new_data_begin_a_run_that_says_why(house: Platform, tandem: Client) -> None:
    tandem.pipelines.add("watching", NIGHTLY.replace('"price", data', '"watched", data').replace("homes-clean", "watched-homes"))
    trigger = command(house, "pipeline", "trigger", "add", "watching", "--on", "data:dataset/homes")
    newest = tandem.assets.version("dataset/homes").version
    homes(house, 220 + newest)
    run = until(lambda: next((each for each in tandem.pipelines.show("watching").runs if each.state == "succeeded"), None))
    assert run.inputs["because"] == [f"dataset/homes@{newest + 1} came"]
    assert run.outputs["result"]["because"] == [f"dataset/homes@{newest + 1} came"]
    (kept,) = tandem.pipelines.triggers("watching")
    assert (kept.id, kept.fired, kept.run) == (trigger["id"], 1, run.id)
    assert tandem.pipelines.pause_trigger(kept.id).paused
    assert not tandem.pipelines.resume_trigger(kept.id).paused
    command(house, "pipeline", "trigger", "remove", kept.id)
    assert tandem.pipelines.triggers("watching") == ()


def _ended(house: Platform, run: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = house.api("GET", f"/runs/{run}")
    except (AssertionError, httpx2.HTTPError):  # while the control process starts again
        return None
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


def _child(run: str) -> int:
    """The process of a pipeline: the one that works in the Run's folder."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cwd").readlink().name == run:
                    return int(entry.name)
            except OSError:
                continue
    raise AssertionError("no process works in the run's folder")
