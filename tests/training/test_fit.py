from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.data.check import infer
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.serving.base import Card, load
from tandem.serving.signature import Signature
from tandem.store.lake import Lake
from tandem.training.algorithms.base import TABULAR, Unconvertible
from tandem.training.algorithms.base import load as load_algorithm
from tandem.training.fit import Fitted, fit
from tandem.training.manifest import Spec
from tandem.training.parity import check
from tandem.training.table import stratified, tabulate
from tandem.training.task import Task

CLASSIFIERS = [name for name in TABULAR if "classification" in load_algorithm(name).tasks]
every = pytest.mark.parametrize("algorithm", CLASSIFIERS)


def cancer() -> pl.DataFrame:
    """Wisconsin breast cancer as scikit-learn ships it, with an id."""
    data = load_breast_cancer()
    frame = pl.DataFrame(data.data, schema=[name.replace(" ", "_") for name in data.feature_names])
    labels = pl.Series("diagnosis", ["benign" if label else "malignant" for label in data.target])
    ids = pl.Series("record_id", [f"P{number:04d}" for number in range(frame.height)])
    return frame.insert_column(0, ids).with_columns(labels)


def made(n: int = 120, seed: int = 0, gaps: bool = False) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    frame = pl.DataFrame(
        {
            "a": random.normal(size=n) + 1.5 * labels,
            "b": random.integers(0, 9, size=n),
            "c": random.random(n) < 0.3 + 0.3 * labels,
            "y": labels,
        }
    )
    return frame.with_columns(pl.when(pl.int_range(n) % 7 != 0).then("a").alias("a")) if gaps else frame


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


def task(algorithm: str = "logistic", **other: object) -> Task:
    base = Task(name="made", dataset="dataset/made@1", target="y", algorithm=algorithm)  # type: ignore[arg-type]
    return replace(base, **other)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tumor() -> dict[str, Fitted]:
    frame = cancer()
    contract = infer(frame, id_column="record_id")
    return {
        name: fit(
            Task(name="tumor", dataset="dataset/tumor@1", target="diagnosis", algorithm=name, contract=contract),  # type: ignore[arg-type]
            frame,
            quiet,
        )
        for name in CLASSIFIERS
    }


@every
def test_a_model_of_the_cancer_data_is_good_and_complete(tumor: dict[str, Fitted], algorithm: str) -> None:
    got = tumor[algorithm]
    assert got.metrics["roc_auc"].low > (0.97 if algorithm == "random-forest" else 0.98)
    assert got.metrics["roc_auc"].n == 569
    assert got.classes == ("benign", "malignant")
    assert got.runtime == "onnx"
    assert got.parity.held
    assert got.parity.largest is not None
    assert got.parity.largest < 1e-6
    assert sum(got.importances.values()) == pytest.approx(1)
    assert list(got.importances.values()) == sorted(got.importances.values(), reverse=True)
    native = load_algorithm(algorithm).runtime
    native = {"xgboost": "model.ubj", "linear": "linear.json", "lightgbm": "model.txt", "forest": "forest.json"}[native]
    assert set(got.members) == {
        "model.onnx",
        native,
        "model.json",
        "signature.json",
        "oof.json",
        "metrics.json",
        "slices.json",
        "importance.json",
        "plots/roc.png",
        "plots/calibration.png",
        "plots/confusion.png",
    }
    assert all(content.startswith(b"\x89PNG") for name, content in got.members.items() if name.endswith(".png"))
    assert OutOfFold.from_json(got.members["oof.json"]) == got.oof
    assert Signature.from_json(got.members["signature.json"]) == got.signature
    assert (
        got.signature.fields[0].low == pytest.approx(6.981 - 0.5 * (28.11 - 6.981), abs=0.001) or got.signature.fields[0].low == 0
    )
    assert got.oof.rows[0] == "P0000"
    assert json.loads(got.members["model.json"])["environment"]["python"]


@every
def test_the_members_load_and_say_what_was_measured(tumor: dict[str, Fitted], algorithm: str, tmp_path: Path) -> None:
    for name, content in tumor[algorithm].members.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    card = Card.read(tmp_path)
    frame = cancer().drop("record_id", "diagnosis")
    rows = frame.to_numpy()
    one, other = load(card.runtime, tmp_path).predict(rows), load(card.native, tmp_path).predict(rows)
    assert one == pytest.approx(other, abs=1e-5)
    truth = np.array(tumor[algorithm].oof.labels)
    assert ((one[:, 0] >= card.threshold) == truth).mean() > 0.98


