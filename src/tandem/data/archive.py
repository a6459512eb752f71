"""An archive of files that are rows or parts of them, unpacked within bounds, and what a `labels.csv` in it says of them."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import polars as pl

from tandem.core.errors import Invalid
from tandem.data.dtypes import convert, guess
from tandem.data.problems import Problems
from tandem.data.read import read
from tandem.store.blobs import check_member

LABELS = "labels.csv"
FILE, LABEL = "file", "label"
MOST = 100_000
"""Files of one archive."""
UNPACKED = 16 << 30
"""Bytes of all its files."""


def members(path: Path, largest: int) -> Iterator[tuple[float, str, bytes]]:
    """Share done, name and content of each file of an archive, without the folder that all of them lie in.

    Args:
        largest: bytes of a file that are read, and one more where it has more.

    Raises:
        Invalid: it is no such archive, it is too large, or a name leaves it.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as zipped:
                infos = [info for info in zipped.infolist() if not info.is_dir()]
                yield from _read(path, largest, [info.filename for info in infos], (zipped.open(info) for info in infos))
            return
        with tarfile.open(path, "r:") as tarred:
            entries = [entry for entry in tarred if not entry.isdir()]
            for entry in entries:
                if not entry.isreg():
                    raise Invalid(f"{path.name} holds a link, '{entry.name[:80]}'.", field="path", hint="Put the file itself in.")
            files = (cast(IO[bytes], tarred.extractfile(entry)) for entry in entries)
            yield from _read(path, largest, [entry.name for entry in entries], files)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise Invalid(f"{path.name} cannot be unpacked: {error}.", field="path", hint="Pack the folder again.") from None


def _read(path: Path, largest: int, names: list[str], files: Iterator[IO[bytes]]) -> Iterator[tuple[float, str, bytes]]:
    """The files of an archive, none and not all of them larger than they may be, whatever the archive says of their size."""
    if len(names) > MOST:
        raise Invalid(f"{path.name} has {len(names):,} files; {MOST:,} are read.", field="path", hint="Split it, and append.")
    names = [check_member(name.removeprefix("./")) for name in names]
    top = _top([name for name in names if not _hidden(name)])
    left, seen = UNPACKED, set[str]()
    for number, (name, file) in enumerate(zip(names, files, strict=True)):
        if name in seen:
            raise Invalid(f"{path.name} holds '{name[:80]}' twice.", field="path", hint="Pack the folder again.")
        seen.add(name)
        with file:
            content = file.read(min(largest, left) + 1)
        left -= len(content)
        if left < 0:
            raise Invalid(f"{path.name} holds more than {UNPACKED:,} bytes.", field="path", hint="Split it, and append.")
        if not _hidden(name):
            yield number / len(names), name[top:], content


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _top(names: list[str]) -> int:
    """Characters of the folder that was packed whole: one that holds folders, or `labels.csv`."""
    first = {name.partition("/")[0] for name in names}
    if len(first) != 1:
        return 0
    top = f"{first.pop()}/"
    return len(top) if f"{top}{LABELS}" in names or all(name.count("/") > 1 for name in names) else 0


def labels_of(content: bytes, folder: Path) -> pl.DataFrame:
    """`labels.csv` as typed columns, `file` first.

    Raises:
        Invalid: it is no such file.
    """
    path = folder / LABELS
    path.write_bytes(content)
    problems = Problems(source=LABELS)
    table = read(path, folder, problems, None, lambda _: None)
    problems.refuse("Mend labels.csv.")
    if FILE not in table.names:
        raise Invalid(f"{LABELS} has no column '{FILE}'.", field=FILE, hint="Its header is file,label and what else is known.")
    columns = [cells if cells.name in (FILE, LABEL) else convert(cells, guess(cells)) for cells in table.columns()]
    found = pl.DataFrame(columns)
    if found[FILE].n_unique() < found.height or found[FILE].null_count():
        raise Invalid(f"{LABELS} names a file twice, or none.", field=FILE, hint="Write one line per file.")
    return found


def labelled(rows: pl.DataFrame, broken: pl.DataFrame, labels: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with their labels: those of `labels.csv`, or the folders.

    Raises:
        Invalid: `labels.csv` names a file that is not there, or a column that files have of themselves.
    """
    if labels is None:
        folder = pl.col(FILE).str.extract(r"([^/]+)/[^/]+$").alias(LABEL)
        both = [frame.select(FILE, folder, pl.exclude(FILE)) for frame in (rows, broken)]
        return (rows, broken) if both[0][LABEL].null_count() == rows.height else (both[0], both[1])
    known = {*rows[FILE], *broken[FILE]}
    missing = [name for name in labels[FILE] if name not in known]
    if missing:
        raise Invalid(f"{LABELS} names '{missing[0][:80]}', which is not there.", field=FILE, hint="Name files from the folder.")
    taken = sorted({*labels.columns} & {*rows.columns} - {FILE})
    if taken:
        raise Invalid(f"{LABELS} has a column '{taken[0]}', which files have of themselves.", field=taken[0], hint="Rename it.")
    found = [frame.join(labels, on=FILE, how="left", maintain_order="left") for frame in (rows, broken)]
    first = [name for name in (FILE, LABEL) if name in found[0].columns]
    return found[0].select(*first, pl.exclude(first)), found[1].select(*first, "reason")
