"""Numbers and more than two classes: trained, judged, compared and served."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_diabetes, load_iris

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.evaluation.compare import compare
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.scorers.base import METRICS
from tandem.serving import oip
from tandem.serving.base import Card, load
from tandem.serving.target import Models, ServedModel
from tandem.training.algorithms.base import TABULAR
from tandem.training.algorithms.base import load as load_algorithm
from tandem.training.fit import Fitted, fit
from tandem.training.plots import draw
from tandem.training.table import tabulate
from tandem.training.task import Task

TASKS = ("regression", "multiclass")
CASES = [(task, name) for task in TASKS for name in TABULAR if task in load_algorithm(name).tasks]
every = pytest.mark.parametrize(("task", "algorithm"), CASES)
FAST = {"rounds": 60}


def frame(task: str) -> pl.DataFrame:
    data = load_diabetes() if task == "regression" else load_iris()
    names = [name.split(" (")[0].replace(" ", "_") for name in data.feature_names]
    found = pl.DataFrame(np.asarray(data.data), schema=names)
    if task == "regression":
        return found.with_columns(y=pl.Series(np.asarray(data.target)))
    return found.with_columns(y=pl.Series([str(data.target_names[number]) for number in data.target]))


def order(algorithm: str, **other: object) -> Task:
    params = {key: value for key, value in FAST.items() if key in load_algorithm(algorithm).params}
    base = Task(name="made", dataset="dataset/made@1", target="y", algorithm=algorithm, params=params)  # type: ignore[arg-type]
    return replace(base, **other)  # type: ignore[arg-type]


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, str], Fitted]:
    return {(task, name): fit(order(name), frame(task), quiet) for task, name in CASES}


def placed(fitted: Fitted, folder: Path) -> Path:
    for name, content in fitted.members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@every
def test_a_model_is_good_and_complete(made: dict[tuple[str, str], Fitted], task: str, algorithm: str) -> None:
    got = made[task, algorithm]
    assert got.oof.task == task
    assert set(got.metrics) == set(METRICS[task])  # type: ignore[index]
    for estimate in got.metrics.values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.n == got.oof.rows.__len__()
    assert OutOfFold.from_json(got.members["oof.json"]) == got.oof
    card = json.loads(got.members["model.json"])
    assert (card["task"], card["algorithm"]) == (task, algorithm)
    if task == "regression":
        assert got.metrics["r2"].low > 0.25
        assert (got.classes, got.signature.usual) == ((), ("prediction",))
        assert {name for name in got.members if name.startswith("plots/")} == {"plots/fit.png", "plots/residuals.png"}
    else:
        assert got.metrics["accuracy"].low > 0.85
        assert got.classes == ("setosa", "versicolor", "virginica")
        assert got.oof.classes == got.classes
        assert {name for name in got.members if name.startswith("plots/")} == {"plots/calibration.png", "plots/confusion.png"}


@every
def test_the_members_load_and_agree(made: dict[tuple[str, str], Fitted], task: str, algorithm: str, tmp_path: Path) -> None:
    got = made[task, algorithm]
    assert (got.runtime, got.parity.held) == ("onnx", True), got.parity.reason
    members = placed(got, tmp_path)
    card = Card.read(members)
    rows = frame(task).drop("y").to_numpy()
    one, native = load(card.runtime, members).predict(rows), load(card.native, members)
    scale = np.abs(one).max()
    assert one.shape == (len(rows), 1 if task == "regression" else 3)
    assert one == pytest.approx(native.predict(rows), abs=2e-5 * scale)
    if task == "multiclass":
        assert one.sum(axis=1) == pytest.approx(1, abs=1e-5)
    if native.explains:
        parts, base = native.explain(rows[:100])
        assert parts.shape == rows[:100].shape
        if task == "regression":
            assert parts.sum(axis=1) + base == pytest.approx(one[:100, 0], abs=2e-5 * scale)


@every
async def test_the_door_answers_by_the_protocol(
    made: dict[tuple[str, str], Fitted], task: str, algorithm: str, tmp_path: Path
) -> None:
    got = made[task, algorithm]
    model = ServedModel(
        ref="model/made@1",
        members=str(placed(got, tmp_path)),
        signature=got.signature,
        threshold=0.5,
        classes=got.classes,
    )
    data = frame(task).drop("y").head(4)
    tensor = {"name": "input", "shape": list(data.shape), "datatype": "FP64", "data": data.to_numpy().tolist()}
    request = oip.parse(json.dumps({"inputs": [tensor]}).encode(), got.signature)
    models = Models()
    try:
        prediction = await models.predict(model, request.rows, explain=False, deadline=60)
    finally:
        await models.close()
    reply = oip.respond(request, prediction, name="made", version="1", classes=got.classes)
    outputs = {each["name"]: each for each in reply["outputs"]}
    told = json.loads(oip.metadata(got.signature, name="made", versions=["1"], platform=""))["outputs"]
    if task == "regression":
        assert set(outputs) == {"prediction"}
        assert (outputs["prediction"]["datatype"], outputs["prediction"]["shape"]) == ("FP64", [4])
        assert told[0] == {"name": "prediction", "datatype": "FP64", "shape": [-1]}
    else:
        assert set(outputs) == {"probability", "label"}
        assert outputs["probability"]["shape"] == [4, 3]
        assert json.loads(outputs["probability"]["parameters"]["classes"]) == list(got.classes)
        assert outputs["label"]["data"] == ["setosa"] * 4
        assert told[0]["shape"] == [-1, 3]


@pytest.mark.parametrize("task", TASKS)
def test_gates_compare_by_every_metric(made: dict[tuple[str, str], Fitted], task: str) -> None:
    simple = made[task, "linear" if task == "regression" else "logistic"].oof
    trees = made[task, "gradient-boosting"].oof
    poor = fit(order("gradient-boosting", params={"rounds": 1, "learning_rate": 0.01}), frame(task), quiet).oof
    for metric in METRICS[task]:  # type: ignore[index]
        same = compare(metric, simple, simple, margin=0)
        assert same.difference is not None
        assert (same.difference.value, same.outcome in ("non-inferior", "inconclusive")) == (0, True)
        verdict = compare(metric, trees, simple, margin=1e9)
        assert verdict.outcome in ("improved", "non-inferior")
    metric = "rmse" if task == "regression" else "log_loss"
    worse = judge(Gate(asset="model/made", metric=metric, margin=0.01), poor, simple)
    assert worse.verdict is not None
    assert (worse.verdict.outcome, worse.passed) == ("regressed", False)
    with pytest.raises(Invalid, match="no metric 'f1' of a"):
        judge(Gate(asset="model/made", metric="f1"), simple, None)


def test_evidence_of_another_task_is_not_compared(made: dict[tuple[str, str], Fitted]) -> None:
    one, other = made["regression", "linear"].oof, made["multiclass", "logistic"].oof
    twin = replace(other, target=one.target, dataset=one.dataset, digest=one.digest)
    with pytest.raises(Invalid, match="another task"):
        compare("accuracy", twin, one, margin=0)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (["a", "b"], "classification"),
        ([0, 1], "classification"),
        ([0.0, 1.5], "classification"),
        (["a", "b", "c"], "multiclass"),
        (list(range(20)), "multiclass"),
        (list(range(21)), "regression"),
        ([0.0, 0.5, 1.0], "regression"),
    ],
)
def test_the_task_is_told_by_the_target(values: list[object], task: str) -> None:
    data = pl.DataFrame({"x": np.arange(210.0), "y": [values[number % len(values)] for number in range(210)]})
    assert tabulate(order("gradient-boosting"), data).aim.task == task


def test_the_baseline_is_the_simplest_of_the_task() -> None:
    assert fit(order("logistic", baseline=True), frame("regression"), quiet).algorithm == "linear"
    assert fit(order("logistic", baseline=True), frame("multiclass"), quiet).algorithm == "logistic"


def test_old_evidence_is_still_read() -> None:
    old = b'{"dataset":"dataset/a@1","digest":"d","target":"y","positive":"1","rows":["1","2"],"labels":[0,1],' \
        b'"probabilities":[0.25,0.75],"seed":0,"folds":5,"threshold":0.5}'  # fmt: skip
    found = OutOfFold.from_json(old)
    assert (found.task, found.width, found.rarest, found.labels) == ("classification", 1, 1, (0, 1))
    assert found.at([1, 0]).probabilities == (0.75, 0.25)


def test_pictures_are_the_same_each_time(made: dict[tuple[str, str], Fitted]) -> None:
    got = made["regression", "linear"]
    assert draw(got.oof.sample(), (), got.metrics) == draw(got.oof.sample(), (), got.metrics)


async def test_a_host_explains_numbers_and_classes(made: dict[tuple[str, str], Fitted], tmp_path: Path) -> None:
    models = Models()
    calls = []
    for task in TASKS:
        got = made[task, "gradient-boosting"]
        members = str(placed(got, tmp_path / task))
        model = ServedModel(ref="model/m@1", members=members, signature=got.signature, threshold=0.5, classes=got.classes)
        rows = frame(task).drop("y").head(3).to_numpy().tolist()
        calls.append(models.predict(model, rows, explain=True, deadline=60))
    try:
        number, classes = await asyncio.gather(*calls)
    finally:
        await models.close()
    assert number.contributions is not None
    assert number.base is not None
    for row, parts, base in zip(number.outputs, number.contributions, number.base, strict=True):
        assert sum(parts) + base == pytest.approx(row[0], rel=1e-4)
    assert classes.labels == ["setosa"] * 3
    assert len(classes.outputs[0]) == 3
