"""AWS's binary event stream: cuts bytes into messages and checks their sums. Knows no service's events.

Format: `application/vnd.amazon.eventstream` of the Smithy specification. A message is its length, the length of its headers
and a CRC-32 of both; the headers; the payload; a CRC-32 of all before. botocore's `EventStreamBuffer` is its judge.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct, error
from zlib import crc32

import msgspec

from tandem.core.errors import Upstream

MIB = 1024 * 1024
LARGEST_HEADERS = 128 * 1024
"""Bytes, by the specification."""
_PRELUDE = Struct("!III")
_SUM = Struct("!I")
_LENGTH = Struct("!H")
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Type of a header's value → its bytes; 6 (bytes) and 7 (text) say themselves how many they are."""
_BYTES, _TEXT = 6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message."""

    headers: dict[str, str]
    """Those whose value is text."""
    payload: bytes


class Messages:
    """Collects bytes and gives out whole messages; which ones does not depend on how the bytes were cut into reads."""

    __slots__ = ("_due", "_kept", "_limit")

    def __init__(self, limit: int = 4 * MIB) -> None:
        self._limit = limit
        """Bytes of the largest message."""
        self._kept = bytearray()
        self._due = 0
        """Bytes of the message that has begun; 0 before its prelude is there."""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that `data` completes.

        Raises:
            Upstream: `malformed_stream`, when a sum does not fit, a message is larger than the limit, or it is no message.
        """
        self._kept += data
        made: list[Message] = []
        start = 0
        while True:
            if not self._due:
                if len(self._kept) - start < _PRELUDE.size:
                    break
                self._due = self._begun(start)
            if len(self._kept) - start < self._due:
                break
            made.append(_read(bytes(self._kept[start : start + self._due])))
            start += self._due
            self._due = 0
        if start:
            del self._kept[:start]
        return made

    def _begun(self, start: int) -> int:
        """Length of the message whose prelude stands at `start`."""
        whole, headers, told = _PRELUDE.unpack_from(self._kept, start)
        if crc32(self._kept[start : start + 8]) != told:
            raise _broken("The upstream sent a message whose head does not fit its sum.")
        if whole > self._limit or headers > LARGEST_HEADERS:
            raise _broken(f"The upstream sent an event of more than {self._limit} bytes.")
        if whole < _PRELUDE.size + headers + _SUM.size:
            raise _broken("The upstream sent a message that is shorter than its head says.")
        return int(whole)


class EventStream:
    """What the messages of a stream say: each a JSON object with one member, which is the event's type.

    What is no event comes as `{"exception": {"type": …, "told": …}}`.
    """

    __slots__ = ("_messages",)

    def __init__(self) -> None:
        self._messages = Messages()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that `data` completes.

        Raises:
            Upstream: `malformed_stream`, as `Messages.feed`.
        """
        return [_said(message) for message in self._messages.feed(data)]


def _said(message: Message) -> bytes:
    headers, payload = message.headers, message.payload or b"{}"
    match headers.get(":message-type"):
        case "event":
            return b"{%b:%b}" % (_name(headers.get(":event-type")), payload)
        case "exception":
            return b'{"exception":{"type":%b,"told":%b}}' % (_name(headers.get(":exception-type")), payload)
        case "error":  # of the service's own machinery; it has no payload
            told = msgspec.json.encode({"message": headers.get(":error-message", "")})
            return b'{"exception":{"type":%b,"told":%b}}' % (_name(headers.get(":error-code")), told)
        case _:
            raise _broken("The upstream sent a message of no known type.")


def _name(text: str | None) -> bytes:
    if not text:
        raise _broken("The upstream sent an event without a name.")
    return msgspec.json.encode(text)


def _read(data: bytes) -> Message:
    if crc32(data[: -_SUM.size]) != _SUM.unpack_from(data, len(data) - _SUM.size)[0]:
        raise _broken("The upstream sent a message that does not fit its sum.")
    _, size, _ = _PRELUDE.unpack_from(data)
    border = _PRELUDE.size + size
    try:
        return Message(headers=_headers(data[_PRELUDE.size : border]), payload=data[border : -_SUM.size])
    except (error, IndexError, UnicodeDecodeError):
        raise _broken("The upstream sent a message whose headers cannot be read.") from None


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(data):
        name = _cut(data, at + 1, data[at]).decode()
        at += 1 + data[at]
        kind = data[at]
        at += 1
        if kind in (_BYTES, _TEXT):
            (size,) = _LENGTH.unpack_from(data, at)
            value = _cut(data, at + _LENGTH.size, size)
            at += _LENGTH.size + size
            if kind == _TEXT:
                found[name] = value.decode()
        elif kind in _SIZES:
            _cut(data, at, _SIZES[kind])
            at += _SIZES[kind]
        else:
            raise IndexError(kind)
    return found


def _cut(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise IndexError(at)
    return data[at : at + size]


def _broken(message: str) -> Upstream:
    return Upstream(message, hint="Look at what it sends, and at what stands between.", code="malformed_stream")
