"""A card says what is recorded, where, and what is not; the same facts give the same bytes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from tests.training.place import EDITOR, Place, open_place

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid, NotFound
from tandem.core.monitor import Monitor, Report
from tandem.core.policy import Gate
from tandem.core.principal import LOCAL, Principal
from tandem.core.score import Estimate
from tandem.evaluation.about.card import Card, Cards, Value
from tandem.evaluation.about.nouns import FAIRNESS, IMPORTANCE, SLICES
from tandem.evaluation.about.render import html, markdown
from tandem.evaluation.held.repo import HeldEvidence
from tandem.governance.authorise import Scope
from tandem.training.fit import Fitted, fit
from tandem.training.task import Task

EVIL = "<script>x</script> | [x](javascript:y)"
PURPOSE = f"To decide nothing {EVIL}"
STRANGER = Principal(id="key_2", name="other", team="sales", role="editor")


def rows(n: int = 600) -> pl.DataFrame:
    draw = np.random.default_rng(1)
    a, sex = draw.normal(size=n), draw.choice(["f", "m"], size=n)
    bad = sex == "f"
    y = (a + draw.normal(size=n) * np.where(bad, 3.0, 0.3) > 0).astype(int)
    return pl.DataFrame({"a": a, "b": draw.normal(size=n), "sex": sex, "y": y})


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    task = Task(name="m", dataset="dataset/biopsies@1", target="y", algorithm="logistic", exclude=("sex",), fairness=("sex",))
    return fit(task, rows(), lambda share, stage: None)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = open_place(tmp_path)
    made.dataset()
    return made


def publish(place: Place, fitted: Fitted, name: str = "m", **more: object) -> Version:
    meta = {
        "signature": msgspec.to_builtins(fitted.signature),
        "metrics": msgspec.to_builtins(fitted.metrics),
        "task": "classification",
        "target": "y",
        "algorithm": fitted.algorithm,
        "dataset": "dataset/biopsies@1",
        "split": {"by": "random", "group": None, "time": None},
        "folds": 5,
        "seed": 0,
        "warnings": list(fitted.warnings),
        "environment": dict(fitted.environment),
    }
    members = dict(fitted.members)
    return place.registry.publish("model", name, members=members, meta=meta | more, parents=("dataset/biopsies@1",), by=EDITOR)


def nobody(names: object, scope: Scope) -> tuple[()]:
    return ()


def cards(place: Place, watched: object = nobody) -> Cards:
    return Cards(place.registry, HeldEvidence(place.sql, place.audit, place.clock), watched)  # type: ignore[arg-type]  # a fake


def facts(card: Card) -> dict[str, Value]:
    return {f"{section.title}: {fact.name}": fact.value for section in card.sections for fact in section.facts}


def test_every_fact_is_what_is_recorded_and_says_where(place: Place, fitted: Fitted) -> None:
    baseline = publish(place, fitted, "m-baseline")
    version = publish(place, fitted, purpose=PURPOSE, baseline=str(baseline.ref), fairness=["sex"])
    card = cards(place).card(version.ref, EDITOR)
    told = facts(card)
    assert told["What it is: purpose"] == f"“{PURPOSE}” (declared by risk-editor)"
    assert told["Metrics: roc_auc, out of fold"] == fitted.metrics["roc_auc"]
    assert told["Metrics: roc_auc of model/m-baseline@1"] == fitted.metrics["roc_auc"]
    assert told["Data: rows of the dataset"] == 3
    assert told["Data: leaks"] == "none was found"
    assert told["How it was made: made from"] == "dataset/biopsies@1"
    for name, digest in version.members.items():
        assert told[f"How it was made: file {name}"] == digest
    sources = {fact.source for section in card.sections for fact in section.facts}
    here = "/api/v1/assets/model/m/1"
    assert {here, f"{here}/members/{SLICES}", f"{here}/members/{FAIRNESS}", f"{here}/members/{IMPORTANCE}"} <= sources
    assert all(source.startswith("/api/v1/") for source in sources)
    groups = msgspec.json.decode(fitted.members[FAIRNESS])[0]["groups"]
    assert told["Groups: sex: f, accuracy"] == msgspec.convert(groups[0]["measured"]["accuracy"], Estimate)
    assert any(name.startswith("Where it does worse: log_loss where sex = f") for name in told)
    assert any(name.startswith("What it answers by: a, mean contribution") for name in told)
    assert not any("purpose" in sentence or "--fairness" in sentence for sentence in card.missing)


def test_what_was_not_evaluated_is_named(place: Place) -> None:
    bare = place.registry.publish(
        "model",
        "bare",
        members={"m.onnx": b"x", SLICES: b"{"},
        meta={"signature": {"fields": []}, "origin": "imported"},
        by=EDITOR,
    )
    card = cards(place).card(bare.ref, EDITOR)
    said = ["--purpose", "No metric", "baseline", "leaks", "does worse", "--fairness"]
    said += ["explained", "measured", "No gate", "Energy"]
    for word in said:
        assert any(word in sentence for sentence in card.missing), word
    assert {section.title for section in card.sections} == {"What it is", "How it was made"}


def test_the_same_facts_give_the_same_bytes_and_other_facts_others(place: Place, fitted: Fitted) -> None:
    version = publish(place, fitted)
    place.registry.set_gate(Gate(asset="model/m", alias="production"), LOCAL)
    one, again = (cards(place).card(version.ref, EDITOR) for _ in range(2))
    assert (one, one.digest, markdown(one)) == (again, again.digest, markdown(again))
    report = Report(
        id="rep_1", monitor="m-drift", team="risk", at=5, trigger="asked", verdict="drifted", alarm=True, n=300, since=0, until=5,
        level=0.001,
    )  # fmt: skip
    asked: list[object] = []

    def watched(names: object, scope: Scope) -> list[tuple[Monitor, Report | None]]:
        asked.append(names)
        return [(Monitor(name="m-drift", team="risk", endpoint="m"), report)]

    later = cards(place, watched).card(version.ref, EDITOR)
    assert asked == [["model/m@1"]]
    assert "drifted, alarm on 300 rows" in str(facts(later)["In use: monitor m-drift"])
    assert later.digest != one.digest


def test_texts_of_others_stay_texts(place: Place, fitted: Fitted) -> None:
    version = publish(place, fitted, purpose=PURPOSE)
    made = cards(place)
    card = made.card(version.ref, EDITOR)
    page = html(card, made.pictures(card, EDITOR))
    assert "<script" not in page
    assert "data:image/png;base64," in page
    text = markdown(card)
    assert "<script" not in text
    assert "](javascript" not in text
    line = next(line for line in text.splitlines() if line.startswith("| purpose"))
    assert line.replace("\\|", "").count("|") == 4


def test_only_models_have_cards_and_only_for_those_who_may_see_them(place: Place, fitted: Fitted) -> None:
    version = publish(place, fitted)
    with pytest.raises(Invalid, match="no model"):
        cards(place).card(Ref.parse("dataset/biopsies@1"), EDITOR)
    with pytest.raises(NotFound):
        cards(place).card(version.ref, STRANGER)
