from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.core.errors import Invalid, NotFound
from tandem.serving import oip
from tandem.serving.signature import Field, Signature
from tandem.serving.target import Prediction

SIGNATURE = Signature(
    fields=(Field(name="x", low=0, high=10), Field(name="n", dtype="int"), Field(name="gap", nullable=True)),
)


def column(name: str, data: list[Any], datatype: str = "FP64", **other: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data, **other}


def body(*inputs: dict[str, Any], **other: Any) -> bytes:
    return json.dumps({"inputs": list(inputs), **other}).encode()


GOOD = (column("n", [1, 2], "INT64"), column("x", [0.5, 1]), column("gap", [None, 3.5]))


def same(got: list[list[float]], expected: list[list[float]]) -> bool:
    return all(
        one == other or (math.isnan(one) and math.isnan(other))
        for left, right in zip(got, expected, strict=True)
        for one, other in zip(left, right, strict=True)
    )


def test_a_tensor_per_column() -> None:
    got = oip.parse(body(*GOOD, id="abc"), SIGNATURE)
    assert same(got.rows, [[0.5, 1.0, math.nan], [1.0, 2.0, 3.5]])
    assert (got.id, got.outputs, got.explain) == ("abc", ("probability", "label"), False)
    two = [{**tensor, "shape": [2, 1]} for tensor in GOOD]
    assert same(oip.parse(body(*two), SIGNATURE).rows, got.rows)
    nested = [{**tensor, "shape": [2, 1], "data": [[value] for value in tensor["data"]]} for tensor in GOOD]
    assert same(oip.parse(body(*nested), SIGNATURE).rows, got.rows)


def test_a_nullable_column_may_be_left_out() -> None:
    assert same(oip.parse(body(*GOOD[:2]), SIGNATURE).rows, [[0.5, 1.0, math.nan], [1.0, 2.0, math.nan]])


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("columns", [None, ["gap", "x", "n"], "gap, x, n"])
def test_one_tensor_for_all_columns(nested: bool, columns: object) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    data = rows if nested else [value for row in rows for value in row]
    tensor = {"name": "input", "shape": [2, 3], "datatype": "FP32", "data": data}
    if columns is not None:
        tensor["parameters"] = {"columns": columns}
    expected = rows if columns is None else [[2.0, 3.0, 1.0], [5.0, 6.0, 4.0]]
    assert oip.parse(body(tensor), SIGNATURE).rows == expected


def test_a_matrix_may_leave_a_nullable_column_out() -> None:
    tensor = {"name": "input", "shape": [1, 2], "datatype": "FP64", "data": [1, 2], "parameters": {"columns": ["n", "x"]}}
    assert same(oip.parse(body(tensor), SIGNATURE).rows, [[2.0, 1.0, math.nan]])


def test_a_model_of_one_column_takes_both_forms() -> None:
    one = Signature(fields=(Field(name="x"),))
    for name, shape in (("x", [2]), ("x", [2, 1]), ("input", [2, 1])):
        assert oip.parse(body({"name": name, "shape": shape, "datatype": "FP64", "data": [1.0, 2.0]}), one).rows == [[1.0], [2.0]]


