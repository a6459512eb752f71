"""Frames of an event stream: byte-exact over every chunking, whatever ends the lines."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.core.errors import Upstream
from tandem.gateway.sse import Frames, data

STREAMS = [
    b"data: 1\n\ndata: 2\n\n",
    b"data: 1\r\n\r\ndata: 2\r\n\r\n",
    b"data: 1\r\rdata: 2\r\r",
    b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\n\r\n",
    b"\xef\xbb\xbfdata: 1\n\n: comment\n\nevent: x\ndata: 2\n\n",
    b"\n\n\ndata: 1\n\n\n\ndata: 2\n\nrest",
    b"data: 1\n\rdata: 2\n\r\ndata: 3\n\rX",
    b"data: no end",
    b"\r\r\n\r\n\n\r",
]
parts = [b"data: x", b"data:", b": c", b"id: 1", b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"z"]
soup = st.lists(st.sampled_from(parts)).map(b"".join)


def fed(pieces: list[bytes], limit: int = 1_000_000) -> tuple[list[bytes], bytes]:
    frames = Frames(limit=limit)
    out = [frame for piece in pieces for frame in frames.feed(piece)]
    return out, frames.rest()


def cuts(stream: bytes, places: set[int]) -> list[bytes]:
    edges = [0, *sorted(place for place in places if place < len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("stream", STREAMS)
def test_every_pair_of_cuts_gives_the_same_frames(stream: bytes) -> None:
    whole, rest = fed([stream])
    assert b"".join(whole) + rest == stream
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            assert fed([stream[:first], stream[first:second], stream[second:]]) == (whole, rest)


@given(soup, st.sets(st.integers(0, 60)))
def test_any_chunking_gives_the_same_frames(stream: bytes, places: set[int]) -> None:
    whole, rest = fed([stream])
    assert b"".join(whole) + rest == stream
    assert fed(cuts(stream, places)) == (whole, rest)
    assert fed([stream[i : i + 1] for i in range(len(stream))]) == (whole, rest)


@given(soup)
def test_payloads_are_those_of_the_standard(stream: bytes) -> None:
    frames, _ = fed([stream])
    expected = dispatched(b"".join(frames))
    assert [payload for payload in map(data, frames) if payload is not None] == expected
    assert dispatched(stream)[: len(expected)] == expected


def dispatched(stream: bytes) -> list[bytes]:
    """The data buffers of HTML 9.2.6, read line by line; slow and obvious."""
    out: list[bytes] = []
    values: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", stream):
        if not line:
            if values:
                out.append(b"\n".join(values))
            values = []
        elif line.partition(b":")[0] == b"data":
            values.append(line.partition(b":")[2].removeprefix(b" "))
    return out


def test_common_frames() -> None:
    frames, rest = fed([b'data: {"a":1}\n\ndata: [DONE]\n\nda'])
    assert frames == [b'data: {"a":1}\n\n', b"data: [DONE]\n\n"]
    assert rest == b"da"
    assert [data(frame) for frame in frames] == [b'{"a":1}', b"[DONE]"]


@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        (b"data: 1\n\n", b"1"),
        (b"data:1\n\n", b"1"),
        (b"data:  1\n\n", b" 1"),
        (b"data\n\n", b""),
        (b"data: \n\n", b""),
        (b"data: 1\ndata: 2\n\n", b"1\n2"),
        (b"event: message_start\ndata: {}\n\n", b"{}"),
        (b"\xef\xbb\xbfdata: 1\r\n\r\n", b"1"),
        (b"data: 1\r\r", b"1"),
        (b"data: 1\rid: 2\n\n", b"1"),
        (b"\n\ndata: 1\n\n", b"1"),
        (b": ping\n\n", None),
        (b"database: 1\n\n", None),
        (b"\n\n", None),
    ],
)
def test_payload(frame: bytes, payload: bytes | None) -> None:
    assert data(frame) == payload


def test_a_frame_that_ends_with_two_cr_is_not_held_back() -> None:
    assert fed([b"data: 1\r\r"]) == ([b"data: 1\r\r"], b"")


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_a_frame_over_the_limit_is_refused_however_it_comes(size: int) -> None:
    stream = b"data: 1\n\ndata: " + b"x" * 200 + b"\n\n"
    with pytest.raises(Upstream) as caught:
        fed([stream[at : at + size] for at in range(0, len(stream), size)], limit=100)
    assert caught.value.code == "malformed_stream"


def test_many_small_frames_may_pass_the_limit_together() -> None:
    assert len(Frames(limit=20).feed(b"data: 1\n\n" * 50)) == 50
