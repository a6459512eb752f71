"""What the door and a model host say to each other: MessagePack behind a four-byte length, over a socket pair."""

from __future__ import annotations

from typing import Literal

import msgspec

HEAD = 4
"""Bytes of the length, big-endian."""
LARGEST = 256 << 20
"""Bytes in one frame; a longer one means that the stream is out of step."""


Op = Literal["load", "unload", "predict", "explain"]


class Ask(msgspec.Struct, frozen=True, array_like=True):
    """One request of the door."""

    id: int
    op: Op
    ref: str
    """The model, for messages: `model/tumor@1`."""
    members: str
    """The directory that holds the model's members."""
    rows: list[list[float | str]] = []
    """As the signature takes them; NaN where a value is missing."""
    card: str = ""
    """`sha256:…` of the card of a model whose files are executed: that of the registry, not of the directory."""


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """A deliberate error of the host."""

    code: str
    message: str
    hint: str | None = None
    words: str = ""
    """As of `TandemError`."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """The host's answer to the request of the same id."""

    id: int
    outputs: list[list[float]] = []
    """Of the runtime, per row."""
    contributions: list[list[float]] | None = None
    base: list[float] | None = None
    fault: Fault | None = None
    texts: list[list[str]] | None = None
    """Of a recommender, per row: what it was made from, then the items that `outputs` are the scores of."""
    looks: dict[str, list[float | str | None]] | None = None
    """Of images, what each looks like; see `images.Looks`."""


_encode = msgspec.msgpack.Encoder().encode


def frame(message: Ask | Answer) -> bytes:
    """The message with its length in front."""
    body = _encode(message)
    return len(body).to_bytes(HEAD, "big") + body
