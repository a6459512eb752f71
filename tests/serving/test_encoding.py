"""Encoding: the door's plain Python and the whole-table form agree, and nothing is learned from rows that are not given."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem.core.errors import Broken, Invalid
from tandem.serving.columns import MOST_WORDS, Columns, rows_of
from tandem.serving.encoding import FILE, Category, Encoding, Number, Time, Words, tokens
from tandem.serving.signature import MISSING, Cell, Field, Signature

FIELDS = (
    Field(name="amount", nullable=True),
    Field(name="colour", dtype="category", values=("blue", "red"), nullable=True),
    Field(name="paid", dtype="datetime", nullable=True),
    Field(name="note", dtype="text", nullable=True),
    Field(name="new", dtype="bool"),
)
SIGNATURE = Signature(fields=FIELDS)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(-1e9, 1e9),
        st.none() | st.sampled_from(["red", "blue", "Red", "", "grün"]) | st.text(max_size=8),
        st.none() | MOMENTS,
        st.none()
        | st.text(max_size=40)
        | st.lists(st.sampled_from(["late", "İpek", "ΣΑΣ", "paid paid", "x", "a_1"])).map(" ".join),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def frame(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    kinds = {"amount": pl.Float64, "colour": pl.String, "paid": pl.Datetime("us", "UTC"), "note": pl.String, "new": pl.Boolean}
    moved = [(a, c, None if p is None else p.replace(tzinfo=UTC), n, b) for a, c, p, n, b in rows]  # type: ignore[attr-defined]  # a datetime
    return pl.DataFrame(moved, schema=kinds, orient="row")


def cells(rows: list[tuple[object, ...]]) -> list[list[Cell]]:
    """The rows as a request would bring them."""
    named = [
        {
            "amount": amount,
            "colour": colour,
            "paid": None if paid is None else paid.isoformat(),  # type: ignore[attr-defined]  # a datetime
            "note": note,
            "new": new,
        }
        for amount, colour, paid, note, new in rows
    ]
    return SIGNATURE.values(named)


@given(learned=ROWS, asked=ROWS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_door_and_the_training_encode_alike(learned: list[tuple[object, ...]], asked: list[tuple[object, ...]]) -> None:
    encoding = Columns.of(frame(learned), FIELDS).learn()
    encoding = msgspec.json.decode(encoding.to_json(), type=Encoding)  # as the members hold it
    whole = Columns.of(frame(asked), FIELDS).matrix(encoding)
    by_row = np.array(encoding.rows(cells(asked)), dtype=np.float64)
    assert whole.shape == (len(asked), len(encoding.owners())) == (len(asked), len(encoding.names(SIGNATURE)))
    np.testing.assert_array_equal(whole, by_row)  # bit for bit, NaN at the same places
    by_frame = rows_of(frame(asked), FIELDS)
    assert repr(by_frame) == repr(cells(asked))  # NaN is not equal to itself


def test_what_an_encoding_makes() -> None:
    rows = [(1.5, "red", datetime(2026, 1, 31, 23, 5), "Late, late and unpaid!", True), (None, None, None, None, False)]
    words = Words(("late", "unpaid"), (1.0, 2.0))
    encoding = Encoding((Number(), Category(("blue", "red")), Time(), words, Number()))
    names = "amount colour=blue colour=red paid.year paid.month paid.weekday paid.hour note~late note~unpaid new"
    assert encoding.names(SIGNATURE) == names.split()
    assert encoding.owners() == [0, 1, 1, 2, 2, 2, 2, 3, 3, 4]
    full, empty = encoding.rows(cells(rows))
    assert full == pytest.approx([1.5, 0, 1, 2026, 1, 5, 23, 1 / math.sqrt(2), 1 / math.sqrt(2), 1])
    assert [value if value == value else None for value in empty] == [None, 0, 0, None, None, None, None, 0, 0, 0]


def test_an_unseen_value_counts_as_none_and_is_counted() -> None:
    encoding = Encoding((Category(("blue", "red")),))
    assert encoding.rows([["blue"], ["green"], [MISSING]]) == [[1, 0], [0, 0], [0, 0]]
    rows = cells([(1.0, "green", None, None, True), (1.0, "red", None, None, True), (1.0, None, None, None, True)])
    assert SIGNATURE.unseen(rows) == 1
    assert [FIELDS[1].code(value) for value in ("blue", "red", "green")] == [0, 1, 2]


def test_only_words_of_the_given_rows_are_learned_and_only_so_many() -> None:
    field = (Field(name="note", dtype="text"),)
    notes = pl.DataFrame({"note": ["cat dog", "cat", "mouse", "mouse dog"]})
    columns = Columns.of(notes, field)
    assert columns.learn().names(Signature(fields=field)) == ["note~cat", "note~dog", "note~mouse"]
    some = columns.at(np.array([True, True, False, True]))
    assert some.learn().names(Signature(fields=field)) == ["note~cat", "note~dog"]
    many = pl.DataFrame({"note": [f"w{n} w{n + 1}" for n in range(900)]})
    assert len(Columns.of(many, field).learn().owners()) == MOST_WORDS


def test_tf_idf_is_scikit_learns() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    notes = ["the cat sat", "the dog sat on the cat", "a dog", "the mouse ran", "cat and mouse"]
    columns = Columns.of(pl.DataFrame({"note": notes}), (Field(name="note", dtype="text"),))
    expected = TfidfVectorizer(min_df=2).fit_transform(notes).toarray()
    assert columns.matrix(columns.learn()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("colour", 3, "is a number, not a text"),
        ("colour", True, "is a truth value, not a text"),
        ("note", "x" * 20_001, "has 20,001 characters"),
        ("paid", "yesterday", "is no time"),
        ("amount", "3", "is a text, not a number"),
    ],
)
def test_a_value_of_another_type_is_refused(column: str, value: object, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        SIGNATURE.check([{"new": True, column: value}])
    assert caught.value.field == f"rows[0].{column}"


@given(moment=MOMENTS, hours=st.integers(-11, 11))
def test_a_time_is_the_same_in_every_zone(moment: datetime, hours: int) -> None:
    at = moment.replace(tzinfo=UTC)
    field = FIELDS[2]
    plain = field.cell(at.isoformat(), "x")
    try:
        there = at + timedelta(hours=hours)
    except OverflowError:
        return
    told = f"{there.replace(tzinfo=None).isoformat()}{'+' if hours >= 0 else '-'}{abs(hours):02d}:00"
    assert field.cell(told, "x") == plain == field.cell(moment.isoformat(), "x")


def test_a_broken_encoding_is_said_to_be_broken(tmp_path: Path) -> None:
    assert Encoding.load(tmp_path) is None
    (tmp_path / FILE).write_text("[1]")
    with pytest.raises(Broken, match="cannot be read"):
        Encoding.load(tmp_path)


def test_long_texts_are_cut_alike() -> None:
    assert len(tokens("word " * 6000)) == 5000