def test_no_member_is_a_pickle(tumor: dict[str, Fitted]) -> None:
    for got in tumor.values():
        for name, content in got.members.items():
            assert not content.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")), name
            assert b"sklearn" not in content or name == "model.json"


def test_the_verdicts_of_the_example_gate() -> None:
    """Two stumps regress, a few trees are inconclusive, the default trees non-inferior but not under a tight margin."""
    frame = cancer()
    contract = infer(frame, id_column="record_id")
    base = Task(name="tumor", dataset="dataset/tumor@1", target="diagnosis", algorithm="logistic", contract=contract)
    champion = fit(base, frame, quiet).oof
    trees = fit(replace(base, algorithm="gradient-boosting"), frame, quiet).oof
    stump = fit(replace(base, algorithm="gradient-boosting", params={"rounds": 2, "max_depth": 1}), frame, quiet).oof
    few = fit(replace(base, algorithm="gradient-boosting", params={"rounds": 8, "learning_rate": 0.3}), frame, quiet).oof
    gate = Gate(asset="model/tumor", minimum=0.95, margin=0.02)
    tight = replace(gate, margin=0.005)
    outcomes = {}
    for name, candidate, chosen in (("trees", trees, gate), ("stump", stump, gate), ("few", few, gate), ("tight", trees, tight)):
        report = judge(chosen, candidate, champion)
        assert report.verdict is not None
        outcomes[name] = (report.verdict.outcome, report.passed)
    assert outcomes == {
        "trees": ("non-inferior", True),
        "stump": ("regressed", False),
        "few": ("inconclusive", False),
        "tight": ("inconclusive", False),
    }


def test_the_logistic_model_is_scikit_learns() -> None:
    frame = made()
    table = tabulate(task(), frame)
    examples = table.examples(table.columns.learn())
    expected = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(examples.features, table.aim.target)
    ours = load_algorithm("logistic").fit(examples, params={"C": 1.0, "max_iter": 1000}, seed=0)
    assert ours.predict(examples.features) == pytest.approx(expected.predict_proba(examples.features)[:, 1:], abs=1e-9)


@every
def test_out_of_fold_means_that_the_row_was_not_seen(algorithm: str) -> None:
    """Labels without any relation to many features: a leak would give an area near one."""
    random = np.random.default_rng(3)
    features = pl.DataFrame(random.normal(size=(120, 60)), schema=[f"x{number}" for number in range(60)])
    got = fit(task(algorithm), features.with_columns(y=pl.Series(random.permutation(np.arange(120) % 2))), quiet)
    assert 0.3 < got.metrics["roc_auc"].value < 0.7


@every
def test_words_are_learned_inside_each_fold(algorithm: str) -> None:
    """Texts without any relation to the label: a leak would give an area near one."""
    random = np.random.default_rng(5)
    kinds = random.integers(0, 60, size=120)
    frame = pl.DataFrame({"note": [f"word{kind} common" for kind in kinds], "y": random.permutation(np.arange(120) % 2)})
    got = fit(task(algorithm), frame, quiet)
    assert 0.3 < got.metrics["roc_auc"].value < 0.7


@every
def test_categories_texts_and_times_are_learned_from(algorithm: str) -> None:
    random = np.random.default_rng(6)
    hours = random.integers(0, 24, size=240)
    colours, late = random.choice(["red", "blue", "green"], 240), random.random(240) < 0.5
    frame = pl.DataFrame(
        {
            "colour": colours,
            "at": [datetime(2026, 1 + n % 12, 1 + n % 28, int(hour), tzinfo=UTC) for n, hour in enumerate(hours)],
            "note": [f"order {n % 130} {'late' if slow else 'prompt'}" for n, slow in enumerate(late)],
            "y": (colours == "red").astype(int) + late + (hours > 12) >= 2,
        }
    )
    got = fit(task(algorithm), frame, quiet)
    assert got.metrics["roc_auc"].low > 0.9
    assert [(field.name, field.dtype) for field in got.signature.fields] == [
        ("colour", "category"),
        ("at", "datetime"),
        ("note", "text"),
    ]
    assert got.signature.fields[0].values == ("blue", "green", "red")
    assert set(got.importances) == {"colour", "at", "note"}
    assert (got.runtime, got.parity.held) == ("onnx", True)
    assert json.loads(got.members["encoding.json"])["parts"][0] == {"is": "category", "values": ["blue", "green", "red"]}


