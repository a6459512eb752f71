"""An archive of signals becomes one table with a row per sample: each file is of one unit. Judges no contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from PIL import Image, ImageDraw

from tandem.core.errors import Invalid
from tandem.data.archive import FILE, LABELS, labelled, labels_of, members
from tandem.data.contract import Dtype
from tandem.data.dtypes import NAMES, POLARS, convert, guess, of_frame
from tandem.data.ingest import Ingested, Reading, ingest
from tandem.data.problems import Problems
from tandem.data.read import Table, read
from tandem.jobs.apart import Progress

ENDINGS = (".csv", ".jsonl", ".ndjson", ".parquet")
UNIT, AT = "unit", "at"
BYTES = 256 << 20
"""Of the largest file."""
TOGETHER = 500_000
"""Rows that are kept in memory before they are written."""
DRAWN, SHOWN, WIDTH, HEIGHT = 8, 2_000, 720, 72
"""Units of a sheet, samples of each, and the size of its strip in pixels."""
COLOURS = ("#1d5fae", "#b3541e", "#2f7d4f", "#6b3fa0", "#8a6d00", "#0f6d70")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """An archive, read."""

    table: Path
    """A Parquet file: `unit`, `at`, the files' columns, and what `labels.csv` or the folders say of each file."""
    units: int
    timed: bool
    """Whether `at` is a time; else a number."""
    first: Mapping[str, pl.DataFrame]
    """The first units and their first samples."""


def gather(path: Path, progress: Progress) -> Signals:
    """Reads a `.zip` or `.tar` file by file; a file without a column `at` has its samples numbered from 1.

    Raises:
        Invalid: it is no such archive, it is too large, a name leaves it, it holds no signals, two files are of one unit or have
            other columns or types, or `labels.csv` is wrong.
    """
    folder = path.with_name("signals")
    folder.mkdir()
    files: dict[str, str] = {}
    kinds: dict[str, Dtype | None] = {}
    first: dict[str, pl.DataFrame] = {}
    parts: list[Path] = []
    held: list[pl.DataFrame] = []
    labels: pl.DataFrame | None = None
    for share, name, content in members(path, BYTES):
        progress(0.4 * share, "reading signals")
        if name == LABELS:
            labels = labels_of(content, folder)
        elif name.lower().endswith(ENDINGS):
            unit = name.rsplit(".", 1)[0]
            if unit in files:
                raise Invalid(f"'{name[:80]}' and '{files[unit][:80]}' are of one unit.", field="path", hint="Rename one.")
            frame = _read(name, content, folder)
            kinds = _agreed(name, kinds, frame)
            files[unit] = name
            if len(first) < DRAWN:
                first[unit] = frame.head(SHOWN)
            held.append(frame.select(pl.lit(unit).alias(UNIT), pl.all()))
            if sum(each.height for each in held) >= TOGETHER:
                parts.append(_written(held, [UNIT, *kinds], folder / f"part-{len(parts)}.parquet"))
    if not files:
        raise Invalid(f"{path.name} holds no signals.", field="path", hint=f"Known endings are {', '.join(ENDINGS)}.")
    if held:
        parts.append(_written(held, [UNIT, *kinds], folder / f"part-{len(parts)}.parquet"))
    typed = [pl.col(name).cast(POLARS[kind or "float"]) for name, kind in kinds.items()]
    rows = pl.concat([pl.scan_parquet(part).with_columns(typed) for part in parts])
    told = _told(files, labels, {UNIT, *kinds})
    table = path.with_name(f"{path.stem}.parquet")
    rows.join(told.lazy(), on=UNIT, how="left", maintain_order="left").sink_parquet(table)
    return Signals(table=table, units=len(files), timed=kinds[AT] == "datetime", first=first)


def judged(signals: Signals, reading: Reading, progress: Progress) -> Ingested:
    """The rows of an archive as their contract wants them; without one, units and times may be any, so that others can follow.

    Raises:
        Invalid: as `ingest`.
    """
    time = reading.time_column or (AT if signals.timed else None)
    read = ingest(signals.table, replace(reading, time_column=time), progress=progress)
    if reading.contract is not None:
        return read
    columns = [
        replace(each, low=None, high=None, categories=None) if each.name in (UNIT, AT) else each for each in read.contract.columns
    ]
    return replace(read, contract=replace(read.contract, columns=tuple(columns)))


def sheet(signals: Signals) -> Path:
    """Writes a PNG with the first samples of the first units, a strip each; every channel is brought to the strip's height."""
    whole = Image.new("RGB", (WIDTH, (HEIGHT + 14) * len(signals.first)), "white")
    draw = ImageDraw.Draw(whole)
    for place, (unit, frame) in enumerate(signals.first.items()):
        top = place * (HEIGHT + 14)
        draw.text((2, top), unit.encode("latin-1", "replace").decode("latin-1")[:80], fill="black")
        channels = [name for name in frame.columns if name != AT and frame.schema[name].is_numeric()]
        for colour, name in zip(COLOURS, channels, strict=False):
            draw.line(_line(frame[name], top + 14), fill=colour)
    path = signals.table.with_name("sheet.png")
    whole.save(path)
    return path


