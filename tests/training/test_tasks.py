"""The workflow `train`: its steps, what it publishes, and what is left when it is cancelled, refused or killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest
from tests.training.place import EDITOR, INPUTS, Place, jobs_of, open_place

from tandem.core.asset import Ref
from tandem.core.principal import Principal
from tandem.core.run import ENDED, Run
from tandem.data.child import ingest_apart
from tandem.evaluation.evidence import Latency, OutOfFold
from tandem.governance.authorise import ALL
from tandem.jobs import staging
from tandem.jobs.fake import InlineJobs
from tandem.serving.base import trusted
from tandem.training.tasks import make_train

RUN = "run_killed"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = open_place(tmp_path)
    yield made
    made.sql.close()


def train(
    place: Place,
    given: Mapping[str, object] = INPUTS,
    *,
    python: str | None = None,
    by: Principal = EDITOR,
    hour: int = 0,
    trust: tuple[str, ...] = (),
) -> Run:
    jobs = InlineJobs(place.runs, place.clock)
    paths = {"lake": place.home / "lake", "work": place.home / "work"}
    work = make_train(place.registry, place.clock, place.meter(hour), python=python or place.python(), trust=trust, **paths)
    jobs.register("train", work)
    run = place.runs.create("train", "tumor", inputs=given, by=by)
    jobs.start("train", run.id, given)
    return place.runs.find(run.id, ALL)


def seeded(seed: int) -> dict[str, object]:
    return {**INPUTS, "seed": seed}


def models(place: Place) -> list[str]:
    return [str(version.ref) for version in place.registry.versions("model", "tumor", ALL)]


def nothing_staged(place: Place) -> bool:
    return list((place.home / "work").iterdir()) == []


def trainings(home: Path) -> int:
    return len((home / "trainings.txt").read_text().split())


def test_a_training_publishes_a_model_made_from_the_dataset(place: Place) -> None:
    rows = place.dataset()
    run = train(place)
    assert (run.state, run.reason, run.stage) == ("succeeded", None, "done")
    assert run.outputs["asset"] == "model/tumor@1"
    assert run.outputs["metrics"] == {"roc_auc": {"value": 0.9, "low": 0.8, "high": 0.95, "n": 3, "level": 0.95}}
    assert run.outputs["plots"] == ["plots/roc.png"]
    assert {"python", "numpy", "platform"} <= set(run.outputs["environment"])  # type: ignore[call-overload]
    said = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert run.outputs["environment"].get("git", "") == said.stdout.strip()  # type: ignore[attr-defined]  # "" outside of one
    model = place.registry.find(Ref.parse("model/tumor@1"), ALL)
    assert (model.parents, model.run, model.created_by, model.team) == (("dataset/biopsies@1",), run.id, "risk-editor", "risk")
    assert set(model.members) == {"model.onnx", "oof.json", "plots/roc.png"}
    assert place.registry.member(model, "model.onnx") == b"weights of seed 7"
    said = {key: model.meta[key] for key in ("algorithm", "seed", "folds", "target", "classes", "threshold", "digest", "rows")}
    assert said == {
        "algorithm": "logistic",
        "seed": 7,
        "folds": 2,
        "target": "kind",
        "classes": ["a", "b"],
        "threshold": 0.5,
        "digest": rows.meta["digest"],
        "rows": 3,
    }
    assert model.meta["metrics"] == run.outputs["metrics"]
    assert nothing_staged(place)


def test_the_same_training_again_is_the_same_version(place: Place) -> None:
    place.dataset()
    first, again, other = train(place), train(place), train(place, seeded(8))
    assert [run.outputs["asset"] for run in (first, again, other)] == ["model/tumor@1", "model/tumor@1", "model/tumor@2"]
    assert trainings(place.home) == 3


def test_a_baseline_is_trained_beside_and_is_what_the_model_names(place: Place) -> None:
    place.dataset()
    run = train(place, {**INPUTS, "algorithm": "gradient-boosting"})
    assert run.state == "succeeded"
    assert run.outputs["asset"] == "model/tumor@1"
    assert run.outputs["baseline"] == {"asset": "model/tumor-baseline@1", "metrics": run.outputs["metrics"]}
    model, baseline = (place.registry.find(Ref.parse(name), ALL) for name in ("model/tumor@1", "model/tumor-baseline@1"))
    assert (model.meta["algorithm"], model.meta["baseline"]) == ("gradient-boosting", "model/tumor-baseline@1")
    assert (baseline.meta["algorithm"], baseline.parents, baseline.run) == ("logistic", model.parents, run.id)
    assert nothing_staged(place)


def test_a_name_is_pinned_to_the_version_it_means_at_the_start(place: Place) -> None:
    place.dataset()
    place.dataset("size,kind\n1.5,a\n2.5,b\n")
    assert train(place, {**INPUTS, "data": "dataset/biopsies@1"}).state == "succeeded"
    assert place.registry.find(Ref.parse("model/tumor@1"), ALL).parents == ("dataset/biopsies@1",)


def test_a_network_that_is_a_program_is_used_where_the_settings_trust_it(place: Place) -> None:
    rows = place.dataset()
    contract = {"contract.json": place.registry.member(rows, "contract.json")}
    place.registry.publish("dataset", "pets", members=contract, meta={**rows.meta, "images": {"duplicates": 0}}, by=EDITOR)
    files = {"embed.pt": b"a program", "images.json": b"{}", "model.json": b"{}", "signature.json": b"{}"}
    place.registry.publish("model", "net", members=files, meta={"signature": {"fields": []}, "origin": "imported"}, by=EDITOR)
    given = {**INPUTS, "data": "dataset/pets", "embed": "model/net", "baseline": False}
    refused = train(place, given)
    assert refused.state == "failed"
    assert "do not trust 'torch'" in str(refused.reason)
    assert not (place.home / "trainings.txt").exists()
    assert train(place, given, trust=("torch",)).state == "succeeded"
    model = place.registry.find(Ref.parse("model/tumor@1"), ALL)
    assert {"embed.pt", "images.json", "model.json"} <= set(model.members)
    assert "signature.json" not in model.members
    assert trusted(model.meta, ("torch",)) == ("torch",)
    assert trusted(model.meta, ("pickle",)) == ()
    assert model.meta["card"] == model.members["model.json"]


def test_what_the_child_refuses_is_the_runs_reason(place: Place) -> None:
    place.dataset()
    run = train(place, seeded(14))
    assert (run.state, run.reason) == ("failed", "The target has one value. Choose another.")
    assert (models(place), nothing_staged(place)) == ([], True)


def test_a_child_that_dies_is_the_runs_reason(place: Place) -> None:
    place.dataset()
    run = train(place, seeded(15))
    assert run.state == "failed"
    assert "SIGKILL" in str(run.reason)
    assert (models(place), nothing_staged(place)) == ([], True)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"data": "dataset/none"}, "no dataset 'none'"),
        ({"data": "model/tumor"}, "no dataset"),
        ({"data": "biopsies"}, "names no asset"),
        ({"algorithm": "magic"}, "inputs are wrong"),
        ({"params": {"depth": "deep"}}, "inputs are wrong"),
        ({"folds": 1}, "1 folds are not possible"),
    ],
)
def test_wrong_inputs_fail_the_run_before_anything_is_trained(place: Place, wrong: dict[str, object], said: str) -> None:
    place.dataset()
    run = train(place, {**INPUTS, **wrong})
    assert run.state == "failed"
    assert said in str(run.reason)
    assert not (place.home / "trainings.txt").exists()


def test_another_teams_dataset_is_not_there_and_a_viewer_may_not_train(place: Place) -> None:
    place.dataset()
    stranger = Principal(id="key_2", name="sales-editor", team="sales", role="editor")
    assert "no dataset 'biopsies'" in str(train(place, by=stranger).reason)
    viewer = Principal(id="key_3", name="risk-viewer", team="risk", role="viewer")
    assert "no right to write" in str(train(place, {**INPUTS, "by": asdict(viewer)}, by=viewer).reason)


def test_files_that_changed_after_the_training_are_not_published(place: Place) -> None:
    place.dataset()
    python = place.home / "meddling"
    python.write_text(f'#!/bin/sh\n{place.python()} "$@" && printf x >> "$4/model.onnx"\n')
    python.chmod(0o755)
    run = train(place, python=str(python))
    assert run.state == "failed"
    assert "model.onnx" in str(run.reason)
    assert (models(place), nothing_staged(place)) == ([], True)


def test_a_dataset_without_rows_in_the_lake_is_refused(place: Place) -> None:
    meta = {"contract": {"columns": ["a"]}}
    place.registry.publish("dataset", "biopsies", members={"data.csv": b"a\n1\n"}, meta=meta, by=EDITOR)
    assert "no rows in the lake" in str(train(place).reason)


def wait(place: Place, run_id: str, *states: str) -> Run:
    waiting = threading.Event()
    for _ in range(3000):
        run = place.runs.find(run_id, ALL)
        if run.state in states and (run.state in ENDED or "fold" in run.stage):
            return run
        waiting.wait(0.01)
    raise AssertionError(f"{run} did not become {states}")


def alive(home: Path) -> bool:
    pid = int((home / "trainings.txt").read_text().split()[-1])
    return Path(f"/proc/{pid}").exists()


def test_progress_is_seen_and_cancel_kills_the_child(place: Place) -> None:
    place.dataset()
    jobs = jobs_of(place)
    jobs.launch()
    inputs = seeded(13)
    run = place.runs.create("train", "tumor", inputs=inputs, by=EDITOR)
    jobs.start("train", run.id, inputs)
    running = wait(place, run.id, "running")
    assert running.stage == "logistic: fold 1 of 2"
    assert 0.3 < running.progress < 0.9
    assert alive(place.home)
    jobs.cancel(run.id)
    ended = wait(place, run.id, "cancelled")
    assert ended.reason == "It was cancelled on request."
    assert not alive(place.home)
    assert (models(place), nothing_staged(place)) == ([], True)
    jobs.close()


def test_closing_kills_the_child_and_the_next_process_trains_again(place: Place) -> None:
    place.dataset()
    jobs = jobs_of(place)
    jobs.launch()
    inputs = seeded(13)
    run = place.runs.create("train", "tumor", inputs=inputs, by=EDITOR)
    jobs.start("train", run.id, inputs)
    wait(place, run.id, "running")
    jobs.close()
    assert not alive(place.home)
    assert place.runs.find(run.id, ALL).state == "running"
    assert staging.sweep(place.home / "work", place.runs, place.clock) == ()
    again = jobs_of(place)
    again.launch()
    waiting = threading.Event()
    while trainings(place.home) < 2:
        waiting.wait(0.01)
    again.cancel(run.id)
    wait(place, run.id, "cancelled")
    again.close()
    assert not alive(place.home)
    assert nothing_staged(place)


@pytest.mark.parametrize(("how", "times"), [("training", 2), ("published", 1)])
def test_a_killed_process_leaves_one_model_and_nothing_staged_after_the_next(tmp_path: Path, how: str, times: int) -> None:
    command = [sys.executable, "-m", "tests.training.place", str(tmp_path), RUN, how]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    place = open_place(tmp_path)
    assert place.runs.find(RUN, ALL).state == "running"
    assert staging.sweep(tmp_path / "work", place.runs, place.clock) == ()
    expected = ["model/tumor@1"]
    assert models(place) == (expected if how == "published" else [])
    if how == "published":  # another version comes before the repeated step
        first = place.registry.find(Ref.parse("model/tumor"), ALL)
        members = {"model.onnx": b"other weights"}
        place.registry.publish("model", "tumor", members=members, meta=first.meta, parents=first.parents, by=EDITOR)
        expected = ["model/tumor@2", "model/tumor@1"]
    jobs = jobs_of(place)
    jobs.launch()
    run = wait(place, RUN, *ENDED)
    jobs.close()
    assert (run.state, run.reason, run.outputs["asset"]) == ("succeeded", None, "model/tumor@1")
    assert models(place) == expected
    assert trainings(tmp_path) == times
    assert nothing_staged(place)
    place.sql.close()


@pytest.mark.slow
def test_the_real_child_trains_on_what_the_real_ingest_stored(place: Place) -> None:
    lines = "\n".join(f"{number},{number % 7},{(number * 37) % 11 + 4 * (number % 2)},{'ab'[number % 2]}" for number in range(60))
    place.dataset(f"id,noise,size,kind\n{lines}\n", read=ingest_apart)
    run = train(place, python=sys.executable)
    assert (run.state, run.reason) == ("succeeded", None)
    model = place.registry.find(Ref.parse(str(run.outputs["asset"])), ALL)
    evidence = OutOfFold.from_json(place.registry.member(model, "oof.json"))
    assert (evidence.dataset, evidence.digest, len(evidence.rows)) == ("dataset/biopsies@1", model.meta["digest"], 60)
    assert {"model.onnx", "model.json", "signature.json", "metrics.json"} <= set(model.members)
    assert json.loads(place.registry.member(model, "metrics.json")) == model.meta["metrics"]
    latency = msgspec.convert(model.meta["latency"], Latency)
    assert 0 < latency.p50_ms <= latency.p95_ms <= latency.high_ms
    assert (latency.machine["runtime"], latency.n) == (model.meta["runtime"], 400)
    assert run.outputs["plots"]


def test_how_a_model_was_trained_stands_in_its_version(place: Place) -> None:
    place.dataset()
    given = {
        **INPUTS,
        "split": "group",
        "group": "size",
        "balance": True,
        "leaks": "refuse",
        "tune": 3,
        "folds": 3,
        "task": "classification",
    }
    run = train(place, given)
    assert (run.state, run.outputs["task"], run.outputs["warnings"]) == ("succeeded", "classification", [])
    meta = place.registry.find(Ref.parse("model/tumor@1"), ALL).meta
    assert (meta["task"], meta["split"], meta["balance"]) == (
        "classification",
        {"by": "group", "group": "size", "time": None},
        True,
    )
    wrong = train(place, {**INPUTS, "split": "luck"})
    assert (wrong.state, "inputs are wrong" in str(wrong.reason)) == ("failed", True)
    dear = train(place, {**INPUTS, "cost_false_positive": 3.0})
    assert (dear.state, "two numbers above 0" in str(dear.reason)) == ("failed", True)


def test_the_baseline_is_not_tuned_and_is_the_simplest_of_the_task(place: Place) -> None:
    place.dataset()
    train(place, {**INPUTS, "algorithm": "lightgbm", "tune": 3})
    specs = [json.loads(line) for line in (place.home / "specs.jsonl").read_text().splitlines()]
    assert [(each["task"]["name"], each["task"]["baseline"], each["task"]["tune"]) for each in specs] == [
        ("tumor-baseline", True, 0),
        ("tumor", False, 3),
    ]


def test_the_work_of_a_training_is_priced_by_the_hour(place: Place) -> None:
    place.dataset()
    run = train(place, hour=3_600_000_000_000)
    assert run.state == "succeeded", run.reason
    seconds = run.outputs["seconds"]
    assert isinstance(seconds, float)
    assert run.outputs["cost"] == pytest.approx(seconds * 1e9)
    ledger, now = place.meter().ledger, place.clock.now()
    for scope in ("org", "team/risk", "key/risk-editor", "run/risk/tumor"):
        assert ledger.spend(scope, since=now, until=now)[0] == run.outputs["cost"]
    assert "cost" not in train(place, seeded(8)).outputs
