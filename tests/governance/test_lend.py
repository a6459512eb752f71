"""Keys that the platform lends itself: known to this home, for a minute, and only as they were made."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.principal import Principal
from tandem.governance.lend import PREFIX, lend, lent

SECRET = b"s" * 32
ANN = Principal(id="run_1", name="ann", team="risk", scopes=("any-version",))
NOW = 1_800_000_000_000_000


def test_a_lent_key_names_its_principal_for_a_minute() -> None:
    token = lend(SECRET, ANN, NOW)
    assert token.isascii()
    assert lent(SECRET, token, NOW) == ANN
    assert lent(SECRET, token, NOW + 59_999_999) == ANN
    assert lent(SECRET, token, NOW + 60_000_000) is None


def test_another_home_does_not_know_it() -> None:
    assert lent(b"t" * 32, lend(SECRET, ANN, NOW), NOW) is None


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(place: int, change: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(lend(SECRET, ANN, NOW)[len(PREFIX) :] + "=="))
    raw[place % len(raw)] ^= change
    assert lent(SECRET, PREFIX + base64.urlsafe_b64encode(raw).decode().rstrip("="), NOW) is None


@pytest.mark.parametrize("token", ["", PREFIX, PREFIX + "x", PREFIX + "é", "tdm_abc", PREFIX + "A" * 200])
def test_what_is_no_lent_key_names_nobody(token: str) -> None:
    assert lent(SECRET, token, NOW) is None
