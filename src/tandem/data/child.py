"""One ingest in a process of its own, so that the control process never loads the frame libraries.

`python -m tandem.data.child` reads an `Order` and says what came of it; see `tandem.jobs.apart`. The file is read,
checked and, when its content is new, written to the lake; a file that is refused changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.errors import Invalid
from tandem.data.contract import Contract
from tandem.data.problems import Hit
from tandem.data.query import Ask, fetch
from tandem.jobs.apart import Progress, ask, serve, silent
from tandem.store.elsewhere import pinned

if TYPE_CHECKING:
    import polars as pl

    from tandem.data.ingest import Ingested
    from tandem.store.lake import Lake

ARCHIVES = (".zip", ".tar")
"""Suffixes of files that hold images or signals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Rows that lie in the lake."""

    ref: str
    """Whose they are, such as `dataset/customers@3`."""
    table: str
    version: int
    run: str | None = None
    """The Run that made them, for rows that do not say it themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The values that one column may refer to."""

    column: str
    held: Held
    there: str
    """The column's name in that table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be ingested."""

    path: str
    """The file; its name is what messages call it, its suffix says its format."""
    lake: str
    """The lake's directory."""
    table: str
    run: str = ""
    """The Run, which every row of the file will name as its source."""
    now: int | None = None
    """When the file came in, UTC microseconds."""
    id_column: str | None = None
    time_column: str | None = None
    contract: Contract | None = None
    """What the file must keep to; inferred from it when missing."""
    references: tuple[Known, ...] = ()
    known: tuple[str, int] | None = None
    """A content digest and the table's version that holds it already."""
    base: Held | None = None
    """The rows to which the file's are added; without it the file's are all."""
    evolve: bool = False
    signals: bool = False
    """Whether an archive holds signals, a file for each unit; else it holds images."""
    ask: Ask | None = None
    """Whose answer makes the file; without it the file is there."""
    link: str | None = None
    """The address of rows that stay where they are; the file is then a copy that is gone after the check."""
    link_version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A file that is in the lake."""

    rows: int
    digest: str
    """`sha256:…` over schema and values; see `tandem.data.digest`."""
    contract: Contract
    profile: msgspec.Raw
    """As `tandem.data.profile.Profile.to_json` wrote it."""
    version: int
    """The table's version that holds the rows."""
    added: int = 0
    """Rows of the file that are in."""
    repeated: int = 0
    """Rows that stood in the version before, word for word, and were left out."""
    hits: tuple[Hit, ...] = ()
    quarantined: int = 0
    quarantine: str | None = None
    """A Parquet file beside the file that was read: the rows that were kept apart."""
    changes: tuple[str, ...] = ()
    """What was changed in the contract, in words."""
    correlations: Mapping[str, object] | None = None
    """As `tandem.data.profile.Correlations`."""
    table: str | None = None
    """Where the rows lie, if not in the dataset's own table."""
    sheet: str | None = None
    """Of images and signals, a PNG beside the file that was read: thumbnails, or the first samples of the first units."""
    duplicates: int = 0
    """Of images, those with the same pixels as one before them in the file."""
    units: int = 0
    """Of signals, those that were read."""


def ingest_apart(order: Order, progress: Progress = silent, *, python: str = sys.executable) -> Done:
    """Has a child process ingest a file.

    Raises:
        Invalid: the file is broken or breaks its contract; names row, line and column of up to 20 faults.
        Conflict: somebody else wrote the table meanwhile.
        TimedOut: it took too long.
        Broken: the child died.
    """
    return ask("tandem.data.child", order, Done, python=python, progress=progress)


