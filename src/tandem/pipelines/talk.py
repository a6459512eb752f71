"""What a pipeline's process and the platform say to each other: the child asks, the platform answers. It sends nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

SOURCE, RESULTS = "source.py", "results"
"""In a Run's folder: the user's file, and the folder of what the step that is being done returns."""


class Parts(msgspec.Struct, frozen=True):
    """What a step's result depends on; their digest is the key it is kept under."""

    code: str
    inputs: Mapping[str, str]
    """Parameter → digest."""
    environment: str


class Order(msgspec.Struct, frozen=True, tag=True):
    """The first word, of the platform's: what to do. It holds no key and no secret."""

    folder: str
    """The Run's own, where the source lies."""
    entry: str
    run: str
    given: Mapping[str, object]
    """Parameter → value."""
    because: tuple[str, ...]
    url: str
    """Of the platform."""
    lake: str
    memory_bytes: int = 0


class Begin(msgspec.Struct, frozen=True, tag=True):
    """A step is called."""

    position: int
    """Steps called before it in this Run."""
    name: str
    parts: Parts
    after: tuple[int, ...] = ()
    """Positions of the steps whose results it is given."""
    cache: bool = True
    retries: int = 0
    timeout: float | None = None


class Known(msgspec.Struct, frozen=True, tag=True):
    """The answer: here is its result."""

    value: bytes
    """JSON."""
    folder: str = ""
    """Where the result's files lie; empty without any."""


class Go(msgspec.Struct, frozen=True, tag=True):
    """The answer: do it."""


class Done(msgspec.Struct, frozen=True, tag=True):
    """A step has returned."""

    position: int
    value: bytes
    """JSON."""
    files: tuple[str, ...] = ()
    """Names, in the folder of results."""


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A step has raised. The answer is `Go` for once more, or `Stop`."""

    position: int
    words: str


class Stop(msgspec.Struct, frozen=True, tag=True):
    """The answer: it is enough."""


class Lend(msgspec.Struct, frozen=True, tag=True):
    """A key is wanted."""


class Lent(msgspec.Struct, frozen=True, tag=True):
    """A key that is good for a minute."""

    key: str


class Read(msgspec.Struct, frozen=True, tag=True):
    """Where the rows of a dataset lie is wanted."""

    ref: str


class Lies(msgspec.Struct, frozen=True, tag=True):
    """In which table of the lake, and at which version of it."""

    table: str
    version: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The answer to what cannot be done."""

    message: str


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The last word: the pipeline has returned, or raised."""

    value: bytes = b"null"
    """What it returned, where that is JSON."""
    words: str = ""
    """What it raised; empty: nothing."""


Asked = Begin | Done | Failed | Lend | Read | Ended
Answer = Known | Go | Stop | Lent | Lies | Refused


def mark(position: int) -> bytes:
    """What stands in a child's output where the step of this position ended."""
    return b"\x1etandem-step-%d\x1e\n" % position
