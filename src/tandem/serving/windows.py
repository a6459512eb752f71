"""Rows of samples as windows: of each unit, in the order of its times, so many samples in a row. Nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats
from tandem.serving.signals import TOGETHER, Plan, Signals

MOST_SAMPLES = 100_000_000
"""Rows times channels that are cut at one time: 0.8 GB."""
UNEVEN = 0.5
"""How far a step may be from the usual one, as a share of it, to count as even."""
_ROW = "tandem:row"
"""A column of ours among those of a dataset."""
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
"""Odd numbers that spread bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The windows of a dataset, by unit and in the order of time."""

    plan: Plan
    samples: pl.DataFrame
    """`unit` and `at` of every sample, in order."""
    values: Floats
    """Channels x samples, NaN where one is missing."""
    rows: NDArray[np.int64]
    """Where each sample stands in the dataset, from 0."""
    starts: NDArray[np.int64]
    """The first sample of each window."""
    short: tuple[str, ...]
    """Units that have fewer samples than a window."""
    uneven: float
    """The share of steps from sample to sample that are unlike the usual one."""

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def ends(self) -> NDArray[np.int64]:
        """The last sample of each window."""
        return self.starts + self.plan.window - 1

    def numbers(self, some: slice) -> Floats:
        """Some windows: windows x channels x samples."""
        view = np.lib.stride_tricks.sliding_window_view(self.values, self.plan.window, axis=1)
        return np.ascontiguousarray(view[:, self.starts[some]].swapaxes(0, 1))

    def frame(self, some: slice) -> pl.DataFrame:
        """Some windows, a row each: unit, time of the last sample, and a column per channel with the samples in each cell."""
        numbers = self.numbers(some)
        kind = pl.Array(pl.Float64, self.plan.window)
        cells = [pl.Series(name, numbers[:, place], dtype=kind) for place, name in enumerate(self.plan.channels)]
        return self.samples[self.ends[some]].with_columns(cells)

    def features(self) -> Floats:
        """What the model is asked of all windows, some at a time: windows that overlap take many times their samples' memory."""
        size, signals = max(1, TOGETHER // (self.plan.window * len(self.plan.channels))), Signals(self.plan)
        parts = [signals.numbers(self.numbers(slice(start, start + size))) for start in range(0, len(self), size)]
        return np.concatenate(parts) if parts else np.empty((0, len(signals.names)))

    def labelled(self, target: pl.Series) -> Cut:
        """The windows whose last row has a target.

        Args:
            target: of each row of the dataset.
        """
        return replace(self, starts=self.starts[target.is_not_null().to_numpy()[self.rows[self.ends]]])

    @property
    def units(self) -> list[str]:
        """Whose each window is."""
        return list(map(str, self.samples[self.plan.unit].gather(self.ends).to_list()))

    def prints(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Numbers that are equal where samples are: one for each window; and one for each run of so many samples of a unit,
        wherever it begins, in which anything changes."""
        window, samples = self.plan.window, _mixed(self.values)
        powers = np.cumprod(np.full(len(samples), _BASE, dtype=np.uint64))
        sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(samples * powers)])
        back = np.cumprod(np.full(len(samples), pow(int(_BASE), -1, 1 << 64), dtype=np.uint64))
        runs = (sums[window:] - sums[:-window]) * back[: len(samples) - window + 1]
        owner = self.samples[self.plan.unit].rle_id().to_numpy()
        changes = np.concatenate([[0], np.cumsum(samples[1:] != samples[:-1])])
        whole = owner[window - 1 :] == owner[: len(runs)]
        return runs[self.starts], runs[whole & (changes[window - 1 :] > changes[: len(runs)])]

    def told(self) -> tuple[str, ...]:
        """Sentences for people about what was left out, and how the samples lie in time."""
        found = []
        if self.short:
            found.append(
                f"{len(self.short):,} units have fewer samples than a window of {self.plan.window} and were left out, "
                f"such as '{self.short[0][:40]}'."
            )
        if self.uneven:
            found.append(
                f"{self.uneven:.2%} of the steps between samples are unlike the usual one; samples are taken as they stand."
            )
        missing = np.isnan(self.values).mean()
        if missing:
            found.append(f"{missing:.2%} of the samples are missing; they stay gaps.")
        return tuple(found)


def cut(frame: pl.DataFrame, plan: Plan) -> Cut:
    """The whole windows of each unit, from its first sample on.

    Args:
        frame: rows in any order, one for each sample of all channels.

    Raises:
        Invalid: a column is missing or of the wrong type, a sample has no unit or time, a time occurs twice in a unit, there are
            too many samples, or no unit has a whole window.
    """
    unit, at, channels, window = plan.unit, plan.at, plan.channels, plan.window
    _check(frame, unit, at, channels)
    ordered = frame.select(unit, at, *channels).with_row_index(_ROW).sort(unit, at)
    samples = ordered.select(unit, at)
    owner = samples[unit].rle_id().to_numpy()
    begins = np.flatnonzero(np.diff(owner, prepend=-1))
    steps = _steps(samples[at])[np.diff(owner) == 0]
    if (steps == 0).any():
        place = int(np.flatnonzero((np.diff(owner) == 0) & (_steps(samples[at]) == 0))[0])
        twice = int((steps == 0).sum())
        raise Invalid(
            f"The unit '{samples[unit][place]!s:.40}' has two samples at {samples[at][place]}; {twice:,} repeat a time.",
            field="at",
            hint="Number the samples of a unit, or name another column: --at COLUMN.",
        )
    sizes = np.diff(np.append(begins, ordered.height))
    starts = [np.arange(first, first + size - window + 1, plan.stride) for first, size in zip(begins, sizes, strict=True)]
    found = np.concatenate(starts).astype(np.int64)
    if not len(found):
        raise Invalid(
            f"No unit has the {window} samples of a window; the longest has {int(sizes.max())}.",
            field="window",
            hint="Use a shorter window, or is this the column of the units?",
        )
    usual = float(np.median(steps))
    values = [ordered[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in channels]
    return Cut(
        plan=plan,
        samples=samples,
        values=np.stack(values),
        rows=ordered[_ROW].to_numpy().astype(np.int64),
        starts=found,
        short=tuple(str(samples[unit][int(first)]) for first, size in zip(begins, sizes, strict=True) if size < window),
        uneven=float((np.abs(steps - usual) > UNEVEN * usual).mean()),
    )


def _mixed(values: Floats) -> NDArray[np.uint64]:
    """A number for each sample, of all its channels; gaps are alike, and so are zeros."""
    found = np.zeros(values.shape[1], dtype=np.uint64)
    for channel in values:
        plain = np.where(np.isnan(channel), np.nan, channel + 0.0)
        found = (found ^ plain.view(np.uint64)) * _MIX
        found ^= found >> np.uint64(29)
    return found


def _steps(moments: pl.Series) -> Floats:
    """From each sample to the next, in the unit of the column."""
    return np.diff(moments.to_physical().to_numpy()).astype(np.float64)


def _check(frame: pl.DataFrame, unit: str, at: str, channels: Sequence[str]) -> None:
    for option, column in (("signal", unit), ("at", at), *(("data", each) for each in channels)):
        if column not in frame.columns:
            raise Invalid(f"There is no column '{column}'.", field=option, hint=f"Columns are: {', '.join(frame.columns[:10])}.")
    if not (frame.schema[unit].is_integer() or frame.schema[unit] == pl.String):
        raise Invalid(f"Column '{unit}' names no units.", field="signal", hint="Use texts or whole numbers.")
    if not (frame.schema[at].is_numeric() or frame.schema[at].is_temporal()):
        raise Invalid(f"Column '{at}' orders no samples.", field="at", hint="Use times by ISO 8601, or numbers.")
    for option, column in (("signal", unit), ("at", at)):
        if frame[column].null_count():
            raise Invalid(f"Column '{column}' has gaps.", field=option, hint="Remove those rows.")
    for column in channels:
        if not (frame.schema[column].is_numeric() or frame.schema[column] == pl.Boolean):
            raise Invalid(f"The channel '{column}' holds no numbers.", field=column, hint="Score a dataset with numbers in it.")
    if frame.height * len(channels) > MOST_SAMPLES:
        raise Invalid(
            f"{frame.height:,} rows of {len(channels)} channels are too many; {MOST_SAMPLES:,} samples are cut.",
            field="data",
            hint="Take fewer units at a time.",
        )
