"""The heavy half of features, in a process of its own: facts of a dataset for the online store, and the point-in-time join.

`python -m tandem.data.features.child` reads a `Load` or a `Join` and says what came of it; see `tandem.jobs.apart`. The
control process never loads the frame libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.errors import Invalid
from tandem.data.child import Done
from tandem.data.features.online import Fact, merged, packed
from tandem.data.features.view import STATE, Service, Told, View, entity_key, made, made_service
from tandem.jobs.apart import Progress, ask, serve

if TYPE_CHECKING:
    import polars as pl

MODULE = "tandem.data.features.child"
SECONDS = 3600.0
"""The longest that an order may take."""
STATES = "facts.bin"
"""Where a load leaves, entity after entity, its key and what is kept of it."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A view and where its facts lie."""

    view: Told
    table: str | None = None
    """In the lake; None: there are only pushed facts."""
    version: int = 0
    log: str | None = None
    """A file of pushed rows in the folder: JSON lines with `__known` and `__order`."""


class Load(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """What of a view's facts has to be kept online."""

    lake: str
    folder: str
    """Where the log lies, and where the result goes."""
    source: Source
    now: int
    """UTC microseconds."""


class Join(msgspec.Struct, frozen=True, kw_only=True, tag="join"):
    """Vectors for every row of a dataset, as of its moment."""

    lake: str
    folder: str
    """Where the logs lie."""
    service: Told
    sources: tuple[Source, ...]
    table: str
    version: int
    time: str
    """The column that says when each row asks."""
    out: str
    """The dataset that is written."""
    id_column: str | None = None
    states: bool = False
    """Whether a column `NAME__state` stands beside each feature."""
    known: tuple[str, int] | None = None
    """A content digest and the version of the table that has it already."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an order."""

    entities: int = 0
    """Of a load."""
    done: Done | None = None
    """Of a join."""
    missing: dict[str, float] = {}
    """Of a join: which share of each feature's values is null, expired or not found."""


Apart = Callable[["Load | Join", Progress, Callable[[], bool]], Result]
"""(order, progress, cancelled) → what came of it."""


def apart(order: Load | Join, progress: Progress, cancelled: Callable[[], bool]) -> Result:
    """Has a child process carry out an order.

    Raises:
        Invalid: the data do not fit the definition.
        Conflict: it was cancelled, or somebody else wrote the table meanwhile.
        TimedOut: it took too long.
        Broken: the child died.
    """
    return ask(MODULE, order, Result, progress=progress, cancelled=cancelled, seconds=SECONDS)


def carry_out(order: Load | Join, progress: Progress) -> Result:
    """Does it in this process."""
    return load(order, progress) if isinstance(order, Load) else join(order, progress)


def states(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    """What a load left: entity after entity, its key and the facts that are kept."""
    with (folder / STATES).open("rb") as file:
        while head := file.read(8):
            key, data = int.from_bytes(head[:4]), int.from_bytes(head[4:])
            yield file.read(key), file.read(data)


def load(order: Load, progress: Progress) -> Result:
    """Leaves what is to be kept of every entity in a file."""
    from tandem.data.features import offline

    v = made(order.source.view)
    progress(0.05, "reading facts")
    facts = offline.worth(v, _facts(Path(order.folder), order.lake, order.source, v), order.now)
    count, names = 0, list(v.entity)
    progress(0.4, "packing")
    with (Path(order.folder) / STATES).open("wb") as file:
        for entity, rows in _by_entity(facts, names):
            key = entity_key(v.entity, entity)
            data = packed(merged(v, rows, order.now))
            file.write(len(key).to_bytes(4) + len(data).to_bytes(4) + key + data)
            count += 1
            if count % 20_000 == 0:
                progress(0.4 + 0.2 * min(1.0, count / max(1, facts.height)), f"packing: {count:,} entities")
    return Result(entities=count)


def _by_entity(facts: pl.DataFrame, names: list[str]) -> Iterator[tuple[dict[str, object], list[Fact]]]:
    """The facts of each entity; they come sorted by entity."""
    at: tuple[object, ...] | None = None
    rows: list[Fact] = []
    for row in facts.iter_rows():
        who = row[: len(names)]
        if who != at and rows:
            yield dict(zip(names, at or (), strict=True)), rows
            rows = []
        at = who
        event, created, known, order, id, *found = row[len(names) :]
        rows.append(Fact(event, created, known, order, id, tuple(found)))
    if rows:
        yield dict(zip(names, at or (), strict=True)), rows


def join(order: Join, progress: Progress) -> Result:
    """Writes the dataset of questions with a vector beside each row."""
    import polars as pl

    from tandem.data.check import infer
    from tandem.data.digest import content_digest
    from tandem.data.features import offline
    from tandem.data.profile import profile
    from tandem.store.lake import Lake

    lake = Lake(Path(order.lake))
    views = [made(source.view) for source in order.sources]
    wanted = made_service(order.service, views)
    progress(0.05, "reading questions")
    questions = lake.read(order.table, order.version)
    _fits(wanted, questions, order.time)
    facts = {}
    for place, (source, v) in enumerate(zip(order.sources, views, strict=True)):
        progress(0.1 + 0.3 * place / len(views), f"reading {v.name}")
        facts[v.key] = _facts(Path(order.folder), order.lake, source, v)
    progress(0.4, f"joining {questions.height:,} rows")
    at = questions[order.time].cast(pl.Datetime("us", "UTC")).cast(pl.Int64)
    found, state = offline.vectors(wanted, facts, questions, at.to_numpy())
    types = dict(zip(wanted.names, wanted.types, strict=True))
    found = found.with_columns(pl.col(name).cast(pl.Datetime("us", "UTC")) for name, type in types.items() if type == "time")
    frame = pl.concat([questions, found], how="horizontal")
    if order.states:
        frame = frame.with_columns(state[name].cast(pl.String).alias(f"{name}{STATE}") for name in state.columns)
    progress(0.7, "writing")
    contract = infer(frame, id_column=order.id_column, time_column=order.time)
    digest = content_digest(frame)
    same = order.known is not None and order.known[0] == digest
    version = order.known[1] if same and order.known is not None else lake.write(order.out, frame)
    missing = {name: round(float((state[name] != "ok").mean() or 0.0), 6) for name in state.columns}  # type: ignore[arg-type]
    told = msgspec.Raw(profile(frame, contract).to_json())
    return Result(done=Done(rows=frame.height, digest=digest, contract=contract, profile=told, version=version), missing=missing)


def _fits(wanted: Service, questions: pl.DataFrame, time: str) -> None:
    """Refuses a dataset that cannot ask for these vectors."""
    import polars as pl

    have = ", ".join(questions.columns[:10])
    for name in (*wanted.entity, *wanted.inputs, time):
        if name not in questions.columns:
            raise Invalid(
                f"The dataset has no column '{name}', which service/{wanted.name} needs.", field=name, hint=f"It has: {have}."
            )
    for name in wanted.names:
        if name in questions.columns:
            raise Invalid(
                f"The dataset has a column '{name}' already.", field=name, hint="Rename the feature, or leave the column out."
            )
    cells = questions[time]
    if not isinstance(cells.dtype, pl.Datetime):
        raise Invalid(f"The column '{time}' holds no times.", field=time)
    if cells.null_count():
        row = int(cells.is_null().arg_true()[0]) + 1
        raise Invalid(f"Row {row} does not say when it asks: '{time}' is empty.", field=time, hint="Give every row a time.")


def _facts(folder: Path, lake: str, source: Source, v: View) -> pl.DataFrame:
    """All facts of a view: the dataset's rows, then what was pushed."""
    import polars as pl

    from tandem.data.dtypes import POLARS
    from tandem.data.features import offline
    from tandem.store.lake import Lake

    parts: list[pl.DataFrame] = []
    if source.table is not None:
        parts.append(offline.facts_of(v, Lake(Path(lake)).read(source.table, source.version)))
    if source.log is not None:
        kinds = {name: pl.Int64() if dtype == "datetime" else POLARS[dtype] for name, dtype in v.columns.items()}
        rows = pl.read_ndjson(folder / source.log, schema={**kinds, offline.KNOWN: pl.Int64(), offline.ORDER: pl.Int64()})
        times = [pl.col(name).cast(pl.Datetime("us", "UTC")) for name, dtype in v.columns.items() if dtype == "datetime"]
        parts.append(offline.facts_of(v, rows.with_columns(times), pushed=True))
    if not parts:
        empty = pl.DataFrame(schema={name: POLARS[dtype] for name, dtype in v.columns.items()})
        parts.append(offline.facts_of(v, empty))
    return pl.concat(parts)


if __name__ == "__main__":
    raise SystemExit(serve(Load | Join, carry_out))  # type: ignore[arg-type]  # a union is read as a type is
