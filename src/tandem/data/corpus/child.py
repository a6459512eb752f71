"""Reads documents in a process of its own, with bounds on memory and time: a bomb ends the child, not the platform.

`python -m tandem.data.corpus.child FOLDER` takes `order.json` and the upload in FOLDER, writes one file per document
that is new or changed (`1.doc`, `2.doc`, …) and prints lines of JSON: progress, then the end or the fault.
"""

from __future__ import annotations

import hashlib
import os
import resource
import selectors
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tandem.core.errors import Broken, Conflict, Invalid, TandemError, TimedOut
from tandem.data.corpus import hashed
from tandem.data.corpus.chunk import cut
from tandem.data.corpus.read import read
from tandem.store.search import Chunk

MEMORY = 2 * 1024**3
"""Bytes of address space of the child."""
SECONDS = 900.0
FILE_SECONDS = 120
"""The longest that one document may take."""
FILE_BYTES = 256 * 1024**2
FILES = 20_000
POLL = 0.1
TAIL = 500
_KINDS: dict[str, type[TandemError]] = {kind.code: kind for kind in (Invalid, Broken, Conflict)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be read."""

    upload: str
    """The file's name in the folder: a tar, or one document."""
    name: str | None = None
    """The document's name; None: the upload is a tar, whose members name themselves."""
    known: Mapping[str, str] = field(default_factory=dict)
    """Document → digest of the content that need not be read again."""
    vectors: bool = True
    """Whether `hashed-v1` vectors are made here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One document of the upload."""

    name: str
    digest: str
    file: str | None
    """Where its content lies; None: it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What one document holds, as the child leaves it in a file."""

    title: str
    chunks: tuple[Chunk, ...]
    vectors: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing the child says."""

    progress: float = 0.0
    stage: str = ""
    found: tuple[Found, ...] | None = None
    """At the end."""
    code: str | None = None
    message: str = ""
    words: str = ""
    hint: str | None = None
    where: str | None = None


Read = Callable[[Path, Order, Callable[[float, str], None], Callable[[], bool]], tuple[Found, ...]]
"""(folder, order, progress, cancelled) → the documents of the upload."""


def read_apart(
    folder: Path, order: Order, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> tuple[Found, ...]:
    """Has a child process read an upload; the contents lie in `folder`.

    Raises:
        Invalid: a document is broken or goes beyond a bound; the message names it.
        TimedOut: it took too long.
        Conflict: it was cancelled (code `cancelled`).
        Broken: the child died.
    """
    (folder / "order.json").write_bytes(msgspec.json.encode(order))
    child = subprocess.Popen(
        [sys.executable, "-m", "tandem.data.corpus.child", str(folder)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return _follow(child, progress, cancelled)
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        for stream in (child.stdout, child.stderr):
            assert stream is not None
            stream.close()


def _follow(
    child: subprocess.Popen[bytes], progress: Callable[[float, str], None], cancelled: Callable[[], bool]
) -> tuple[Found, ...]:
    """Passes progress on until the child says how it ended."""
    until = time.monotonic() + SECONDS
    last, stage = b"", "starting"
    for line in _lines(child, until, cancelled):
        said = msgspec.json.decode(line, type=Line)
        if said.found is not None:
            return said.found
        if said.code is not None:
            raise _KINDS.get(said.code, Broken)(said.message, words=said.words, hint=said.hint, field=said.where)
        stage = said.stage
        progress(said.progress, said.stage)
    code = child.wait()
    assert child.stderr is not None
    last = child.stderr.read()[-TAIL:]
    if code < 0:
        raise Invalid(
            f"The process that read the documents was ended by signal {-code} while {stage}.",
            hint="That document takes too much memory or time: split it or leave it out.",
        )
    raise Broken(f"The process that read the documents ended with code {code} while {stage}: {last.decode(errors='replace')}")


def _lines(child: subprocess.Popen[bytes], until: float, cancelled: Callable[[], bool]) -> Iterator[bytes]:
    """The child's lines as they come, looking at the clock and at `cancelled` in between."""
    assert child.stdout is not None
    held = b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            if cancelled():
                raise Conflict("The reading of the documents was cancelled.", code="cancelled")
            if time.monotonic() > until:
                raise TimedOut(f"The documents were not read within {SECONDS:g} s.", hint="Add them in smaller parts.")
            if not selector.select(POLL):
                continue
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                return
            *whole, held = (held + data).split(b"\n")
            yield from whole


def carry_out(folder: Path, say: Callable[[Line], None]) -> tuple[Found, ...]:
    """Reads the upload in this process.

    Raises:
        Invalid: see `read_apart`.
    """
    order = msgspec.json.decode((folder / "order.json").read_bytes(), type=Order)
    found: list[Found] = []
    names: set[str] = set()
    for share, name, data in _documents(folder, order):
        check_document(name)
        if name in names:
            raise Invalid(f"'{name}' is in the upload twice.", hint="Give every document a name of its own.", field=name)
        names.add(name)
        if len(names) > FILES:
            raise Invalid(f"The upload holds more than {FILES:,} documents.", hint="Add them in smaller parts.")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        say(Line(progress=share, stage=f"reading {name}"))
        file = None
        if order.known.get(name) != digest:
            file = f"{len(found) + 1}.doc"
            signal.alarm(FILE_SECONDS)  # its default action ends this process, whatever a library is doing
            (folder / file).write_bytes(msgspec.msgpack.encode(_content(name, data, vectors=order.vectors)))
            signal.alarm(0)
        found.append(Found(name=name, digest=digest, file=file))
    if not found:
        raise Invalid("The upload holds no document.", hint="Send .md, .txt, .html or .pdf files.")
    return tuple(found)


def _content(name: str, data: bytes, *, vectors: bool) -> Content:
    text = read(name, data)
    chunks = cut(text)
    made = b"".join(hashed.embed(f"{chunk.heading}\n{chunk.text}") for chunk in chunks) if vectors else b""
    return Content(title=text.title[:200], chunks=chunks, vectors=made)


def _documents(folder: Path, order: Order) -> Iterator[tuple[float, str, bytes]]:
    """(share of the upload before it, name, bytes) of every document."""
    path = folder / order.upload
    if order.name is not None:
        yield 0.0, order.name, path.read_bytes()
        return
    size = max(1, path.stat().st_size)
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isdir():
                    continue
                if not member.isreg():
                    raise Invalid(f"'{member.name}' in the upload is no plain file.", hint="Links are not followed.")
                if member.size > FILE_BYTES:
                    raise Invalid(
                        f"'{member.name}' is larger than {FILE_BYTES // 1024**2} MiB.", hint="Split it.", field=member.name
                    )
                source = archive.extractfile(member)
                assert source is not None
                yield member.offset / size, member.name, source.read()
    except tarfile.TarError:
        raise Invalid("The upload is no whole tar archive.", hint="Send an uncompressed tar, or one document.") from None


def check_document(name: str) -> str:
    """The name itself if it can name a document: a relative path without `..`.

    Raises:
        Invalid: it cannot.
    """
    parts = name.split("/")
    if not name.isprintable() or len(name.encode(errors="replace")) > 500 or any(part in ("", ".", "..") for part in parts):
        raise Invalid("A document's name is no plain relative path.", words=f"It is {name[:100]!r}.", hint="Such as hr/leave.md.")
    return name


def main() -> int:
    stage = ""

    def say(line: Line) -> None:
        nonlocal stage
        stage = line.stage
        sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
        sys.stdout.buffer.flush()

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        say(Line(found=carry_out(Path(sys.argv[1]), say)))
    except TandemError as error:
        say(Line(code=error.code, message=error.message, words=error.words, hint=error.hint, where=error.field))
    except (MemoryError, RecursionError) as error:
        said = f"There was too little room for {stage} ({type(error).__name__})."
        say(Line(code=Invalid.code, message=said, hint="Split that document or leave it out."))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
