"""Offline: the features of many entities, each at its own moment, from all facts at once. A row in is a row out, in order.

A fact counts from `start = max(event, known)` on. Sorted by entity and start, the newest fact at *t* is a running maximum
of ranks, looked up by one binary search; the facts of a window are one range of the same order, less those that are over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from tandem.data.contract import Dtype
from tandem.data.features.frames import MICROS_UTC, values
from tandem.data.features.validity import EMPTY_IS_ZERO, PUSHED
from tandem.data.features.view import FACTS, Feature, Service, View

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ints: TypeAlias = "NDArray[np.int64]"
Flags: TypeAlias = "NDArray[np.bool_]"
PAIRS = 4_000_000
"""Pairs of question and fact that are looked at together: what bounds the memory of windows."""
STATES = ("ok", "null", "expired", "not-found")
_OK, _NULL, _EXPIRED, _NOT_FOUND = range(4)
BITS = 63
"""Of a positive integer in 64."""
FOREVER = np.iinfo(np.int64).max
EVENT, CREATED, KNOWN, ORDER, ID = "__event", "__created", "__known", "__order", "__id"
"""Columns of a frame of facts, beside the entity's and one per expression, `e0`, `e1`, …; times in UTC microseconds."""


class Answers(NamedTuple):
    """The features of one view, one row per question."""

    frame: pl.DataFrame
    """A column per feature."""
    states: dict[str, NDArray[np.int8]]
    """Of each feature, which of `STATES`."""


def facts_of(view: View, rows: pl.DataFrame, *, pushed: bool = False) -> pl.DataFrame:
    """Rows as facts.

    A row of a dataset was known when it became true, unless a column says since when; a pushed one since it arrived, which
    its columns `KNOWN` and `ORDER` say. Rows without entity or time are no facts.
    """
    event = _micros(view.time)
    known = pl.col(KNOWN) if pushed else event if view.known is None else _micros(view.known).fill_null(event)
    created = known if pushed else event
    base = rows.select(
        *(pl.col(name).cast(_KEYS[view.columns[name]]) for name in view.entity),
        event.alias(EVENT),
        (created if view.created is None else _micros(view.created).fill_null(created)).alias(CREATED),
        known.alias(KNOWN),
        (pl.col(ORDER) + PUSHED if pushed else pl.int_range(pl.len(), dtype=pl.Int64)).alias(ORDER),
        _identity(view).alias(ID),
    )
    computed = [values(formula, rows).alias(f"e{place}") for place, formula in enumerate(view.formulas)]
    return base.with_columns(computed).filter(pl.all_horizontal(pl.col(*view.entity, EVENT).is_not_null()))


def worth(view: View, facts: pl.DataFrame, now: int) -> pl.DataFrame:
    """The facts, by entity and rank, without most of those that `online.merged` would drop at this moment."""
    sorted_ = facts.sort(*view.entity, EVENT, CREATED, ORDER).with_row_index("__place")
    known = pl.max_horizontal(EVENT, KNOWN) <= now
    newest = pl.col("__place") == pl.when(known).then("__place").max().over(*view.entity)
    return sorted_.filter(~known | newest | (pl.col(EVENT) + view.widest > now)).drop("__place")


def _micros(column: str) -> pl.Expr:
    return pl.col(column).cast(MICROS_UTC).cast(pl.Int64)


_KEYS: Mapping[Dtype, type[pl.DataType]] = {"int": pl.Int64, "string": pl.String}
"""How entities are compared."""


def _identity(view: View) -> pl.Expr:
    if not view.id:
        return pl.lit("")
    return pl.concat_str([pl.col(name).cast(pl.String).fill_null("\0") for name in view.id], separator="\x1f")


