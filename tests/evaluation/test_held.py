"""Evidence on held-out rows: nobody is judged on rows that they were trained on, and looks at growing rows cost error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import polars as pl
import pytest
from tests.monitoring.house import SIGNATURE, House, person

from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Forbidden, Invalid
from tandem.core.policy import Gate, Slice
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.held.predict import contents
from tandem.evaluation.promote import GateRefused
from tandem.governance.authorise import ALL
from tandem.serving.base import Card

GATE = Gate(asset="model/credit", metric="accuracy", margin=0.05)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def rows(n: int, seed: int) -> pl.DataFrame:
    draw = random.Random(seed)
    x = [draw.gauss(0, 1) for _ in range(n)]
    return pl.DataFrame(
        {
            "x": x,
            "y": [draw.gauss(0, 1) for _ in range(n)],
            "late": [int(value + draw.gauss(0, 1) > 0) for value in x],
            "region": [draw.choice(["north", "south"]) for _ in range(n)],
        }
    )


def keep(house: House, name: str, frame: pl.DataFrame, *, id: str | None = None) -> Ref:
    version = house.lake.write(name, frame)
    meta = {
        "contract": {"columns": []},
        "digest": f"sha256:{len(frame):060x}{version:04x}",
        "lake": {"table": name, "version": version},
        "id": id,
    }
    return house.registry.publish("dataset", name, members={"profile.json": b"{}"}, meta=meta, by=person()).ref


def outside(house: House, dataset: str | None, *, runs: bool = False) -> Version:
    """A model that somebody brings, out-of-fold predictions included."""
    card = Card(runtime="fake", native="fake", threshold=0.5, classes=("0", "1"))
    claimed = OutOfFold(
        dataset=dataset or "dataset/rows@1", digest="sha256:1", target="late", positive="1", rows=("1",), labels=(1,),
        probabilities=(1.0,), seed=1, folds=5,
    )  # fmt: skip
    return house.registry.publish(
        "model",
        "brought",
        members={"model.json": msgspec.json.encode(card), "oof.json": claimed.to_json()},
        meta={
            "signature": msgspec.to_builtins(SIGNATURE),
            "target": "late",
            "classes": ["0", "1"],
            **({} if dataset else {"origin": "imported"}),
        },
        parents=() if dataset is None else (dataset,),
        by=person(),
    )


def foreign(house: House, dataset: str) -> Version:
    """A version of `model/credit` that no runtime here can ask."""
    meta = {"signature": msgspec.to_builtins(SIGNATURE), "target": "late", "classes": ["0", "1"]}
    return house.registry.publish("model", "credit", members={"weights.bin": b"1"}, meta=meta, parents=(dataset,), by=person())


def test_rows_of_the_training_are_refused_with_their_number_whoever_says_what_of_them(house: House) -> None:
    trained = house.data(200)
    model = house.model(trained)
    with pytest.raises(Blocked, match=r"trained on 200 of the rows of dataset/rows@1") as refusal:
        house.holdouts.add(model.ref, trained.ref, probabilities=None, by=person())
    assert refusal.value.code == "training_rows"
    seen = house.frame.head(3)
    mixed = pl.concat([rows(80, 1).drop("region"), seen.cast({"late": pl.Int64})]).sample(fraction=1, shuffle=True, seed=3)
    renamed = keep(house, "innocent", mixed)
    for probabilities in (None, [0.5] * 83):
        with pytest.raises(Blocked, match="trained on 3 of the rows of dataset/innocent@1"):
            house.holdouts.add(model.ref, renamed, probabilities=probabilities, by=person())
    assert house.holdouts.kept.newest(str(model.ref)) is None


def test_a_row_of_the_same_id_is_the_same_row_when_little_of_it_was_changed(house: House) -> None:
    ids = [f"c{number}" for number in range(100)]
    frame = rows(100, 1).with_columns(pl.Series("customer", ids))
    keep(house, "first", frame, id="customer")
    model = outside(house, "dataset/first@1")
    touched = frame.head(60).with_columns(y=pl.col("y") + 1e-9)
    with pytest.raises(Blocked, match="trained on 60 of the rows"):
        house.holdouts.add(model.ref, keep(house, "touched", touched, id="customer"), probabilities=None, by=person())
    numbered = rows(60, 2).with_columns(pl.Series("customer", ids[:60]))
    made = house.holdouts.add(model.ref, keep(house, "others", numbered, id="customer"), probabilities=None, by=person())
    assert (made.rows, made.given) == (60, False)


def test_what_a_row_holds_counts_and_not_the_type_it_is_kept_in() -> None:
    frame = pl.DataFrame({"x": [1, -0, None], "y": [True, False, None], "late": [1, 0, 1]})
    same = pl.DataFrame({"late": [1.0, 0.0, 1.0], "y": [1.0, -0.0, None], "x": [1.0, 0.0, None]})
    assert contents(frame, ["x", "y"], "late") == contents(same, ["x", "y"], "late")
    assert len(set(contents(frame, ["x", "y"], "late"))) == 3


def test_nobody_vouches_for_predictions_that_were_brought(house: House) -> None:
    house.data(100)
    house.registry.set_gate(replace(GATE, asset="model/brought"), person("admin"))
    model = outside(house, "dataset/rows@1")
    with pytest.raises(Blocked, match="brought its out-of-fold predictions along") as refusal:
        house.promotions.promote(model.ref, "production", by=person())
    assert refusal.value.code == "no_evidence"
    unknown = outside(house, None)
    with pytest.raises(Blocked, match="Nobody knows which rows model/brought@2 was trained on"):
        house.holdouts.add(unknown.ref, keep(house, "fresh", rows(60, 1)), probabilities=None, by=person())


def test_a_version_is_judged_by_its_evidence_on_rows_that_it_has_not_seen(house: House) -> None:
    trained = house.data(200)
    first = house.model(trained)
    house.registry.set_gate(replace(GATE, latency_ms=1000.0, slices=(Slice(column="region", value="north"),)), person("admin"))
    fresh = keep(house, "fresh", rows(400, 1))
    held = house.holdouts.add(first.ref, fresh, probabilities=None, by=person())
    assert held.latency is not None
    assert held.latency.low_ms <= held.latency.p95_ms <= held.latency.high_ms
    assert held.latency.machine["processor"]
    assert house.holdouts.add(first.ref, fresh, probabilities=None, by=person()).rows == 400
    done = house.promotions.promote(first.ref, "production", by=person())
    assert (done["report"]["evidence"]["id"], done["report"]["candidate"]["n"]) == (house_newest(house, first), 400)
    second = foreign(house, str(trained.ref))
    wrong = [0.9 if value < 0 else 0.1 for value in house.lake.read("fresh", 0)["x"].to_list()]
    with pytest.raises(Invalid, match="The model itself says otherwise on"):
        house.holdouts.add(first.ref, fresh, probabilities=wrong, by=person())
    with pytest.raises(Invalid, match="No runtime here knows"):
        house.holdouts.add(second.ref, fresh, probabilities=None, by=person())
    assert house.holdouts.add(second.ref, fresh, probabilities=wrong, by=person()).given
    with pytest.raises(GateRefused) as refusal:
        house.promotions.promote(second.ref, "production", by=person())
    report = refusal.value.report
    found = {each["kind"]: each["outcome"] for each in report["conditions"] if each["kind"] != "data"}
    assert found == {"comparison": "regressed", "slice": "regressed", "latency": "inconclusive"}
    assert report["verdict"]["difference"]["n"] == 400
    assert "brought from outside" in report["reasons"][-1]
    assert [entry.action for entry in house.audit.list(ALL, limit=50)].count("evidence.add") == 2


def house_newest(house: House, version: Version) -> str:
    found = house.holdouts.kept.newest(str(version.ref))
    assert found is not None
    return found.id


def test_looks_at_rows_that_grow_share_the_error(house: House) -> None:
    model = house.model(house.data(200))
    house.registry.set_gate(GATE, person("admin"))
    grown = rows(340, 1)
    for look in (1, 2, 3):
        ref = keep(house, "fresh", grown.head(100 * look))
        house.holdouts.add(model.ref, ref, probabilities=None, by=person())
        report = house.promotions.judge(model.ref, "production", by=person())
        again = house.promotions.judge(model.ref, "production", by=person())
        assert report is not None
        assert report == again  # the same evidence is the same look
        (told,) = [each for each in report["conditions"] if each["name"] == "looks"]
        assert told["held"]
        assert ("First look" if look == 1 else f"Look {look} at the same two") in told["reason"]
        assert report["candidate"]["level"] == 0.975
    assert [each.rows for each in house.holdouts.kept.looks(str(model.ref), None)] == [100, 200, 300]
    exchanged = pl.concat([grown.slice(40, 260), rows(60, 9)])
    house.holdouts.add(model.ref, keep(house, "fresh", exchanged), probabilities=None, by=person())
    report = house.promotions.judge(model.ref, "production", by=person())
    assert report is not None
    assert not report["passed"]
    assert "40 rows of the last look are missing now" in report["reasons"][0]
    house.holdouts.add(model.ref, keep(house, "fresh", grown), probabilities=None, by=person())
    report = house.promotions.judge(model.ref, "production", by=person())
    assert report is not None
    assert "Look 4 at the same two" in report["reasons"][0]  # what was exchanged was no look


def test_planned_looks_are_used_up(house: House) -> None:
    model = house.model(house.data(200))
    house.registry.set_gate(replace(GATE, looks=2, rows=200), person("admin"))
    grown = rows(300, 1)
    told = []
    for look in (1, 2, 3):
        house.holdouts.add(model.ref, keep(house, "fresh", grown.head(100 * look)), probabilities=None, by=person())
        report = house.promotions.judge(model.ref, "production", by=person())
        assert report is not None
        told.append(next(each for each in report["conditions"] if each["name"] == "looks"))
    assert [each["held"] for each in told] == [True, True, False]
    assert "3.73 standard errors" in told[0]["reason"]
    assert "1.96 standard errors" in told[1]["reason"]
    assert "used up" in told[2]["reason"]


def test_what_does_not_fit_is_refused(house: House) -> None:
    model = house.model(house.data(100))
    fresh = keep(house, "fresh", rows(60, 1))
    for dataset, probabilities, message in (
        (fresh, [0.5], "1 probabilities for the 60 rows"),
        (keep(house, "thin", rows(60, 2).drop("x")), None, "no column 'x'"),
        (keep(house, "blind", rows(60, 2).with_columns(late=pl.when(pl.col("late") == 1).then(1))), None, "without the target"),
        (model.ref, None, "no model on a dataset"),
    ):
        with pytest.raises(Invalid, match=message):
            house.holdouts.add(model.ref, dataset, probabilities=probabilities, by=person())
    with pytest.raises(Forbidden):
        house.holdouts.add(model.ref, fresh, probabilities=None, by=person("viewer"))


def test_what_the_same_rows_tell_more_is_the_same_evidence(house: House) -> None:
    model = outside(house, str(keep(house, "past", rows(300, 1))))
    later = keep(house, "later", rows(400, 2))
    first = house.holdouts.add(model.ref, later, probabilities=None, by=person())
    assert set(house.holdouts.kept.about(str(model.ref))) == {"slices.json", "importance.json"}
    more = house.holdouts.add(model.ref, later, probabilities=None, by=person(), fairness=["region"])
    assert (more.id, more.digest) == (first.id, first.digest)  # so a gate that looked at it does not look again
    assert set(house.holdouts.kept.about(str(model.ref))) == {"slices.json", "importance.json", "fairness.json"}
    house.holdouts.add(model.ref, later, probabilities=None, by=person())
    assert "fairness.json" in house.holdouts.kept.about(str(model.ref))
    with pytest.raises(Invalid, match="no column 'one'"):
        house.holdouts.add(model.ref, later, probabilities=None, by=person(), fairness=["one"])
