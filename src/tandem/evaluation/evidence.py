"""Predictions of rows that a model has not seen: the evidence of a version, and how fast it answered. Imports no numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from tandem.core.errors import Invalid
from tandem.scorers.base import BANDS, TaskName, judged

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

CLASSED: frozenset[TaskName] = frozenset({"classification", "multiclass"})
"""Tasks whose labels are classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """For every row of a dataset, what a model said that had not seen the row in training."""

    dataset: str
    """The version predicted on, as `dataset/NAME@N`."""
    digest: str
    """The content digest of that version: equal names are not enough."""
    target: str
    """The column that was predicted."""
    positive: str
    """Of two classes, the one whose probability is meant; else empty."""
    rows: tuple[str, ...]
    """Row ids, unique."""
    labels: tuple[float, ...]
    """1 where the row is of the positive class, or an anomaly; of more classes, the class's number; else the number that was to
    be told."""
    probabilities: tuple[float, ...]
    """Probability of the positive class; of more classes, of each class, row by row; else the number or score that was told; of
    forecasts, row by row, the value and the ends of its 80 % and its 95 % interval."""
    seed: int
    """Of the folds: the same dataset and seed give the same folds."""
    folds: int
    """0 where the rows were held out from training altogether."""
    threshold: float = 0.5
    """At or above it the model predicts the positive class."""
    task: TaskName = "classification"
    classes: tuple[str, ...] = ()
    """Of more than two classes: their names, by number."""
    places: tuple[int, ...] = ()
    """Where the rows stand in the dataset, from 0; empty where all of its rows were predicted, in its order."""
    contents: tuple[str, ...] = ()
    """A digest of each row's inputs and target, where the rows were held out from training and may grow."""
    groups: tuple[str, ...] = ()
    """What each row is judged with: of a ranking its group, of a forecast the moment it was told at, of signals the unit."""
    scales: tuple[float, ...] = ()
    """Of a forecast: the error of the seasonal naive one among what was learned from; 0 where there is none."""

    def __post_init__(self) -> None:
        if not len(self.rows) * self.width == len(self.labels) * self.width == len(self.probabilities):
            raise Invalid(
                f"The predictions on {self.dataset} have {len(self.rows)} ids, {len(self.labels)} labels and "
                f"{len(self.probabilities)} probabilities.",
                field="rows",
                hint="Train again; the file was changed or cut.",
            )
        if len(set(self.rows)) != len(self.rows):
            raise Invalid(f"The predictions on {self.dataset} name a row twice.", field="rows", hint="Train again.")

    @property
    def width(self) -> int:
        """Numbers per row in `probabilities`: of a forecast its value and the ends of its intervals."""
        return 1 + BANDS if self.task == "forecasting" else len(self.classes) or 1

    @property
    def units(self) -> int:
        """Rows, or the groups in which they are judged."""
        return len(set(self.groups)) or len(self.rows)

    @property
    def rarest(self) -> int:
        """Rows, or units that have such rows, of the class that has fewest; of what has no classes, all units."""
        if self.task not in CLASSED:
            return self.units
        if not self.groups:
            return min(self.labels.count(number) for number in range(len(self.classes) or 2))
        held = set(zip(self.groups, self.labels, strict=True))
        return min(sum(label == number for _, label in held) for number in range(len(self.classes) or 2))

    def sample(self) -> Judged:
        """What scorers of this task judge.

        Raises:
            Invalid: the rows cannot be scored, such as when all are of one class.
        """
        return judged(
            self.task,
            self.labels,
            self.probabilities,
            classes=self.width,
            threshold=self.threshold,
            groups=self.groups,
            scales=self.scales,
        )

    def at(self, order: Sequence[int]) -> OutOfFold:
        """Those rows, in that order."""
        width = self.width
        return replace(
            self,
            rows=tuple(self.rows[place] for place in order),
            labels=tuple(self.labels[place] for place in order),
            places=tuple(self.places[place] for place in order) if self.places else (),
            contents=tuple(self.contents[place] for place in order) if self.contents else (),
            groups=tuple(self.groups[place] for place in order) if self.groups else (),
            scales=tuple(self.scales[place] for place in order) if self.scales else (),
            probabilities=tuple(number for place in order for number in self.probabilities[place * width : (place + 1) * width]),
        )

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> OutOfFold:
        """Reads what `to_json` wrote.

        Raises:
            Invalid: it is something else.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Invalid(f"These are no out-of-fold predictions: {error}.", field="oof.json", hint="Train again.") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """How long a version takes to predict one row, measured where it was trained or evaluated."""

    p50_ms: float
    p95_ms: float
    low_ms: float
    high_ms: float
    """Bounds of the 95 % interval of the 95 % quantile, by order statistics: no distribution is assumed."""
    n: int
    """Predictions of one row that were measured."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """Processor, cores, system, interpreter, runtime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a version beside its predictions."""

    latency: Latency | None = None
    """None: never measured."""
    size: int | None = None
    """Bytes of its files together."""
