"""Files of lines, each line sealed under the key of whoever it is about. It knows no batch but those that read.

A line is about the end user that its request names, else about the principal that sent it. Erasing that subject
makes the line unreadable here and in every backup, as it does with what calls leave behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tandem.batches.lines import Splitter, subject_of
from tandem.batches.repo import BatchRows, File, FileRows, Page
from tandem.batches.sealed import Appender, Piece, pieces, sync
from tandem.core.clock import MICROS, Clock
from tandem.core.errors import Conflict, Invalid
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.governance.authorise import authorise, scope_of

FILE_BYTES = 200 * 1024 * 1024
MOST = 10_000
"""Files of one team."""
KEPT_SECONDS = 30 * 86_400
"""How long a file is kept where nothing else was said."""
SHORTEST_SECONDS, LONGEST_SECONDS = 3600, 30 * 86_400
TOGETHER, TOGETHER_BYTES = 256, 1024 * 1024
"""Lines, and bytes of them, after which they are sealed and written at once."""
UPKEEP_SECONDS = 3600.0
LEFT_SECONDS = 3600.0
"""A file that no row knows may belong to an upload of this moment; an older one does not."""
GONE = b"-"
"""Stands for a line whose subject was erased while it was under way."""
NAME_CHARACTERS = 255


class Subjects(Protocol):
    """The part of `observability.content.Subjects` that is needed here."""

    def seal(self, name: str, content: bytes, now: int, *, begun: int | None = None) -> bytes: ...
    def seal_all(self, contents: Sequence[tuple[str, bytes]], now: int) -> tuple[bytes, ...]: ...
    def unseal(self, piece: bytes) -> bytes | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The files under one folder."""

    folder: Path
    rows: FileRows
    batches: BatchRows
    subjects: Subjects
    clock: Clock

    def receive(self, by: Principal) -> Upload:
        """A file that is about to come.

        Raises:
            Forbidden: `by` may not call, and files are for calls.
            Conflict: the team has too many files.
        """
        authorise(by, "call")
        if self.rows.count(by.team) >= MOST:
            raise Conflict(f"The team {by.team} has {MOST} files already.", hint="Delete some: DELETE /v1/files/ID.")
        return Upload(self, by)

    def find(self, identifier: str, by: Principal) -> File:
        """One file.

        Raises:
            NotFound: there is none for `by`, or it has expired.
        """
        authorise(by, "read")
        return self.rows.find(identifier, scope_of(by), self.clock.now())

    def list(self, page: Page, by: Principal, purpose: str | None = None) -> tuple[File, ...]:
        """Files, and one more than the page holds if there are more."""
        authorise(by, "read")
        return self.rows.list(scope_of(by), page, self.clock.now(), purpose)

    def lines(self, identifier: str) -> Iterator[tuple[int, bytes | None]]:
        """Number and text of every line; None for one that nobody can read any more."""
        for piece in pieces(self.path(identifier)):
            yield piece.number, self.read(piece)

    def read(self, piece: Piece) -> bytes | None:
        """One line's text; None where its subject was erased."""
        return self.subjects.unseal(piece.sealed)

    def seal(self, number: int, line: bytes, subject: str, begun: int | None = None) -> Piece:
        """A line as it is kept.

        Raises:
            Unavailable: the disk is full.
        """
        sealed = self.subjects.seal(subject, line, self.clock.now(), begun=begun)
        return Piece(number=number, length=len(line), sealed=sealed or GONE)

    def delete(self, identifier: str, by: Principal) -> File:
        """Removes a file for good.

        Raises:
            NotFound: there is none for `by`.
            Forbidden: it is another key's, and `by` may not write.
            Conflict: a batch is reading it.
        """
        found = self.find(identifier, by)
        own(by, found.created_by, found.team)
        reader = self.batches.reading(identifier)
        if reader is not None:
            raise Conflict(
                f"The batch {reader} is reading this file.", hint=f"Cancel it first: POST /v1/batches/{reader}/cancel."
            )
        self._drop(identifier)
        return found

    def sweep(self) -> int:
        """Removes the files that have expired, and what killed uploads left; returns how many."""
        gone = self.rows.expired(self.clock.now())
        for identifier in gone:
            self._drop(identifier)
        known, left = self.rows.known(), 0
        for path in self.folder.glob("file_*"):
            old = path.stat().st_mtime < self.clock.now() / MICROS - LEFT_SECONDS
            if path.name.removesuffix(".part") not in known and old:
                path.unlink(missing_ok=True)
                left += 1
        return len(gone) + left

    def path(self, identifier: str) -> Path:
        return self.folder / identifier

    def _drop(self, identifier: str) -> None:
        self.rows.delete(identifier)
        self.path(identifier).unlink(missing_ok=True)


