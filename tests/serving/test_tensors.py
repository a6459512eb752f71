from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tandem.core.errors import Invalid
from tandem.data.pixels import opened
from tandem.serving import forms, oip, tensors
from tandem.serving.oip import Wanted
from tandem.serving.signature import Field, Signature

MOST = 1000
DTYPES = {
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
SIGNATURE = Signature(fields=(Field(name="a"), Field(name="b", nullable=True)))


def tensor(name: str, datatype: str, shape: list[int], size: object, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}, **more}


def sent(head: dict[str, Any], *tails: bytes) -> tuple[bytes, int]:
    text = json.dumps(head).encode()
    return b"".join([text, *tails]), len(text)


def texts(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def unpack(*tails: bytes, inputs: list[dict[str, Any]], **more: Any) -> oip.Infer:
    return tensors.unpack(*sent({"inputs": inputs, **more}, *tails), most=MOST)


@pytest.mark.parametrize("datatype", DTYPES)
def test_numbers_of_every_datatype_as_numpy_writes_them(datatype: str) -> None:
    kind = np.dtype(DTYPES[datatype])
    ends = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    values = np.array([ends.min, 0, 1, ends.max], dtype=kind)
    found = unpack(values.tobytes(), inputs=[tensor("a", datatype, [2, 2], values.nbytes)]).inputs[0]
    assert found.data == values.tolist()
    assert (found.datatype, found.shape, found.parameters) == (datatype, [2, 2], {})


def test_truth_values_texts_and_half_of_a_float() -> None:
    assert unpack(b"\1\0", inputs=[tensor("a", "BOOL", [2], 2)]).inputs[0].data == [True, False]
    tail = texts("né".encode(), b"", b"x\0y")
    assert unpack(tail, inputs=[tensor("a", "BYTES", [3], len(tail))]).inputs[0].data == ["né", "", "x\0y"]
    halves = np.array([1.5, -3.0], dtype="<f4").view("<u2")[1::2].tobytes()
    found = unpack(halves, inputs=[tensor("a", "BF16", [2], 4)]).inputs[0]
    assert (found.datatype, found.data) == ("FP32", [1.5, -3.0])


def test_nan_is_a_missing_value() -> None:
    values = np.array([[1.0, np.nan]])
    body, length = sent({"inputs": [tensor("input", "FP64", [1, 2], values.nbytes)]}, values.tobytes())
    ((a, b),) = forms.parse(body, SIGNATURE, length).rows
    assert a == 1.0
    assert math.isnan(b)
    with pytest.raises(Invalid, match="not a finite"):
        forms.parse(body[:length] + np.array([[1.0, np.inf]]).tobytes(), SIGNATURE, length)


def test_tensors_in_json_and_behind_it_may_be_mixed() -> None:
    first = {"name": "b", "datatype": "FP64", "shape": [1], "data": [4]}
    second = tensor("a", "INT32", [1], 4)
    body, length = sent({"id": "7", "inputs": [first, second]}, struct.pack("<i", 3))
    got = forms.parse(body, SIGNATURE, length)
    assert (got.rows, got.id) == ([[3.0, 4.0]], "7")
    assert got.plain is not None
    assert forms.parse(got.plain, SIGNATURE).rows == got.rows


FP = tensor("a", "FP64", [2], 16)
LIES: dict[str, tuple[list[dict[str, Any]], bytes]] = {
    "fewer bytes than said": ([FP], bytes(15)),
    "more bytes than said": ([FP], bytes(17)),
    "a shape of another size": ([{**FP, "shape": [3]}], bytes(16)),
    "a datatype of another width": ([{**FP, "datatype": "FP32"}], bytes(16)),
    "a negative size": ([tensor("a", "FP64", [2], -16)], bytes(16)),
    "a size that is a text": ([tensor("a", "FP64", [2], "16")], bytes(16)),
    "a size that is true": ([tensor("a", "INT8", [1], True)], bytes(1)),
    "a size with a fraction": ([tensor("a", "FP64", [2], 16.0)], bytes(16)),
    "a size beyond all": ([tensor("a", "FP64", [2], 2**70)], bytes(16)),
    "a negative shape": ([{**FP, "shape": [-2]}], bytes(16)),
    "two negatives": ([{**FP, "shape": [-1, -2]}], bytes(16)),
    "an endless shape": ([{**FP, "shape": [2**62] * 64}], bytes(16)),
    "values twice": ([{**FP, "data": [1, 2]}], bytes(16)),
    "no values at all": ([{"name": "a", "datatype": "FP64", "shape": [2]}], b""),
    "an unknown datatype": ([{**FP, "datatype": "FP8"}], bytes(16)),
    "the same bytes for two": ([FP, {**FP, "name": "b"}], bytes(16)),
    "a truth value of 2": ([tensor("a", "BOOL", [1], 1)], b"\2"),
    "a text longer than all": ([tensor("a", "BYTES", [1], 6)], struct.pack("<I", 2**32 - 1) + b"xy"),
    "a text that ends early": ([tensor("a", "BYTES", [2], 6)], texts(b"xy")),
    "half a length": ([tensor("a", "BYTES", [1], 3)], b"\0\0\0"),
    "bytes behind the texts": ([tensor("a", "BYTES", [1], 7)], texts(b"xy") + b"z"),
    "a text that is none": ([tensor("a", "BYTES", [1], 5)], texts(b"\xff")),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_about_a_size_is_refused(lie: str) -> None:
    inputs, tail = LIES[lie]
    with pytest.raises(Invalid):
        unpack(tail, inputs=inputs)


@pytest.mark.parametrize("length", [-1, 0, 1, 10, 10**9])
def test_a_lie_about_the_json_is_refused(length: int) -> None:
    body, _ = sent({"inputs": [FP]}, bytes(16))
    with pytest.raises(Invalid):
        tensors.unpack(body, length, most=MOST)


def test_no_more_is_unpacked_than_a_call_may_hold() -> None:
    many = [tensor(f"c{number}", "INT8", [MOST // 2], MOST // 2) for number in range(3)]
    with pytest.raises(Invalid, match="more values than a call may"):
        unpack(bytes(3 * MOST // 2), inputs=many)


@given(st.binary(max_size=200), st.integers(-10, 250))
def test_whatever_comes_is_read_or_refused(body: bytes, length: int) -> None:
    try:
        tensors.unpack(body, length, most=MOST)
    except Invalid:
        return


@given(st.data())
def test_a_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    tail = texts(b"one", b"two")
    inputs = [tensor("a", "FP32", [2, 1], 8), tensor("b", "BYTES", [2], len(tail))]
    body, length = sent({"inputs": inputs}, struct.pack("<2f", 1, 2), tail)
    damaged = bytearray(body)
    for at in data.draw(st.lists(st.integers(0, len(body) - 1), max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        forms.parse(bytes(damaged), SIGNATURE, length + data.draw(st.integers(-3, 3)))
    except Invalid:
        return


@given(st.lists(st.floats(width=64), max_size=5), st.lists(st.text(max_size=5), max_size=5), st.lists(st.booleans(), max_size=5))
def test_what_is_packed_is_read_back(numbers: list[float], words: list[str], truths: list[bool]) -> None:
    columns = {"FP64": numbers, "BYTES": words, "BOOL": truths}
    outputs = [{"name": name, "datatype": name, "shape": [len(data)], "data": data} for name, data in columns.items()]
    body, length = tensors.pack({"model_name": "m", "outputs": outputs}, True, {"BOOL": False})
    assert length is not None
    head = json.loads(body[:length])
    assert head["outputs"][2] == outputs[2]
    found = tensors.unpack(*sent({"inputs": head["outputs"]}, body[length:]), most=MOST)
    expected = [None if math.isnan(number) else number for number in numbers]
    assert [each.data for each in found.inputs] == [expected, words, truths]


def test_which_outputs_are_wanted_as_bytes() -> None:
    one, other = Wanted(name="one"), Wanted(name="other", parameters={"binary_data": False})
    assert tensors.wanted({}, None) == (False, {})
    assert tensors.wanted({"binary_data_output": True}, [one, other]) == (True, {"one": True, "other": False})
    with pytest.raises(Invalid, match="binary_data_output"):
        tensors.wanted({"binary_data_output": "yes"}, None)
    with pytest.raises(Invalid, match="binary_data"):
        tensors.wanted({}, [Wanted(name="one", parameters={"binary_data": 1})])


PICTURED = Signature(fields=(Field(name="image", dtype="image"),))


def opened_rows(body: bytes, length: int | None = None) -> list[Image.Image]:
    """The images of a request as a host sees them."""
    return [opened(base64.b64decode(str(cell))) for (cell,) in forms.parse(body, PICTURED, length).rows]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_seen_as_those_of_a_file_whichever_way_they_come(datatype: str, channels: int) -> None:
    whole = np.random.default_rng(3).integers(0, 256, (2, 5, 7, channels), dtype=np.uint8)
    values = whole if datatype == "UINT8" else (whole / np.float32(255)).astype("<f4")
    shape = list(values.shape)
    asked = tensor("image", datatype, shape, values.nbytes)
    body, length = sent({"inputs": [asked]}, values.tobytes())
    flat, nested = (
        json.dumps({"inputs": [{"name": "image", "datatype": datatype, "shape": shape, "data": data}]}).encode()
        for data in (values.ravel().tolist(), values.tolist())
    )
    for images in (opened_rows(body, length), opened_rows(flat), opened_rows(nested)):
        for image, expected in zip(images, whole, strict=True):
            assert image.size == (7, 5)
            np.testing.assert_array_equal(np.asarray(image).reshape(5, 7, channels), expected)


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "said"),
    [
        ("UINT8", [2, 2, 3], [0] * 12, "none of images"),
        ("UINT8", [1, 3, 2, 2], [0] * 12, "none of images"),
        ("UINT8", [0, 2, 2, 3], [], "none of images"),
        ("UINT8", [1, 2, 2, 3], [0] * 11, "make 12"),
        ("UINT8", [1, 2, 2, 1], [0, 1, 2, 256], "no UINT8"),
        ("UINT8", [1, 2, 2, 1], [0, 1, 2, 0.5], "no UINT8"),
        ("FP32", [1, 1, 1, 1], ["white"], "no FP32"),
        ("FP32", [1, 1, 2, 1], [[[[0.5], [0.5, 0.5]]]], "do not have its shape"),
        ("FP32", [1, 1, 1, 1], [1.5], "outside 0 to 1"),
        ("FP64", [1, 1, 1, 1], [0.5], "not sent as the datatype"),
    ],
)
def test_pixels_of_another_form_are_refused(datatype: str, shape: list[int], data: list[Any], said: str) -> None:
    body = json.dumps({"inputs": [{"name": "image", "datatype": datatype, "shape": shape, "data": data}]}).encode()
    with pytest.raises(Invalid, match=said):
        opened_rows(body)


def test_a_model_of_images_says_as_what_it_takes_them() -> None:
    (told,) = json.loads(oip.metadata(PICTURED, name="m", versions=["1"], platform="p"))["inputs"]
    assert (told["datatype"], told["shape"]) == ("BYTES", [-1])
    assert "UINT8 or FP32" in told["parameters"]["pixels"]


def test_binary_pixels_that_are_fewer_than_they_say_are_refused() -> None:
    with pytest.raises(Invalid, match="make 12"):
        opened_rows(*sent({"inputs": [tensor("image", "UINT8", [1, 2, 2, 3], 11)]}, bytes(11)))
    with pytest.raises(Invalid, match="no image that can be read"):
        opened(b"PF32 0 5 3\n")
    with pytest.raises(Invalid, match="as many as they are said to be"):
        opened(b"PF32 1 5 3\n")
    with pytest.raises(Invalid, match="outside 0 to 1"):
        opened_rows(*sent({"inputs": [tensor("image", "FP32", [1, 1, 1, 1], 4)]}, struct.pack("<f", math.nan)))


def test_files_of_images_become_base64_and_are_not_read_as_texts() -> None:
    tail = texts(b"\x89PNG", b"GIF")
    body, length = sent({"inputs": [tensor("image", "BYTES", [2], len(tail))]}, tail)
    asked = forms.parse(body, PICTURED, length)
    assert asked.rows == [["iVBORw=="], ["R0lG"]]
    assert asked.plain is not None
    assert b"iVBORw==" in asked.plain
