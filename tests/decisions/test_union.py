"""The decision that an import writes: Python that loads, takes all columns, and weighs classifiers of one class."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tandem.core.errors import Invalid
from tandem.decisions.calls import Calls
from tandem.decisions.describe import describe
from tandem.decisions.union import ENTRY, source
from tandem.decisions.worker import SOURCE, load
from tandem.serving.signature import Field, Signature


@dataclass
class Part:
    ref: str
    signature: Signature
    classes: tuple[str, ...] = ("0", "1")
    weight: float = 1.0


def part(name: str, *fields: Field, classes: tuple[str, ...] = ("0", "1"), weight: float = 1.0) -> Part:
    return Part(ref=f"model/{name}@2", signature=Signature(fields=fields), classes=classes, weight=weight)


PARTS = [
    part("first", Field(name="amount"), Field(name="fixed acidity", nullable=True)),
    part("second", Field(name="amount", nullable=True), Field(name="class", dtype="text"), weight=3.0),
    part("third", Field(name="fixed_acidity", dtype="bool", nullable=True), classes=()),
    part("other", Field(name="_x", dtype="int"), classes=("good", "bad")),
]


def asked(chances: Mapping[str, float], seen: dict[str, Any]) -> Calls:
    """Calls that answer each model with its chance, and note what it was asked."""

    def carry(kind: str, model: str, body: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
        seen[model] = {one["name"]: one["data"][0] for one in body["inputs"]}
        worded = [{"name": "probability", "data": [chances[model]]}, {"name": "label", "data": ["1"]}]
        outputs = [{"name": "prediction", "data": [chances[model]]}] if model == "third" else worded
        return {"model_name": model, "model_version": "2", "outputs": outputs}

    def nothing(ref: str, variables: Mapping[str, Any]) -> tuple[str, Sequence[Mapping[str, Any]]]:
        raise AssertionError("no prompt is rendered")

    return Calls(carry, nothing)


def test_it_asks_each_model_what_it_takes_and_weighs_those_of_one_class(tmp_path: Path) -> None:
    (tmp_path / SOURCE).write_text(source("risk", PARTS))
    entry = load(str(tmp_path), ENTRY)
    told = {"amount": 2.5, "class": "b", "fixed acidity": 1.5, "fixed_acidity": True, "_x": 3}
    case = msgspec.json.decode(json.dumps(told), type=entry.input)
    seen: dict[str, Any] = {}
    answer = entry.function(case, asked({"first": 0.2, "second": 0.6, "third": 41.0, "other": 0.9}, seen))
    assert seen == {
        "first": {"amount": 2.5, "fixed acidity": 1.5},
        "second": {"amount": 2.5, "class": "b"},
        "third": {"fixed_acidity": 1.0},
        "other": {"_x": 3},
    }
    assert answer.mean == pytest.approx((0.2 + 3 * 0.6) / 4)
    assert (answer.answers["third"].prediction, answer.answers["third"].probability) == (41.0, None)
    assert answer.answers["first"].model == "model/first@2"


def test_its_schema_names_the_columns_as_the_models_do() -> None:
    shape = describe(source("risk", PARTS).encode(), ENTRY)["input"]
    case = shape["$defs"]["Case"]
    assert set(case["properties"]) == {"amount", "fixed acidity", "class", "fixed_acidity", "_x"}
    assert set(case["required"]) == {"amount", "class", "_x"}


def test_one_classifier_alone_has_no_mean(tmp_path: Path) -> None:
    (tmp_path / SOURCE).write_text(source("risk", PARTS[:1]))
    entry = load(str(tmp_path), ENTRY)
    assert entry.function(entry.input(amount=1.0), asked({"first": 0.2}, {})).mean is None


def test_a_column_of_two_types_is_refused() -> None:
    with pytest.raises(Invalid, match="takes 'amount' as str"):
        source("risk", [*PARTS, part("fifth", Field(name="amount", dtype="text"))])


def test_names_cannot_break_out_of_the_program(tmp_path: Path) -> None:
    hostile = "a'}; import os; os.abort() #"
    (tmp_path / SOURCE).write_text(source("risk", [part("first", Field(name=hostile))]))
    entry = load(str(tmp_path), ENTRY)
    seen: dict[str, Any] = {}
    entry.function(msgspec.convert({hostile: 1.0}, entry.input), asked({"first": 0.2}, seen))
    assert seen == {"first": {hostile: 1.0}}
