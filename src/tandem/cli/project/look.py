"""A look into a data file or a folder of documents before anything is made of it. It changes nothing."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tandem.core.errors import Invalid

MOST_ROWS = 200_000
"""Rows that are looked at; the platform checks all of them when they are added."""
SUFFIXES = (".csv", ".jsonl", ".parquet")
DOCUMENTS = (".md", ".txt", ".html", ".htm", ".pdf")
POSITIVE = ("1", "true", "yes", "y")
STARTERS = 12
"""Questions that are taken from headings."""
_HEADING = re.compile(r"^#{1,6} +(.+?)[ #]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column was seen to hold."""

    name: str
    values: tuple[str, ...]
    """Its different values in text order, where there are two; else empty."""
    number: bool
    time: bool
    unique: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A data file: its columns and its first row."""

    columns: tuple[Column, ...]
    first: Mapping[str, str]
    count: int
    """Rows that were looked at."""

    @property
    def targets(self) -> tuple[Column, ...]:
        """Columns that a classifier of two classes can predict."""
        return tuple(column for column in self.columns if len(column.values) == 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What is predicted from what."""

    target: str
    positive: str
    id: str | None
    time: str | None
    example: Mapping[str, float]
    """The features of the first row."""


def rows_of(file: Path) -> Rows:
    """Looks into a CSV, JSON lines or Parquet file.

    Raises:
        Invalid: there is no such file, it is of another kind, it cannot be read, or it is empty.
    """
    if file.suffix.lower() not in SUFFIXES:
        raise Invalid(f"{file} is no data file.", hint=f"Give a {', '.join(SUFFIXES)} file, or `example`.", field="from")
    try:
        rows = list(itertools.islice(_read(file), MOST_ROWS))
    except OSError as error:
        raise Invalid(
            f"{file} cannot be read: {error.strerror}.", hint="Give another file, or `example`.", field="from"
        ) from None
    except (UnicodeDecodeError, ValueError, csv.Error) as error:
        raise Invalid(f"{file} cannot be read: {error}.", hint="Mend the file, then try again.", field="from") from None
    if not rows:
        raise Invalid(f"{file} has no rows.", hint="Give a file with a row of names and rows of values.", field="from")
    names = list(rows[0])
    columns = tuple(_column(name, [row.get(name) or "" for row in rows]) for name in names)
    return Rows(columns=columns, first=rows[0], count=len(rows))


def data_of(rows: Rows, target: str, positive: str | None) -> Data:
    """What a model of `target` is made from: the id and time columns found, and the features of the first row.

    Raises:
        Invalid: the target has not two values, the class is none of them, or a column is text, which cannot be learned from.
    """
    found = next((column for column in rows.columns if column.name == target), None)
    offered = ", ".join(column.name for column in rows.targets) or "none"
    if found is None:
        raise Invalid(f"There is no column '{target}'.", hint=f"Columns with two values: {offered}.", field="target")
    if len(found.values) != 2:
        raise Invalid(
            f"The column '{target}' has not two values, and a model tells two classes apart.",
            hint=f"Columns with two values: {offered}.",
            field="target",
        )
    chosen = positive if positive is not None else usual(found)
    if chosen not in found.values:
        raise Invalid(
            f"'{chosen}' is no value of '{target}'.", hint=f"Its values are {' and '.join(found.values)}.", field="positive"
        )
    others = [column for column in rows.columns if column.name != target]
    named = [column for column in others if column.unique and (not column.number or re.fullmatch(r"(.*_)?id", column.name, re.I))]
    identity = named[0].name if named else None
    moments = [column for column in others if column.time and column.name != identity]
    moment = moments[0].name if moments else None
    features = [column for column in others if column.name not in (identity, moment)]
    texts = [column.name for column in features if not column.number]
    if texts:
        raise Invalid(
            f"The column '{texts[0]}' holds text, and a model learns from numbers.",
            hint=f"Leave {' and '.join(repr(name) for name in texts[:5])} out of the file, or write it as numbers.",
            field="from",
        )
    if not features:
        raise Invalid("No column is left to learn from.", hint="Add columns of numbers.", field="from")
    example = {column.name: _figure(rows.first[column.name]) for column in features if rows.first.get(column.name)}
    return Data(target=target, positive=chosen, id=identity, time=moment, example=example)


def usual(column: Column) -> str:
    """The value that is called positive unless somebody says otherwise."""
    return next((value for value in column.values if value.lower() in POSITIVE), column.values[-1])


