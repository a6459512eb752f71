"""Files into columns of text (CSV, JSON lines) or of values (Parquet). Knows no contract and guesses no types.

Everything is read by one parser in batches, so that a row number in a message is the row the parser saw,
and so that a file larger than the limits is refused before it fills the memory.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.problems import Problem, Problems, quote

BATCH = 20_000
"""Rows that stand as Python lists at one time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest file that is read at all."""

    bytes: int = 2 << 30
    columns: int = 2_000
    line: int = 4 << 20
    """Bytes in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file's rows before any value was judged."""

    frame: pl.DataFrame
    """Columns of String with null for an empty cell, or of values when `typed`."""
    rows: pl.Series
    """1-based data row of each frame row; rows that were refused are missing."""
    lines: pl.Series | None
    """1-based line of the file of each frame row."""
    typed: bool = False


def read(path: Path, problems: Problems, limits: Limits | None = None) -> Table:
    """Reads a `.csv`, `.jsonl`, `.ndjson` or `.parquet` file; any other name is read as CSV.

    Faulty rows are added to `problems` and left out.

    Raises:
        Invalid: the file cannot be read as rows at all.
    """
    limits = limits or Limits()
    if not path.is_file():
        raise Invalid(f"There is no file '{path.name}'.", field="path", hint="Check the path.")
    size = path.stat().st_size
    if size == 0:
        raise Invalid(f"{path.name} is empty.", field="path", hint="Write a header line and at least one row.")
    if size > limits.bytes:
        raise Invalid(f"{path.name} has {size:,} bytes; at most {limits.bytes:,} are read.", field="path", hint="Split the file.")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path, limits)
    with path.open("rb") as file:
        builder = _json_lines(file, problems, limits) if suffix in (".jsonl", ".ndjson") else _csv(file, problems, limits)
    return builder.table()


@dataclass(slots=True, kw_only=True)
class _Builder:
    """Rows of text on their way into a frame."""

    names: list[str]
    cells: list[list[str]] = field(default_factory=list)
    parts: list[pl.DataFrame] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: int, line: int, cells: list[str]) -> None:
        self.cells.append(cells)
        self.rows.append(row)
        self.lines.append(line)
        if len(self.cells) >= BATCH:
            self.flush()

    def flush(self) -> None:
        if self.cells:
            columns = zip(self.names, zip(*self.cells, strict=True), strict=True)
            part = pl.DataFrame([pl.Series(name, column, dtype=pl.String) for name, column in columns])
            self.parts.append(part.with_columns(pl.when(pl.all() != "").then(pl.all())))
            self.cells = []

    def table(self) -> Table:
        self.flush()
        empty = pl.DataFrame(schema=dict.fromkeys(self.names, pl.String))
        frame = pl.concat(self.parts) if self.parts else empty
        rows = pl.Series("row", self.rows, dtype=pl.Int64)
        return Table(frame=frame, rows=rows, lines=pl.Series("line", self.lines, dtype=pl.Int64))


