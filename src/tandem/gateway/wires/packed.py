"""Bodies in gzip and deflate (RFC 9110 8.4.1), both ways: opened up to a bound, packed where that is asked for and worth it."""

from __future__ import annotations

import asyncio
import re
import zlib

from tandem.core.errors import Invalid

LARGEST = 32 << 20
"""Bytes of a body, opened."""
WORTH = 4096
"""Bytes; shorter answers are sent as they are."""
_LEVEL = 1
_BOXES = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""Encoding → how zlib is told of it."""
_REFUSED = re.compile(r";\s*q\s*=\s*0(\.0*)?\s*$")


async def opened(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was encoded; away from the loop, for a small body may become a large one.

    Raises:
        Invalid: an encoding that is not known (415), a body that is damaged or ends early, or one that is too large (413).
    """
    box = _BOXES.get(encoding.strip().lower())
    if encoding.strip().lower() in ("", "identity"):
        return body
    if box is None:
        raise Invalid(
            "The body has an encoding that is not opened here.",
            status=415,
            code="encoded_body",
            field="content-encoding",
            hint="Use gzip or deflate, or send it as it is.",
        )
    return await asyncio.to_thread(_open, body, box)


def _open(body: bytes, box: int) -> bytes:
    reader = zlib.decompressobj(box)
    try:
        found = reader.decompress(body, LARGEST + 1)
    except zlib.error as error:
        raise _damaged(str(error)) from None
    if len(found) > LARGEST:
        raise Invalid("The body is too large.", status=413, code="body_too_large", field="body", hint="Split the batch.")
    if not reader.eof or reader.unused_data:
        raise _damaged("It has another length than it says.")
    return found


def _damaged(words: str) -> Invalid:
    return Invalid("The encoded body cannot be opened.", words=words, field="body", hint="Encode it anew.")


def asked(header: str) -> str | None:
    """The encoding of ours that an `Accept-Encoding` names first."""
    for part in header.lower().split(","):
        name = part.partition(";")[0].strip()
        if name in ("gzip", "deflate") and not _REFUSED.search(part):
            return name
    return None


async def packed(body: bytes, header: str | None) -> tuple[bytes, str | None]:
    """An answer as the caller takes it, and the encoding it has now."""
    name = None if header is None or len(body) < WORTH else asked(header)
    if name is None:
        return body, None
    return await asyncio.to_thread(_pack, body, _BOXES[name]), name


def _pack(body: bytes, box: int) -> bytes:
    writer = zlib.compressobj(_LEVEL, zlib.DEFLATED, box)
    return writer.compress(body) + writer.flush()