def check_documents(folder: Path) -> None:
    """Sees to it that there is something to answer from.

    Raises:
        Invalid: there is no such folder, or no document in it.
    """
    if not folder.is_dir():
        raise Invalid(f"There is no folder {folder}.", hint="Give a folder of documents, or `example`.", field="from")
    if not any(path.suffix.lower() in DOCUMENTS for path in folder.rglob("*")):
        raise Invalid(
            f"{folder} holds no documents.", hint=f"Documents are {', '.join(DOCUMENTS)}; or give `example`.", field="from"
        )


def questions_of(file: Path, asked: str) -> tuple[bytes, int, bool]:
    """A file of questions: its content, how many there are, and whether a column `id` names them.

    Args:
        asked: the column that is asked, `text` or `question`; the wanted words are in `wanted`.

    Raises:
        Invalid: it is no CSV, lacks a column, or a cell is empty.
    """
    if file.suffix.lower() != ".csv":
        raise Invalid(
            f"{file} is no CSV file.", hint=f"Questions are a CSV with the columns {asked} and wanted.", field="questions"
        )
    rows = rows_of(file)
    names = [column.name for column in rows.columns]
    if asked not in names or "wanted" not in names:
        raise Invalid(
            f"{file} lacks the column '{asked if asked not in names else 'wanted'}'.",
            hint=f"Questions are a CSV with the columns {asked} (what is asked) and wanted (words the answer must hold).",
            field="questions",
        )
    identity = next((column for column in rows.columns if column.name == "id"), None)
    return file.read_bytes(), rows.count, identity is not None and identity.unique


def starters(folder: Path) -> list[tuple[str, str]]:
    """Questions out of headings of Markdown files, each with the first words below it. They prove that search works, no more."""
    found: list[tuple[str, str]] = []
    for path in sorted(path for path in folder.rglob("*.md") if path.is_file()):
        heading = ""
        for line in path.read_text("utf-8", "replace").splitlines():
            told = _HEADING.match(line)
            if told is not None:
                heading = told[1]
            elif heading and re.match(r"\w", line):
                found.append((f"What is said about {heading}?", " ".join(line.split()[:4]).rstrip(".,;:")))
                heading = ""
            if len(found) == STARTERS:
                return found
    if found:
        return found
    names = sorted(path.stem for path in folder.rglob("*") if path.suffix.lower() in DOCUMENTS)
    return [(f"What is said about {name}?", name) for name in names[:STARTERS]]


def _read(file: Path) -> Iterator[Mapping[str, str]]:
    suffix = file.suffix.lower()
    if suffix == ".csv":
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                if None in row:
                    raise ValueError("a row has more cells than there are names")
                yield row
    elif suffix == ".jsonl":
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                told = json.loads(line)
                if not isinstance(told, dict):
                    raise ValueError("a line is no JSON object")
                yield {str(name): _text(value) for name, value in told.items()}
    else:
        yield from _parquet(file)


def _parquet(file: Path) -> Iterator[Mapping[str, str]]:
    try:
        import polars as pl
    except ImportError:
        raise Invalid("Parquet files need the machine-learning extra.", hint='Run: pip install "tandem-ai[ml]".') from None
    try:
        frame = pl.read_parquet(file, n_rows=MOST_ROWS)
    except pl.exceptions.PolarsError as error:
        raise ValueError(str(error)) from None
    for row in frame.iter_rows(named=True):
        yield {name: _text(value) for name, value in row.items()}


def _text(value: object) -> str:
    """A cell as the platform's classes are written: `true`, `1` also for 1.0."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _column(name: str, cells: Sequence[str]) -> Column:
    told = [cell for cell in cells if cell]
    different = set(told)
    return Column(
        name=name,
        values=tuple(sorted(different)) if len(different) == 2 and len(told) == len(cells) else (),
        number=all(_is_number(cell) for cell in told) and bool(told),
        time=bool(told) and all(_is_time(cell) for cell in different),
        unique=len(different) == len(cells) and len(cells) > 2,
    )


def _is_number(cell: str) -> bool:
    if cell in ("true", "false"):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_time(cell: str) -> bool:
    if len(cell) < 10 or _is_number(cell):
        return False
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return True


def _figure(cell: str) -> float:
    value = 1.0 if cell == "true" else 0.0 if cell == "false" else float(cell)
    return int(value) if value.is_integer() else value