def answers(view: View, facts: pl.DataFrame, questions: pl.DataFrame, at: Ints) -> Answers:
    """The features of a view for questions.

    Args:
        facts: as `facts_of` makes them, in any order.
        questions: the entity's columns, as texts or whole numbers; a missing one is an entity that is not found.
        at: the moment of each question, UTC microseconds.
    """
    groups, asked = _groups(view, facts, questions)
    event = _ints(facts, EVENT)
    begin = np.maximum(event, _ints(facts, KNOWN))
    by_rank = _by_rank(groups, event, _ints(facts, CREATED), _ints(facts, ORDER))
    rank = np.empty(len(by_rank), dtype=np.int64)
    rank[by_rank] = np.arange(len(by_rank))
    order = by_rank if np.array_equal(begin, event) else np.lexsort((rank, begin, groups))
    bounds = np.searchsorted(groups[order], np.arange(groups.max(initial=-1) + 2))
    first = bounds[np.minimum(asked, len(bounds) - 2)] if len(bounds) > 1 else np.zeros(len(asked), dtype=np.int64)
    last = bounds[asked + 1] if len(bounds) > 1 else first
    last = np.where(asked < 0, first, last)
    starts = begin[order]
    upto = _search(starts, first, last, at)
    found = upto > first
    newest = np.zeros(len(at), dtype=np.int64)
    if len(order):
        best = np.maximum.accumulate(rank[order])
        newest = np.where(found, by_rank[best[np.maximum(upto - 1, 0)]], 0)
    event_of = np.where(found, event[newest], 0) if len(order) else newest
    over = _over(facts, groups, rank, by_rank, begin, event) if view.widest else None
    table = _Facts(facts, order, rank, starts, event, over)
    columns: list[pl.Series] = []
    states: dict[str, NDArray[np.int8]] = {}
    for feature, place in zip(view.features, view.places, strict=True):
        holds = view.holds(feature)
        gone = ~found | (np.zeros(len(at), dtype=bool) if holds is None else at >= event_of + holds)
        if feature.aggregate == "last":
            cells = _picked(facts, f"e{place}", newest, ~gone)
        else:
            assert holds is not None  # an aggregate has a window
            low = _search(starts, first, upto, at - holds)
            cells = _windows(table, feature, place, low, upto, at, holds, found)
        columns.append(cells.alias(feature.name))
        states[feature.name] = _states(cells, feature, found, gone)
    return Answers(pl.DataFrame(columns), states)


def _states(cells: pl.Series, feature: Feature, found: Flags, gone: Flags) -> NDArray[np.int8]:
    state = np.where(cells.is_null().to_numpy(), _NULL, _OK)
    state = np.where(gone, _EXPIRED, state)
    return np.where(found, state, _NOT_FOUND).astype(np.int8)


def _groups(view: View, facts: pl.DataFrame, questions: pl.DataFrame) -> tuple[Ints, Ints]:
    """The entity of each fact and of each question as a number; -1 for one that has no facts."""
    names = list(view.entity)
    asked = questions.select(pl.col(name).cast(facts.schema[name], strict=False) for name in names)
    known = facts.select(names).unique(maintain_order=False).with_row_index("__group")
    of_facts = facts.select(names).join(known, on=names, how="left", maintain_order="left")["__group"]
    of_asked = asked.join(known, on=names, how="left", maintain_order="left")["__group"]
    return of_facts.cast(pl.Int64).to_numpy(), of_asked.cast(pl.Int64).fill_null(-1).to_numpy()


def _ints(frame: pl.DataFrame, name: str) -> Ints:
    return frame[name].to_numpy()


def _search(sorted_in_parts: Ints, low: Ints, high: Ints, wanted: Ints) -> Ints:
    """For each question the first place in [low, high) whose value is greater than what is wanted; all at once."""
    low, high = low.copy(), high.copy()
    while True:
        open_ = low < high
        if not open_.any():
            return low
        middle = (low + high) // 2
        right = open_ & (sorted_in_parts[np.minimum(middle, len(sorted_in_parts) - 1)] <= wanted)
        low = np.where(right, middle + 1, low)
        high = np.where(open_ & ~right, middle, high)


def _picked(facts: pl.DataFrame, column: str, places: Ints, there: Flags) -> pl.Series:
    if not facts.height:
        return pl.Series(column, [None], dtype=facts.schema[column]).new_from_index(0, len(places))
    index = pl.Series(np.where(there, places, 0)).zip_with(
        pl.Series(there), pl.Series([None], dtype=pl.Int64).new_from_index(0, len(places))
    )
    return facts[column].gather(index)


class _Facts(NamedTuple):
    """What windows need of the facts; `order` is by entity and start."""

    frame: pl.DataFrame
    order: Ints
    rank: Ints
    starts: Ints
    """In `order`."""
    event: Ints
    over: Ints | None
    """When a later version of the same fact takes its place; None: no fact has two versions."""


def _over(facts: pl.DataFrame, groups: Ints, rank: Ints, by_rank: Ints, begin: Ints, event: Ints) -> Ints | None:
    g, e = groups[by_rank], event[by_rank]
    together = (g[1:] == g[:-1]) & (e[1:] == e[:-1])
    if not together.any():
        return None
    same = pl.DataFrame({"g": groups, "e": event, "i": facts[ID], "s": begin, "r": rank, "at": np.arange(len(rank))})
    same = same.sort("r", descending=True).with_columns(
        pl.col("s").cum_min().shift(1).over("g", "e", "i").fill_null(FOREVER).alias("over")
    )
    return same.sort("at")["over"].to_numpy()


