from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tandem.core.errors import Invalid
from tandem.serving import forms
from tandem.serving.signature import Field, Signature

SIGNATURE = Signature(fields=(Field(name="x", high=10), Field(name="n", dtype="int"), Field(name="rows", nullable=True)))
ROW = {"x": 1.5, "n": 2, "rows": 3}
FORMS: dict[str, Any] = {
    "rows": {"rows": [ROW, ROW]},
    "records": {"dataframe_records": [ROW, ROW]},
    "objects": {"instances": [ROW, ROW]},
    "lists": {"instances": [[1.5, 2, 3], [1.5, 2, 3]]},
    "split": {"dataframe_split": {"columns": ["n", "x", "rows"], "index": [0, 1], "data": [[2, 1.5, 3], [2, 1.5, 3]]}},
    "unnamed": {"dataframe_split": {"data": [[1.5, 2, 3], [1.5, 2, 3]]}},
}


def parse(body: Any) -> forms.Request:
    return forms.parse(json.dumps(body).encode(), SIGNATURE)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_rows(form: str) -> None:
    got = parse({**FORMS[form], "id": "a", "parameters": {"binary_data_output": True}, "outputs": [{"name": "label"}]})
    assert got.rows == [[1.5, 2.0, 3.0]] * 2
    assert (got.id, got.outputs, got.binary) == ("a", ("label",), (True, {"label": True}))


def test_null_and_absence_are_a_missing_value() -> None:
    for row in ({"x": 1, "n": 2}, {"x": 1, "n": 2, "rows": None}):
        assert math.isnan(parse({"rows": [row]}).rows[0][2])


def test_a_column_may_be_called_rows() -> None:
    inputs = [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in ROW.items()]
    assert parse({"inputs": inputs}).rows == [[1.5, 2.0, 3.0]]
    assert parse({"inputs": inputs, "rows": "none"}).rows == [[1.5, 2.0, 3.0]]


WRONG: list[tuple[Any, str]] = [
    ({"rows": []}, "rows"),
    ({"rows": [ROW] * 10_001}, "rows"),
    ({"rows": {}}, "rows"),
    ({"rows": [1]}, "rows[0]"),
    ({"rows": [ROW], "instances": [ROW]}, "instances"),
    ({"rows": [{**ROW, "x": 11}]}, "rows[0].x"),
    ({"rows": [{**ROW, "x": "1"}]}, "rows[0].x"),
    ({"rows": [{**ROW, "y": 1}]}, "rows[0]"),
    ({"rows": [ROW, {"x": 1}]}, "rows[1].n"),
    ({"rows": [ROW], "outputs": [{"name": "z"}]}, "outputs[0].name"),
    ({"instances": [[1, 2]]}, "instances[0]"),
    ({"instances": []}, "instances"),
    ({"instances": [ROW, [1, 2, 3]]}, "instances"),
    ({"dataframe_split": {"columns": ["x", "n"], "data": [[1, 2], [1]]}}, "dataframe_split.data[1]"),
    ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "dataframe_split.columns"),
    ({"dataframe_split": {"columns": ["x"]}}, "dataframe_split"),
    ({"inputs": [], "rows": [ROW]}, "inputs"),
]


@pytest.mark.parametrize(("body", "field"), WRONG)
def test_what_is_wrong_is_named(body: Any, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(body)
    assert caught.value.field == field


def test_what_is_no_json_is_said_so() -> None:
    with pytest.raises(Invalid, match="not JSON"):
        forms.parse(b'{"rows": [', SIGNATURE)
