"""AWS's binary event stream, written: messages with their sums. It reads none, and knows no service.

Format: `application/vnd.amazon.eventstream` of the Smithy specification, as botocore 1.44 decodes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import pack
from zlib import crc32

MEDIA = "application/vnd.amazon.eventstream"
_TEXT = 7
"""Type of a header whose value is text."""


def message(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message.

    >>> message({}, b"").hex()
    '000000100000000005c248eb7d98c8ff'
    """
    rows = b"".join([_header(name.encode(), value.encode()) for name, value in headers.items()])
    start = pack("!II", 16 + len(rows) + len(payload), len(rows))
    body = start + pack("!I", crc32(start)) + rows + payload
    return body + pack("!I", crc32(body))


def event(kind: str, payload: bytes) -> bytes:
    """A message that tells of an event."""
    return message({":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """A message that tells of an error of the service's."""
    return message({":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload)


def _header(name: bytes, value: bytes) -> bytes:
    return pack("!B", len(name)) + name + pack("!BH", _TEXT, len(value)) + value
