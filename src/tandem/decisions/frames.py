"""How the door and a worker talk: four bytes of length, then one MessagePack message.

A worker is told `Decide`; it answers with any number of `Ask` and `Prompt`, each answered by `Told`, and `Together`,
answered by `AllTold`; and at last with `Done`.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

LENGTH = struct.Struct("<I")
LIMIT = 64 * 1024 * 1024
TOGETHER = 64
"""Calls that a decision may have under way at the same time."""


class Fault(msgspec.Struct, frozen=True):
    """An error on its way between processes."""

    code: str
    message: str
    hint: str | None = None
    field: str | None = None
    status: int = 500
    words: str = ""
    """What goes to the caller alone: what the user's code said, or what an input was."""


class Decide(msgspec.Struct, frozen=True, tag="decide"):
    """Run the decision in `folder` on `input` (JSON)."""

    folder: str
    entry: str
    input: bytes


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A call the decision makes: chat or predict."""

    kind: str
    address: str
    body: bytes
    attributes: dict[str, Any]


class Prompt(msgspec.Struct, frozen=True, tag="prompt"):
    """The decision wants a prompt to render."""

    ref: str


class Together(msgspec.Struct, frozen=True, tag="together"):
    """Calls the decision makes at the same time."""

    asks: list[Ask]


class Told(msgspec.Struct, frozen=True, tag="told"):
    """The answer to an Ask or a Prompt."""

    body: bytes = b""
    ref: str = ""
    fault: Fault | None = None


class AllTold(msgspec.Struct, frozen=True, tag="all-told"):
    """The answers to calls made together, in their order."""

    told: list[Told]


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The decision's answer (JSON), or why there is none."""

    body: bytes = b""
    review: list[str] = []
    fault: Fault | None = None


Message = Decide | Ask | Together | Prompt | Told | AllTold | Done
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Message:
    return _decoder.decode(body)
