"""The gate of models that tell numbers or more than two classes: every condition that has a meaning there, and who has none."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from sqlalchemy import update
from tests.monitoring.house import House, person
from tests.training.test_task_kinds import frame, order, quiet

from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Invalid
from tandem.core.policy import Gate, Slice
from tandem.core.score import Condition
from tandem.data.digest import content_digest
from tandem.evaluation.evidence import Facts, Latency, OutOfFold
from tandem.evaluation.gate import GateReport, judge
from tandem.evaluation.held.repo import held_evidence
from tandem.evaluation.looks import rule_for
from tandem.scorers.base import TaskName
from tandem.training.fit import fit

N = 600
REGIONS = {"region": ["north" if place % 4 == 0 else "south" for place in range(N)]}
NORTH = np.array([place % 4 == 0 for place in range(N)])
CLASSES = ("blue", "green", "red")
NUMBER = Gate(asset="model/price", metric="mae", margin=0.2)
COLOUR = Gate(asset="model/colour", metric="macro_f1", margin=0.05)


def numbers(spread: float, *, spoiled: float = 0.0) -> OutOfFold:
    """Predictions that are off by about `spread`, and by `spoiled` more in the north."""
    draw = np.random.default_rng(1)
    truth = draw.normal(10, 3, N)
    told = truth + spread * draw.normal(size=N) + spoiled * NORTH
    return OutOfFold(
        dataset="dataset/made@1", digest="sha256:1", target="y", positive="", rows=tuple(map(str, range(N))),
        labels=tuple(map(float, truth)), probabilities=tuple(map(float, told)), seed=1, folds=5, task="regression",
    )  # fmt: skip


def colours(right: float, *, seed: int = 2) -> OutOfFold:
    """The class is told rightly in that share of rows."""
    draw = np.random.default_rng(1)
    labels = draw.integers(0, 3, N)
    hit = np.random.default_rng(seed).random(N) < right
    said = np.where(hit, labels, (labels + 1) % 3)
    chances = np.full((N, 3), 0.1)
    chances[np.arange(N), said] = 0.8
    return OutOfFold(
        dataset="dataset/made@1", digest="sha256:1", target="y", positive="", rows=tuple(map(str, range(N))),
        labels=tuple(map(int, labels)), probabilities=tuple(map(float, chances.ravel())), seed=1, folds=5,
        task="multiclass", classes=CLASSES,
    )  # fmt: skip


def of(report: GateReport, kind: str) -> list[Condition]:
    return [each for each in report.conditions if each.kind == kind]


def test_a_slice_of_a_regression_that_got_worse_refuses_what_is_better_on_the_whole() -> None:
    champion, candidate = numbers(1.5), numbers(0.5, spoiled=3.0)
    gate = replace(NUMBER, slices=(Slice(column="region", value="north"), Slice(column="region", value="south", minimum=0.6)))
    report = judge(replace(gate, slices=()), candidate, champion)
    assert (report.passed, report.verdict and report.verdict.outcome) == (True, "improved")
    report = judge(gate, candidate, champion, cells=REGIONS)
    assert not report.passed
    found = {each.name: each for each in of(report, "slice")}
    assert (found["region = north"].outcome, found["region = north"].n) == ("regressed", 150)
    south = found["region = south"]
    assert (south.outcome, south.n, south.bound) == ("kept", 450, 0.6)
    assert "mae of at most 0.6 is kept" in south.reason
    assert south.effect is not None
    assert south.effect.value == pytest.approx(0.5 * np.sqrt(2 / np.pi), abs=0.05)


def test_a_slice_of_a_regression_needs_rows_and_two_values_but_no_classes() -> None:
    alike = replace(numbers(0.5), labels=tuple(5.0 if north else float(place) for place, north in enumerate(NORTH)))
    gate = replace(NUMBER, metric="mae", slices=(Slice(column="region", value="north", minimum=1e9),))
    (found,) = of(judge(gate, alike, None, cells=REGIONS), "slice")
    assert (found.outcome, found.held) == ("not-enough-data", False)
    assert "150 rows whose targets are all alike" in found.reason
    few = judge(NUMBER, numbers(0.5).at(range(29)), None)
    assert [each.outcome for each in of(few, "data")] == ["not-enough-data", "kept"]
    assert "29 rows; a verdict needs 30." in few.reasons[0]
    assert judge(NUMBER, numbers(0.5).at(range(30)), None).passed


def test_minimums_of_numbers_and_of_more_classes() -> None:
    gate = replace(NUMBER, minimums={"rmse": 0.6, "r2": 0.9, "median_absolute_error": 0.2})
    report = judge(gate, numbers(0.5), None)
    assert [(each.name, each.outcome) for each in of(report, "minimum")] == [
        ("rmse", "kept"), ("r2", "kept"), ("median_absolute_error", "missed"),
    ]  # fmt: skip
    colour = replace(COLOUR, minimum=0.8, minimums={"accuracy": 0.8, "log_loss": 0.7, "roc_auc": 0.99})
    report = judge(colour, colours(0.9), None)
    assert [(each.name, each.outcome) for each in of(report, "minimum")] == [
        ("macro_f1", "kept"), ("accuracy", "kept"), ("log_loss", "kept"), ("roc_auc", "missed"),
    ]  # fmt: skip
    assert not report.passed
    near = of(judge(COLOUR, colours(0.9), None), "data")
    assert near[0].held
    effect = report.candidate
    assert effect is not None
    (close,) = of(judge(replace(COLOUR, minimum=effect.value), colours(0.9), None), "minimum")
    assert close.outcome == "inconclusive"


def test_a_class_that_a_slice_hardly_has_is_not_enough() -> None:
    rows = colours(0.9)
    places = [place for place in range(N) if rows.labels[place] != 2][:200] + [
        place for place in range(N) if rows.labels[place] == 2
    ][:4]
    gate = replace(COLOUR, slices=(Slice(column="part", value="a"),))
    cells = {"part": ["a" if place in set(places) else "b" for place in range(N)]}
    (found,) = of(judge(gate, rows, None, cells=cells), "slice")
    assert (found.outcome, found.n) == ("not-enough-data", 204)
    assert "204 rows with 4 of the rarest class" in found.reason


def test_speed_and_size_count_for_every_task() -> None:
    quick = Facts(latency=Latency(p50_ms=1, p95_ms=2, low_ms=1.9, high_ms=2.5, n=400), size=1000)
    for gate, candidate in ((NUMBER, numbers(0.5)), (COLOUR, colours(0.9))):
        asked = replace(gate, latency_ms=5.0, size_bytes=999)
        report = judge(asked, candidate, None, facts=quick)
        assert [each.outcome for each in (*of(report, "latency"), *of(report, "size"))] == ["kept", "missed"]


@pytest.mark.parametrize(("gate", "candidate"), [(NUMBER, numbers(0.5)), (COLOUR, colours(0.9))])
def test_the_cost_of_mistakes_is_of_two_classes_only(gate: Gate, candidate: OutOfFold) -> None:
    asked = replace(gate, minimums={"cost": 1.0}, cost_false_positive=1.0, cost_false_negative=5.0)
    with pytest.raises(Invalid, match=f"counts false positives and false negatives; a {candidate.task} model has none"):
        judge(asked, candidate, None)


def test_looks_at_every_task_share_the_error() -> None:
    rule = rule_for(NUMBER, (300,), N)
    report = judge(NUMBER, numbers(0.5), numbers(1.5), rule=rule)
    assert report.verdict is not None
    assert (report.verdict.outcome, report.verdict.difference and report.verdict.difference.level) == ("improved", 0.975)
    assert "asymptotic confidence sequence" in report.verdict.method
    once = judge(NUMBER, numbers(0.5), numbers(1.5)).verdict
    assert once is not None
    assert once.difference is not None
    assert report.verdict.difference is not None
    width = report.verdict.difference.high - report.verdict.difference.low
    assert width > 1.4 * (once.difference.high - once.difference.low)
    betting = judge(replace(COLOUR, metric="accuracy"), colours(0.9), colours(0.6, seed=3), rule=rule).verdict
    assert betting is not None
    assert ("betting" in betting.method, betting.outcome) == (True, "improved")


# --- evidence that is kept


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def keep(house: House, name: str, rows: pl.DataFrame) -> Version:
    version = house.lake.write(name, rows)
    meta = {
        "contract": {"columns": []},
        "digest": content_digest(rows),
        "lake": {"table": name, "version": version},
    }
    return house.registry.publish("dataset", name, members={"profile.json": b"{}"}, meta=meta, by=person())


def trained(house: House, task: TaskName, rows: pl.DataFrame) -> Version:
    """A model of that task that a training made of those rows."""
    dataset = keep(house, "made", rows)
    algorithm = "linear" if task == "regression" else "logistic"
    found = fit(order(algorithm, dataset=str(dataset.ref)), rows, quiet)
    meta = {
        "signature": msgspec.to_builtins(found.signature),
        "task": task,
        "target": "y",
        "classes": found.classes,
        "digest": dataset.meta["digest"],
    }
    return house.registry.publish(
        "model", "made", members=found.members, meta=meta, parents=(str(dataset.ref),),
        run=house.runs.create("train", "made", inputs={}, by=person()).id, by=person(),
    )  # fmt: skip


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_model_of_any_task_is_judged_on_rows_that_were_held_out(house: House, task: TaskName) -> None:
    rows = frame(task).unique(maintain_order=True).sample(fraction=1, shuffle=True, seed=3)
    part = rows.head(100).with_columns(half=pl.lit("first")), rows.slice(100)
    model = trained(house, task, part[0].drop("half"))
    metric, minimum = ("mae", 60.0) if task == "regression" else ("accuracy", 0.8)
    gate = Gate(asset="model/made", metric=metric, minimum=minimum, latency_ms=1000.0, slices=(Slice(column="half", value="b"),))
    house.registry.set_gate(gate, person("admin"))
    mixed = keep(house, "mixed", pl.concat([part[1], rows.head(20)]))
    with pytest.raises(Blocked, match="was trained on 20 of the rows"):
        house.holdouts.add(model.ref, mixed.ref, probabilities=None, by=person())
    fresh = part[1].with_columns(half=pl.Series(["b" if place % 2 else "a" for place in range(part[1].height)]))
    dataset = keep(house, "fresh", fresh)
    held = house.holdouts.add(model.ref, dataset.ref, probabilities=None, by=person())
    assert (held.rows, held.given) == (fresh.height, False)
    kept = OutOfFold.from_json(house.holdouts.kept.body(held.id))
    assert (kept.task, len(kept.probabilities), len(kept.contents)) == (task, fresh.height * kept.width, fresh.height)
    report = house.promotions.judge(model.ref, "production", by=person())
    assert report is not None
    by_kind = {each["kind"]: each for each in report["conditions"]}
    assert (by_kind["minimum"]["outcome"], by_kind["minimum"]["n"]) == ("kept", fresh.height)
    assert by_kind["latency"]["outcome"] == "kept"
    assert by_kind["slice"]["outcome"] in ("kept", "not-enough-data")
    brought = list(kept.probabilities)
    assert house.holdouts.add(model.ref, dataset.ref, probabilities=brought, by=person()) == held
    with pytest.raises(Invalid, match="says otherwise on 1 of"):
        house.holdouts.add(model.ref, dataset.ref, probabilities=[*brought[:-1], brought[-1] + 0.1], by=person())
    with pytest.raises(Invalid, match=f"{len(brought) - 1} probabilities for the {fresh.height} rows"):
        house.holdouts.add(model.ref, dataset.ref, probabilities=brought[:-1], by=person())
    wrong = pl.lit("rose") if task == "multiclass" else pl.lit("dear")
    odd = keep(house, "odd", fresh.with_columns(y=wrong))
    with pytest.raises(Invalid, match="class 'rose'" if task == "multiclass" else "is no number"):
        house.holdouts.add(model.ref, odd.ref, probabilities=None, by=person())


def aged(evidence: OutOfFold) -> bytes:
    """Evidence as it was written when every model told two classes apart."""
    told = json.loads(evidence.to_json())
    for name in ("task", "classes", "places", "contents"):
        if not told[name] or name == "task":
            del told[name]
    return json.dumps({**told, "labels": [int(label) for label in told["labels"]]}).encode()


def test_evidence_of_two_classes_that_lies_on_the_disk_is_read_and_promoted(house: House) -> None:
    house.registry.set_gate(Gate(asset="model/credit", metric="brier", margin=0.02), person("admin"))
    dataset = house.data(200)
    new = house.model(dataset)
    evidence = OutOfFold.from_json(house.registry.member(new, "oof.json"))
    old = house.registry.publish(
        "model", "credit",
        members={"model.json": house.registry.member(new, "model.json"), "oof.json": aged(evidence)},
        meta=dict(new.meta), parents=(str(dataset.ref),), run=house.runs.create("train", "credit", inputs={}, by=person()).id,
        by=person(),
    )  # fmt: skip
    assert b"task" not in house.registry.member(old, "oof.json")
    assert house.promotions.promote(old.ref, "production", by=person())["passed"]
    done = house.promotions.promote(new.ref, "production", by=person())
    assert done["report"]["verdict"]["outcome"] == "non-inferior"
    assert done["report"]["verdict"]["difference"]["value"] == 0
    larger = house.model(house.data(100))
    assert house.promotions.promote(larger.ref, "production", by=person())["verdict"]["difference"]["n"] == 300


def test_evidence_that_was_kept_before_is_the_same_evidence_and_no_new_look(house: House) -> None:
    model = house.model(house.data(100))
    house.data(0)
    fresh = keep(house, "later", house.frame.with_columns(x=pl.col("x") + 20.0))
    held = house.holdouts.add(model.ref, fresh.ref, probabilities=None, by=person())
    text = aged(OutOfFold.from_json(house.holdouts.kept.body(held.id)))
    with house.sql.write() as conn:
        conn.execute(
            update(held_evidence).where(held_evidence.c.id == held.id).values(body=zlib.compress(text), digest="sha256:0")
        )
    again = house.holdouts.add(Ref.parse(str(model.ref)), fresh.ref, probabilities=None, by=person())
    assert (again.id, again.digest) == (held.id, "sha256:0")
