from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.serving.offline import check
from tandem.serving.signature import LONGEST, Field, Signature

SIGNATURE = Signature(
    fields=(
        Field(name="x", low=0, high=10),
        Field(name="n", dtype="int", nullable=True),
        Field(name="b", dtype="bool"),
        Field(name="free", nullable=True),
    )
)
CELLS = st.one_of(st.sampled_from([0.0, 1.0, -0.0, 0.5, 10.0, 10.000001, -1e-9, math.nan, math.inf, -math.inf]), st.floats())


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), max_size=8))
def test_the_same_rows_are_refused_as_of_a_call_for_the_same_reason(rows: list[tuple[float, ...]]) -> None:
    frame = pl.DataFrame(np.array(rows, dtype=float).reshape(len(rows), 4), schema=SIGNATURE.names)
    found = check.refused(frame, SIGNATURE)
    for number, row in enumerate(rows):
        assert found.pop(number, None) == why(row)
    assert not found


def why(row: tuple[float, ...]) -> str | None:
    """What a call with this row is told."""
    try:
        SIGNATURE.check_values([row])
    except Invalid as error:
        return error.message.removeprefix("rows[0].")
    return None


def test_columns_that_are_there_and_columns_that_the_model_can_do_without() -> None:
    frame = pl.DataFrame({"b": [True, None], "more": ["a", "b"], "x": [1, 2], "n": [None, 3.0]})
    assert check.columns(frame.schema, SIGNATURE) == ("x", "n", "b")
    rows = check.inputs(frame, SIGNATURE)
    assert rows.rows() == [(1, None, True, None), (2, 3.0, None, None)]
    assert check.refused(rows, SIGNATURE) == {1: "b is missing."}


def test_texts_and_times_are_asked_about_too() -> None:
    signature = Signature(
        fields=(
            Field(name="colour", dtype="category", values=("red",)),
            Field(name="note", dtype="text", nullable=True),
            Field(name="paid", dtype="datetime"),
        )
    )
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    frame = pl.DataFrame(
        {"colour": ["red", None, "blue"], "note": [None, "a", "b" * (LONGEST + 1)], "paid": [moment, moment, None]}
    )
    assert check.columns(frame.schema, signature) == ("colour", "note", "paid")
    assert check.refused(check.inputs(frame, signature), signature) == {
        1: "colour is missing.",
        2: f"note has {LONGEST + 1:,} characters; {LONGEST:,} are taken.",
    }
    with pytest.raises(Invalid, match="'paid' holds string"):
        check.columns(frame.with_columns(paid=pl.lit("now")).schema, signature)


@pytest.mark.parametrize(
    ("change", "field"), [({"x": ["1"]}, "x"), ({"x": [True]}, "x"), ({"b": ["yes"]}, "b"), ({"x": None}, "x")]
)
def test_a_dataset_that_cannot_be_asked_about_is_refused_whole(change: dict[str, list[object] | None], field: str) -> None:
    columns = {name: cells for name, cells in {"x": [1.0], "n": [1], "b": [True], **change}.items() if cells is not None}
    with pytest.raises(Invalid) as caught:
        check.columns(pl.DataFrame(columns).schema, SIGNATURE)
    assert caught.value.field == field
