"""Two versions of a dataset side by side: columns, contract, rows, and how each column's values have moved.

`python -m tandem.data.compare` is the child; see `tandem.jobs.apart`. Judges no cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tandem.core.monitor import Histogram
from tandem.core.score import Estimate
from tandem.data.child import Held
from tandem.data.contract import Contract
from tandem.jobs.apart import Progress, serve, silent

if TYPE_CHECKING:
    import polars as pl

    from tandem.scorers.drift import Comparison

EXAMPLES = 10
"""Ids that are named of each kind of change."""
TEXTS = 20
"""Frequent texts that have a bin of their own."""
DRAWS = 999
"""Permutations behind the p-value of a column."""
SEED = 7
LEVEL = 0.05
"""The share of columns called changed that may be so by chance."""
MATTERS = 0.1
"""The population stability index from which a change is called one; the usual bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two versions."""

    held: Held
    contract: Contract | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be compared; `old` is the reference."""

    lake: str
    old: Side
    new: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that was one way and is another; None where it was or is not there."""

    where: str
    was: str | None = None
    now: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCounts:
    """Rows of both versions."""

    old: int
    new: int
    by: Literal["id", "values"]
    """Rows are the same by their id, or, where no column names a row in both versions, by all their values."""
    added: int
    removed: int
    changed: int
    """Rows of the same id with another value in a column of both; 0 by values."""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """`added`, `removed`, `changed`: the first ids of each."""
    cells: Mapping[str, int] = field(default_factory=dict)
    """Column → rows of the same id in which it differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """How the values of one column have moved."""

    name: str
    dtype: str
    verdict: Literal["changed", "stable", "inconclusive", "not-compared"]
    """`changed`: the index reaches 0.1 and chance does not explain it; `inconclusive`: one of the two."""
    effect: Estimate | None = None
    """Population stability index with its 95 % interval."""
    variation: float | None = None
    """Total variation distance, 0 to 1."""
    adjusted: float | None = None
    """p-value, adjusted over the columns."""
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What is different in the newer of two versions."""

    old: str
    new: str
    schema: tuple[Change, ...]
    contract: tuple[Change, ...]
    rows: RowCounts
    columns: tuple[Moved, ...]


def carry_out(order: Order, progress: Progress = silent) -> Diff:
    """Compares two versions, in this process.

    Raises:
        NotFound: no such table or version.
    """
    from tandem.store.lake import Lake

    lake = Lake(Path(order.lake))
    old, new = (lake.read(side.held.table, side.held.version) for side in (order.old, order.new))
    by = _id(order, old, new)
    named = [] if by is None else [by]
    return Diff(
        old=order.old.held.ref,
        new=order.new.held.ref,
        schema=schema(old, new),
        contract=terms(order.old.contract, order.new.contract),
        rows=counts(old, new, by),
        columns=moved(old.drop(named), new.drop(named)),
    )


def schema(old: pl.DataFrame, new: pl.DataFrame) -> tuple[Change, ...]:
    """Columns that came, went, or have another type."""
    from tandem.data.dtypes import of_frame

    was = {name: of_frame(dtype) for name, dtype in old.schema.items()}
    now = {name: of_frame(dtype) for name, dtype in new.schema.items()}
    names = dict.fromkeys([*was, *now])
    return tuple(Change(where=name, was=was.get(name), now=now.get(name)) for name in names if was.get(name) != now.get(name))


def terms(old: Contract | None, new: Contract | None) -> tuple[Change, ...]:
    """Rules of the contract that came, went, or say something else; the bounds of columns among them."""
    was, now = ({} if each is None else _flat(each) for each in (old, new))
    names = dict.fromkeys([*was, *now])
    return tuple(Change(where=name, was=was.get(name), now=now.get(name)) for name in names if was.get(name) != now.get(name))


def _flat(contract: Contract) -> dict[str, str]:
    """Each rule under its path; columns and row rules go by their names, whatever their order."""
    raw = contract.to_builtins()
    found: dict[str, str] = {}
    for column in raw.pop("columns"):
        name = column.pop("name")
        found |= {f"columns.{name}.{key}": str(value) for key, value in column.items() if value not in (None, False)}
    for rule in raw.pop("rows", ()):
        found |= {f"rows.{rule['name']}": f"{rule['expression']} ({rule['severity']})"}
    for together in raw.pop("unique", ()):
        found |= {f"unique.{'+'.join(together['columns'])}": together["severity"]}
    return found | {key: str(value) for key, value in raw.items() if value is not None}


def _id(order: Order, old: pl.DataFrame, new: pl.DataFrame) -> str | None:
    """The column that names a row in both versions."""
    named = {None if side.contract is None else side.contract.id_column for side in (order.old, order.new)}
    name = named.pop() if len(named) == 1 else None
    if name is None or name not in old.columns or name not in new.columns or old.schema[name] != new.schema[name]:
        return None
    unique = all(not frame[name].has_nulls() and frame[name].n_unique() == frame.height for frame in (old, new))
    return name if unique else None


def counts(old: pl.DataFrame, new: pl.DataFrame, by: str | None) -> RowCounts:
    """Rows that came, went or changed."""
    shared = [name for name in new.columns if name in old.columns and old.schema[name] == new.schema[name]]
    if by is None:
        return _by_values(old.select(shared), new.select(shared))
    import polars as pl

    def without(these: pl.DataFrame, those: pl.DataFrame) -> pl.Series:
        return these.join(those, on=by, how="anti", maintain_order="left")[by]

    came, went = without(new, old), without(old, new)
    both = new.select(shared).join(old.select(shared), on=by, how="inner", maintain_order="left", suffix="\0was")
    differs = both.select(by, *(pl.col(name).ne_missing(pl.col(f"{name}\0was")).alias(name) for name in shared if name != by))
    cells = {name: int(differs[name].sum()) for name in shared if name != by}
    changed = differs.filter(pl.any_horizontal(pl.exclude(by)))[by] if len(shared) > 1 else differs[by].clear()
    return RowCounts(
        old=old.height,
        new=new.height,
        by="id",
        added=len(came),
        removed=len(went),
        changed=len(changed),
        examples={
            key: tuple(str(value) for value in ids.head(EXAMPLES).to_list())
            for key, ids in (("added", came), ("removed", went), ("changed", changed))
        },
        cells={name: count for name, count in cells.items() if count},
    )


def _by_values(old: pl.DataFrame, new: pl.DataFrame) -> RowCounts:
    """As two bags of rows: how often each row stands in either, by a hash of all its values."""
    import polars as pl

    def bag(frame: pl.DataFrame, name: str) -> pl.DataFrame:
        return frame.hash_rows(seed=SEED).alias("row").value_counts(name=name)

    both = bag(old, "was").join(bag(new, "now"), on="row", how="full", coalesce=True).fill_null(0)
    more = both["now"].cast(pl.Int64) - both["was"].cast(pl.Int64)
    return RowCounts(
        old=old.height,
        new=new.height,
        by="values",
        added=int(more.clip(lower_bound=0).sum()),
        removed=int((-more).clip(lower_bound=0).sum()),
        changed=0,
    )


def moved(old: pl.DataFrame, new: pl.DataFrame) -> tuple[Moved, ...]:
    """The columns of both versions, compared with the bins of the older one."""
    from tandem.scorers.drift import compare
    from tandem.scorers.family import holm

    shared = [name for name in new.columns if name in old.columns and old.schema[name] == new.schema[name]]
    drawn = {name: _binned(old[name], new[name]) for name in shared}
    found = {
        name: compare(each.reference, each.now, seed=SEED, draws=DRAWS)
        for name, each in drawn.items()
        if each is not None and new.height
    }
    adjusted = dict(zip(found, holm([each.p for each in found.values()]), strict=True))
    return tuple(_moved(name, old[name], each, found.get(name), adjusted.get(name)) for name, each in drawn.items())


def _moved(name: str, cells: pl.Series, histogram: Histogram | None, found: Comparison | None, adjusted: float | None) -> Moved:
    from tandem.data.dtypes import of_frame

    dtype = of_frame(cells.dtype) or str(cells.dtype)
    if found is None or adjusted is None:
        return Moved(name=name, dtype=dtype, verdict="not-compared", histogram=histogram)
    large, sure = found.effect.value >= MATTERS, adjusted <= LEVEL
    return Moved(
        name=name,
        dtype=dtype,
        verdict="changed" if large and sure else "inconclusive" if large or (sure and found.effect.high >= MATTERS) else "stable",
        effect=found.effect,
        variation=found.variation,
        adjusted=adjusted,
        histogram=histogram,
    )


def _binned(old: pl.Series, new: pl.Series) -> Histogram | None:
    """Both sides counted into the bins of the older; None where it has no value to make bins of."""
    import polars as pl

    if not old.count():
        return None
    if isinstance(old.dtype, pl.String):
        return _texts(old, new)
    from tandem.scorers.drift import count, freeze

    if isinstance(old.dtype, pl.Datetime):
        old, new = old.dt.epoch("s"), new.dt.epoch("s")
    then, now = (cells.cast(pl.Float64).fill_null(float("nan")).to_numpy() for cells in (old, new))
    bins = freeze(old.name, then)
    missing = int(new.null_count())
    return Histogram(
        labels=(*bins.labels, "missing"),
        reference=(*bins.counts, bins.missing),
        now=(*(int(each) for each in count(bins, now)), missing),
    )


def _texts(old: pl.Series, new: pl.Series) -> Histogram:
    """A bin for each of the older side's frequent texts, one for all others."""

    tally = old.drop_nulls().alias("text").value_counts().sort(["count", "text"], descending=[True, False]).head(TEXTS)
    texts = [str(text) for text in tally["text"].to_list()]

    def counted(cells: pl.Series) -> tuple[int, ...]:
        table = dict(cells.drop_nulls().alias("text").value_counts().iter_rows())
        known = [int(table.get(text, 0)) for text in texts]
        return (*known, int(cells.count()) - sum(known), cells.null_count())

    return Histogram(labels=(*texts, "others", "missing"), reference=counted(old), now=counted(new))


def main() -> int:
    return serve(Order, carry_out)


if __name__ == "__main__":
    raise SystemExit(main())
