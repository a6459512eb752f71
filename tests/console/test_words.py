"""How values are written for people."""

from __future__ import annotations

import doctest
import json
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.console import desk, scale, waterfall, words
from tandem.observability import dialogue


@pytest.mark.parametrize("module", [words, waterfall, scale, dialogue, desk])
def test_the_examples_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "0 µs"),
        (99, "99 µs"),
        (100, "0.10 ms"),
        (999_499, "999 ms"),
        (999_999, "1.00 s"),
        (59_990_000, "60.0 s"),
        (3_700_000_000, "1 h 1 min"),
    ],
)
def test_durations_keep_their_unit_at_the_edges(micros: int, text: str) -> None:
    assert words.lasted(micros) == text


@given(st.integers(-(2**63), 2**63))
def test_no_time_is_too_odd_to_be_written(micros: int) -> None:
    assert words.utc(micros)
    assert words.ago(micros, 0)
    assert words.moment(micros).endswith("Z") or words.moment(micros) == ""


@given(st.integers(-(10**18), 10**18))
def test_money_is_exact(amount: int) -> None:
    text = words.money(amount)
    assert round(float(text.replace("$", "")) * 1e9) == pytest.approx(amount, rel=1e-12)


def test_what_has_no_price_is_unknown_and_not_free() -> None:
    assert words.money(None) == "unknown"
    assert words.money(0) == "$0"


@given(st.floats(0, 1e12), st.floats(0, 1e12))
def test_a_share_lies_between_nothing_and_all(part: float, whole: float) -> None:
    assert 0 <= words.percent(part, whole) <= 100


def test_a_sliver_is_not_shown_as_nothing() -> None:
    assert words.shown(words.percent(32_400, 1_000_000_000)) == "under 0.1%"


plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


@given(plain_json)
def test_laid_out_json_says_the_same(value: object) -> None:
    text = json.dumps(value)
    assert json.loads(words.laid_out(text.encode())) == json.loads(text)
