"""Exact Shapley values of what trees answer: what each column adds, where one that is not known follows the training's rows.

The value of a set of columns is TreeSHAP's (Lundberg et al. 2020): at a split on a column outside of the set a row goes both
ways, in the shares of the training's rows. Of one leaf that is a product over the columns of its path, so its multilinear
extension (Owen 1972) is one too, and the Shapley value the integral of a polynomial of a degree below the number of columns,
which Gauss and Legendre's points give exactly. All leaves are done at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats

MOST_CELLS = 4_000_000
"""Leaves times the columns of the longest path, of a forest that is explained: about 100 MB."""
WORK = 300_000_000
"""Cells times points times rows that one call may take: about three seconds."""
LEAST = 1e-300


@dataclass(frozen=True, slots=True)
class Grown:
    """One tree; nodes by number, from the root at 0."""

    feature: NDArray[np.int64]
    """Below 0 at a leaf."""
    threshold: NDArray[np.float32]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    values: Floats
    """Nodes x outputs that it adds to, the first of which is `output`."""
    output: int
    cover: Floats
    """Rows of the training that came to each node; empty where that is not known."""


@dataclass(frozen=True, slots=True)
class _Slots:
    """The columns on paths, paths x columns: which, between what its values lie, the share of rows that they let through."""

    column: NDArray[np.int64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    missing: NDArray[np.bool_]
    share: Floats

    @classmethod
    def empty(cls, paths: int, width: int) -> Self:
        """Slots that let everything through."""
        shape = (paths, width)
        return cls(
            np.full(shape, -1),
            np.full(shape, -np.inf, dtype=np.float32),
            np.full(shape, np.inf, dtype=np.float32),
            np.ones(shape, dtype=np.bool_),
            np.ones(shape),
        )

    def at(self, some: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        return type(self)(*(getattr(self, name)[some] for name in _NAMES))

    def beside(self, other: _Slots) -> Self:
        return type(self)(*(np.hstack((getattr(self, name), getattr(other, name))) for name in _NAMES))

    def widened(self, width: int) -> Self:
        return self.beside(self.empty(len(self.column), width - self.column.shape[1]))


_NAMES = ("column", "low", "high", "missing", "share")


@dataclass(frozen=True, slots=True)
class Paths:
    """The paths to all leaves of a forest."""

    slots: _Slots
    values: Floats
    """Leaves x outputs."""
    points: tuple[tuple[float, float], ...]
    """Where the integral is taken, and what each point weighs."""
    base: Floats
    """One per output: what is answered where no column is known."""

    @classmethod
    def of(cls, trees: Sequence[Grown], base: Floats) -> Paths:
        """The paths of trees whose answers, and a base, are summed.

        Raises:
            Invalid: the trees do not know how many rows went where, or there are too many leaves.
        """
        if any(not tree.cover.size for tree in trees):
            raise Invalid("The forest does not keep how many rows went where.", field="explain", hint="Train the model again.")
        starts = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1]
        feature, threshold, missing, cover = (
            np.concatenate([getattr(tree, name) for tree in trees]) for name in ("feature", "threshold", "missing_left", "cover")
        )
        left, right = (
            np.concatenate([getattr(tree, name) + start for tree, start in zip(trees, starts, strict=True)])
            for name in ("left", "right")
        )
        values = np.zeros((len(feature), len(base)))
        for tree, start in zip(trees, starts, strict=True):
            values[start : start + len(tree.feature), tree.output : tree.output + tree.values.shape[1]] = tree.values
        at, slots, found = starts, _Slots.empty(len(starts), 0), []
        while at.size:
            leaf = feature[at] < 0
            found.append((at[leaf], slots.at(leaf)))
            at, slots = at[~leaf], slots.at(~leaf)
            if sum(len(leaves) for leaves, _ in found) + len(at) > MOST_CELLS // (slots.column.shape[1] + 1):
                raise Invalid(
                    "The forest is too large to explain an answer.", field="explain", hint="Train fewer or shallower trees."
                )
            here = _placed(slots, feature[at])
            sides = [_split(*here, threshold[at], missing[at], cover[side[at]], cover[at], goes) for side, goes in
                     ((left, True), (right, False))]  # fmt: skip
            at = np.concatenate((left[at], right[at]))
            slots = _Slots(*(np.concatenate([getattr(side, name) for side in sides]) for name in _NAMES))
        width = max((each.column.shape[1] for leaves, each in found if len(leaves)), default=0)
        parts = [each.at(np.ones(len(leaves), dtype=np.bool_)) for leaves, each in found if len(leaves)]
        whole = [each.widened(width) for each in parts]
        slots = _Slots(*(np.concatenate([getattr(each, name) for each in whole]) for name in _NAMES))
        leaves = np.concatenate([leaves for leaves, _ in found])
        nodes, weights = np.polynomial.legendre.leggauss(max(1, -(-width // 2)))
        points = tuple(zip(((nodes + 1) / 2).tolist(), (weights / 2).tolist(), strict=True))
        expected = (values[leaves] * slots.share.prod(axis=1)[:, None]).sum(axis=0)
        return cls(slots, values[leaves], points, base + expected)

    @property
    def at_once(self) -> int:
        """Rows that one call explains."""
        return max(1, WORK // max(1, self.slots.column.size * len(self.points)))

    def explain(self, rows: Floats, outputs: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """What each column adds to one output of each row, and where that starts.

        Args:
            rows: rows x columns.
            outputs: of each row, which.

        Raises:
            Invalid: there are more rows than `at_once`.
        """
        if len(rows) > self.at_once:
            raise Invalid(
                f"{len(rows)} answers of so large a forest take too long to explain.",
                field="explain",
                hint=f"Ask for the explanation of {self.at_once} rows at a time at most.",
            )
        slots, known = self.slots, rows.astype(np.float32)
        parts = np.zeros(rows.shape)
        for number, output in enumerate(outputs):
            cells = known[number][slots.column]
            inside = np.where(np.isnan(cells), slots.missing, (cells > slots.low) & (cells <= slots.high)).astype(np.float64)
            inside[slots.column < 0] = 1.0
            added = np.zeros(inside.shape)
            for point, weight in self.points:
                factor = np.maximum(point * inside + (1 - point) * slots.share, LEAST)
                added += (weight * self.values[:, output] * factor.prod(axis=1))[:, None] / factor
            added *= inside - slots.share
            parts[number] = np.bincount(np.maximum(slots.column, 0).ravel(), weights=added.ravel(), minlength=rows.shape[1])
        return parts, self.base[outputs]


def _placed(slots: _Slots, column: NDArray[np.int64]) -> tuple[_Slots, NDArray[np.int64]]:
    """The slots with room for one more column, and of each path the slot of the column that it is split on."""
    wide = slots.widened(slots.column.shape[1] + 1)
    same = wide.column == column[:, None]
    place = np.where(same.any(axis=1), same.argmax(axis=1), (wide.column < 0).argmax(axis=1))
    wide.column[np.arange(len(column)), place] = column
    return wide, place


def _split(
    slots: _Slots, place: NDArray[np.int64], threshold: NDArray[np.float32], missing_left: NDArray[np.bool_], cover: Floats,
    above: Floats, goes_left: bool,
) -> _Slots:  # fmt: skip
    """The slots of the paths that go to one side."""
    side = slots.at(np.arange(len(place)))
    at = np.arange(len(place)), place
    if goes_left:
        side.high[at] = np.minimum(side.high[at], threshold)
        side.missing[at] &= missing_left
    else:
        side.low[at] = np.maximum(side.low[at], threshold)
        side.missing[at] &= ~missing_left
    side.share[at] *= np.divide(cover, above, out=np.zeros(len(place)), where=above > 0)
    return side