def _line(samples: pl.Series, top: int) -> list[tuple[float, float]]:
    """Points of a strip, without samples that are missing."""
    told = samples.cast(pl.Float64)
    low, high = (float(edge) if isinstance(edge := found, float) else 0.0 for found in (told.min(), told.max()))
    across, span = (WIDTH - 1) / max(1, len(told) - 1), (high - low) or 1.0
    return [
        (place * across, top + (HEIGHT - 4) * (1 - (value - low) / span))
        for place, value in enumerate(told.to_list())
        if value is not None
    ]


def _read(name: str, content: bytes, folder: Path) -> pl.DataFrame:
    """One file with its values, `at` first.

    Raises:
        Invalid: it is larger than it may be, cannot be read, or has no rows.
    """
    if len(content) > BYTES:
        raise Invalid(f"'{name[:80]}' has more than {BYTES:,} bytes.", field="path", hint="Split it.")
    problems = Problems(source=name)
    path = folder / f"signal{Path(name).suffix.lower()}"
    path.write_bytes(content)
    with TemporaryDirectory(dir=folder) as work:
        table = read(path, Path(work), problems, None, lambda _: None)
        problems.refuse("Mend the file.")
        if not table.height:
            raise Invalid(f"'{name[:80]}' has no samples.", field="path", hint="Leave it out.")
        frame = pl.DataFrame([_values(cells, table, name) for cells in table.columns()])
    if AT not in frame.columns:
        frame = frame.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias(AT))
    return frame.select(AT, pl.exclude(AT))


def _values(cells: pl.Series, table: Table, name: str) -> pl.Series:
    """The cells of one column as values.

    Raises:
        Invalid: a cell is not of the type that most are of.
    """
    if table.typed or not cells.count():
        return cells if table.typed else cells.cast(pl.Null)
    kind = guess(cells)
    values = convert(cells, kind)
    wrong = values.is_null() & cells.is_not_null()
    if wrong.any():
        first = int(wrong.arg_true()[0])
        raise Invalid(
            f"'{name[:80]}' row {first + 1}, column '{cells.name}': is not {NAMES[kind]}.",
            field=cells.name,
            hint="Mend the file.",
        )
    return values


def _agreed(name: str, before: Mapping[str, Dtype | None], frame: pl.DataFrame) -> dict[str, Dtype | None]:
    """The type of each column over all files so far; None where all of its cells are empty.

    Raises:
        Invalid: the file has other columns, or other types.
    """
    known = before or dict.fromkeys(frame.columns)
    if set(known) != set(frame.columns) or UNIT in known:
        which = f"the column '{UNIT}', which its name says" if UNIT in known else f"the columns {', '.join(frame.columns[:10])}"
        raise Invalid(
            f"'{name[:80]}' has {which}; the first file has {', '.join(list(known)[:10])}.",
            field="path",
            hint="Files of one archive have the same columns.",
        )
    agreed: dict[str, Dtype | None] = {}
    for column, kind in known.items():
        found = None if frame.schema[column] == pl.Null else of_frame(frame.schema[column])
        both = {kind, found} - {None}
        if len(both) > 1 and both != {"int", "float"}:
            raise Invalid(
                f"'{name[:80]}': the column '{column}' holds {found}, and {kind} in the files before.",
                field=column,
                hint="Mend the file.",
            )
        agreed[column] = "float" if len(both) > 1 else next(iter(both), None)
    return agreed


def _written(held: list[pl.DataFrame], columns: list[str], path: Path) -> Path:
    """The rows in a file of their own; the list is empty then."""
    pl.concat([each.select(columns) for each in held], how="vertical_relaxed").write_parquet(path)
    held.clear()
    return path


def _told(files: Mapping[str, str], labels: pl.DataFrame | None, taken: set[str]) -> pl.DataFrame:
    """What is said of each unit: its folder, or its row of `labels.csv`.

    Raises:
        Invalid: `labels.csv` names a file that is not there, or a column that the files have.
    """
    both = sorted(taken & set(() if labels is None else labels.columns))
    if both:
        raise Invalid(f"{LABELS} has a column '{both[0]}', which files have themselves.", field=both[0], hint="Rename it.")
    rows = pl.DataFrame({FILE: list(files.values())})
    told, _ = labelled(rows, pl.DataFrame(schema={FILE: pl.String, "reason": pl.String}), labels)
    return told.select(pl.Series(UNIT, list(files)), pl.exclude(FILE))
