"""A model of forecasts, asked about rows whose values are known by now: from rolling origins, never with a later value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats
from tandem.serving import lags
from tandem.serving.columns import Answering, rows_of
from tandem.serving.grid import Places, told
from tandem.serving.series import Series
from tandem.serving.signature import Cell

FURTHEST = 10_000_000
"""Steps from the first value that is known of a series to its last one."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What was told of rows that are known."""

    places: tuple[int, ...]
    """The rows, as they stand in the frame, rising."""
    outputs: Floats
    """Rows x `series.OUTPUTS`."""
    groups: tuple[str, ...]
    """The origin of each row."""
    scales: tuple[float, ...]
    """As of `lags.features`; 0 where there is none."""


def roll(model: Answering, frame: pl.DataFrame) -> Rolled:
    """Tells the rows of a frame from the end of what the model keeps on, window by window; of a series that it does not know
    after a first season.

    Raises:
        Invalid: it is no model of series, no row lies after what it keeps, or as `Series.places`.
    """
    if model.series is None:
        raise Invalid("This model tells no series.", field="model")
    cells = rows_of(frame, model.signature.fields)
    places = model.series.places(cells)
    parts = [
        _rolled(model, model.series, name, np.array(rows), cells, places) for name, rows in model.series.parted(cells).items()
    ]
    rows, origins, outputs, scales = (np.concatenate([part[number] for part in parts]) for number in range(4))
    if not len(rows):
        raise Invalid("No row lies after those that the model was trained on.", field="dataset", hint="Bring newer rows.")
    order = np.argsort(rows)
    moments = model.series.grid.moments(origins[order])
    return Rolled(
        tuple(map(int, rows[order])), outputs[order], tuple(told(int(each)) for each in moments), tuple(map(float, scales[order]))
    )


def _rolled(
    model: Answering, series: Series, name: str, rows: NDArray[np.int64], cells: Sequence[Sequence[Cell]], places: Places
) -> tuple[NDArray[np.int64], Places, Floats, Floats]:
    """Of one series: the rows that are told, their origins, outputs and scales."""
    kept, old = series.remembered(name)
    at = places[rows]
    first, last = int(min([*at, *kept])), int(max([*at, *kept]))
    if last - first > FURTHEST:
        raise Invalid(f"The series '{name}' spans {last - first:,} steps.", field="dataset", hint="Bring fewer of them.")
    values = np.full(last - first + 1, np.nan)
    values[kept - first] = old
    values[at - first] = np.array([cells[row][series.value] for row in rows], dtype=np.float64)
    begun = int(kept[-1]) if len(kept) else first + max(series.seasons) - 1
    begun = max(begun, int(at.min()) - 1)
    steps = (at - begun - 1) % lags.spacing(series.horizon, series.seasons)
    chosen = (at > begun) & (steps < series.horizon) & ~np.isnan(values[at - first])
    rows, at, steps = rows[chosen], at[chosen], steps[chosen] + 1
    if not len(rows):
        return rows, at, np.empty((0, len(model.signature.outputs))), np.empty(0)
    columns, scales = lags.features(values, at - steps - first, steps, series.seasons)
    inner = series.inner([cells[row] for row in rows], columns, at)
    points = model.runtime.predict(np.array(model.encoding.rows(inner), dtype=np.float64))[:, 0]
    return rows, at - steps, series.bounds(points, steps, scales), np.nan_to_num(scales)
