"""Series as rows to learn from, one for each origin and step, and the intervals of what is told. Knows no algorithm.

Time is parted into blocks of equal length. A model of the blocks before a block tells that block, from several origins (rolling
origin evaluation): a row is learned from only by folds whose blocks lie after its moment, and everything that a row is made from
lies before its origin. The first block judges nothing. The errors of the second only make intervals; so each judged block has
intervals of the errors of blocks before it (split conformal prediction, Vovk et al. 2005, step by step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.data.check import infer
from tandem.scorers.sample import Floats, Truths
from tandem.serving import lags
from tandem.serving.columns import Columns
from tandem.serving.grid import Grid, Places, told
from tandem.serving.series import OUTPUTS, Kept, Series, called
from tandem.serving.signature import Field, Signature
from tandem.training.split import NEVER, Splits
from tandem.training.table import MINIMUM_ROWS, MOST_VALUES, Aim, Table, field_of
from tandem.training.task import Task

MOST_PAIRS = 200_000
"""Rows that are learned from: origins are left out where there are more."""
MOST_SERIES = 2_000
MOST_KEPT = 4_000_000
"""Values that a model keeps of all series."""
GAPS = 0.3
"""The share of steps without a row from which rows count as not evenly apart."""
LEVELS = (0.8, 0.95)
FEW = 40
"""Errors of one step from which it has an interval of its own; with fewer all steps share theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfolded:
    """What an algorithm is given, and what stands around it."""

    table: Table
    """A row for each origin and step; its ids are those of the dataset's rows that are told."""
    splits: Splits
    """Fold 0 judges for the intervals alone."""
    places: NDArray[np.int64]
    """The dataset's row that is told; one row may be told from several origins."""
    windows: tuple[str, ...]
    """The origin that each row is told from: what happens then happens to all series."""
    owners: NDArray[np.int64]
    """The number of each row's series."""
    steps: Places
    scales: Floats
    """As of `lags.features`."""
    series: Series
    """Without its intervals."""
    signature: Signature
    """Of the rows of a call."""
    warnings: tuple[str, ...]

    def banded(self, points: Floats) -> tuple[NDArray[np.int64], Floats, Series]:
        """Intervals around what was told of the judged rows.

        Args:
            points: of the rows that `splits.judged`, in their order.

        Returns:
            The rows of the table that are evidence, in the dataset's order; their outputs, rows x 5; and the series with the
            intervals of all errors.
        """
        judged = self.splits.judged
        fold, steps, scales = self.splits.fold[judged], self.steps[judged], self.scales[judged]
        units = np.where(scales > 0, scales, self.series.unit)
        errors = np.abs(self.table.aim.target[judged] - points) / units
        found = np.empty((len(points), len(OUTPUTS)))
        for number in range(1, self.splits.count):
            before, here = fold < number, fold == number
            banded = self._with(errors[before], steps[before])
            found[here] = banded.bounds(points[here], steps[here], scales[here])
        rows = np.flatnonzero(self.splits.fold > 0)
        order = np.argsort(self.places[rows], kind="stable")
        return rows[order], found[fold > 0][order], self._with(errors, steps)

    def _with(self, errors: Floats, steps: Places) -> Series:
        widths = tuple(half_widths(errors[steps == step], errors) for step in range(1, self.series.horizon + 1))
        return msgspec.structs.replace(self.series, widths=widths)


def half_widths(errors: Floats, shared: Floats) -> tuple[float, float]:
    """For each level the smallest error that so many of n + 1 do not pass; of few errors those of all steps.

    >>> half_widths(np.arange(1.0, 100.0), np.zeros(0))
    (80.0, 95.0)
    """
    rising = np.sort(errors if len(errors) >= FEW else shared)
    low, high = (float(rising[min(len(rising), math.ceil((len(rising) + 1) * level)) - 1]) for level in LEVELS)
    return low, high


