"""Anomalies: rare scores among held-out rows, with few false alarms, explained and served as they were judged."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.evaluation.compare import compare
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.gate import judge
from tandem.scorers.base import judged, load
from tandem.serving import oip
from tandem.serving.base import load as load_runtime
from tandem.serving.calibration import Rarity
from tandem.serving.columns import predict, rows_of
from tandem.serving.frames import Ask
from tandem.serving.host import Host
from tandem.serving.target import Models, ServedModel
from tandem.training.algorithms.base import Examples
from tandem.training.algorithms.base import load as load_algorithm
from tandem.training.fit import Fitted, fit
from tandem.training.task import Task

ORDER = Task(name="odd", dataset="dataset/odd@1", target="", task="anomaly", algorithm="isolation-forest", false_alarms=0.05)
NAMES = ("isolation-forest", "ecod")


def frame(rows: int = 600, *, odd: int = 20, seed: int = 4) -> pl.DataFrame:
    """Two numbers that go together and a colour; the odd rows lie far out in one of them or have a colour of their own."""
    draw = np.random.default_rng(seed)
    speed = draw.normal(50, 10, rows)
    load_ = 2 * speed + draw.normal(0, 5, rows)
    colour = draw.choice(["red", "blue"], rows)
    known = np.zeros(rows, dtype=int)
    known[:odd] = 1
    speed[:odd] += draw.choice([-1, 1], odd) * draw.uniform(60, 90, odd)
    colour[: odd // 2] = "green"
    load_[5] = np.nan
    return pl.DataFrame({"speed": speed, "load": load_, "colour": colour, "known": known})


def quiet(share: float, stage: str) -> None:
    assert 0 <= share <= 1
    assert stage


@pytest.fixture(scope="module")
def made() -> dict[str, Fitted]:
    return {name: fit(replace(ORDER, algorithm=name, target="known"), frame(), quiet) for name in NAMES}  # type: ignore[arg-type]


def placed(fitted: Fitted, folder: Path) -> Path:
    for name, content in fitted.members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_good_and_complete(made: dict[str, Fitted], name: str) -> None:
    got = made[name]
    assert set(got.metrics) == {"false_alarm_rate", "roc_auc", "average_precision"}
    assert got.metrics["roc_auc"].low > 0.9
    assert got.metrics["false_alarm_rate"].low <= 0.05
    assert (got.classes, got.signature.usual, got.oof.positive) == (("normal", "anomaly"), ("score", "label"), "1")
    assert got.threshold == pytest.approx(0.95)
    assert {"calibration.json", "plots/scores.png"} <= set(got.members)
    assert OutOfFold.from_json(got.members["oof.json"]) == got.oof
    assert got.runtime == ("onnx" if name == "isolation-forest" else "ecod")


def test_the_target_has_no_part_in_what_is_learned(made: dict[str, Fitted]) -> None:
    for name in NAMES:
        without = fit(replace(ORDER, algorithm=name, exclude=("known",)), frame(), quiet)  # type: ignore[arg-type]
        assert without.oof.probabilities == made[name].oof.probabilities
        assert set(without.metrics) == {"false_alarm_rate"}
        file = "forest.json" if name == "isolation-forest" else "ecod.json"
        assert without.members[file] == made[name].members[file]


def test_the_same_task_gives_the_same_bytes(made: dict[str, Fitted]) -> None:
    again = fit(replace(ORDER, target="known"), frame(), quiet)
    assert again.members == made["isolation-forest"].members


@pytest.mark.parametrize("seed", range(3))
def test_ordinary_rows_are_called_odd_as_rarely_as_was_asked(seed: int, tmp_path: Path) -> None:
    got = fit(replace(ORDER, false_alarms=0.1, exclude=("known",)), frame(odd=0, seed=seed), quiet)
    rate = got.metrics["false_alarm_rate"]
    assert rate.low < 0.1 < rate.high
    fresh = frame(2000, odd=0, seed=100 + seed)
    said = predict(placed(got, tmp_path), fresh, got.signature)[:, 0]
    assert (said >= got.threshold).mean() == pytest.approx(0.1, abs=0.05)


def test_a_p_value_counts_ties_as_odd() -> None:
    curve = Rarity((1.0, 1.0, 1.0, 2.0))
    assert [1 - curve.of(score) for score in (3.0, 2.0, 1.0, 0.0)] == pytest.approx([1 / 5, 2 / 5, 1.0, 1.0])
    assert curve.of(1.0 + 1e-7) == curve.of(1.0)


@pytest.mark.parametrize("name", NAMES)
def test_contributions_sum_to_the_score_and_name_the_odd_column(made: dict[str, Fitted], name: str, tmp_path: Path) -> None:
    got = made[name]
    folder = placed(got, tmp_path)
    asked = frame(odd=0).head(30).with_columns(speed=pl.when(pl.int_range(pl.len()) < 10).then(300.0).otherwise(pl.col("speed")))
    answer = Host().answer(Ask(1, "explain", "model/odd@1", str(folder), rows_of(asked, got.signature.fields)))
    assert answer.fault is None
    assert answer.contributions is not None
    assert answer.base is not None
    parts = np.array(answer.contributions)
    assert (parts[:10].argmax(axis=1) == 0).all()
    assert np.array(answer.outputs)[:10].min() > 0.85
    runtime = load_runtime("isolation" if name == "isolation-forest" else "ecod", folder)
    from tandem.serving.encoding import Encoding

    encoding = Encoding.load(folder)
    assert encoding is not None
    raw = runtime.predict(np.array(encoding.rows(rows_of(asked, got.signature.fields))))
    assert parts.sum(axis=1) + np.array(answer.base) == pytest.approx(raw[:, 0])


def test_the_plain_forest_is_scikit_learns() -> None:
    rows = np.random.default_rng(1).normal(size=(500, 4)).astype(np.float32).astype(np.float64)
    learned = Examples(features=rows, target=np.zeros(500))
    ours = load_algorithm("isolation-forest").fit(learned, params={"trees": 50, "rows": 128}, seed=3)
    theirs = IsolationForest(n_estimators=50, max_samples=128, random_state=3).fit(rows)
    needed = 2 * (np.log(127) + 0.5772156649015329) - 2 * 127 / 128
    assert 2 ** (ours.predict(rows)[:, 0] / needed) == pytest.approx(-theirs.score_samples(rows), abs=1e-9)


def test_metrics_are_those_of_scikit_learn() -> None:
    draw = np.random.default_rng(6)
    labels, scores = draw.random(300) < 0.1, np.round(draw.random(300), 1)
    sample = judged("anomaly", list(map(float, labels)), list(scores), threshold=0.9)
    assert load("average_precision", "anomaly").score(sample).value == pytest.approx(average_precision_score(labels, scores))
    assert load("roc_auc", "anomaly").score(sample).value == pytest.approx(roc_auc_score(labels, scores))
    assert load("false_alarm_rate", "anomaly").score(sample).value == pytest.approx((scores[~labels] >= 0.9).mean())


def test_a_gate_judges_and_compares(made: dict[str, Fitted]) -> None:
    ours, theirs = made["isolation-forest"].oof, made["ecod"].oof
    for metric in ("roc_auc", "average_precision", "false_alarm_rate"):
        verdict = compare(metric, ours, theirs, margin=1.0)
        assert verdict.outcome in ("non-inferior", "improved")
    report = judge(Gate(asset="model/odd", metric="false_alarm_rate", margin=0.05, minimum=0.09), ours, theirs)
    assert report.passed, report.reasons
    unknown = fit(replace(ORDER, exclude=("known",)), frame(), quiet).oof
    assert not judge(Gate(asset="model/odd", metric="roc_auc", margin=0.1), unknown, None).passed


def test_a_door_answers_score_and_label(made: dict[str, Fitted], tmp_path: Path) -> None:
    got = made["isolation-forest"]
    model = ServedModel(
        ref="model/odd@1",
        members=str(placed(got, tmp_path)),
        signature=got.signature,
        threshold=got.threshold,
        classes=got.classes,
    )
    rows = rows_of(frame(odd=0).head(3).with_columns(speed=pl.Series([50.0, 400.0, 55.0])), got.signature.fields)

    async def ask() -> oip.Request:
        models = Models()
        try:
            prediction = await models.predict(model, rows, explain=False, deadline=30.0)
        finally:
            await models.close()
        request = oip.Request(rows=rows, id=None, outputs=("score", "label"))
        reply = oip.respond(request, prediction, name="odd", version="1", classes=got.classes)
        assert reply["outputs"][1]["data"][1] == "anomaly"
        assert reply["outputs"][0]["data"][1] > 0.95
        assert reply["outputs"][0]["shape"] == [3]
        return request

    asyncio.run(ask())


@pytest.mark.parametrize(
    ("order", "why"),
    [
        ({"false_alarms": 0.001}, "cannot tell 0.001 of false alarms"),
        ({"algorithm": "lightgbm"}, "learns no anomaly"),
        ({"target": "nobody"}, "no target column 'nobody'"),
        ({"target": "colour"}, "has 3 values"),
        ({"tune": 3}, "no parameters left to search"),
        ({"calibrate": "platt"}, "makes no sense"),
    ],
)
def test_what_cannot_be_learned_is_refused(order: dict[str, object], why: str) -> None:
    with pytest.raises(Invalid, match=why):
        fit(replace(ORDER, **order), frame(), quiet)  # type: ignore[arg-type]


def test_a_share_of_false_alarms_is_one() -> None:
    with pytest.raises(Invalid, match="false alarms is not possible"):
        replace(ORDER, false_alarms=0.9)
