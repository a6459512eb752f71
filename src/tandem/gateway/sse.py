"""Server-sent events over bytes: cuts a stream into frames without changing a byte. Knows no provider's events.

Method: the event stream format of the HTML standard, 9.2.5 and 9.2.6. Lines end with LF, CRLF or CR; an empty line ends a frame.
"""

from __future__ import annotations

import re

from tandem.core.errors import Upstream

MIB = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_END = re.compile(rb"\n(?:\n|\r\n|\r(?=[^\n]))|\r\r")
"""The end of a line and then of an empty one. LF CR counts only once it is known that no LF follows."""
_TAIL = 3
"""Bytes at the end of a read in which a terminator may have begun."""
_LINE = re.compile(rb"\r\n|\n|\r")


class Frames:
    """Collects bytes and gives out whole frames, each with its terminator.

    The frames, with `rest` behind them, are the bytes that went in; which frames come out does not depend on how the
    bytes were cut into reads. An empty line too many stands at the head of the next frame.

    >>> frames = Frames()
    >>> frames.feed(b"data: 1\\n\\ndata:"), frames.rest()
    ([b'data: 1\\n\\n'], b'data:')
    """

    __slots__ = ("_limit", "_pieces", "_size", "_tail")

    def __init__(self, limit: int = 4 * MIB) -> None:
        self._limit = limit
        """Bytes of the largest frame."""
        self._pieces: list[bytes] = []
        """Of the frame that is not complete; joined once, so that a large frame in small reads costs linear time."""
        self._size = 0
        self._tail = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes.

        Raises:
            Upstream: `malformed_stream`, when one frame is larger than the limit.
        """
        start = 0
        if self._pieces:
            if _END.search(self._tail + data) is None:
                self._keep(data)
                return []
            start = max(0, self._size - _TAIL)
            self._pieces.append(data)
            data = b"".join(self._pieces)
            self._pieces, self._size = [], 0
        if b"\r" in data:
            frames, rest = _cut(data, start)
        else:
            parts = data.split(b"\n\n")
            rest = parts.pop()
            frames = [part + b"\n\n" for part in parts]
        if len(data) > self._limit and any(len(frame) > self._limit for frame in frames):
            self._overflow()
        self._tail = b""
        if rest:
            self._keep(rest)
        return frames

    def rest(self) -> bytes:
        """What has arrived of a frame that is not complete."""
        return b"".join(self._pieces)

    def _keep(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._tail = (self._tail + data)[-_TAIL:]
        if self._size > self._limit:
            self._overflow()

    def _overflow(self) -> None:
        raise Upstream(
            f"The upstream sent an event of more than {self._limit} bytes.",
            hint="Look at what it sends; a stream without empty lines is not a stream of events.",
            code="malformed_stream",
        )


class Events:
    """What the frames of a stream say, those without data left out.

    >>> Events().feed(b": hello\\n\\ndata: 1\\n\\ndata: 2\\n\\nda")
    [b'1', b'2']
    """

    __slots__ = ("_frames",)

    def __init__(self) -> None:
        self._frames = Frames()

    def feed(self, read: bytes, /) -> list[bytes]:
        """The payloads that these bytes complete.

        Raises:
            Upstream: `malformed_stream`, as `Frames.feed`.
        """
        return [said for frame in self._frames.feed(read) if (said := data(frame)) is not None]


def data(frame: bytes) -> bytes | None:
    """The payload of a frame: its `data` lines joined by LF, or None if it has none.

    >>> data(b"event: x\\r\\ndata: 1\\r\\ndata:2\\r\\n\\r\\n")
    b'1\\n2'
    """
    if frame.startswith(b"data: ") and frame.find(b"\n") == len(frame) - 2 and b"\r" not in frame:
        return frame[6:-2]
    values = []
    for line in _LINE.split(frame.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
    return b"\n".join(values) if values else None


def _cut(data: bytes, start: int) -> tuple[list[bytes], bytes]:
    """Frames and rest of bytes in which no terminator begins before `start`."""
    frames = []
    begin = 0
    while (end := _END.search(data, start)) is not None:
        frames.append(data[begin : end.end()])
        begin = start = end.end()
    return frames, data[begin:]
