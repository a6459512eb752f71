"""A file of sealed lines survives a writer that is killed at any byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tandem.batches.sealed import Appender, Extent, Piece, extent, pieces

THREE = [Piece(number=n, length=n * 10, sealed=b"sealed %d" % n) for n in (4, 9, 2)]


def written(path: Path) -> bytes:
    file = Appender(path)
    file.add(THREE[:2])
    file.add(THREE[2:], sync=False)
    file.close()
    return path.read_bytes()


def test_what_was_added_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    whole = written(path)
    assert list(pieces(path)) == THREE
    assert extent(path) == Extent(numbers=frozenset({4, 9, 2}), length=150, end=len(whole))
    assert (list(pieces(tmp_path / "none")), extent(tmp_path / "none")) == ([], Extent())


def test_a_writer_that_was_killed_leaves_whole_records(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole")
    path = tmp_path / "torn"
    for tail in (b"", b"\0" * 40):  # what a power cut leaves of a file that had grown
        for size in range(len(whole) + 1):
            path.write_bytes(whole[:size] + tail)
            found = extent(path)
            count = len(list(pieces(path)))
            assert len(found.numbers) == count <= 3
            if not tail:
                assert (count == 3) == (size == len(whole))
            file = Appender(path, found.end)
            file.add([Piece(number=7, length=1, sealed=b"x")])
            file.close()
            assert [each.number for each in pieces(path)] == [*[each.number for each in THREE[:count]], 7]


def test_nothing_of_records_is_added_that_the_disk_does_not_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    whole = written(path)
    file = Appender(path, len(whole))
    monkeypatch.setattr("tandem.batches.sealed.os.fsync", _full)
    with pytest.raises(Exception, match="disk is full"):
        file.add([Piece(number=7, length=1, sealed=b"x")])
    assert path.read_bytes() == whole
    monkeypatch.undo()
    file.add([Piece(number=7, length=1, sealed=b"x")])
    file.close()
    assert len(list(pieces(path))) == 4


def _full(handle: int) -> None:
    raise OSError(28, "No space left on device")
