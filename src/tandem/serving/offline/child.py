"""The scoring of a dataset, in a process of its own: `python -m tandem.serving.offline.child`; see `tandem.jobs.apart`.

It reads the dataset part by part, checks each row as a call's rows are checked, predicts by the runtime that serves the model,
and leaves parts in the folder. When all are there, it writes them into the lake in one commit. Killed at any moment and begun
anew, it goes on after the last finished part.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tandem.core.errors import Invalid
from tandem.data.child import Done
from tandem.jobs.apart import Progress, ask, bare_environment, serve
from tandem.jobs.pieces import HERE, Compute, Tally, crew, each
from tandem.serving.offline import spent
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    import polars as pl

    from tandem.serving.offline.parts import Parts

SECONDS = 86_400.0
"""The longest scoring."""
WHOLE = 1_000_000
"""Rows that are scored at once where they belong together."""
PICTURES = 1_000
"""Images of one part."""
MEMORY = {"_RJEM_MALLOC_CONF": "dirty_decay_ms:200,muzzy_decay_ms:0"}
"""In the environment of the process: what polars frees, the system has again soon. It would else keep the most it ever took."""
NICE = 10
"""How much it gives way to whoever answers calls."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be scored, by what."""

    folder: str
    """Where finished parts lie."""
    lake: str
    table: str
    version: int
    members: str
    """The directory of the model's files."""
    signature: Signature
    threshold: float
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where the model tells a number."""
    out: str
    """The table that is written."""
    mark: str
    """By which the commit is found again: the Run's id."""
    id_column: str | None = None
    time_column: str | None = None
    trust: tuple[str, ...] = ()
    """What may be executed of the model's files, as words of `serving.base.TRUST`."""
    compute: Compute = HERE
    """Who does the parts."""

    @property
    def elsewhere(self) -> Compute:
        """The same; of images this machine, which has the files."""
        return replace(self.compute, ray="") if self.signature.pictured else self.compute


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    done: Done
    """Its `quarantine` holds the rows that the model does not take."""
    seconds: float
    """Of processor time that this process took, and those that did parts for it."""
    rest: float = 0.0
    """By the clock, of what this process did beside parts."""


def apart(order: Score, progress: Progress, cancelled: Callable[[], bool]) -> Result:
    """Has a child process score a dataset.

    Raises:
        Invalid: the dataset has not the model's columns.
        Conflict: it was cancelled, or somebody else wrote the table meanwhile.
        TimedOut: it took longer than a day.
        Broken: the child died.
    """
    bare = order.trust and not order.elsewhere.ray  # on a cluster, no code of users runs in the child
    env = {**(bare_environment() if bare else os.environ), **MEMORY}
    return ask("tandem.serving.offline.child", order, Result, progress=progress, cancelled=cancelled, seconds=SECONDS, env=env)


