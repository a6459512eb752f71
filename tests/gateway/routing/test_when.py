"""Conditions: every part counts, nothing is true by accident, and what makes no sense is refused where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.gateway.routing.when import check, holds, names, unmet

CALL: Mapping[str, object] = {
    "request.tokens": 9000,
    "request.stream": True,
    "request.tools": False,
    "principal.team": "research",
    "metadata.tier": "gold",
    "metadata.seats": 0,
}


@pytest.mark.parametrize(
    ("when", "met"),
    [
        ({}, True),
        ({"principal.team": "research"}, True),
        ({"principal.team": "risk"}, False),
        ({"principal.team": ["risk", "research"]}, True),
        ({"request.tokens": {"over": 8000}}, True),
        ({"request.tokens": {"over": 8000, "under": 8500}}, False),
        ({"request.stream": True}, True),
        ({"request.stream": 1}, False),
        ({"request.tools": 0}, False),
        ({"metadata.seats": 0}, True),
        ({"metadata.seats": False}, False),
        ({"metadata.none": "x"}, False),
        ({"metadata.none": {"not": "x"}}, True),
        ({"metadata.none": {"over": 0}}, False),
        ({"metadata.tier": {"over": 0}}, False),
        ({"metadata.tier": {"starts": "go", "ends": "ld", "has": "ol"}}, True),
        ({"metadata.tier": {"not": ["silver", "gold"]}}, False),
        ({"metadata.seats": {"starts": "0"}}, False),
        ({"not": {"principal.team": "risk"}}, True),
        ({"not": {"principal.team": "research", "request.stream": True}}, False),
        ({"any": [{"metadata.tier": "silver"}, {"request.tokens": {"over": 1}}]}, True),
        ({"any": [{"metadata.tier": "silver"}]}, False),
    ],
)
def test_conditions(when: Mapping[str, Any], met: bool) -> None:
    check(when, "when")
    assert holds(when, CALL.get) is met


@pytest.mark.parametrize("first", ["any", "principal.team"])
def test_no_part_hides_its_siblings(first: str) -> None:
    """Portkey-AI/gateway (read): `$or` and `$regex` return early, so that what stands beside them is never looked at."""
    parts: dict[str, Any] = {"any": [{"request.stream": True}], "principal.team": "research", "metadata.tier": "silver"}
    when = {first: parts.pop(first), **parts}
    assert unmet(when, CALL.get) == "metadata.tier"


@pytest.mark.parametrize(
    ("when", "field"),
    [
        ({"principal.shoe": "x"}, "when.principal.shoe"),
        ({"team": "x"}, "when.team"),
        ({"metadata.": "x"}, "when.metadata."),
        ({"request.tokens": {"above": 3}}, "when.request.tokens"),
        ({"request.tokens": {"over": "3"}}, "when.request.tokens"),
        ({"request.tokens": {"over": True}}, "when.request.tokens"),
        ({"metadata.tier": {"starts": 3}}, "when.metadata.tier"),
        ({"metadata.tier": {}}, "when.metadata.tier"),
        ({"metadata.tier": []}, "when.metadata.tier"),
        ({"metadata.tier": None}, "when.metadata.tier"),
        ({"metadata.tier": {"is": {"deep": 1}}}, "when.metadata.tier"),
        ({"any": {}}, "when.any"),
        ({"any": []}, "when.any"),
        ({"any": [{"team": 1}]}, "when.any.team"),
        ({"not": []}, "when.not"),
    ],
)
def test_what_makes_no_sense_is_refused_where_it_stands(when: Mapping[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        check(when, "when")
    assert caught.value.field == field


def test_conditions_are_bounded() -> None:
    deep: dict[str, Any] = {"request.stream": True}
    for _ in range(8):
        deep = {"not": deep}
    with pytest.raises(Invalid, match="nest"):
        check(deep, "when")
    with pytest.raises(Invalid, match="parts"):
        check({"any": [{"request.stream": True}] * 65}, "when")


CONDITION = st.recursive(
    st.dictionaries(st.sampled_from(sorted(CALL)), st.one_of(st.integers(0, 3), st.booleans(), st.just("gold")), max_size=3),
    lambda inner: st.one_of(
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda parts: {"any": parts}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


@given(CONDITION)
def test_not_is_the_opposite_and_any_of_one_is_that_one(when: Mapping[str, Any]) -> None:
    assert holds({"not": when}, CALL.get) is not holds(when, CALL.get)
    assert holds({"any": [when]}, CALL.get) is holds(when, CALL.get)
    assert names({"any": [when, {"not": when}]}) == names(when)
