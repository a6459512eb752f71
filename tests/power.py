"""What a disk holds after a power loss: what was brought to it for certain, and nothing that was only written."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tandem.observability import journal

FULL = 2
"""SQLite's `PRAGMA synchronous` under which a commit has reached the disk when it returns; below it, the last checkpoint has."""


class Synced:
    """How far every journal of this process was brought to the disk, until the power goes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sizes: dict[int, int] = {}
        self._on = True
        real = journal.to_disk

        def to_disk(file: int) -> None:
            found = os.fstat(file)  # before it: what is written meanwhile may be left out
            real(file)
            if self._on:
                self._sizes[found.st_ino] = found.st_size

        monkeypatch.setattr(journal, "to_disk", to_disk)

    def size(self, path: Path) -> int:
        return self._sizes.get(path.stat().st_ino, 0)

    def off(self) -> None:
        """The power is gone: nothing is brought to the disk any more."""
        self._on = False

    def left(self, folder: Path, to: Path, tail: bytes = b"") -> None:
        """Copies a journal as the disk holds it.

        Args:
            tail: what stands where something was written and not synced; file systems leave nothing, zeros, or old blocks.
        """
        to.mkdir(parents=True)
        for path in folder.glob("*.jnl"):
            data, size = path.read_bytes(), self.size(path)
            (to / path.name).write_bytes(data[:size] + tail[: len(data) - size])


def database(path: Path, to: Path, synchronous: int) -> None:
    """Copies an SQLite database with a write-ahead log as the disk holds it at worst.

    Args:
        synchronous: as the connections have it that write to it.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
    if synchronous >= FULL:
        shutil.copyfile(path.with_name(f"{path.name}-wal"), to.with_name(f"{to.name}-wal"))
