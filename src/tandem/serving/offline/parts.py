"""The parts of a scored dataset: one file for each range of rows, named by the range and the digest of what is in it.

A file is put in place whole. One whose name does not fit its content, or that lacks, is made again; so whoever goes on after
a kill keeps every finished part, and no row is in two.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem.core.errors import Broken

ROWS = 100_000
"""Rows of one part: what is in memory at one time."""
_NAME = re.compile(r"(\d{12})-(\d{12})-([0-9a-f]{64})\.parquet")


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of one Run."""

    folder: Path
    rows: int
    """Of the whole dataset."""
    size: int = ROWS
    """Of one part, at most."""

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Where each part begins and ends; the end is not in it."""
        for start in range(0, self.rows, self.size):
            yield start, min(self.rows, start + self.size)

    def finished(self) -> dict[int, Path]:
        """Start → file of the parts that are whole; whatever else lies there is removed."""
        found: dict[int, Path] = {}
        wanted = dict(self.ranges())
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in sorted(self.folder.iterdir()):
            match = _NAME.fullmatch(path.name)
            start, stop = (int(match[1]), int(match[2])) if match else (-1, -1)
            if match and wanted.get(start) == stop and start not in found and _digest(path) == match[3]:
                found[start] = path
            else:
                path.unlink()
        return found

    def all(self) -> list[Path]:
        """The files of all parts, in the order of their rows.

        Raises:
            Broken: one is missing or was changed.
        """
        found = self.finished()
        if len(found) < len(list(self.ranges())):
            raise Broken("A part of the scored rows is missing or was changed.", hint="Score the dataset again.")
        return [path for _, path in sorted(found.items())]

    def keep(self, start: int, stop: int, content: bytes) -> Path:
        """Puts a part in place: a Parquet file."""
        part = self.folder / f".{start:012d}-{os.getpid()}.part"
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path = self.folder / f"{start:012d}-{stop:012d}-{hashlib.sha256(content).hexdigest()}.parquet"
        part.replace(path)
        return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