@dataclass(frozen=True, slots=True)
class _One:
    """One series on the grid."""

    name: str
    first: int
    """The place of its first value."""
    values: Floats
    rows: NDArray[np.int64]
    """The dataset's row of each value; -1 where there is none."""

    @property
    def last(self) -> int:
        return self.first + len(self.values) - 1


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Origins and steps of one series."""

    origins: Places
    steps: Places
    judged: Truths


def unfold(task: Task, frame: pl.DataFrame) -> Unfolded:
    """The rows that a forecast is learned from, and the folds that judge it.

    Raises:
        Invalid: a column is missing or of the wrong type, moments are repeated or not evenly apart, or there are too few.
    """
    time = _checked(task, frame)
    grid, every = _gridded(task, frame, time)
    start, stop = min(one.first for one in every), max(one.last for one in every) + 1
    edges = _edges(task, start, stop)
    seasons = _seasons(task, grid, int(np.diff(edges).min()))
    if len(every) * lags.reach(seasons) > MOST_KEPT:
        raise Invalid(
            f"A model of {len(every)} series with seasons of {max(seasons)} steps keeps too much.",
            field="series",
            hint="Train fewer series together, or name shorter seasons.",
        )
    stride = _stride(every, task.horizon, seasons)
    pairs = [_paired(one, edges, task.horizon, stride, lags.spacing(task.horizon, seasons), seasons) for one in every]
    if not any(some.judged.any() for some in pairs):
        raise Invalid("No series reaches into a block that is judged.", field="folds", hint="Use fewer folds, or add rows.")
    return _table(task, frame, time, grid, every, pairs, edges, seasons)


def _checked(task: Task, frame: pl.DataFrame) -> str:
    """The column of moments."""
    name = task.moment
    if name is None:
        raise Invalid(
            "A forecast needs the column of the time.", field="time", hint="Name it: --time COLUMN, or when data are added."
        )
    for field, column in (
        ("target", task.target),
        ("time", name),
        ("series", task.series),
        *(("known", each) for each in task.known),
    ):
        if column is not None and column not in frame.columns:
            raise Invalid(f"There is no column '{column}' in {task.dataset}.", field=field)
    if not isinstance(frame.schema[name], pl.Datetime):
        raise Invalid(
            f"Column '{name}' holds no times.", field="time", hint="Write them by ISO 8601, such as 2026-01-31T12:00:00Z."
        )
    if not frame.schema[task.target].is_numeric():
        raise Invalid(f"The target '{task.target}' is no number.", field="target", hint="Choose another target.")
    for field, column in (("time", name), ("series", task.series)):
        if column is not None and frame[column].null_count():
            raise Invalid(f"Column '{column}' has gaps.", field=field, hint="Remove those rows.")
    if {task.target, name, task.series} & set(task.known):
        raise Invalid("What is known ahead is neither time, series nor target.", field="known", hint="Leave it out.")
    if task.series is not None and not (frame.schema[task.series].is_integer() or frame.schema[task.series] == pl.String):
        raise Invalid(f"Column '{task.series}' names no series.", field="series", hint="Use texts or whole numbers.")
    return name


def _gridded(task: Task, frame: pl.DataFrame, time: str) -> tuple[Grid, list[_One]]:
    """The series, in the order of their names."""
    names = [called(each) for each in frame[task.series].to_list()] if task.series is not None else [""] * frame.height
    moments = frame[time].dt.epoch("s").to_numpy().astype(np.int64)
    values = frame[task.target].cast(pl.Float64).fill_null(math.nan).to_numpy()
    known = np.flatnonzero(np.isfinite(values))
    rows: dict[str, list[int]] = {}
    for row in known[np.argsort(moments[known], kind="stable")]:
        rows.setdefault(names[row], []).append(int(row))
    if len(known) < MINIMUM_ROWS:
        raise Invalid(
            f"{task.dataset} has {len(known)} values of '{task.target}'; training needs {MINIMUM_ROWS}.", field="dataset"
        )
    if len(rows) > MOST_SERIES:
        raise Invalid(f"Column '{task.series}' names {len(rows)} series; {MOST_SERIES:,} are taken.", field="series")
    for name, each in rows.items():
        _refuse_repeated(name, moments[each])
    longest = max(rows.values(), key=len)
    if len(longest) < 2:
        raise Invalid("No series has two moments.", field="series", hint="Is this the column that names series?")
    grid = Grid.of(task.frequency, moments[longest])
    every = [_placed(name, np.array(each), grid.places(moments[each]), values, grid) for name, each in sorted(rows.items())]
    return grid, every


def _refuse_repeated(name: str, moments: Places) -> None:
    twice = np.flatnonzero(np.diff(moments) == 0)
    if len(twice):
        where = f" of the series '{name[:40]}'" if name else ""
        raise Invalid(
            f"The moment {told(int(moments[twice[0]]))}{where} has two rows, and {len(twice)} moments have.",
            field="time",
            hint="Sum the rows of one moment up, or name the column that tells series apart: --series COLUMN.",
        )


def _placed(name: str, rows: NDArray[np.int64], places: Places, values: Floats, grid: Grid) -> _One:
    length = int(places[-1] - places[0]) + 1
    if len(places) < (1 - GAPS) * length:
        where = f"the series '{name[:40]}'" if name else "the series"
        raise Invalid(
            f"The rows of {where} are not evenly apart: of {length:,} steps of {grid} only {len(places):,} have a value.",
            field="frequency",
            hint="Bring the rows to even steps, such as sums of hours, or name the frequency: --frequency 1h.",
        )
    filled, at = np.full(length, np.nan), np.full(length, -1, dtype=np.int64)
    filled[places - places[0]] = values[rows]
    at[places - places[0]] = rows
    return _One(name, int(places[0]), filled, at)


def _edges(task: Task, start: int, stop: int) -> NDArray[np.int64]:
    """Where each block begins, and the end: one to learn from, one for intervals, and one for each fold."""
    blocks = task.folds + 2
    if (stop - start) // blocks < task.horizon + 1:
        raise Invalid(
            f"{stop - start} steps are too few: {task.folds} folds with a horizon of {task.horizon} need "
            f"{blocks * (task.horizon + 1)}.",
            field="folds",
            hint="Use fewer folds or a shorter horizon, or add rows.",
        )
    return start + np.arange(blocks + 1) * (stop - start) // blocks


def _seasons(task: Task, grid: Grid, block: int) -> tuple[int, ...]:
    if not task.season:
        return grid.seasons(block)
    if max(task.season) > block:
        raise Invalid(
            f"A season of {max(task.season)} steps is longer than what the first fold learns from, {block} steps.",
            field="season",
            hint="Name shorter seasons, use fewer folds, or add rows.",
        )
    return tuple(dict.fromkeys(task.season))


def _stride(every: list[_One], horizon: int, seasons: tuple[int, ...]) -> int:
    """How far origins are apart that are learned from."""
    whole = sum(len(one.values) for one in every) * horizon
    return lags.spacing(math.ceil(whole / MOST_PAIRS), seasons)


def _paired(one: _One, edges: NDArray[np.int64], horizon: int, stride: int, gap: int, seasons: tuple[int, ...]) -> _Pairs:
    """Origins to learn from, and those of whole windows within the blocks; as far as there is a value to be told."""
    ends = len(one.values)
    windows = [np.arange(low - 1, high - horizon, gap) for low, high in pairwise(edges[1:])]
    judging = np.concatenate(windows) - one.first
    judging = judging[(judging >= 0) & (judging < ends - 1)]
    learning = np.arange(min(max(seasons), ends - 1) - 1, ends - 1, stride)
    origins = np.union1d(judging, learning[learning >= 0])
    steps = np.arange(1, horizon + 1)
    at = (origins[:, None] + steps).ravel()
    known = (at < ends) & ~np.isnan(one.values[np.minimum(at, ends - 1)])
    left = np.repeat(origins, horizon)[known]
    return _Pairs(left, np.tile(steps, len(origins))[known], np.isin(left, judging))


def _table(
    task: Task,
    frame: pl.DataFrame,
    time: str,
    grid: Grid,
    every: list[_One],
    pairs: list[_Pairs],
    edges: NDArray[np.int64],
    seasons: tuple[int, ...],
) -> Unfolded:
    made = [lags.features(one.values, some.origins, some.steps, seasons) for one, some in zip(every, pairs, strict=True)]
    numbers, scales = np.concatenate([each for each, _ in made]), np.concatenate([each for _, each in made])
    steps = np.concatenate([some.steps for some in pairs])
    owner = np.repeat(np.arange(len(every)), [len(some.steps) for some in pairs])
    local = np.concatenate([some.origins for some in pairs]) + steps
    firsts = np.array([one.first for one in every])
    moments = local + firsts[owner]
    rows = np.concatenate([one.rows[some.origins + some.steps] for one, some in zip(every, pairs, strict=True)])
    target = np.concatenate([one.values[some.origins + some.steps] for one, some in zip(every, pairs, strict=True)])
    labelled = 1 < len(every) <= MOST_VALUES
    contract = task.contract or infer(frame)
    known = [field_of(contract.column(name), frame[name]) for name in task.known]
    plain = [*lags.names(task.target, seasons), *(f"{time}.{part}" for part in lags.calendar(grid))]
    inner = pl.DataFrame(np.column_stack((numbers, lags.dated(grid, moments))), schema=plain)
    fields = [Field(name=name, nullable=True) for name in plain]
    if labelled and task.series is not None:
        names = tuple(one.name for one in every)
        inner = inner.with_columns(pl.Series(task.series, [names[number] for number in owner]))
        fields.append(Field(name=task.series, dtype="category", values=names))
    inner = inner.with_columns(frame[name][rows].alias(name) for name in task.known)
    signature = Signature(fields=(*fields, *known))
    judged = np.concatenate([some.judged for some in pairs])
    block = np.searchsorted(edges, moments, side="right") - 1
    ids = frame[contract.id_column].to_list() if contract.id_column is not None else range(1, frame.height + 1)
    found = np.array(list(map(str, ids)), dtype=np.object_)[rows]
    origins = grid.moments(moments - steps)
    positive = scales[scales > 0]
    return Unfolded(
        table=Table(
            columns=Columns.of(inner, signature.fields),
            aim=Aim(task="forecasting", classes=(), target=target),
            target=task.target,
            rows=tuple(found),
            signature=signature,
            naive=1 + len(seasons),
        ),
        splits=Splits(
            fold=np.where(judged, block - 1, NEVER),
            count=task.folds + 1,
            forward=True,
            rank=moments.astype(np.float64),
            since=block,
        ),
        places=rows,
        windows=tuple(told(int(origin)) for origin in origins),
        owners=owner,
        steps=steps,
        scales=scales,
        series=Series(
            grid=grid,
            several=task.series is not None,
            labelled=labelled,
            horizon=task.horizon,
            seasons=seasons,
            widths=(),
            unit=float(np.median(positive)) if len(positive) else 1.0,
            low=0.0 if target.min() >= 0 else None,
            needed=tuple(2 + (task.series is not None) + place for place, field in enumerate(known) if not field.nullable),
            kept={one.name: _kept(one, lags.reach(seasons)) for one in every},
        ),
        signature=_signature(task, frame, time, known),
        warnings=_warnings(every),
    )


def _kept(one: _One, back: int) -> Kept:
    return Kept(one.last, tuple(None if math.isnan(value) else float(value) for value in one.values[-back:]))


def _signature(task: Task, frame: pl.DataFrame, time: str, known: list[Field]) -> Signature:
    """Of the rows of a call."""
    contract = task.contract or infer(frame)
    told_of = contract.column(task.target)
    fields = [Field(name=time, dtype="datetime")]
    if task.series is not None:
        texts = frame.schema[task.series] == pl.String
        values = tuple(sorted(frame[task.series].unique().to_list())) if texts else ()
        fields.append(Field(name=task.series, dtype="category" if texts else "int", values=values))
    fields.append(Field(name=task.target, low=told_of.low, high=told_of.high, nullable=True))
    ahead = [replace(each, nullable=True) for each in known]
    return Signature(fields=(*fields, *ahead), outputs=OUTPUTS, history=task.target)


def _warnings(every: list[_One]) -> tuple[str, ...]:
    gaps = sum(int(np.isnan(one.values).sum()) for one in every)
    if not gaps:
        return ()
    steps = sum(len(one.values) for one in every)
    return (f"{gaps:,} of {steps:,} steps have no value; they stay gaps.",)
