"""Is a model of forecasts as near as it was? Realised errors by step, of the values that have come, beside its evidence.

Errors count in units of how much each series changes from season to season, and are held against the evidence's at the same
steps: so neither a busier series nor values that have come of the next steps alone look like a loss or a gain. Values of one
stretch of time, a horizon long, go wrong together whatever they were told from: a stretch is what is counted and varies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.evaluation.evidence import OutOfFold
from tandem.monitoring.findings import control
from tandem.scorers.proportions import Z
from tandem.scorers.sample import Floats, Truths
from tandem.scorers.tails import student_beyond
from tandem.serving.grid import Places
from tandem.serving.series import Series
from tandem.serving.signature import Cell

STRETCHES = 5
"""Stretches of a horizon, then and now, below which nothing is compared."""
PARTS = 4
"""Of the horizon, that are told by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """Values that were told and have come; all arrays have one entry for each."""

    steps: Places
    stretch: Places
    """The number of the stretch of time that the value lies in."""
    units: Floats
    errors: Floats
    """How far off the model was, in the target's unit."""
    naive: Floats
    """How far off the value a season before was; NaN where there is none."""
    inside: Floats
    """1 where the value lay within the 80 % interval, else 0."""

    def at(self, some: Truths) -> Self:
        return type(self)(**{name: getattr(self, name)[some] for name in type(self).__slots__})


def called(
    series: Series, calls: Sequence[tuple[Sequence[Sequence[Cell]], Sequence[Sequence[float]], Sequence[float]]]
) -> Values:
    """The values of calls.

    Args:
        calls: of each its rows, as the series takes them; row by row the forecast and the ends of its 80 % interval; and what
            came, NaN where nothing has.

    Raises:
        Invalid: rows that the series cannot be asked.
    """
    parts = [_told(series, rows, np.array(told), np.array(truth)) for rows, told, truth in calls]
    return Values(**{name: np.concatenate([part[name] for part in parts] or [np.zeros(0)]) for name in Values.__slots__})


def _told(series: Series, rows: Sequence[Sequence[Cell]], told: Floats, truth: Floats) -> dict[str, NDArray[np.float64]]:
    asked = series.ask(rows)
    come = np.flatnonzero(~np.isnan(truth[asked.order]))
    order = asked.order[come]
    naive = np.array([_naive(asked.rows[at]) for at in come], dtype=np.float64)
    return {
        "steps": asked.steps[come],
        "stretch": series.places(rows)[order] // series.horizon,
        "units": np.where(asked.scales[come] > 0, asked.scales[come], series.unit),
        "errors": np.abs(told[order, 0] - truth[order]),
        "naive": np.abs(naive - truth[order]),
        "inside": ((told[order, 1] <= truth[order]) & (truth[order] <= told[order, 2])).astype(np.float64),
    }


def _naive(row: Sequence[Cell]) -> Cell:
    """The value a season before, else the last one: the first columns of `lags.names`."""
    return row[1] if row[1] == row[1] else row[0]


def judged(series: Series, evidence: OutOfFold, moments: Places) -> Values:
    """The values of a model's evidence.

    Args:
        moments: of the rows of the dataset that it tells, in seconds since 1970.
    """
    places = series.grid.places(moments[list(evidence.places)] if evidence.places else moments)
    origins = pl.Series(evidence.groups).str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("s").to_numpy()
    told = np.array(evidence.probabilities).reshape(len(evidence.rows), evidence.width)
    truth, scales = np.array(evidence.labels, dtype=np.float64), np.array(evidence.scales)
    return Values(
        steps=places - series.grid.places(origins),
        stretch=places // series.horizon,
        units=np.where(scales > 0, scales, series.unit),
        errors=np.abs(told[:, 0] - truth),
        naive=np.full(len(truth), math.nan),
        inside=((told[:, 1] <= truth) & (truth <= told[:, 2])).astype(np.float64),
    )


def judge_forecasts(
    now: Values, before: Values, *, horizon: int, mature: bool, minimum: int, threshold: float, level: float
) -> tuple[Finding, ...]:
    """The findings of a window.

    Args:
        now: the window's values that have come.
        before: those of the evidence.
        horizon: steps that the model tells.
        mature: whether enough values have come; else all is told and nothing compared.
        minimum: values below which nothing is compared.
        threshold: by which share the error must have grown, or the coverage fallen, to matter.
        level: the chance of any false finding in this check.
    """
    if not len(now.steps):
        return ()
    compared = mature and len(now.steps) >= minimum
    found = [
        _finding("mae", _errors(now, before), compared, threshold, note=_beside(now)),
        _finding("coverage_80", _coverage(now, before), compared, threshold, less=True),
    ]
    edges = np.unique(np.linspace(0, horizon, min(PARTS, horizon) + 1).astype(np.int64))
    for after, last in pairwise(edges):
        here = now.at((now.steps > after) & (now.steps <= last))
        if len(here.steps) and len(edges) > 2:
            segment = f"step={last}" if last == after + 1 else f"steps={after + 1}-{last}"
            enough = compared and len(here.steps) >= minimum
            found.append(_finding("mae", _errors(here, before), enough, threshold, segment=segment))
    return control(found, level=level)


