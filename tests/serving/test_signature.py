from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.serving.signature import Field, Signature

SIGNATURE = Signature(
    fields=(
        Field(name="x", low=0, high=10),
        Field(name="n", dtype="int", low=0),
        Field(name="b", dtype="bool"),
        Field(name="gap", nullable=True),
    )
)


def test_rows_become_numbers_in_order() -> None:
    got = SIGNATURE.values([{"b": True, "n": 3, "x": 1}, {"x": 2.5, "n": 0, "b": False, "gap": 7}])
    assert got[0][:3] == [1.0, 3.0, 1.0]
    assert math.isnan(got[0][3])
    assert got[1] == [2.5, 0.0, 0.0, 7.0]
    SIGNATURE.check_values(got)


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"x": 11}, "rows[1].x", "above the highest value 10"),
        ({"x": -1}, "rows[1].x", "below the lowest value 0"),
        ({"x": float("inf")}, "rows[1].x", "above"),
        ({"gap": float("inf")}, "rows[1].gap", "not a finite number"),
        ({"gap": 10**400}, "rows[1].gap", "not a finite number"),
        ({"x": float("nan")}, "rows[1].x", "is missing"),
        ({"x": None}, "rows[1].x", "is missing"),
        ({"x": "1"}, "rows[1].x", "is a text, not a number"),
        ({"x": True}, "rows[1].x", "is a truth value, not a number"),
        ({"x": [1]}, "rows[1].x", "is a list"),
        ({"n": 1.5}, "rows[1].n", "not a whole number"),
        ({"b": 2}, "rows[1].b", "not true or false"),
        ({"y": 1}, "rows[1]", "does not take"),
    ],
)
def test_a_bad_value_is_named(change: dict[str, object], field: str, message: str) -> None:
    good = {"x": 1, "n": 1, "b": True, "gap": 1}
    with pytest.raises(Invalid, match=message) as caught:
        SIGNATURE.check([good, {**good, **change}])
    assert caught.value.field == field
    assert caught.value.status == 400


def test_a_missing_column_is_named() -> None:
    with pytest.raises(Invalid, match=r"rows\[0\].n is missing"):
        SIGNATURE.check([{"x": 1, "b": True}])


def test_rows_of_numbers_are_checked_alike() -> None:
    with pytest.raises(Invalid, match="has 2 values; the model takes 4"):
        SIGNATURE.check_values([[1, 2]])
    with pytest.raises(Invalid, match=r"rows\[0\].x is above the highest value 10. It is 11"):
        SIGNATURE.check_values([[11, 1, 1, 1]])
    with pytest.raises(Invalid, match=r"rows\[0\].x is missing"):
        SIGNATURE.check_values([[math.nan, 1, 1, 1]])


@given(value=st.floats(), dtype=st.sampled_from(["float", "int", "bool"]), nullable=st.booleans())
def test_numbers_and_rows_agree_on_what_is_good(value: float, dtype: str, nullable: bool) -> None:
    signature = Signature(fields=(Field(name="a", dtype=dtype, low=-5, high=5, nullable=nullable),))  # type: ignore[arg-type]
    verdicts = []
    for check in (lambda: signature.check([{"a": value}]), lambda: signature.check_values([[value]])):
        try:
            check()
        except Invalid as error:
            verdicts.append(error.message)
        else:
            verdicts.append("good")
    assert verdicts[0] == verdicts[1]


def test_json_round_trip() -> None:
    assert Signature.from_json(SIGNATURE.to_json()) == SIGNATURE
    with pytest.raises(Invalid, match="no signature"):
        Signature.from_json(b"[]")


def test_the_door_can_afford_it() -> None:
    """Every module marked for the door imports nothing heavy."""
    code = (
        "import sys, tandem.serving.signature, tandem.serving.target, tandem.serving.oip\n"
        "heavy = {'numpy', 'polars', 'sqlalchemy', 'fastapi', 'dbos', 'onnxruntime', 'sklearn', 'xgboost', 'deltalake'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