def _by_rank(groups: Ints, event: Ints, created: Ints, order: Ints) -> Ints:
    """Places by entity, then by rank; by one key where the data allow it, which is several times as fast."""
    if len(groups):
        least = int(event.min())
        bits = (int(event.max()) - least).bit_length()
        plain = (order[1:] >= order[:-1]).all() and np.array_equal(created, event)
        if plain and bits + int(groups.max()).bit_length() <= BITS:
            return np.argsort((groups << bits) | (event - least), kind="stable")
    return np.lexsort((order, created, event, groups))


def _windows(facts: _Facts, feature: Feature, place: int, low: Ints, high: Ints, at: Ints, holds: int, found: Flags) -> pl.Series:
    """An aggregate for each question over the facts in its range that count."""
    empty = 0.0 if feature.aggregate in EMPTY_IS_ZERO else None
    dtype = pl.Float64 if feature.aggregate != "last" or place < 0 else facts.frame.schema[f"e{place}"]
    parts: list[pl.DataFrame] = []
    sizes = np.cumsum(high - low)
    begin = 0
    while begin < len(at):
        done = sizes[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(sizes, done + PAIRS, side="right")))
        parts.append(_window(facts, feature, place, begin, low[begin:end], high[begin:end], at[begin:end], holds))
        begin = end
    index = pl.DataFrame({"q": np.arange(len(at)), "f": found})
    if not parts:
        return pl.Series([], dtype=dtype)
    joined = index.join(pl.concat(parts), on="q", how="left", maintain_order="left")
    none = pl.lit(empty, dtype=dtype)
    return joined.select(
        pl.when(pl.col("n").is_not_null()).then(pl.col("x").cast(dtype)).otherwise(pl.when(pl.col("f")).then(none))
    ).to_series()


def _window(
    facts: _Facts, feature: Feature, place: int, offset: int, low: Ints, high: Ints, at: Ints, holds: int
) -> pl.DataFrame:
    """`q`, how many facts count, and the aggregate `x`, for the questions of one part that have any."""
    count = high - low
    question = np.repeat(np.arange(len(low)), count)
    within = np.arange(len(question)) - np.repeat(np.cumsum(count) - count, count)
    fact = facts.order[np.repeat(low, count) + within]
    t = at[question]
    counts = t < facts.event[fact] + holds
    if facts.over is not None:
        counts &= facts.over[fact] > t
    question, fact = question[counts], fact[counts]
    column = pl.lit(True).alias("x") if place < 0 else pl.Series("x", facts.frame[f"e{place}"].gather(fact))
    pairs = pl.DataFrame({"q": question + offset, "r": facts.rank[fact]}).with_columns(column)
    if (np.bincount(question, minlength=1) > FACTS).any():
        pairs = pairs.sort("q", "r").group_by("q", maintain_order=True).tail(FACTS)
    x = pl.col("x")
    act: Mapping[str, pl.Expr] = {
        "count": x.count(),
        "distinct": x.drop_nulls().n_unique(),
        "sum": _finite(x.sum()),
        "mean": _finite(x.mean()),
        "std": _finite(x.std()),
        "min": x.min(),
        "max": x.max(),
    }
    return pairs.group_by("q").agg(pl.len().alias("n"), act[feature.aggregate].cast(pl.Float64).alias("x"))


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)


def vectors(
    service: Service, facts: Mapping[str, pl.DataFrame], questions: pl.DataFrame, at: Ints
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The vectors of a service for questions: its values, and of each feature its state.

    Args:
        facts: of each view by its key.
        questions: entity columns and inputs, one row per question.
        at: the moment of each, UTC microseconds.
    """
    found = [answers(view, facts[view.key], questions, at) for view in service.views]
    picks = [(found[v], service.views[v].features[f].name) for v, f in service.picks]
    frame = pl.DataFrame([each.frame[name] for each, name in picks])
    inputs = questions.select(*service.inputs) if service.inputs else pl.DataFrame()
    row = pl.concat([frame, inputs, pl.DataFrame({"now()": at})], how="horizontal")
    for computed, formula in zip(service.computed, service.formulas, strict=True):
        row = row.with_columns(values(formula, row).alias(computed.name))
    names = pl.Series(STATES, dtype=pl.Enum(STATES))
    states = {name: names.gather(pl.Series(each.states[name])) for each, name in picks}
    return row.select(service.names), pl.DataFrame(states)
