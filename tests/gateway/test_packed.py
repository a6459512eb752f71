from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Invalid
from tandem.gateway.wires import packed

BODY = b'{"inputs": []}' * 1000


@pytest.mark.parametrize("encoding", ["gzip", "GZIP ", "x-gzip", "deflate"])
async def test_what_a_client_packs_is_opened(encoding: str) -> None:
    sent = zlib.compress(BODY) if encoding == "deflate" else gzip.compress(BODY)
    assert await packed.opened(sent, encoding) == BODY


@pytest.mark.parametrize("encoding", ["", "identity"])
async def test_what_is_not_packed_stays(encoding: str) -> None:
    assert await packed.opened(BODY, encoding) == BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip;q=1"])
async def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(Invalid) as caught:
        await packed.opened(BODY, encoding)
    assert caught.value.status == 415


async def test_a_bomb_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        await packed.opened(gzip.compress(bytes(packed.LARGEST + 1), 9), "gzip")
    assert caught.value.status == 413


async def test_damage_is_refused() -> None:
    whole = gzip.compress(BODY)
    for sent in (whole[:-1], whole + b"x", whole + whole, b"", b"none", whole[:20]):
        with pytest.raises(Invalid, match="cannot be opened"):
            await packed.opened(sent, "gzip")


@given(st.binary(max_size=100))
def test_whatever_comes_is_opened_or_refused(body: bytes) -> None:
    try:
        packed._open(body, zlib.MAX_WBITS)
    except Invalid:
        return


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("gzip", "gzip"),
        ("br, deflate, gzip", "deflate"),
        ("gzip;q=0, deflate;q=0.5", "deflate"),
        ("gzip;q=0.0", None),
        ("gzip;q=0.01", "gzip"),
        ("identity", None),
        ("*", None),
        ("", None),
    ],
)
def test_what_a_caller_takes(header: str, name: str | None) -> None:
    assert packed.asked(header) == name


async def test_answers_are_packed_where_that_is_asked_for_and_worth_it() -> None:
    assert await packed.packed(BODY, None) == (BODY, None)
    assert await packed.packed(b"short", "gzip") == (b"short", None)
    for name in ("gzip", "deflate"):
        sent, encoding = await packed.packed(BODY, name)
        assert encoding == name
        assert len(sent) < len(BODY)
        assert await packed.opened(sent, name) == BODY