@every
def test_gaps_are_handled_and_nullable_only_where_seen(algorithm: str) -> None:
    got = fit(task(algorithm), made(gaps=True), quiet)
    assert got.runtime == "onnx"
    assert {field.name: field.nullable for field in got.signature.fields} == {"a": True, "b": False, "c": False}
    assert {field.name: field.dtype for field in got.signature.fields} == {"a": "float", "b": "int", "c": "bool"}


@pytest.mark.parametrize(
    ("values", "positive", "classes"),
    [
        (["no", "yes"], None, ("no", "yes")),
        (["no", "yes"], "no", ("yes", "no")),
        ([0, 1], None, ("0", "1")),
        ([False, True], None, ("false", "true")),
        ([0.0, 1.0], None, ("0", "1")),
        ([1, 2], "1", ("2", "1")),
    ],
)
def test_targets_may_be_text_numbers_or_truths(values: list[object], positive: str | None, classes: tuple[str, str]) -> None:
    frame = made().with_columns(y=pl.Series([values[number % 2] for number in range(120)]))
    table = tabulate(task(positive=positive), frame)
    assert table.aim.classes == classes
    assert table.aim.target.tolist()[:2] == (
        [False, True] if classes[1] in ("yes", "1", "true") and positive != "1" else [True, False]
    )


