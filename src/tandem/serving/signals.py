"""What a model of signals is asked of a window: features of each channel. Vectorised; training and serving use it alike.

Samples count as evenly apart: frequencies are in cycles per sample, 0 to 0.5, and slopes per sample. A missing sample adds
nothing to any feature but its own share. Loaded by hosts and trainings, not by doors; knows no frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats
from tandem.serving.base import member
from tandem.serving.signature import LARGEST, Cell

FILE = "signals.json"
"""The member that holds the plan."""
FEATURES = (
    "mean", "sd", "min", "max", "range", "slope", "rms", "crossings", "frequency", "peak", "centroid", "echo", "missing",
)  # fmt: skip
"""Of each channel: mean, standard deviation, least and largest sample, their distance, slope by least squares, root mean square,
share of steps that cross the mean, dominant frequency (the largest of the periodogram) and its share of the power, mean frequency
by power, autocorrelation at one step, share of samples that are missing."""
TOGETHER = 2_000_000
"""Samples of windows that a table is asked about at one time."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`signals.json`: how samples become windows, and windows what the model is asked."""

    unit: str
    """The column of what was measured: a window is of one unit."""
    at: str
    """The column that orders the samples of a unit."""
    channels: tuple[str, ...]
    window: int
    """Samples of a window."""
    stride: int
    """From the beginning of one window to that of the next, where a whole signal is cut."""
    kept: tuple[int, ...]
    """Places among the features of all channels of those that the model takes."""


@dataclass(frozen=True, slots=True)
class Signals:
    """A plan at work."""

    plan: Plan

    @classmethod
    def load(cls, members: Path) -> Self | None:
        """That of a directory of members; None for a model of something else.

        Raises:
            Broken: the file is not one.
        """
        plan = member(members, FILE, Plan)
        return None if plan is None else cls(plan)

    def rows(self, rows: Sequence[Sequence[Cell]]) -> Floats:
        """What the model is asked about the windows of a call: checked rows, each cell the samples of one channel as JSON.

        Raises:
            Invalid: the samples are not those of windows, where nobody checked them.
        """
        decode = msgspec.json.Decoder(list[float | None]).decode
        samples = [[decode(str(cell)) for cell in row] for row in rows]
        if any(list(map(len, row)) != [self.plan.window] * len(self.plan.channels) for row in samples):
            raise Invalid("The rows are no windows of the model.", field="rows", hint=f"It takes {self.plan.window} samples.")
        shape = (len(samples), len(self.plan.channels), self.plan.window)
        return self.numbers(np.array(samples, dtype=np.float64).reshape(shape))

    def numbers(self, windows: Floats) -> Floats:
        """Windows x channels x samples in, NaN where one is missing; windows x features that the model takes out."""
        return features(windows)[:, self.plan.kept]

    @property
    def names(self) -> list[str]:
        """The features that the model takes."""
        known = names(self.plan.channels)
        return [known[place] for place in self.plan.kept]

    def by_channel(self, parts: Floats) -> Floats:
        """Contributions of features, summed to those of the channels they are of."""
        found = np.zeros((len(parts), len(self.plan.channels)))
        for column, place in enumerate(self.plan.kept):
            found[:, place // len(FEATURES)] += parts[:, column]
        return found


def names(channels: Sequence[str]) -> list[str]:
    """The columns of `features`.

    >>> names(["x"])[:3]
    ['x[mean]', 'x[sd]', 'x[min]']
    """
    return [f"{channel}[{name}]" for channel in channels for name in FEATURES]


def features(windows: Floats) -> Floats:
    """The numbers that `names` names: windows x channels x samples in, NaN where one is missing, windows x columns out.

    A window without any sample has NaN but for its share of missing ones; one that never changes has frequencies 0. Each window's
    numbers are the same to the bit whatever other windows are asked with it: sums go along its own samples alone.
    """
    samples = np.ascontiguousarray(windows, dtype=np.float64)
    known = ~np.isnan(samples)
    count = known.sum(axis=-1)
    some = np.maximum(count, 1)
    scale = np.abs(np.where(known, samples, 0.0)).max(axis=-1)  # so that no square overflows
    scale = np.where(scale > 0, scale, 1.0)
    with np.errstate(over="ignore"):
        samples = samples / scale[..., None]
        mean = np.where(known, samples, 0.0).sum(axis=-1) / some
        centred = np.where(known, samples - mean[..., None], 0.0)
        least, most = (np.where(known, samples, edge).max(axis=-1) * sign for samples, edge, sign in (
            (-samples, -np.inf, -1.0), (samples, -np.inf, 1.0),
        ))  # fmt: skip
        deviation = np.sqrt((centred**2).sum(axis=-1) / some)
        told = np.stack(
            (mean, deviation, least, most, most - least, _slope(centred, known, some), np.hypot(mean, deviation)), axis=-1
        )
        told = np.clip(told * scale[..., None], -LARGEST, LARGEST)
    told = np.concatenate((told, _crossings(centred), _spectrum(centred), _echo(centred)), axis=-1)
    told[count == 0] = np.nan
    missing = 1 - count / samples.shape[-1]
    return np.concatenate((told, missing[..., None]), axis=-1).reshape(len(samples), samples.shape[1] * len(FEATURES))


def _slope(centred: Floats, known: Floats, some: Floats) -> Floats:
    steps = np.arange(centred.shape[-1], dtype=np.float64)
    middle = np.where(known, steps, 0.0).sum(axis=-1) / some
    away = np.where(known, steps - middle[..., None], 0.0)
    return _share((away * centred).sum(axis=-1), (away**2).sum(axis=-1))


def _crossings(centred: Floats) -> Floats:
    above = centred > 0
    return np.asarray((above[..., 1:] != above[..., :-1]).mean(axis=-1)[..., None])


def _spectrum(centred: Floats) -> Floats:
    """Dominant frequency, its share of the power, and the mean frequency by power, without that of the mean."""
    power = np.abs(np.fft.rfft(centred, axis=-1))[..., 1:] ** 2
    frequencies = np.fft.rfftfreq(centred.shape[-1])[1:]
    total, place = power.sum(axis=-1), power.argmax(axis=-1)
    top = np.take_along_axis(power, place[..., None], axis=-1)[..., 0]
    return np.stack(
        (np.where(total > 0, frequencies[place], 0.0), _share(top, total), _share((power * frequencies).sum(axis=-1), total)),
        axis=-1,
    )


def _echo(centred: Floats) -> Floats:
    return _share((centred[..., 1:] * centred[..., :-1]).sum(axis=-1), (centred**2).sum(axis=-1))[..., None]


def _share(part: Floats, whole: Floats) -> Floats:
    """0 where there is nothing to divide by."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
