"""One text per value."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.core.secret import Secret
from tandem.store.canonical import canonical

LETTERS = st.characters(exclude_categories=["Cs"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(LETTERS, max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_it_is_json_and_reads_back(value: object) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(st.text(LETTERS, max_size=4), VALUES, max_size=6), st.randoms())
def test_the_order_of_keys_is_no_matter(value: dict[str, object], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical(dict(items)) == canonical(value)


def test_tuples_are_lists_and_numbers_keep_their_kind() -> None:
    assert canonical((1, 1.0, True)) == "[1,1.0,true]"


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, float("nan")]}, "$.a[1]"),
        ({"a": float("inf")}, "$.a"),
        ({"a": {1: 2}}, "$.a"),
        ({"a": b"x"}, "$.a"),
        ({"a": {1, 2}}, "$.a"),
        ({"a": "\ud800"}, "$.a"),
        ({"a": Secret("canary")}, "$.a"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(value: object, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        canonical(value)
    assert caught.value.field == path
    assert "canary" not in str(caught.value)


def test_an_endless_nesting_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(Invalid, match="nested"):
        canonical(value)
