"""What a door writes down about a call, and how it looks on disk.

Three records share one append-only file per door worker: `Begun` before any byte goes upstream,
`Ended` when an attempt is over, `Closed` when the caller has its answer. A frame is four bytes of
length, four bytes of CRC-32 (both little endian) and a MessagePack array. A torn last frame is what
a crash leaves; it is the end of the file, not an error.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

from tandem.core.trace import Attempt, Trace

FRAME = struct.Struct("<II")
LIMIT = 64 * 1024 * 1024
"""Bytes of one frame; a longer length can only be damage."""


class Hold(msgspec.Struct, array_like=True, frozen=True):
    """A piece of a lease that one attempt holds."""

    lease: str
    scope: str
    window: str
    """The meter: of dollars the window alone, such as `day`; else with its unit, such as `requests/minute`."""
    amount: int
    """Reserved: nano-dollars, tokens or calls."""


class Begun(msgspec.Struct, array_like=True, frozen=True, tag="b"):
    """Written before the first byte goes upstream."""

    call: str
    attempt: int
    trace: str
    parent: str | None
    at: int
    target: str
    endpoint: str
    kind: str
    team: str
    principal: str
    scopes: tuple[str, ...]
    """Every scope the spend is reported under, budget or not."""
    reserved: int | None
    """Upper bound of the cost in nano-dollars; None when no price is known."""
    holds: tuple[Hold, ...]


class Ended(msgspec.Struct, array_like=True, frozen=True, tag="e"):
    """Written when an attempt is over, before the caller sees its last byte."""

    trace: str
    attempt: Attempt
    holds: tuple[Hold, ...]
    scopes: tuple[str, ...]


class Closed(msgspec.Struct, array_like=True, frozen=True, tag="c"):
    """The whole call, with its content sealed under the segment's key (empty when not recorded)."""

    trace: Trace
    content: bytes
    holds: tuple[Hold, ...] = ()
    """What a call without attempts used of limits: one whose answer was kept from before."""
    scopes: tuple[str, ...] = ()
    """Its scopes, where such a call is to be counted."""


Record = Begun | Ended | Closed

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def frame(record: Record) -> bytes:
    """One record as it stands in the journal."""
    body = _encoder.encode(record)
    return FRAME.pack(len(body), zlib.crc32(body)) + body


def frames(data: bytes) -> Iterator[tuple[Record, int]]:
    """Records of a piece of journal, each with the offset behind it; stops at a torn or damaged frame."""
    offset, size = 0, len(data)
    while size - offset >= FRAME.size:
        length, crc = FRAME.unpack_from(data, offset)
        start = offset + FRAME.size
        end = start + length
        if length == 0 or length > LIMIT or end > size:
            return
        body = data[start:end]
        if zlib.crc32(body) != crc:
            return
        yield _decoder.decode(body), end
        offset = end
