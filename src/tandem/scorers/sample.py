"""What is true of rows and what was predicted of them: what scorers judge.

`Sample` is of two classes, `Values` of numbers, `Classes` of more than two classes; their rows may belong to units that are drawn
again as a whole. Of `Forecasts`, `Ranked` and `Recommended`
whole groups of rows are drawn again where an interval is wanted, since the rows of one group go wrong together: their `n` counts
groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.base import BANDS

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`n` rows with both classes among them; build it with `Sample.of`."""

    labels: Truths
    """True where the row is of the positive class; shape n."""
    probabilities: Floats
    """Predicted probability of the positive class; shape n, in [0, 1]."""
    threshold: float = 0.5
    """At or above it a row is predicted positive."""
    units: NDArray[np.int64] | None = None
    """The number of each row's unit, where rows of one go wrong together; None: each row is one."""

    @classmethod
    def of(cls, labels: Sequence[int] | Truths, probabilities: Sequence[float] | Floats, *, threshold: float = 0.5) -> Sample:
        """Checks the arrays once, so that scorers can trust them.

        Raises:
            Invalid: unequal lengths, labels other than 0 and 1, only one class, probabilities outside [0, 1].
        """
        truth = np.asarray(labels)
        chance = np.asarray(probabilities, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != chance.shape:
            raise Invalid(
                f"There are {truth.size} labels of shape {truth.shape} for probabilities of shape {chance.shape}.",
                field="labels",
                hint="Give one label and one probability per row.",
            )
        if not np.isin(truth, (0, 1)).all():
            raise Invalid("Labels must be 0 or 1.", field="labels", hint="1 is the positive class.")
        if not (np.isfinite(chance).all() and ((chance >= 0) & (chance <= 1)).all()):
            raise Invalid(
                "Probabilities must lie between 0 and 1.", field="probabilities", hint="Do not pass log-odds or missing values."
            )
        positive = truth.astype(np.bool_)
        if positive.all() or not positive.any():
            only = "no rows" if not positive.size else "only the positive class" if positive.all() else "only the negative class"
            raise Invalid(f"The sample has {only}; a score needs both classes.", field="labels", hint="Add rows of both classes.")
        return cls(labels=positive, probabilities=chance, threshold=threshold)

    @property
    def n(self) -> int:
        return int(self.labels.size)

    @property
    def predicted(self) -> Truths:
        """True where the row is predicted positive; shape n."""
        return self.probabilities >= self.threshold

    @property
    def keys(self) -> tuple[Floats, ...]:
        """What rows are sorted by, so that nothing depends on their order; the last comes first."""
        return self.probabilities, self.labels.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """`n` rows with a number each; build it with `Values.of`."""

    truth: Floats
    """What each row's target is; shape n."""
    predictions: Floats
    """Shape n, in the target's unit."""
    units: NDArray[np.int64] | None = None
    """The number of each row's unit, where rows of one go wrong together; None: each row is one."""

    @classmethod
    def of(cls, truth: Sequence[float] | Floats, predictions: Sequence[float] | Floats) -> Values:
        """Checks the arrays once, so that scorers can trust them.

        Raises:
            Invalid: unequal lengths, fewer than two rows, a number that is not finite, a target that never changes.
        """
        true, said = np.asarray(truth, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
        if true.ndim != 1 or true.shape != said.shape:
            raise Invalid(f"There are {true.size} targets for {said.size} predictions.", field="labels", hint="Give one per row.")
        if not (np.isfinite(true).all() and np.isfinite(said).all()):
            raise Invalid("Targets and predictions must be finite numbers.", field="labels", hint="Leave rows without them out.")
        if true.size < 2 or (true == true[0]).all():
            raise Invalid("The target has one value in all rows; a score needs two.", field="labels", hint="Add other rows.")
        return cls(truth=true, predictions=said)

    @property
    def n(self) -> int:
        return int(self.truth.size)

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`."""
        return self.predictions, self.truth


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """`n` rows of `k` classes, at least two of them among the rows; build it with `Classes.of`."""

    labels: NDArray[np.int64]
    """The number of each row's class, from 0; shape n."""
    probabilities: Floats
    """Of each class; n x k, rows sum to 1."""
    units: NDArray[np.int64] | None = None
    """The number of each row's unit, where rows of one go wrong together; None: each row is one."""

    @classmethod
    def of(cls, labels: Sequence[float] | NDArray[Any], probabilities: Sequence[float] | Floats, *, classes: int) -> Classes:
        """Checks the arrays once; probabilities may come row by row in one sequence.

        Raises:
            Invalid: unequal lengths, an unknown class, probabilities outside [0, 1] or that do not sum to 1, one class alone.
        """
        numbers, chance = np.asarray(labels, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
        if numbers.ndim != 1 or chance.size != numbers.size * classes:
            raise Invalid(
                f"There are {numbers.size} labels and {chance.size} probabilities of {classes} classes.",
                field="labels",
                hint="Give one probability per row and class.",
            )
        if not np.isin(numbers, np.arange(classes)).all():
            raise Invalid(f"Labels must be whole numbers from 0 to {classes - 1}.", field="labels", hint="Number the classes.")
        chance = chance.reshape(-1, classes)
        inside = np.isfinite(chance).all() and ((chance >= 0) & (chance <= 1)).all()
        if not (inside and np.abs(chance.sum(axis=1) - 1).max(initial=0) < 1e-3):
            raise Invalid("A row's probabilities must lie between 0 and 1 and sum to 1.", field="probabilities")
        if len(np.unique(numbers)) < 2:
            raise Invalid("The sample has one class; a score needs two.", field="labels", hint="Add rows of other classes.")
        return cls(labels=numbers.astype(np.int64), probabilities=chance)

    @property
    def n(self) -> int:
        return int(self.labels.size)

    @property
    def k(self) -> int:
        return int(self.probabilities.shape[1])

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class of the largest probability, the first of equal ones; shape n."""
        return np.asarray(self.probabilities.argmax(axis=1), dtype=np.int64)

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`."""
        return *self.probabilities.T, self.labels.astype(np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Rows with a number each, in `n` windows: those that were told at one moment; build it with `Forecasts.of`."""

    truth: Floats
    """Shape rows."""
    predictions: Floats
    """Shape rows."""
    bounds: Floats
    """Rows x 4: lower and upper end of the 80 % interval, of the 95 % interval."""
    scales: Floats
    """Mean absolute error of the seasonal naive forecast before the origin (Hyndman & Koehler 2006); NaN where it is 0."""
    window: NDArray[np.int64]
    """The number of each row's window, from 0."""

    @classmethod
    def of(cls, truth: Sequence[float], outputs: Sequence[float], *, scales: Sequence[float], groups: Sequence[str]) -> Forecasts:
        """Checks the arrays once; outputs are prediction and bounds, row by row.

        Raises:
            Invalid: unequal lengths, fewer than two rows, a number that is not finite.
        """
        true, told = np.asarray(truth, dtype=np.float64), np.asarray(outputs, dtype=np.float64)
        if true.ndim != 1 or not true.size * (1 + BANDS) == told.size == (1 + BANDS) * len(groups) == (1 + BANDS) * len(scales):
            raise Invalid(f"There are {true.size} values for {told.size} numbers of forecasts.", field="labels")
        if true.size < 2 or not (np.isfinite(true).all() and np.isfinite(told).all()):
            raise Invalid("A score needs two rows, and all values finite.", field="labels", hint="Add rows, or mend them.")
        told = told.reshape(-1, 1 + BANDS)
        scale = np.asarray(scales, dtype=np.float64)
        return cls(
            truth=true,
            predictions=told[:, 0],
            bounds=told[:, 1:],
            scales=np.where(scale > 0, scale, np.nan),
            window=numbered(groups),
        )

    @property
    def n(self) -> int:
        return int(self.window.max()) + 1

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`, but for windows."""
        told = self.sums(np.column_stack((self.predictions, self.truth)))
        return told[:, 0], told[:, 1]

    def sums(self, values: Floats) -> Floats:
        """The sums of columns over the rows of each window: rows x k in, windows x k out."""
        return np.stack([np.bincount(self.window, weights=column, minlength=self.n) for column in values.T], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """Rows in `n` groups, each group to be brought into order; build it with `Ranked.of`."""

    relevance: Floats
    """Not negative; shape rows. The rows of a group stand together, those of the highest score first, ties as they came."""
    scores: Floats
    """Shape rows; more is earlier."""
    starts: NDArray[np.int64]
    """Where each group begins; shape n."""

    @classmethod
    def of(cls, relevance: Sequence[float], scores: Sequence[float], *, groups: Sequence[str]) -> Ranked:
        """Checks the arrays once. Groups without a relevant row are left out: every order of them is as good.

        Raises:
            Invalid: unequal lengths, a relevance below 0, a score that is not finite, no group with a relevant row.
        """
        true, said = np.asarray(relevance, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        if not true.shape == said.shape == (len(groups),):
            raise Invalid(f"There are {true.size} grades, {said.size} scores and {len(groups)} groups.", field="labels")
        if not (np.isfinite(true).all() and np.isfinite(said).all()) or (true < 0).any():
            raise Invalid("Grades must be 0 or more, and scores finite.", field="labels", hint="0 is a row of no relevance.")
        group = numbered(groups)
        relevant = np.bincount(group, weights=true > 0, minlength=1) > 0
        if not relevant.any():
            raise Invalid("No group has a relevant row; a score needs one.", field="labels", hint="Add groups.")
        kept = relevant[group]
        true, said, group = true[kept], said[kept], group[kept]
        order = np.lexsort((-said, group))  # stable, so that ties stay as they came
        starts = np.flatnonzero(np.diff(group[order], prepend=-1))
        return cls(relevance=true[order], scores=said[order], starts=starts)

    @property
    def n(self) -> int:
        return int(self.starts.size)

    @property
    def places(self) -> NDArray[np.int64]:
        """The place of each row in its group, from 0; shape rows."""
        sizes = np.diff(np.append(self.starts, self.relevance.size))
        return np.asarray(np.arange(self.relevance.size) - np.repeat(self.starts, sizes))

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`, but for groups."""
        return np.add.reduceat(self.scores, self.starts), self.sums(self.relevance / (1 + self.places))

    def sums(self, values: Floats) -> Floats:
        """The sum over the rows of each group."""
        return np.asarray(np.add.reduceat(values, self.starts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommended:
    """Items that `n` users turned to later, each with its place in what they would have been told; build it with `of`."""

    ranks: Floats
    """From 1; shape rows."""
    user: NDArray[np.int64]
    """The number of each row's user, from 0."""

    @classmethod
    def of(cls, ranks: Sequence[float], *, groups: Sequence[str]) -> Recommended:
        """Checks the arrays once.

        Raises:
            Invalid: unequal lengths, no rows, a place below 1.
        """
        places = np.asarray(ranks, dtype=np.float64)
        if places.shape != (len(groups),) or not places.size:
            raise Invalid(f"There are {places.size} places for {len(groups)} users.", field="labels", hint="Give one per row.")
        if not (np.isfinite(places).all() and (places >= 1).all()):
            raise Invalid("Places are numbers from 1.", field="probabilities", hint="1 is what is told first.")
        return cls(ranks=places, user=numbered(groups))

    @property
    def n(self) -> int:
        return int(self.user.max()) + 1

    @property
    def sizes(self) -> Floats:
        """Items of each user."""
        return self.sums(np.ones(self.ranks.size))

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`, but for users."""
        return self.sums(1 / self.ranks), self.sizes

    def sums(self, values: Floats | Truths) -> Floats:
        """The sum over the rows of each user."""
        return np.asarray(np.bincount(self.user, weights=values, minlength=self.n))


@dataclass(frozen=True, slots=True, kw_only=True)
class Oddities:
    """`n` rows with a score of how odd each is; build it with `Oddities.of`."""

    labels: Truths
    """True where the row is known to be an anomaly; all False where nothing is known."""
    scores: Floats
    """Shape n, in [0, 1]: the share of rows that are less odd."""
    threshold: float
    """At or above it a row is called an anomaly."""

    @classmethod
    def of(cls, labels: Sequence[float], scores: Sequence[float], *, threshold: float) -> Oddities:
        """Checks the arrays once.

        Raises:
            Invalid: unequal lengths, no rows, labels other than 0 and 1, scores outside [0, 1].
        """
        truth, said = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != said.shape or not truth.size:
            raise Invalid(f"There are {truth.size} labels for {said.size} scores.", field="labels", hint="Give one per row.")
        if not np.isin(truth, (0, 1)).all():
            raise Invalid("Labels must be 0 or 1.", field="labels", hint="1 is an anomaly.")
        if not ((said >= 0) & (said <= 1)).all():
            raise Invalid("Scores must lie between 0 and 1.", field="probabilities", hint="Bring the calibrated ones.")
        return cls(labels=truth.astype(np.bool_), scores=said, threshold=threshold)

    @property
    def n(self) -> int:
        return int(self.labels.size)

    @property
    def labelled(self) -> bool:
        """Whether some rows are known to be anomalies, and others not to be."""
        return bool(self.labels.any() and not self.labels.all())

    @property
    def predicted(self) -> Truths:
        """True where the row is called an anomaly; shape n."""
        return self.scores >= self.threshold

    @property
    def keys(self) -> tuple[Floats, ...]:
        """As of `Sample`."""
        return self.scores, self.labels.astype(np.float64)


def numbered(groups: Sequence[str]) -> NDArray[np.int64]:
    """The number of each row's group, from 0, in the order in which groups first occur."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)
