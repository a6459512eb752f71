"""Amounts of money as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.core.money import LARGEST, dollars, nano


@given(st.integers(0, LARGEST))
def test_what_is_written_is_read_again(amount: int) -> None:
    assert nano(dollars(amount)) == amount


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "-0.000000001", "0.0000000001", "NaN", "sNaN", "Infinity", "1e10", "1e400", "1e999999", "1e9999999999999"],
)
def test_what_no_ledger_can_hold_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        nano(text)


@given(st.text(max_size=20))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    try:
        assert 0 <= nano(text) <= LARGEST
    except Invalid:
        pass
