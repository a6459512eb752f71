"""Windows of signals: how they are cut, what is computed of each, and how calls send them."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.signals import plan

from tandem.core.errors import Invalid
from tandem.serving import forms, oip
from tandem.serving.signals import FEATURES, features, names
from tandem.serving.signature import Field, Signature
from tandem.serving.windows import cut

SIGNATURE = Signature(fields=(Field(name="x", dtype="signal", size=4), Field(name="y", dtype="signal", size=4, low=0, high=9)))
X, Y = [[1.0, 2, 3, 4], [5.0, 6, 7, 8]], [[0.0, 1, 0, 1], [2.0, 3, 2, 3]]


def told(samples: list[float]) -> dict[str, float]:
    return dict(zip(FEATURES, features(np.array([[samples]]))[0].tolist(), strict=True))


def test_a_wave_is_told_by_its_frequency() -> None:
    wave = [5 + 2 * math.sin(2 * math.pi * place / 8) for place in range(64)]
    found = told(wave)
    assert found["frequency"] == 0.125
    assert found["peak"] == pytest.approx(1)
    assert found["centroid"] == pytest.approx(0.125)
    assert (found["mean"], found["sd"]) == (pytest.approx(5), pytest.approx(math.sqrt(2)))
    assert found["rms"] == pytest.approx(math.sqrt(27))
    assert (found["min"], found["max"], found["range"]) == (pytest.approx(3), pytest.approx(7), pytest.approx(4))
    assert found["echo"] == pytest.approx(math.cos(math.pi / 4), abs=0.01)
    assert found["missing"] == 0


def test_a_line_is_told_by_its_slope_and_gaps_add_nothing() -> None:
    whole = [3.0 * place for place in range(16)]
    assert told(whole)["slope"] == pytest.approx(3)
    gaps = [math.nan if place % 5 == 0 else value for place, value in enumerate(whole)]
    found = told(gaps)
    assert (found["slope"], found["missing"]) == (pytest.approx(3), 0.25)
    assert found["mean"] == pytest.approx(np.nanmean(gaps))


def test_what_never_changes_or_was_never_measured_has_numbers_too() -> None:
    flat = told([2.0] * 16)
    assert (flat["mean"], flat["sd"], flat["frequency"], flat["echo"], flat["crossings"]) == (2, 0, 0, 0, 0)
    gone = told([math.nan] * 16)
    assert gone["missing"] == 1
    assert all(math.isnan(value) for name, value in gone.items() if name != "missing")


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=8, max_size=8))
@settings(max_examples=60, deadline=None)
def test_no_sample_makes_a_number_infinite(samples: list[float]) -> None:
    found = features(np.array([[samples]]))
    assert not np.isinf(found).any()
    assert np.isnan(found).sum() in (0, len(FEATURES) - 1)


def test_a_window_has_the_same_numbers_to_the_bit_whoever_is_asked_with_it() -> None:
    draw = np.random.default_rng(1)
    for width, length in ((1, 8), (3, 64), (2, 1001)):
        many = draw.normal(size=(50, width, length)) * 10.0 ** draw.integers(-9, 9, (50, width, 1))
        many[draw.random(many.shape) < 0.02] = np.nan
        alone = np.concatenate([features(many[row : row + 1]) for row in range(50)])
        assert np.array_equal(features(many), alone, equal_nan=True)
    assert features(np.empty((0, 2, 8))).shape == (0, len(names(["x", "y"])))


def long(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"unit": ["b", "a"] * 6, "at": [*range(12)], "x": [float(n) for n in range(12)], **columns})


def test_windows_are_of_one_unit_in_the_order_of_time() -> None:
    shuffled = long().sample(fraction=1, shuffle=True, seed=3)
    found = cut(shuffled, plan("x", window=4, stride=2))
    whole = found.frame(slice(None))
    assert whole["unit"].to_list() == ["a", "a", "b", "b"]
    assert whole["at"].to_list() == [7, 11, 6, 10]
    assert whole["x"].to_list() == [[1, 3, 5, 7], [5, 7, 9, 11], [0, 2, 4, 6], [4, 6, 8, 10]]
    assert shuffled["at"][found.rows[found.ends]].to_list() == [7, 11, 6, 10]
    assert (found.uneven, found.told()) == (0, ())


def test_what_is_short_uneven_or_missing_is_told_and_never_resampled() -> None:
    frame = pl.concat([long(), pl.DataFrame({"unit": ["c"], "at": [1], "x": [1.0]})])
    frame = frame.with_columns(at=pl.when(pl.col("at") == 11).then(40).otherwise("at"), x=pl.col("x").replace(3, None))
    found = cut(frame, plan("x", window=6, stride=6))
    assert (len(found), found.short) == (2, ("c",))
    assert found.told() == (
        "1 units have fewer samples than a window of 6 and were left out, such as 'c'.",
        "10.00% of the steps between samples are unlike the usual one; samples are taken as they stand.",
        "7.69% of the samples are missing; they stay gaps.",
    )


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (long(at=[0] * 12), "The unit 'a' has two samples at 0"),
        (long(at=[None, *range(11)]), "Column 'at' has gaps"),
        (long(unit=[None, *"ababababab", "a"]), "Column 'unit' has gaps"),
        (long(unit=[0.5] * 12), "names no units"),
        (long(at=["then"] * 12), "orders no samples"),
        (long(x=["high"] * 12), "The channel 'x' holds no numbers"),
        (long().drop("x"), "There is no column 'x'"),
        (long().head(3), "No unit has the 4 samples of a window; the longest has 2"),
    ],
)
def test_rows_that_make_no_windows_are_refused(frame: pl.DataFrame, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        cut(frame, plan("x", window=4, stride=4))


def tensor(name: str, data: object, shape: list[int], datatype: str = "FP64") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


def parsed(body: dict[str, Any]) -> list[list[Any]]:
    rows = forms.parse(json.dumps(body).encode(), SIGNATURE).rows
    SIGNATURE.check_values(rows)
    return [[json.loads(str(cell)) for cell in row] for row in rows]


WANTED = [[X[0], Y[0]], [X[1], Y[1]]]
TOGETHER = np.stack([X, Y], axis=2)
ONES = {"inputs": [tensor("x", X[0], [1, 4]), tensor("y", Y[0], [1, 4])]}


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": [tensor("y", Y, [2, 4]), tensor("x", [*X[0], *X[1]], [2, 4])]},
        {"inputs": [tensor("x", X, [2, 4], "FP32"), tensor("y", [[int(n) for n in row] for row in Y], [2, 4], "INT8")]},
        {"inputs": [tensor("all", TOGETHER.tolist(), [2, 4, 2])]},
        {"inputs": [tensor("all", TOGETHER.ravel().tolist(), [2, 4, 2])]},
        {"inputs": [tensor("all", TOGETHER.reshape(2, 8).tolist(), [2, 4, 2])]},
        {"inputs": [{**tensor("all", TOGETHER[:, :, ::-1].tolist(), [2, 4, 2]), "parameters": {"columns": "y,x"}}]},
        {"instances": [{"x": X[0], "y": Y[0]}, {"x": X[1], "y": Y[1]}]},
        {"instances": [[X[0], Y[0]], [X[1], Y[1]]]},
        {"rows": [{"x": X[0], "y": Y[0]}, {"x": [5, 6, 7, 8], "y": Y[1]}]},
    ],
)
def test_windows_come_in_tensors_and_in_rows(body: dict[str, Any]) -> None:
    assert parsed(body) == WANTED


def test_windows_come_as_bytes() -> None:
    values = struct.pack("<16f", *TOGETHER.ravel())
    head = {"inputs": [{"name": "all", "shape": [2, 4, 2], "datatype": "FP32", "parameters": {"binary_data_size": len(values)}}]}
    front = json.dumps(head).encode()
    found = forms.parse(front + values, SIGNATURE, len(front))
    assert [[json.loads(str(cell)) for cell in row] for row in found.rows] == WANTED
    assert found.plain is not None
    assert forms.parse(found.plain, SIGNATURE).rows == found.rows


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"rows": [{"x": X[0][:3], "y": Y[0]}]}, r"rows\[0\].x has 3 samples; the model takes 4"),
        ({"rows": [{"x": "1,2,3,4", "y": Y[0]}]}, "rows\\[0\\].x is not a list of numbers"),
        ({"rows": [{"x": [1, 2, 3, "4"], "y": Y[0]}]}, r"rows\[0\].x\[3\] is a text, not a number"),
        ({"rows": [{"x": [1, 2, 3, True], "y": Y[0]}]}, r"rows\[0\].x\[3\] is a truth value"),
        ({"rows": [{"x": [1, 2, 3, [4]], "y": Y[0]}]}, r"rows\[0\].x\[3\] is a list"),
        ({"rows": [{"x": [1, None, 3, 4], "y": Y[0]}]}, r"rows\[0\].x\[1\] is missing"),
        ({"rows": [{"x": X[0], "y": [0, 1, 10, 0]}]}, r"rows\[0\].y\[2\] is above the highest value 9"),
        ({"rows": [{"x": X[0]}]}, r"rows\[0\].y is missing"),
        ({"rows": [{"x": None, "y": Y[0]}]}, r"rows\[0\].x is missing"),
        ({"rows": [{"x": 4, "y": Y[0]}]}, r"rows\[0\].x is not a list of numbers"),
        ({"inputs": [tensor("x", X[0], [1, 4])]}, "Column 'y' is missing"),
        ({"inputs": [tensor("x", X[0], [4]), *ONES["inputs"][1:]]}, "another shape than"),
        ({"inputs": [tensor("x", X, [2, 4]), *ONES["inputs"][1:]]}, "another shape than"),
        ({"inputs": [ONES["inputs"][0], tensor("y", [0.0] * 8, [1, 8])]}, "another shape than"),
        ({"inputs": [tensor("x", X[0], [1, 4]), tensor("x", X[0], [1, 4])]}, "sent twice"),
        ({"inputs": [tensor("z", X[0], [1, 4])]}, "takes no such column"),
        ({"inputs": [tensor("x", X[0][:3], [1, 3]), tensor("y", Y[0][:3], [1, 3])]}, "has 3 samples"),
        ({"inputs": [tensor("x", X[0][:3], [1, 4]), *ONES["inputs"][1:]]}, "not its shape"),
        ({"inputs": [tensor("x", ["a"] * 4, [1, 4], "BYTES"), *ONES["inputs"][1:]]}, "takes numbers"),
        ({"inputs": [tensor("x", [], [-1, -4]), *ONES["inputs"][1:]]}, "samples at most are taken|another shape"),
        ({"inputs": [tensor("all", [], [1, 4, 3])]}, "another shape than"),
        ({"inputs": [tensor("all", [], [10**6, 4, 2])]}, "samples at most are taken"),
        ({"inputs": [tensor("all", [[[1.0]], 3], [2, 4, 2])]}, "not its shape|do not have its shape"),
        ({"inputs": [tensor("all", [], [10_001, 4, 2])]}, "samples at most are taken"),
        ({"inputs": [tensor("all", [], [0, 4, 2])]}, "samples at most are taken"),
    ],
)
def test_what_is_no_window_is_refused_with_its_place(body: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said):
        parsed(body)


@pytest.mark.parametrize(
    ("cell", "said"),
    [("[1, 2, 3]", "has 3 samples"), ("{}", "not a list of numbers"), (3.0, "not a list"), ('[1,2,3,"4"]', "not a list"),
     ("[1,2,3,null]", "is missing"), (math.nan, "is missing")],
)  # fmt: skip
def test_a_cell_that_is_no_window_is_refused(cell: float | str, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        SIGNATURE.check_values([[cell, "[0,1,0,1]"]])


def test_a_channel_with_gaps_takes_them() -> None:
    gappy = Field(name="x", dtype="signal", size=3, nullable=True)
    assert gappy.cell([1, None, 2.5], "x") == "[1.0,null,2.5]"
    with pytest.raises(Invalid, match="x is missing"):
        gappy.cell(None, "x")


def test_metadata_tells_window_and_order_of_channels() -> None:
    told: Callable[[bytes], Any] = json.loads
    inputs = told(oip.metadata(SIGNATURE, name="pump", versions=["1"], platform="logistic"))["inputs"]
    assert inputs == [
        {"name": "x", "datatype": "FP64", "shape": [-1, 4]},
        {"name": "y", "datatype": "FP64", "shape": [-1, 4]},
    ]