def score(order: Score, progress: Progress) -> Result:
    """Makes the parts that are missing, and the dataset of all."""
    import polars as pl

    from tandem.serving.offline import check
    from tandem.serving.offline.answers import REASON
    from tandem.serving.offline.parts import ROWS, Parts
    from tandem.serving.offline.tables import dataset
    from tandem.serving.signals import TOGETHER, Signals
    from tandem.serving.windows import cut
    from tandem.store.lake import HIDDEN, Lake

    begun = time.perf_counter()
    progress(0.0, "reading the dataset")
    lake, folder = Lake(Path(order.lake)), Path(order.folder)
    rows = lake.scan(order.table, order.version).drop(HIDDEN, strict=False)
    signals = Signals.load(Path(order.members))
    if signals is None:
        schema = rows.collect_schema()
        check.columns(schema, order.signature)
        kept, height = schema.names(), int(rows.select(pl.len()).collect().item())
        size = PICTURES if order.signature.pictured else ROWS

        def piece(start: int, stop: int) -> pl.DataFrame:
            return rows.slice(start, stop - start).collect()

    else:
        plan = signals.plan
        columns = [name for name in (plan.unit, plan.at, *plan.channels) if name in rows.collect_schema()]
        found = cut(rows.select(columns).collect(), plan)
        kept, height, size = [plan.unit, plan.at], len(found), max(1, TOGETHER // (plan.window * len(plan.channels)))

        def piece(start: int, stop: int) -> pl.DataFrame:
            return found.frame(slice(start, stop))

    names = added(kept, order.signature)
    if order.signature.whole and height > WHOLE:
        raise Invalid(
            f"The dataset has {height:,} rows; of a model whose rows belong together {WHOLE:,} are scored at once.",
            field="data",
            hint="Score fewer series at a time, or leave old values out.",
        )
    parts = Parts(folder / "parts", height, size=WHOLE if order.signature.whole else size)
    tally = _parts(order, piece, parts, names, progress)
    progress(0.85, "writing")
    files = parts.all()
    id, time_column = (name if name in kept else None for name in (order.id_column, order.time_column))
    done = dataset(lake, order.out, [*kept, *names], files, folder, mark=order.mark, id=id, time=time_column)
    done = replace(done, **_quarantine(folder, pl.scan_parquet(files).filter(pl.col(REASON).is_not_null()), kept))
    rest = time.perf_counter() - begun - tally.waited
    return Result(done=done, seconds=time.process_time() + tally.cpu, rest=rest)


def _quarantine(folder: Path, left: pl.LazyFrame, names: Sequence[str]) -> dict[str, Any]:
    """The rows that were refused, in a file as a dataset keeps them: cells as text, `_row`, `_line` and `_reasons`."""
    import polars as pl

    from tandem.serving.offline.answers import REASON, ROW

    count = int(left.select(pl.len()).collect().item())
    if not count:
        return {}
    path = folder / "quarantine.parquet"
    line = pl.lit(None, dtype=pl.Int64).alias("_line")
    left.select([*(pl.col(name).cast(pl.String) for name in names), pl.col(ROW), line, pl.col(REASON)]).sink_parquet(path)
    return {"quarantined": count, "quarantine": str(path)}


def added(names: Sequence[str], signature: Signature) -> tuple[str, ...]:
    """How the columns are called that are put beside those of the dataset: what the model answers of each row by itself."""
    return tuple(_free(output.name, names) for output in signature.outputs if output.dtype != "int")


def _free(name: str, names: Sequence[str]) -> str:
    while name in names:
        name = f"{name}_predicted"
    return name


def _parts(
    order: Score, piece: Callable[[int, int], pl.DataFrame], parts: Parts, names: tuple[str, ...], progress: Progress
) -> Tally:
    """Makes the parts that are missing; returns what they took."""
    from tandem.serving.offline.answers import Answers
    from tandem.store.lake import IMAGES

    answers = Answers(
        signature=order.signature,
        threshold=order.threshold,
        classes=order.classes,
        names=names,
        trust=order.trust,
        members=_files(Path(order.members)) if order.elsewhere.ray else Path(order.members),
        images=None if order.elsewhere.ray else Path(order.lake, IMAGES),
    )
    finished = parts.finished()
    missing = [(number, *span) for number, span in enumerate(parts.ranges()) if span[0] not in finished]
    asked = ((at, (at[1], piece(at[1], at[2]))) for at in missing)
    rest = sum(stop - start for _, start, stop in missing)
    with crew(order.elsewhere, answers) as doing:
        for (number, start, stop), part in each(doing, asked):
            spent.keep(Path(order.folder), number, part.seconds)
            parts.keep(start, stop, part.content)
            rest -= stop - start
            progress(0.02 + 0.8 * (1 - rest / parts.rows), f"scoring: {parts.rows - rest:,} of {parts.rows:,} rows")
        return doing.tally


def _files(folder: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main() -> int:
    os.nice(NICE)
    return serve(Score, score)


if __name__ == "__main__":
    raise SystemExit(main())
