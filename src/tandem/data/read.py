"""Files into columns of text (CSV, JSON lines) or of values (Parquet). Knows no contract and guesses no types.

Everything is read by one parser in batches, so that a row number in a message is the row the parser saw,
and so that a file larger than the limits is refused before it fills the memory.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.problems import Problem, Problems, quote

BATCH = 20_000
"""Rows that stand as Python lists at one time."""
GROUPS = 20
"""Into how many groups the columns of a file are cut at most, of which one is in memory at a time."""
RESERVED = frozenset({"_source", "_row", "_line", "_reasons"})
"""Names under which the lake and the quarantine keep where a row came from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The largest file that is read at all."""

    bytes: int = 2 << 30
    columns: int = 2_000
    line: int = 4 << 20
    """Bytes in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file's rows before any value was judged. They lie in Parquet files, so that columns can be looked at a few at a time."""

    names: tuple[str, ...]
    """Columns of String with null for an empty cell, or of values when `typed`."""
    parts: tuple[Path, ...]
    rows: pl.Series
    """1-based data row of each row; rows that were refused are missing."""
    lines: pl.Series | None
    """1-based line of the file of each row."""
    typed: bool = False
    kept: pl.Series | None = None
    """Which of the rows in the files are meant; all without."""

    @property
    def height(self) -> int:
        return len(self.rows)

    def column(self, name: str) -> pl.Series:
        """The cells of one column."""
        return self._load([name])[name]

    def columns(self) -> Iterator[pl.Series]:
        """Every column in the file's order, a few in memory at one time."""
        step = max(1, len(self.names) // GROUPS)
        for start in range(0, len(self.names), step):
            yield from self._load(list(self.names[start : start + step])).iter_columns()

    def take(self, places: list[int]) -> pl.DataFrame:
        """Some rows, with all columns."""
        return pl.DataFrame([cells.gather(places) for cells in self.columns()])

    def only(self, kept: pl.Series) -> Table:
        """The rows of which `kept` is true."""
        lines = None if self.lines is None else self.lines.filter(kept)
        return replace(self, rows=self.rows.filter(kept), lines=lines, kept=kept)

    def _load(self, names: list[str]) -> pl.DataFrame:
        try:
            found = pl.DataFrame(pl.scan_parquet(list(self.parts)).select(names).collect())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _no_parquet(self.parts[0].name, error) from None
        return found if self.kept is None else found.filter(self.kept)


def read(path: Path, folder: Path, problems: Problems, limits: Limits | None, advance: Callable[[float], None]) -> Table:
    """Reads a `.csv`, `.jsonl`, `.ndjson` or `.parquet` file; any other name is read as CSV.

    Faulty rows are added to `problems` and left out.

    Args:
        path: the file.
        folder: where rows of text lie while they are looked at; the table is of no use without it.
        problems: what is wrong with its form.
        limits: the largest file that is read.
        advance: is told which share of the file was read, after each batch.

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
        known = _Source(file=file, size=size, folder=folder, advance=advance)
        builder = _json_lines(known, problems, limits) if suffix in (".jsonl", ".ndjson") else _csv(known, problems, limits)
        return builder.table()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A file that is being read, and who wants to know how far."""

    file: BinaryIO
    size: int
    folder: Path
    """For the rows that were read."""
    advance: Callable[[float], None]

    def tell(self) -> None:
        self.advance(min(1.0, self.file.tell() / self.size))


@dataclass(slots=True, kw_only=True)
class _Builder:
    """Rows of text on their way to disk, batch by batch."""

    names: list[str]
    folder: Path
    tell: Callable[[], None]
    cells: list[list[str]] = field(default_factory=list)
    parts: list[Path] = field(default_factory=list)
    rows: array[int] = field(default_factory=lambda: array("q"))
    lines: array[int] = field(default_factory=lambda: array("q"))

    def add(self, row: int, line: int, cells: list[str]) -> None:
        self.cells.append(cells)
        self.rows.append(row)
        self.lines.append(line)
        if len(self.cells) >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Writes what was gathered; the first part also when it is empty, for the names."""
        if self.cells or not self.parts:
            columns = zip(self.names, zip(*self.cells, strict=True) if self.cells else [()] * len(self.names), strict=True)
            part = pl.DataFrame([pl.Series(name, column, dtype=pl.String) for name, column in columns])
            path = self.folder / f"{len(self.parts):06d}.parquet"
            part.with_columns(pl.when(pl.all() != "").then(pl.all())).write_parquet(path, compression="lz4")
            self.parts.append(path)
            self.cells = []
            self.tell()

    def table(self) -> Table:
        self.flush()
        return Table(
            names=tuple(self.names),
            parts=tuple(self.parts),
            rows=pl.Series("row", self.rows, dtype=pl.Int64),
            lines=pl.Series("line", self.lines, dtype=pl.Int64),
        )


def _csv(source: _Source, problems: Problems, limits: Limits) -> _Builder:
    """RFC 4180 with a header; UTF-8 with or without a byte order mark; LF or CRLF."""
    text = _Lines(file=source.file, limits=limits)
    reader = csv.reader(iter(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        builder = _Builder(names=_header(header, problems.source, limits), folder=source.folder, tell=source.tell)
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
        if name in RESERVED:
            raise Invalid(
                f"{source}: the header names a column '{name}', a name that datasets keep for themselves.",
                field=f"column '{name}'",
                hint="Rename it.",
            )
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


def _json_lines(source: _Source, problems: Problems, limits: Limits) -> _Builder:
    """One flat JSON object per line, all with the keys of the first; null and "" are empty cells."""
    builder: _Builder | None = None
    names: list[str] = []
    row = 0
    for line, text in enumerate(_Lines(file=source.file, limits=limits), 1):
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
            builder = _Builder(names=names, folder=source.folder, tell=source.tell)
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
        rows = pl.scan_parquet(path)
        names = rows.collect_schema().names()
        height = int(rows.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _no_parquet(path.name, error) from None
    _header(names, path.name, limits)
    numbers = pl.int_range(1, height + 1, eager=True).alias("row")
    return Table(names=tuple(names), parts=(path,), rows=numbers, lines=None, typed=True)


def _no_parquet(name: str, error: Exception) -> Invalid:
    return Invalid(f"{name} is not a Parquet file: {error}.", field="path", hint="Check that it was written whole.")
