"""Models of signals: what is learned from windows, how it is judged, and that every way to ask gives the same answer."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.signals import machines, plan

from tandem.core.errors import Invalid
from tandem.core.policy import Fair, Gate
from tandem.data.versions import Place
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.evaluation.held.predict import Case as Held
from tandem.evaluation.held.predict import Outcome
from tandem.evaluation.held.predict import carry_out as judged_apart
from tandem.evaluation.replay import Case, replay
from tandem.evaluation.table import Rows
from tandem.serving.base import CARD, digest_of
from tandem.serving.columns import Answering, rows_of
from tandem.serving.frames import Answer, Ask
from tandem.serving.host import Host
from tandem.serving.offline.child import Score, score
from tandem.serving.windows import cut
from tandem.store.lake import Lake
from tandem.training.child import train
from tandem.training.fit import Fitted, fit
from tandem.training.manifest import Manifest, Spec
from tandem.training.task import Task
from tandem.training.windows import windowed

COUNT = 40
GATE = Gate(asset="model/pump", metric="roc_auc", minimum=0.8)


def quiet(share: float, stage: str) -> None:
    """Nobody looks."""


def task(**given: object) -> Task:
    usual = {"name": "pump", "dataset": "dataset/shakes@1", "target": "fault", "algorithm": "logistic", "folds": 4, "seed": 3}
    return Task(**{**usual, "signal": "unit", "time": "at", "window": 64, **given})  # type: ignore[arg-type]


def fitted(frame: pl.DataFrame, **given: object) -> Fitted:
    windows = windowed(task(**given), frame)
    return fit(windows.task, windows.frame, quiet, windows=windows)


@pytest.fixture(scope="module")
def frame() -> pl.DataFrame:
    return machines(COUNT).sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def made(frame: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A model in a folder `model`, beside the lake."""
    home = tmp_path_factory.mktemp("pump")
    version = Lake(home / "lake").write("shakes", frame)
    asked = task(algorithm="gradient-boosting", stride=32, calibrate="platt")
    return home, train(Spec(lake=str(home / "lake"), table="shakes", version=version, task=asked), home / "model")


