"""A file of sealed lines: records behind each other, appended to and never changed. It knows neither subjects nor batches.

    record = size of the piece (4 bytes) | bytes of the line (4) | number of the line (4) | CRC-32 of the piece (4) | piece

A process that is killed may leave half a record at the end, a power cut one that is full of zeros. That is no record, and
the next writer cuts it off.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tandem.store.room import translated

HEAD = struct.Struct(">IIII")
WHAT = "The file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One sealed line."""

    number: int
    """Of the line in its file; of the line that was asked, in a file of answers."""
    length: int
    """Bytes of the line before it was sealed."""
    sealed: bytes
    """Never empty."""


def pieces(path: Path) -> Iterator[Piece]:
    """The records of a file, one at a time; none where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            size, length, number, check = HEAD.unpack(head)
            sealed = file.read(size)
            if size == 0 or len(sealed) < size or zlib.crc32(sealed) != check:
                return
            yield Piece(number=number, length=length, sealed=sealed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a file holds, without a look at what it says."""

    numbers: frozenset[int] = frozenset()
    length: int = 0
    """Bytes of all lines."""
    end: int = 0
    """Where the last whole record ends."""


def extent(path: Path) -> Extent:
    """How far a file goes, and of which lines it is."""
    numbers, length, end = set[int](), 0, 0
    for piece in pieces(path):
        numbers.add(piece.number)
        length += piece.length
        end += HEAD.size + len(piece.sealed)
    return Extent(numbers=frozenset(numbers), length=length, end=end)


class Appender:
    """Writes records to the end of one file; one at a time has it open."""

    def __init__(self, path: Path, end: int = 0) -> None:
        """
        Args:
            path: is made where it is not there.
            end: where the last whole record ends; what lies behind it is cut off.

        Raises:
            Unavailable: the disk is full.
        """
        with translated(WHAT):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._handle, end)
        self._end = end

    def add(self, records: Sequence[Piece], *, sync: bool = True) -> None:
        """Appends records, all or none; with `sync` they are on the disk when it returns.

        Raises:
            Unavailable: the disk is full; nothing was added.
        """
        text = b"".join([_head(each) + each.sealed for each in records])
        try:
            with translated(WHAT):
                done = 0
                while done < len(text):
                    done += os.pwrite(self._handle, text[done:], self._end + done)
                if sync:
                    os.fsync(self._handle)
        except BaseException:
            os.ftruncate(self._handle, self._end)
            raise
        self._end += len(text)

    def close(self) -> None:
        os.close(self._handle)


def _head(piece: Piece) -> bytes:
    return HEAD.pack(len(piece.sealed), piece.length, piece.number, zlib.crc32(piece.sealed))


def sync(path: Path) -> None:
    """Sees to it that a file and its name are on the disk.

    Raises:
        Unavailable: the disk is full.
    """
    with translated(WHAT):
        for each in (path, path.parent):
            handle = os.open(each, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