def carry_out(order: Order, progress: Progress = silent) -> Done:
    """Reads, checks and stores a file, in this process.

    Raises:
        Invalid: see `tandem.data.ingest.ingest`.
        Conflict, Broken: see `tandem.store.lake.Lake.write`.
    """
    from tandem.data import images as pictures
    from tandem.data import signals as waves
    from tandem.data.ingest import Reading, ingest
    from tandem.store.blobs import Blobs
    from tandem.store.lake import IMAGES, Lake

    if order.ask is not None:
        fetch(order.ask, Path(order.path), progress)
    lake, path = Lake(Path(order.lake)), Path(order.path)
    linked = None if order.link is None else _linked(order, lake, progress)
    reading = Reading(
        contract=order.contract,
        id_column=order.id_column,
        time_column=order.time_column,
        now=order.now,
        known={
            each.column: lake.read(each.held.table, each.held.version, columns=[each.there])[each.there]
            for each in order.references
        },
        before=None if order.base is None else lake.read(order.base.table, order.base.version),
        base="the newest version" if order.base is None else order.base.ref,
        evolve=order.evolve,
    )
    images = signals = None
    if order.signals:
        signals = waves.gather(path, progress)
        read = waves.judged(signals, reading, progress)
    elif path.suffix in ARCHIVES:
        images = pictures.gather(path, progress)
        read = pictures.judged(images, reading, progress)
    else:
        read = ingest(path, reading, progress=progress)
    drawn = waves.sheet(signals) if signals is not None else None if images is None else pictures.sheet(images)
    if linked is not None:
        if read.quarantine is not None:
            raise Invalid(
                f"{read.quarantine.height} rows would be kept apart, and rows that lie elsewhere stay there.",
                field="address",
                hint="Mend them there, or let the rule warn or refuse.",
            )
        version = linked[1]
    elif order.known is not None and order.known[0] == read.digest:
        version = order.known[1]
    else:
        progress(0.9, "writing")
        if images is not None:
            pictures.keep(images, read, Blobs(Path(order.lake) / IMAGES))
        version = lake.write(order.table, read.frame.hstack(_sources(order, read, lake)))
    return Done(
        rows=read.rows,
        digest=read.digest,
        contract=read.contract,
        profile=msgspec.Raw(read.profile.to_json()),
        version=version,
        added=len(read.numbers),
        repeated=read.repeated,
        hits=read.hits,
        quarantined=0 if read.quarantine is None else read.quarantine.height,
        quarantine=None if read.quarantine is None else _apart(read.quarantine, path),
        changes=read.changes,
        correlations=None if read.correlations is None else msgspec.to_builtins(read.correlations),
        table=None if linked is None else linked[0],
        sheet=None if drawn is None else str(drawn),
        duplicates=0 if images is None else images.duplicates,
        units=0 if signals is None else signals.units,
    )


def _linked(order: Order, lake: Lake, progress: Progress) -> tuple[str, int]:
    """The address and version that mean these rows for good; a copy of them lies where the file would."""
    assert order.link is not None
    progress(0.0, "reading where they lie")
    table, version = pinned(order.link, order.link_version)
    lake.scan(table, version).sink_parquet(order.path)
    return table, version


def _sources(order: Order, read: Ingested, lake: Lake) -> list[pl.Series]:
    """For each row the Run that brought it, and its row there."""
    import polars as pl

    from tandem.store.lake import HIDDEN

    source, row = HIDDEN
    new = pl.DataFrame({row: read.numbers.cast(pl.Int64)}).with_columns(pl.lit(order.run).alias(source)).select(HIDDEN)
    if order.base is None:
        return new.get_columns()
    held = lake.scan(order.base.table, order.base.version)
    if tuple(held.collect_schema().names()[-2:]) == HIDDEN:
        former = pl.DataFrame(held.select(HIDDEN).collect())
    else:
        numbers = pl.int_range(1, read.rows - new.height + 1, dtype=pl.Int64, eager=True)
        former = pl.DataFrame({row: numbers}).with_columns(pl.lit(order.base.run).alias(source)).select(HIDDEN)
    return pl.concat([former.cast({source: pl.String}), new]).get_columns()


def _apart(rows: pl.DataFrame, beside: Path) -> str:
    path = beside.with_name("quarantine.parquet")
    rows.write_parquet(path)
    return str(path)


def main() -> int:
    return serve(Order, carry_out)


if __name__ == "__main__":
    raise SystemExit(main())