def test_two_frequencies_are_told_apart_and_judged_by_machine(frame: pl.DataFrame, made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    assert manifest.metrics["roc_auc"].low > 0.9
    assert {each.n for each in manifest.metrics.values()} == {COUNT}
    evidence = OutOfFold.from_json((home / "model" / "oof.json").read_bytes())
    assert (len(evidence.rows), evidence.units, evidence.rarest) == (5 * COUNT, COUNT, COUNT // 2)
    at = frame[list(evidence.places)]
    assert at["unit"].to_list() == list(evidence.groups)
    assert sorted(set(at["at"])) == [63, 95, 127, 159, 191]
    assert [label == evidence.positive for label in at["fault"]] == list(map(bool, evidence.labels))
    assert evidence.rows == tuple(str(place + 1) for place in evidence.places)
    assert next(iter(manifest.importances)).startswith("x[")
    assert [(field.name, field.dtype, field.size) for field in manifest.signature.fields] == [
        ("x", "signal", 64),
        ("y", "signal", 64),
    ]
    assert manifest.warnings == ()
    assert manifest.latency is not None
    assert judge(GATE, evidence, None).passed


def test_shuffled_labels_pass_no_gate() -> None:
    found = fitted(machines(COUNT, shuffled=True))
    assert found.metrics["roc_auc"].low < 0.5
    report = judge(GATE, found.oof, None)
    assert not report.passed
    assert "does not keep" in report.reasons[0]


def test_an_offset_that_names_its_machine_helps_only_where_windows_of_a_machine_are_parted() -> None:
    windows = windowed(task(algorithm="lightgbm", window=32, stride=16), machines(COUNT, shuffled=True))
    honest = fit(windows.task, windows.frame, quiet, windows=windows)
    parted = replace(windows.task, split="random", group=None, exclude=(*windows.task.exclude, "unit"))
    leaky = fit(parted, windows.frame, quiet, windows=windows)
    assert leaky.metrics["roc_auc"].low > 0.8
    assert honest.metrics["roc_auc"].high < 0.75


def test_intervals_are_those_of_machines_and_wider_than_those_of_windows() -> None:
    found = fitted(machines(COUNT, shuffled=True), window=16, stride=8)
    alone = replace(found.oof, groups=())
    wide, narrow = found.metrics["accuracy"], judge(replace(GATE, metric="accuracy"), alone, None).candidate
    assert narrow is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_few_machines_are_not_enough_however_many_windows_they_have() -> None:
    found = fitted(machines(12), window=8, folds=3)
    report = judge(GATE, found.oof, None)
    assert not report.passed
    assert "288 rows in 12 groups" in report.reasons[0]
    fair = replace(GATE, fairness=(Fair(measure="demographic_parity", by="hall", bound=0.2),))
    cells = {"hall": ["a", "b"] * (len(found.oof.rows) // 2)}
    assert "not compared" in judge(fair, found.oof, None, cells=cells).reasons[-1]


def answered(home: Path, rows: list[list[Any]], op: str = "predict") -> Answer:
    folder = home / "model"
    return Host().answer(Ask(1, op, "model/pump@1", str(folder), rows, digest_of(folder / CARD) or ""))  # type: ignore[arg-type]


def test_a_call_a_table_and_a_batch_are_answered_alike_to_the_bit(frame: pl.DataFrame, made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    signature = manifest.signature
    windows = cut(frame, plan("x", "y", window=64, stride=32)).frame(slice(None))
    table = Answering.load(home / "model", signature).predict(windows)
    rows = rows_of(windows, signature.fields)
    signature.check_values(rows)
    told = answered(home, rows)
    assert told.fault is None
    assert told.outputs == table.tolist()
    assert [row for one in rows[:20] for row in answered(home, [one]).outputs] == told.outputs[:20]
    (home / "run").mkdir()
    order = Score(
        folder=str(home / "run"), lake=str(home / "lake"), table="shakes", version=0, members=str(home / "model"),
        signature=signature, threshold=manifest.threshold, classes=manifest.classes, out="scored", mark="run_1", id_column="none",
    )  # fmt: skip
    done = score(order, quiet).done
    batch = Lake(home / "lake").read("scored", done.version)
    assert batch.columns == ["unit", "at", "probability", "label"]
    assert batch.select("unit", "at").equals(windows.select("unit", "at"))
    assert batch["probability"].to_list() == table[:, 0].tolist()
    assert set(batch["label"]) == {"good", "bad"}
    assert (done.rows, done.quarantined) == (5 * COUNT, 0)


def test_a_window_that_the_model_does_not_take_is_kept_apart_with_the_reason(
    frame: pl.DataFrame, made: tuple[Path, Manifest], tmp_path: Path
) -> None:
    home, manifest = made
    one = frame.filter(pl.col("unit") == "m00").with_columns(x=pl.when(pl.col("at") == 10).then(None).otherwise("x"))
    fields = tuple(replace(field, high=1e3) for field in manifest.signature.fields)
    two = frame.filter(pl.col("unit") == "m01").with_columns(y=pl.when(pl.col("at") == 190).then(1e6).otherwise("y"))
    version = Lake(home / "lake").write("odd", pl.concat([one, two]))
    order = Score(
        folder=str(tmp_path), lake=str(home / "lake"), table="odd", version=version, members=str(home / "model"),
        signature=replace(manifest.signature, fields=fields), threshold=0.5, classes=manifest.classes, out="apart", mark="run_2",
    )  # fmt: skip
    done = score(order, quiet).done
    assert (done.rows, done.quarantined) == (10, 2)
    kept = pl.read_parquet(str(done.quarantine))
    assert kept["_reasons"].to_list() == ["x[10] is missing.", "y[62] is above the highest value 1000."]


def test_a_model_of_signals_tells_what_each_channel_added(frame: pl.DataFrame, made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    windows = cut(frame, plan("x", "y", window=64, stride=64)).frame(slice(4))
    told = answered(home, rows_of(windows, manifest.signature.fields), "explain")
    assert told.contributions is not None
    assert np.abs(np.array(told.contributions)).argmax(axis=1).tolist() == [0] * 4
    bad = answered(home, [["[1.0, 2.0]", "[1.0, 2.0]"]])
    assert bad.fault is not None


@pytest.mark.parametrize(("target", "metric"), [("speed", "r2"), ("kind", "accuracy")])
def test_numbers_and_many_classes_are_learned_too(target: str, metric: str) -> None:
    frame, still = (
        machines(30).with_columns(speed=(pl.col("fault") == "bad").cast(pl.Float64) + pl.col("y") / 50),
        pl.col("unit") < "m10",
    )
    if target == "kind":
        frame = frame.with_columns(
            x=pl.when(still).then(0.0).otherwise("x"), kind=pl.when(still).then(pl.lit("still")).otherwise("fault")
        )
    frame = frame.select("unit", "at", "x", "y", target)
    found = fitted(frame, target=target, folds=3, baseline=True)
    assert found.metrics[metric].low > 0.7
    assert found.metrics[metric].n == 30


def test_what_is_left_out_is_told(frame: pl.DataFrame) -> None:
    odd = frame.with_columns(
        pl.lit("hall").alias("where"),
        pl.when(pl.col("unit") != "m03").then("fault").alias("fault"),
        pl.when((pl.col("unit") == "m04") & (pl.col("at") == 7)).then(None).otherwise("y").alias("y"),
    ).filter((pl.col("unit") != "m05") | (pl.col("at") < 40))
    windows = windowed(task(exclude=("x[mean]",)), odd)
    assert windows.frame.height == 3 * (COUNT - 2)
    assert "x[mean]" not in windows.frame.columns
    assert windows.plan.kept[0] == 1
    assert windows.warnings == (
        "1 units have fewer samples than a window of 64 and were left out, such as 'm05'.",
        "0.01% of the samples are missing; they stay gaps.",
        "Columns that hold no numbers are not learned from: where.",
        "3 windows end in a row without the target and were left out.",
    )
    assert [field.nullable for field in windows.fields] == [False, True]


def test_a_channel_that_is_the_target_is_told(frame: pl.DataFrame) -> None:
    copied = frame.with_columns(code=(pl.col("fault") == "bad").cast(pl.Float64))
    assert any("Column 'code' tells the target 'fault' exactly" in why for why in fitted(copied).warnings)
    with pytest.raises(Invalid, match="tells the target") as refused:
        fitted(copied, leaks="refuse")
    assert refused.value.hint is not None
    assert "--exclude code" in refused.value.hint


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"window": 4}, "window"),
        ({"window": 20_000}, "window"),
        ({"stride": -1}, "window"),
        ({"signal": None}, "window"),
        ({"time": None}, "at"),
        ({"task": "anomaly"}, "task"),
        ({"split": "time"}, "split"),
        ({"group": "unit"}, "split"),
        ({"fairness": ("hall",)}, "fairness"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(given: dict[str, object], field: str) -> None:
    with pytest.raises(Invalid) as refused:
        task(**given)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"target": "none"}, "no target column 'none'"),
        ({"signal": "none"}, "no column 'none'"),
        ({"window": 500}, "No unit has the 500 samples"),
        ({"exclude": ("x", "y")}, "0 channels"),
        ({"signal": "fault", "target": "x"}, "has two samples at 0"),
    ],
)
def test_rows_that_are_no_signals_are_refused(frame: pl.DataFrame, given: dict[str, object], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        windowed(task(**given), frame)


def test_the_same_training_gives_the_same_bytes(frame: pl.DataFrame) -> None:
    one, two = (fitted(each, tune=0) for each in (frame, frame))
    assert one.members == two.members
    kept = json.loads(one.members["signals.json"])
    assert (kept["window"], kept["stride"], kept["channels"]) == (64, 64, ["x", "y"])
    assert not math.isnan(one.metrics["log_loss"].value)


def test_prints_are_those_of_the_samples(frame: pl.DataFrame) -> None:
    one = cut(frame, plan("x", "y", window=16, stride=7))
    prints, runs = one.prints()
    held = [each.tobytes() for each in one.numbers(slice(None))]
    assert len(set(prints.tolist())) == len(set(held)) == len(one)
    assert set(prints.tolist()) <= set(runs.tolist())
    assert len(runs) == COUNT * (192 - 16 + 1)
    moved = cut(frame.filter(pl.col("at") >= 3), plan("x", "y", window=16, stride=16)).prints()[0]
    assert set(moved.tolist()) <= set(runs.tolist())
    other = cut(frame.with_columns(pl.col("y") + 1e-9), plan("x", "y", window=16, stride=7)).prints()[0]
    assert not set(other.tolist()) & set(runs.tolist())
    still = cut(frame.with_columns(x=0.0, y=-0.0), plan("x", "y", window=16, stride=7)).prints()
    assert (len(set(still[0].tolist())), len(still[1])) == (1, 0)


def evidence_of(home: Path) -> OutOfFold:
    return OutOfFold.from_json((home / "model" / "oof.json").read_bytes())


def held(home: Path, manifest: Manifest, rows: pl.DataFrame, name: str, fairness: tuple[str, ...] = ()) -> Outcome:
    lake = str(home / "lake")
    case = Held(
        dataset=f"dataset/{name}@1",
        digest="",
        target="fault",
        classes=manifest.classes,
        threshold=0.5,
        signature=manifest.signature,
        asked=Rows(lake=lake, table=name, version=Lake(home / "lake").write(name, rows)),
        seen=(Rows(lake=lake, table="shakes", version=0),),
        members=str(home / "model"),
        does="classification",
        fairness=fairness,
    )
    return judged_apart(case)


def test_other_machines_are_evidence_and_those_of_the_training_are_none(frame: pl.DataFrame, made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    others = machines(30, seed=8).with_columns(unit="n" + pl.col("unit"))
    outcome = held(home, manifest, others, "others")
    assert outcome.evidence is not None
    assert (len(outcome.evidence.rows), outcome.evidence.units, outcome.made) == (150, 30, True)
    assert judge(GATE, outcome.evidence, None).passed
    again = Answering.load(home / "model", manifest.signature).predict(
        cut(others, plan("x", "y", window=64, stride=32)).frame(slice(None))
    )
    assert outcome.evidence.probabilities == tuple(again.ravel())
    assert held(home, manifest, machines(30, seed=8), "named").seen == 150, "units of the training's names"
    with pytest.raises(Invalid, match="not judged yet"):
        held(home, manifest, others, "others", fairness=("fault",))
    copied = frame.filter(pl.col("at") >= 5).with_columns(unit="n" + pl.col("unit"))
    assert held(home, manifest, copied, "copied").seen > 0, "its samples under other names, and cut elsewhere"


def replayed(home: Path, manifest: Manifest, rows: pl.DataFrame, name: str) -> tuple[OutOfFold, OutOfFold]:
    """A candidate's evidence on the next version, and the champion's on the same windows."""
    lake = Lake(home / "lake")
    version = lake.write(name, rows)
    spec = Spec(lake=str(home / "lake"), table=name, version=version, task=task(dataset=f"dataset/{name}@1", stride=32))
    train(spec, home / name)
    candidate = OutOfFold.from_json((home / name / "oof.json").read_bytes())
    places = [Place(ref=f"dataset/{each}@1", table=each, version=at) for each, at in (("shakes", 0), (name, version))]
    case = Case(
        lake=str(home / "lake"), members=str(home / "model"), signature=manifest.signature, seen=places[0], asked=places[1],
        candidate=candidate, champion=evidence_of(home),
    )  # fmt: skip
    return candidate, replay(case)


def test_a_champion_answers_the_windows_of_newer_data(frame: pl.DataFrame, made: tuple[Path, Manifest]) -> None:
    home, manifest = made
    grown = pl.concat([machines(10, seed=9).with_columns(unit="a" + pl.col("unit")), frame])
    candidate, champion = replayed(home, manifest, grown, "grown")
    assert (champion.rows, champion.labels, champion.groups) == (candidate.rows, candidate.labels, candidate.groups)
    new = [place for place, unit in enumerate(champion.groups) if unit.startswith("am")]
    assert len(new) == 50
    kept = [chance for place, chance in enumerate(champion.probabilities) if place not in new]
    assert sorted(kept) == sorted(evidence_of(home).probabilities)
    assert judge(replace(GATE, margin=0.05), candidate, champion).passed
    with pytest.raises(Invalid, match="begin elsewhere"):
        replayed(home, manifest, frame.filter(pl.col("at") >= 5), "shifted")