@dataclass(frozen=True, slots=True)
class _Share:
    """What became of something, as a share of what was to be expected by the evidence."""

    n: int
    reference_n: int
    stretches: int
    """The fewer of then and now."""
    now: Estimate
    before: Estimate
    share: Estimate
    freedom: float
    error: float
    """Of the share."""


def _errors(now: Values, before: Values) -> _Share:
    return _share(now, before, now.errors, now.units, before.errors / before.units)


def _coverage(now: Values, before: Values) -> _Share:
    return _share(now, before, now.inside, np.ones(len(now.steps)), before.inside)


def _share(now: Values, before: Values, values: Floats, units: Floats, reference: Floats) -> _Share:
    """The sum of values as a share of what the evidence has at the same steps in the same units, less 1 (a ratio of sums whose
    two errors are those of sums over whole stretches, by the delta method)."""
    size = int(max(now.steps.max(), before.steps.max())) + 1
    count = np.bincount(before.steps, minlength=size)
    sums = np.bincount(before.steps, weights=reference, minlength=size)
    mean = np.divide(sums, count, out=np.full(size, reference.mean()), where=count > 0)  # a step without evidence: of all
    expected = units * mean[now.steps]
    total, n = float(expected.sum()) or 1.0, len(values)
    ratio = float(values.sum()) / total
    weight = np.divide(np.bincount(now.steps, weights=units, minlength=size), count, out=np.zeros(size), where=count > 0)
    here, there = (
        _spread(now.stretch, (values - ratio * expected) / total),
        _spread(before.stretch, ratio * weight[before.steps] * (reference - mean[before.steps]) / total),
    )
    error = math.sqrt(here[0] + there[0])
    freedom = (here[0] + there[0]) ** 2 / (here[0] ** 2 / max(1, here[1] - 1) + there[0] ** 2 / max(1, there[1] - 1))
    return _Share(
        n=n,
        reference_n=len(reference),
        stretches=min(here[1], there[1]),
        now=_around(float(values.mean()), math.sqrt(here[0]) * total / n, n),
        before=_around(total / n, math.sqrt(there[0]) * total / n / max(ratio, 1e-12), len(reference)),
        share=Estimate(value=ratio - 1, low=ratio - 1 - Z * error, high=ratio - 1 + Z * error, n=n),
        freedom=freedom if error else 1.0,
        error=error,
    )


def _spread(stretch: Places, parts: Floats) -> tuple[float, int]:
    """The variance of a sum of parts that vary by whole stretches, and how many of these there are."""
    _, owner = np.unique(stretch, return_inverse=True)
    sums = np.bincount(owner, weights=parts)
    n = len(sums)
    return float((sums**2).sum()) * n / max(1, n - 1), n


def _around(value: float, error: float, n: int) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - Z * error), high=value + Z * error, n=n)


def _finding(
    subject: str, found: _Share, compared: bool, threshold: float, *, less: bool = False, segment: str = "", note: str = ""
) -> Finding:
    enough = compared and found.stretches >= STRETCHES
    if compared and not enough:
        note = f"{note} Of {found.stretches} stretches as long as the horizon; {STRETCHES} are needed to compare.".strip()
    worse = -found.share.value if less else found.share.value
    p = float(student_beyond(worse / found.error, found.freedom)) / 2 if worse > 0 and found.error else 1.0
    return Finding(
        subject=subject,
        what="performance",
        verdict="not-enough-data",
        n=found.n,
        reference_n=found.reference_n,
        measure="relative difference",
        threshold=threshold,
        effect=found.share,
        p=p if enough else None,  # what has become better calls nobody
        now=found.now,
        before=found.before,
        segment=segment,
        note=note,
    )


def _beside(now: Values) -> str:
    """The model beside the seasonal naive forecast of the same values."""
    known = ~np.isnan(now.naive)
    naive = float(now.naive[known].mean()) if known.any() else 0.0
    if not naive:
        return ""
    return f"The seasonal naive forecast of the same values is off by {naive:.3g}: {now.errors[known].mean() / naive:.2f} of it."
