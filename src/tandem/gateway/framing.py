"""How a stream is cut into what its frames say, by the type of its content. Knows no protocol."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from tandem.gateway.eventstream import EventStream
from tandem.gateway.sse import Events


class Framing(Protocol):
    """One stream, cut."""

    def feed(self, read: bytes, /) -> list[bytes]:
        """The payloads that these bytes complete; which ones does not depend on how the stream was cut into reads.

        Raises:
            Upstream: `malformed_stream`.
        """
        ...


SSE = "text/event-stream"
FRAMINGS: dict[str, Callable[[], Framing]] = {SSE: Events, "application/vnd.amazon.eventstream": EventStream}
"""Type of the content → what cuts it."""


def media(header: str | None) -> str:
    """The type of a content, without its parameters.

    >>> media("text/event-stream; charset=utf-8") in FRAMINGS, media(None) in FRAMINGS
    (True, False)
    """
    return (header or "").partition(";")[0].strip().lower()
