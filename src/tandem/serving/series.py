"""What a model of forecasts keeps of its series, and how the rows of a call become what it is asked. Loaded by hosts, not doors.

A row names a moment and, where there are several, a series. A row with a value of the target is history: it goes before what
the model keeps, and is answered with itself. A row without one is told, if it lies within the horizon after the last value
that is known. The rows of a call belong together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.base import BANDS
from tandem.scorers.sample import Floats
from tandem.serving import lags
from tandem.serving.base import member
from tandem.serving.grid import Grid, Places, told
from tandem.serving.signature import MISSING, Cell, Output

FILE = "series.json"
"""The member that holds it."""
OUTPUTS = tuple(Output(name=name, dtype="float") for name in ("prediction", "lower_80", "upper_80", "lower_95", "upper_95"))
"""What is answered for each row."""


class Kept(msgspec.Struct, frozen=True):
    """The last values of one series."""

    last: int
    """The place of the last one."""
    values: tuple[float | None, ...]
    """Rising in time; None where one is missing."""


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """`series.json`. The fields of a row are the moment, the series if there are several, the target, and what is known ahead."""

    grid: Grid
    several: bool
    """Whether rows name a series."""
    labelled: bool
    """Whether its name is an input of the model."""
    horizon: int
    seasons: tuple[int, ...]
    widths: tuple[tuple[float, float], ...]
    """Of each step half of the 80 % and of the 95 % interval, in units of the scale."""
    unit: float
    """The scale of a series that has none of its own."""
    low: float | None
    """Nothing below it is told."""
    needed: tuple[int, ...]
    """Places of what a row that is told must have."""
    kept: dict[str, Kept]

    @classmethod
    def load(cls, members: Path) -> Self | None:
        """That of a directory of members; None for any other model.

        Raises:
            Broken: the file is not one.
        """
        return member(members, FILE, cls)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @property
    def value(self) -> int:
        """The place of the target in a row."""
        return 1 + self.several

    def ask(self, rows: Sequence[Sequence[Cell]]) -> Asked:
        """What the model is asked for the rows of one call.

        Args:
            rows: checked, in the order of the model's fields; NaN where a value is missing.

        Raises:
            Invalid: a moment between two steps or named twice, an unknown series without history, or a row beyond the horizon.
        """
        places = self.places(rows)
        values = np.array([row[self.value] for row in rows], dtype=np.float64)
        blocks = [self._asked(name, np.array(numbers), places, values) for name, numbers in self.parted(rows).items()]
        order = np.concatenate([numbers for numbers, _, _, _ in blocks])
        if not len(order):
            raise Invalid("Every row has its value already.", field="rows", hint="Leave it out of the rows that are to be told.")
        columns, steps, scales = (np.concatenate([block[part] for block in blocks]) for part in (1, 2, 3))
        for number in order:
            if any(rows[number][place] != rows[number][place] for place in self.needed):
                raise Invalid(f"rows[{number}] lacks a value that is known ahead.", field=f"rows[{number}]", hint="Send it.")
        inner = self.inner([rows[number] for number in order], columns, places[order])
        return Asked(self, values, order, inner, steps, scales)

    def places(self, rows: Sequence[Sequence[Cell]]) -> Places:
        """The place of each row's moment.

        Raises:
            Invalid: one has none, one lies between two steps, or one is named twice in a series.
        """
        moments = np.array([row[0] for row in rows], dtype=np.float64)
        if np.isnan(moments).any():
            raise Invalid(f"rows[{int(np.isnan(moments).argmax())}] has no moment.", field="rows", hint="Send its time.")
        places = self.grid.places(moments.astype(np.int64))
        for name, numbers in self.parted(rows).items():
            if len(np.unique(places[numbers])) < len(numbers):
                raise Invalid(
                    "Two rows of one series have the same moment.",
                    words=f"It is {_quoted(name)}.",
                    field="rows",
                    hint="Send each moment once.",
                )
        return places

    def parted(self, rows: Sequence[Sequence[Cell]]) -> dict[str, list[int]]:
        """The places of each series' rows."""
        found: dict[str, list[int]] = {}
        for number, row in enumerate(rows):
            found.setdefault(self.name(row), []).append(number)
        return found

    def inner(self, rows: Sequence[Sequence[Cell]], columns: Floats, places: Places) -> list[list[Cell]]:
        """Rows as the encoding takes them.

        Args:
            columns: as `lags.features` makes them.
            places: of what is told.
        """
        numbers = np.column_stack((columns, lags.dated(self.grid, places))).tolist()
        return [
            [*known, *([self.name(row)] if self.labelled else ()), *row[self.value + 1 :]]
            for row, known in zip(rows, numbers, strict=True)
        ]

    def name(self, row: Sequence[Cell]) -> str:
        """Of the series of a row; empty where there is one."""
        return called(row[1]) if self.several else ""

    def remembered(self, name: str) -> tuple[Places, Floats]:
        """The places and values that are kept of a series; none of one that is not known."""
        kept = self.kept.get(name, Kept(0, ()))
        values = np.array([math.nan if value is None else value for value in kept.values], dtype=np.float64)
        return np.arange(kept.last - len(values) + 1, kept.last + 1), values

    def ahead(self, rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
        """What is known ahead of these rows, each as the first row that is to be told of one of the series in turn."""
        found: list[list[Cell]] = []
        for row, name in zip(rows, cycle(self.kept), strict=False):
            moment = float(self.grid.moments(np.array([self.kept[name].last + 1]))[0])
            named = [float(name) if isinstance(row[1], float) else name] if self.several else []
            found.append([moment, *named, MISSING, *row[self.value + 1 :]])
        return found

    def bounds(self, points: Floats, steps: Places, scales: Floats) -> Floats:
        """Points with the ends of their intervals: rows x `OUTPUTS`."""
        half = np.array(self.widths)[steps - 1] * np.where(scales > 0, scales, self.unit)[:, None]
        found = np.column_stack((points, points - half[:, 0], points + half[:, 0], points - half[:, 1], points + half[:, 1]))
        return found if self.low is None else np.maximum(found, self.low)

    def _asked(self, name: str, rows: Places, places: Places, values: Floats) -> tuple[Places, Floats, Places, Floats]:
        """Of one series: the rows that are told, their columns, steps and scales."""
        known = rows[~np.isnan(values[rows])]
        asked = rows[np.isnan(values[rows])]
        past, origin = self._past(name, places[known], values[known])
        steps = places[asked] - origin
        for row, step in zip(asked, steps, strict=True):
            if not 1 <= step <= self.horizon:
                raise Invalid(
                    f"rows[{row}] lies {abs(step)} steps {'after' if step > 0 else 'before'} the last value that is known.",
                    words=f"That of {_quoted(name)} is of {told(int(self.grid.moments(np.array([origin]))[0]))}.",
                    field=f"rows[{row}]",
                    hint=f"The model tells 1 to {self.horizon} steps of {self.grid} each; send newer values as rows before it.",
                )
        origins = np.full(len(asked), len(past) - 1)
        columns, scales = lags.features(past, origins, steps, self.seasons)
        return asked, columns, steps, scales

    def _past(self, name: str, places: Places, values: Floats) -> tuple[Floats, int]:
        """The values that are looked at, up to the last one that is known, and its place."""
        kept, old = self.remembered(name)
        if not len(kept) and len(places) < max(self.seasons):
            raise Invalid(
                "The model does not know a series that is asked for.",
                words=f"It is {_quoted(name)}.",
                field="rows",
                hint=f"Send its last {max(self.seasons)} values or more as rows before those to be told.",
            )
        origin = int(max([*kept, *places]))
        past = np.full(lags.reach(self.seasons), np.nan)
        _put(past, origin, kept, old)
        _put(past, origin, places, values)
        return past, origin


def called(cell: object) -> str:
    """The name of a series, which may be a whole number.

    >>> called(3.0), called("north")
    ('3', 'north')
    """
    return str(int(cell)) if isinstance(cell, float | int) else str(cell)


def _put(past: Floats, origin: int, places: Places, values: Floats) -> None:
    """Puts values where they belong in an array that ends at the origin; those before it begins are left out."""
    at = places - origin + len(past) - 1
    past[at[at >= 0]] = values[at >= 0]


def _quoted(name: str) -> str:
    return f"the series '{name[:40]}'" if name else "the series"


@dataclass(frozen=True, slots=True)
class Asked:
    """The rows of one call, as the model is asked them."""

    series: Series
    values: Floats
    """The target of each row; NaN where it is told."""
    order: NDArray[np.int64]
    """The rows that are told, as they stand in `rows`."""
    rows: list[list[Cell]]
    """As the encoding takes them."""
    steps: Places
    scales: Floats

    def answers(self, outputs: Floats) -> Floats:
        """What is answered for each row of the call: rows x `OUTPUTS`."""
        found = np.repeat(self.values[:, None], 1 + BANDS, axis=1)
        found[self.order] = self.series.bounds(outputs[:, 0], self.steps, self.scales)
        return found

    def explained(self, parts: Floats, base: Floats) -> tuple[Floats, Floats]:
        """Contributions of the columns of `rows` as those of the fields of a row, and where they start.

        Earlier values count for the target, and the calendar for the moment. A row of history is its own explanation.
        """
        series, dates = self.series, len(lags.calendar(self.series.grid))
        width = len(lags.names("", series.seasons))
        ahead = parts[:, width + dates + series.labelled :]
        found, starts = np.zeros((len(self.values), series.value + 1 + ahead.shape[1])), self.values.copy()
        found[self.order, 0] = parts[:, width : width + dates].sum(axis=1)
        if series.labelled:
            found[self.order, 1] = parts[:, width + dates]
        found[self.order, series.value] = parts[:, :width].sum(axis=1)
        found[np.ix_(self.order, np.arange(series.value + 1, found.shape[1]))] = ahead
        starts[self.order] = base
        return found, starts