def _csv(file: BinaryIO, problems: Problems, limits: Limits) -> _Builder:
    """RFC 4180 with a header; UTF-8 with or without a byte order mark; LF or CRLF."""
    text = _Lines(file=file, limits=limits)
    reader = csv.reader(iter(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        builder = _Builder(names=_header(header, problems.source, limits))
        if text.suspects:
            raise _undecodable(problems.source, "The header")
        row, start = 0, reader.line_num
        for cells in reader:
            line, start = start + 1, reader.line_num
            if not cells:  # a blank line
                continue
            row += 1
            if len(cells) != len(header):
                what = f"has {len(cells)} cells where the header has {len(header)}"
                problems.add(Problem(row=row, line=line, what=what))
            elif not (text.suspects and _report_bytes(cells, header, row, line, problems)):
                builder.add(row, line, cells)
            text.suspects = False
    except csv.Error as error:
        raise Invalid(
            f"{problems.source} is broken CSV at line {reader.line_num}: {error}.",
            field=f"line {reader.line_num}",
            hint="Look for an unclosed quote, or save the file again as comma-separated UTF-8.",
        ) from None
    return builder


def _header(names: list[str], source: str, limits: Limits) -> list[str]:
    if not any(names):
        raise Invalid(f"{source} has no header.", field="line 1", hint="The first line names the columns.")
    if len(names) > limits.columns:
        raise Invalid(f"{source} has {len(names)} columns; at most {limits.columns} are read.", field="line 1", hint="Split it.")
    for number, name in enumerate(names, 1):
        if not name:
            raise Invalid(f"{source}: column {number} of the header has no name.", field="line 1", hint="Name every column.")
        if name in names[: number - 1]:
            raise Invalid(
                f"{source}: the header names column '{name}' twice.", field=f"column '{name}'", hint="Rename one of them."
            )
    if len(names) == 1 and any(mark in names[0] for mark in (";", "\t", "|")):
        raise Invalid(f"{source} is not separated by commas.", field="line 1", hint="Save it again with commas between cells.")
    return names


@dataclass(slots=True, kw_only=True)
class _Lines:
    """Text lines of a byte file, each bounded; remembers whether a faulty byte went by."""

    file: BinaryIO
    limits: Limits
    suspects: bool = False

    def __iter__(self) -> Iterator[str]:
        number = 0
        while raw := self.file.readline(self.limits.line + 1):
            number += 1
            if number == 1:
                if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                    raise Invalid("The file is UTF-16.", field="line 1", hint="Save it again as UTF-8.")
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            if len(raw) > self.limits.line:
                raise Invalid(
                    f"Line {number} is longer than {self.limits.line:,} bytes.",
                    field=f"line {number}",
                    hint="Look for an unclosed quote.",
                )
            try:
                text = raw.decode()
            except UnicodeDecodeError:
                self.suspects, text = True, raw.decode(errors="surrogateescape")
            if b"\0" in raw:
                self.suspects = True
            yield text


def _report_bytes(cells: list[str], header: list[str], row: int, line: int, problems: Problems) -> bool:
    """Adds a problem for every cell with a NUL byte or bytes that are not UTF-8."""
    found = False
    for name, cell in zip(header, cells, strict=True):
        what = "holds a NUL byte" if "\0" in cell else None if cell.isprintable() else _not_utf8(cell)
        if what:
            problems.add(Problem(row=row, line=line, column=name, what=what))
            found = True
    return found


def _not_utf8(cell: str) -> str | None:
    try:
        cell.encode()
    except UnicodeEncodeError:
        return f"{quote(cell.encode(errors='surrogateescape').decode(errors='replace'))} is not UTF-8"
    return None


def _undecodable(source: str, what: str) -> Invalid:
    return Invalid(f"{what} of {source} has bytes that are not UTF-8 text.", field="line 1", hint="Save it again as UTF-8.")


def _json_lines(file: BinaryIO, problems: Problems, limits: Limits) -> _Builder:
    """One flat JSON object per line, all with the keys of the first; null and "" are empty cells."""
    builder: _Builder | None = None
    names: list[str] = []
    row = 0
    for line, text in enumerate(_Lines(file=file, limits=limits), 1):
        if not text.strip():
            continue
        row += 1
        try:
            record = msgspec.json.decode(text.encode(errors="surrogateescape"))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            problems.add(Problem(row=row, line=line, what=f"is not JSON: {error}"))
            continue
        if not isinstance(record, dict):
            problems.add(Problem(row=row, line=line, what="is not a JSON object"))
            continue
        if builder is None:
            names = _header([str(name) for name in record], problems.source, limits)
            builder = _Builder(names=names)
        cells = _cells(record, names, row, line, problems)
        if cells is not None:
            builder.add(row, line, cells)
    if builder is None:
        problems.refuse("Write one JSON object per line.")
        raise Invalid(f"{problems.source} has no rows.", field="path", hint="Write one JSON object per line.")
    return builder


def _cells(record: dict[str, object], names: list[str], row: int, line: int, problems: Problems) -> list[str] | None:
    cells: list[str] = []
    if set(record) != set(names):
        odd = sorted(set(record) ^ set(names))[0]
        what = "is missing" if odd in names else "is not in the first row"
        problems.add(Problem(row=row, line=line, column=odd, what=what))
        return None
    for name in names:
        match record[name]:
            case None:
                cells.append("")
            case bool() as flag:
                cells.append("true" if flag else "false")
            case int() | float() as number:
                cells.append(repr(number))
            case str() as text:
                if "\0" in text:
                    problems.add(Problem(row=row, line=line, column=name, what="holds a NUL byte"))
                    return None
                cells.append(text)
            case _:
                problems.add(Problem(row=row, line=line, column=name, what="is neither text, number, truth value nor null"))
                return None
    return cells


def _parquet(path: Path, limits: Limits) -> Table:
    try:
        frame = pl.read_parquet(path, memory_map=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        hint = "Check that it was written whole."
        raise Invalid(f"{path.name} is not a Parquet file: {error}.", field="path", hint=hint) from None
    _header(list(frame.columns), path.name, limits)
    return Table(frame=frame, rows=pl.int_range(1, frame.height + 1, eager=True).alias("row"), lines=None, typed=True)