@pytest.mark.parametrize(
    ("frame", "change", "field", "message"),
    [
        (made(), {"target": "z"}, "target", "no target column 'z'"),
        (made().with_columns(y=1), {}, "target", "has 1 values"),
        (made().with_columns(y=pl.int_range(120)), {"task": "classification"}, "target", "has 120 values"),
        (made().with_columns(y=pl.int_range(120)), {"task": "multiclass"}, "target", "multiclass takes 3 to 20"),
        (made().with_columns(y=pl.int_range(120)), {}, "algorithm", "learns no regression"),
        (made().with_columns(y=pl.int_range(120) % 3), {"positive": "1"}, "positive", "none is the positive one"),
        (made().with_columns(y=pl.format("c{}", pl.int_range(120) % 3)), {"task": "regression"}, "target", "needs numbers"),
        (made().with_columns(y=pl.format("c{}", pl.int_range(120))), {}, "target", "has 120 values"),
        (made().with_columns(y=pl.lit(2.5)), {"task": "regression"}, "target", "has 1 value"),
        (made().with_columns(y=pl.when(pl.int_range(120) > 2).then("y")), {}, "target", "missing in 3 rows, first in row 1"),
        (made().with_columns(y=pl.when(pl.int_range(120) > 2).then(1.0).otherwise(float("nan"))), {}, "target", "missing in 3"),
        (made().select("y"), {}, "dataset", "no columns left"),
        (made().with_columns(a=pl.format("P{}", pl.int_range(120))), {}, "a", "no word occurs in two rows"),
        (made().with_columns(a=pl.lit(None, dtype=pl.Float64)), {}, "a", "has no values"),
        (made(10), {}, "dataset", "has 10 rows"),
        (made().with_columns(y=pl.int_range(120) < 3), {}, "target", "Only 3 rows are of the rarer class"),
        (made(), {"positive": "7"}, "positive", "'7' is no value"),
        (made(), {"params": {"depth": 3}}, "params.depth", "no parameter 'depth'"),
        (made(), {"params": {"C": -1}}, "params.C", "cannot be -1"),
        (made(), {"params": {"max_iter": 1.5}}, "params.max_iter", "cannot be 1.5"),
        (made(), {"params": {"max_iter": 1}}, "params.max_iter", "did not converge"),
        (made(), {"algorithm": "magic"}, "algorithm", "no algorithm 'magic'"),
    ],
)
def test_what_cannot_be_trained_is_refused(frame: pl.DataFrame, change: dict[str, object], field: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        fit(task(**change), frame, quiet)
    assert caught.value.field == field
    assert caught.value.hint


@pytest.mark.parametrize("change", [{"folds": 1}, {"folds": 99}, {"seed": -1}, {"threshold": 0}, {"threshold": 1.0}])
def test_a_task_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        task(**change)


def test_excluded_columns_are_no_features() -> None:
    assert tabulate(task(exclude=("b",)), made()).signature.names == ("a", "c")


def test_folds_are_stratified_seeded_and_even() -> None:
    labels = np.random.default_rng(1).random(103) < 0.3
    one, again, other = (stratified(labels, folds=5, seed=seed) for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()
    sizes = np.bincount(one)
    assert sizes.max() - sizes.min() <= 1
    positives = np.bincount(one[labels])
    assert positives.max() - positives.min() <= 1


def test_a_candidate_and_a_champion_share_their_folds() -> None:
    one, other = (fit(task(name), made(), quiet).oof for name in ("gradient-boosting", "logistic"))
    assert (one.rows, one.labels, one.digest, one.seed) == (other.rows, other.labels, other.digest, other.seed)


@every
def test_seed_changes_the_folds(algorithm: str) -> None:
    assert fit(task(algorithm, seed=1), made(), quiet).oof.probabilities != fit(task(algorithm), made(), quiet).oof.probabilities


class Crooked:
    """A model whose ONNX form is somebody else's, or none."""

    def __init__(self, onnx: bytes | None) -> None:
        self._onnx = onnx

    def predict(self, features: np.ndarray) -> np.ndarray:
        return np.full((len(features), 1), 0.5)

    def native(self) -> tuple[str, bytes]:
        return "crooked", b""

    def importances(self) -> np.ndarray:
        return np.zeros(1)

    def onnx(self) -> bytes:
        if self._onnx is None:
            raise Unconvertible("operator missing")
        return self._onnx


def test_without_parity_onnx_does_not_serve(tumor: dict[str, Fitted]) -> None:
    rows = cancer().drop("record_id", "diagnosis").to_numpy()
    parity, onnx = check(Crooked(tumor["logistic"].members["model.onnx"]), rows, 0.5)
    assert (parity.held, onnx) == (False, None)
    assert parity.largest == pytest.approx(0.5, abs=0.01)
    assert parity.changed is not None
    assert parity.changed > 300
    for broken, reason in ((None, "operator missing"), (b"not onnx", "cannot be loaded")):
        parity, onnx = check(Crooked(broken), rows, 0.5)
        assert (parity.held, onnx) == (False, None)
        assert reason in parity.reason


@every
def test_two_processes_make_the_same_bytes(algorithm: str, tmp_path: Path) -> None:
    frame = cancer()
    Lake(tmp_path / "lake").write("tumor", frame)
    spec = Spec(
        lake=str(tmp_path / "lake"),
        table="tumor",
        version=0,
        task=Task(
            name="tumor",
            dataset="dataset/tumor@1",
            target="diagnosis",
            algorithm=algorithm,  # type: ignore[arg-type]
            contract=infer(frame, id_column="record_id"),
            params={"rounds": 20} if algorithm == "gradient-boosting" else {},
        ),
    )
    (tmp_path / "spec.json").write_bytes(spec.to_json())
    digests = []
    for number in ("1", "2"):
        out = tmp_path / number
        command = [sys.executable, "-m", "tandem.training.child", str(tmp_path / "spec.json"), str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONHASHSEED": number})
        files = sorted(path for path in out.rglob("*") if path.is_file())
        digests.append({str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    manifests = [msgspec.json.decode((tmp_path / number / "done.json").read_bytes()) for number in ("1", "2")]
    for manifest, files_of in zip(manifests, digests, strict=True):
        assert manifest.pop("latency")["n"] == 400  # measured, and so the only thing that differs
        files_of.pop("done.json")
    assert (digests[0], manifests[0]) == (digests[1], manifests[1])
    assert len(digests[0]) == 11
    done = msgspec.json.decode((tmp_path / "1" / "done.json").read_bytes())
    assert {name: f"sha256:{digest}" for name, digest in digests[0].items()} == done["members"]