class Upload:
    """One file while it comes. Use it in a `with`: what is not kept is gone at its end."""

    def __init__(self, files: Files, by: Principal) -> None:
        self._files, self._by = files, by
        self._id = new_id("file")
        self._part = files.folder / f"{self._id}.part"
        self._cut, self._waiting = Splitter(), list[bytes]()
        self._lines = self._size = self._waiting_bytes = 0
        self._out = Appender(self._part)

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        self._out.close()
        self._part.unlink(missing_ok=True)

    def feed(self, data: bytes) -> None:
        """Takes a piece of the file.

        Raises:
            Invalid: the file or a line is too long.
            Unavailable: the disk is full.
        """
        self._size += len(data)
        if self._size > FILE_BYTES:
            what = f"The file is larger than {FILE_BYTES} bytes."
            raise Invalid(what, hint="Make several batches of it.", field="file", status=413, code="file_too_large")
        whole = self._cut.feed(data)
        self._waiting += whole
        self._waiting_bytes += sum(map(len, whole))
        if len(self._waiting) >= TOGETHER or self._waiting_bytes >= TOGETHER_BYTES:
            self._write()

    def keep(self, filename: str, kept_seconds: int) -> File:
        """Keeps the file, now that it is whole.

        Raises:
            Invalid: it is empty.
            Unavailable: the disk is full.
        """
        if rest := self._cut.rest():
            self._waiting.append(rest)
        self._write()
        if not self._size:
            raise Invalid("The file is empty.", hint="Send JSONL: a request in each line.", field="file")
        now = self._files.clock.now()
        file = File(
            id=self._id,
            team=self._by.team,
            created_by=self._by.name,
            created_at=now,
            expires_at=now + kept_seconds * MICROS,
            filename=named(filename),
            purpose="batch",
            size=self._size,
        )
        self._part.replace(self._files.path(self._id))
        sync(self._files.path(self._id))
        self._files.rows.add(file)
        return file

    def _write(self) -> None:
        otherwise = f"principal:{self._by.name}"
        contents = [(subject_of(line, otherwise), line) for line in self._waiting]
        sealed = self._files.subjects.seal_all(contents, self._files.clock.now())
        first = self._lines + 1
        self._lines += len(sealed)
        self._out.add(
            [
                Piece(number=number, length=len(line), sealed=piece)
                for number, (line, piece) in enumerate(zip(self._waiting, sealed, strict=True), first)
            ],
            sync=False,
        )
        self._waiting.clear()
        self._waiting_bytes = 0


def own(by: Principal, created_by: str, team: str) -> None:
    """Lets pass who made a thing, and who may write in its team.

    Raises:
        Forbidden: neither.
    """
    if by.team != team or by.name != created_by:
        authorise(by, "write", team)


def named(filename: str) -> str:
    """A file's name without its folders and without what could steer a terminal.

    >>> named("C:\\\\data\\\\a.jsonl"), named("")
    ('a.jsonl', 'batch.jsonl')
    """
    plain = filename.replace("\\", "/").rpartition("/")[2]
    return "".join(letter for letter in plain if letter.isprintable())[:NAME_CHARACTERS] or "batch.jsonl"