def test_outputs_and_explanations() -> None:
    def outputs(**other: Any) -> tuple[str, ...]:
        return oip.parse(body(*GOOD, **other), SIGNATURE).outputs

    assert outputs(parameters={"explain": True}) == ("probability", "label", "contributions", "base")
    assert outputs(outputs=[{"name": "label"}]) == ("label",)
    assert outputs(outputs=[{"name": "contributions"}]) == ("contributions",)
    assert outputs(outputs=[{"name": "label"}], parameters={"explain": True}) == ("label", "contributions", "base")
    assert outputs(outputs=[]) == ("probability", "label")
    assert oip.parse(body(*GOOD, outputs=[{"name": "base"}]), SIGNATURE).explain


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        ([], "inputs", "no inputs"),
        ([GOOD[0]], "inputs.x", "Column 'x' is missing"),
        ([*GOOD, column("y", [1, 2])], "inputs[3].name", "'y' was sent"),
        ([*GOOD, GOOD[0]], "inputs[3].name", "sent twice"),
        ([GOOD[0], column("x", [1])], "inputs[1].shape", "another shape than [2] or [2, 1]"),
        ([GOOD[0], {**GOOD[1], "shape": [2, 2]}], "inputs[1].shape", "It has [2, 2]"),
        ([{**GOOD[0], "shape": []}], "inputs[0].shape", "It has []"),
        ([{**GOOD[0], "shape": [-1]}], "inputs[0].shape", "shape [-1]"),
        ([{**GOOD[0], "shape": [0], "data": []}], "inputs[0].shape", "1 to 10,000 rows"),
        ([{**GOOD[0], "shape": [10**9]}], "inputs[0].shape", "1 to 10,000 rows"),
        ([{**GOOD[0], "shape": [3]}], "inputs[0].data", "2 values, which is not its shape. That is [3]"),
        ([{**GOOD[0], "shape": [2, 1], "data": [[1], [2, 3]]}], "inputs[0].data", "nested data"),
        ([{**GOOD[0], "shape": [2, 1], "data": [[1], 2]}], "inputs[0].data", "nested data"),
        ([{**GOOD[0], "datatype": "BYTES"}], "inputs[0].datatype", "It is 'BYTES'"),
        ([{**GOOD[0], "datatype": "fp64"}], "inputs[0].datatype", "It is 'fp64'"),
        ([column("n", [1.5, 2], "INT64")], "inputs[0].data[0]", "no INT64"),
        ([column("n", [1, 200], "INT8")], "inputs[0].data[1]", "no INT8"),
        ([column("n", [-1, 2], "UINT8")], "inputs[0].data[0]", "no UINT8"),
        ([column("n", [1, True], "INT64")], "inputs[0].data[1]", "no INT64"),
        ([column("n", [1, 0], "BOOL")], "inputs[0].data[0]", "not true or false"),
        ([column("x", ["1", 2])], "inputs[0].data[0]", "not a number"),
        ([column("x", [[1, 2], 2])], "inputs[0].data", "nested data"),
        ([column("x", [True, 2])], "inputs[0].data[0]", "not a number"),
        ([column("x", [10**400, 2])], "inputs[0].data[0]", "not a number"),
        ([column("x", [1, 2], parameters={"binary_data_size": 16})], "inputs[0].parameters", "binary data"),
        (
            [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}],
            "inputs[0].shape",
            "has not 3 columns, as expected. It has 2",
        ),
        (
            [{"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2], "parameters": {"columns": ["x", "x"]}}],
            "inputs[0].parameters.columns",
            "named twice",
        ),
        (
            [{"name": "i", "shape": [1, 1], "datatype": "FP64", "data": [1], "parameters": {"columns": "y"}}],
            "inputs[0].parameters.columns",
            "'y' was sent",
        ),
        (
            [{"name": "i", "shape": [1, 1], "datatype": "FP64", "data": [1], "parameters": {"columns": 3}}],
            "inputs[0].parameters.columns",
            "not a list of names",
        ),
        (
            [{"name": "i", "shape": [1, 1], "datatype": "FP64", "data": [1], "parameters": {"columns": ["x"]}}],
            "inputs.n",
            "Column 'n' is missing",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_its_place(inputs: list[dict[str, Any]], field: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        oip.parse(body(*inputs), SIGNATURE)
    assert message in caught.value.said
    assert caught.value.field == field
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"\xff", "body"),
        (b"[]", "body"),
        (b"{}", "body"),
        (b'{"inputs": [{"name": "x"}]}', "inputs[0]"),
        (b'{"inputs": [{"name": "x", "shape": "2", "datatype": "FP64", "data": []}]}', "inputs[0].shape"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [NaN]}]}', "body"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1e999]}]}', None),
    ],
)
def test_what_is_not_the_protocol_is_refused(text: bytes, field: str | None) -> None:
    with pytest.raises(Invalid) as caught:
        oip.parse(text, SIGNATURE)
    if field is not None:
        assert caught.value.field == field


def test_wrong_outputs_and_parameters_are_refused() -> None:
    with pytest.raises(Invalid, match="'logits' was asked for") as caught:
        oip.parse(body(*GOOD, outputs=[{"name": "label"}, {"name": "logits"}]), SIGNATURE)
    assert caught.value.field == "outputs[1].name"
    with pytest.raises(Invalid, match="'explain' is not true or false"):
        oip.parse(body(*GOOD, parameters={"explain": "yes"}), SIGNATURE)


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["inputs", "name", "shape", "datatype", "data", "parameters", "outputs", "id"]), inner
            )
        ),
        max_leaves=20,
    )
)
def test_any_json_is_read_or_refused(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"inputs": [value, value]}), json.dumps({"inputs": [{**GOOD[1], "data": value}]})):
        try:
            got = oip.parse(text.encode(), SIGNATURE)
        except Invalid:
            continue
        assert all(len(row) == 3 for row in got.rows)


def test_a_response_bears_what_was_asked() -> None:
    prediction = Prediction(
        outputs=[[0.25], [0.75]], labels=["no", "yes"], contributions=[[1.0, 2.0], [3.0, 4.0]], base=[-1.0, -1.0]
    )
    request = oip.parse(body(*GOOD, id="7", parameters={"explain": True}), SIGNATURE)
    got = oip.respond(request, prediction, name="tumor", version="3")
    assert (got["model_name"], got["model_version"], got["id"]) == ("tumor", "3", "7")
    assert got["outputs"] == [
        {"name": "probability", "datatype": "FP64", "shape": [2], "data": [0.25, 0.75]},
        {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["no", "yes"]},
        {"name": "contributions", "datatype": "FP64", "shape": [2, 2], "data": [1.0, 2.0, 3.0, 4.0]},
        {"name": "base", "datatype": "FP64", "shape": [2], "data": [-1.0, -1.0]},
    ]
    only = oip.parse(body(*GOOD, outputs=[{"name": "label"}]), SIGNATURE)
    assert oip.respond(only, prediction, name="tumor", version="3") == {
        "model_name": "tumor",
        "model_version": "3",
        "outputs": [{"name": "label", "datatype": "BYTES", "shape": [2], "data": ["no", "yes"]}],
    }


def test_metadata_and_errors() -> None:
    got = json.loads(oip.metadata(SIGNATURE, name="tumor", versions=["1", "3"], platform="tandem"))
    assert got["inputs"][1] == {"name": "n", "datatype": "INT64", "shape": [-1]}
    assert [output["name"] for output in got["outputs"]] == ["probability", "label", "contributions", "base"]
    assert got["versions"] == ["1", "3"]
    assert json.loads(oip.error(NotFound("No model.", hint="Train one."))) == {"error": "No model. Train one."}


WORDED = Signature(
    fields=(
        Field(name="colour", dtype="category", values=("blue", "red")),
        Field(name="note", dtype="text", nullable=True),
        Field(name="paid", dtype="datetime"),
        Field(name="x"),
    )
)
TOLD = (column("colour", ["red", "green"], "BYTES"), column("paid", ["1970-01-02", "1970-01-01T01:00:00.5+01:00"], "BYTES"))


def test_texts_and_times_come_as_bytes() -> None:
    got = oip.parse(body(*TOLD, column("x", [1.5, 2.5]), column("note", [None, "late"], "BYTES")), WORDED)
    assert same([[row[2], row[3]] for row in got.rows], [[86400.0, 1.5], [0.0, 2.5]])
    assert [row[0] for row in got.rows] == ["red", "green"]
    assert got.rows[1][1] == "late"
    assert math.isnan(got.rows[0][1])
    assert WORDED.unseen(got.rows) == 1
    empty = oip.parse(body(*TOLD, column("x", [1.5, 2.5]), column("note", [None, None])), WORDED)  # a client's guess at a type
    assert all(math.isnan(row[1]) for row in empty.rows)
    WORDED.check_values(got.rows)
    told = json.loads(oip.metadata(WORDED, name="m", versions=["1"], platform="p"))["inputs"]
    assert [each["datatype"] for each in told] == ["BYTES", "BYTES", "BYTES", "FP64"]


@pytest.mark.parametrize(
    ("inputs", "field", "message"),
    [
        ((column("colour", [1.0]),), "inputs[0].datatype", "Column 'colour' is sent as BYTES"),
        ((column("colour", [1], "BYTES"),), "inputs[0].data[0]", "is no text"),
        ((column("paid", ["soon"], "BYTES"),), "inputs[0].data[0]", "is no time"),
        (({"name": "all", "shape": [1, 4], "datatype": "FP64", "data": [1] * 4},), "inputs[0].datatype", "one tensor per column"),
    ],
)  # fmt: skip
def test_a_wrong_text_is_refused_with_its_place(inputs: tuple[dict[str, Any], ...], field: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        oip.parse(body(*inputs), WORDED)
    assert message in str(caught.value)
    assert caught.value.field == field
