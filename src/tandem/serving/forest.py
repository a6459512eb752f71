"""Trees as plain JSON, answered in numpy: for models whose own library stores pickles only."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats
from tandem.serving.linear import Link
from tandem.serving.paths import Grown, Paths

FILE = "forest.json"
LEAF = -1
"""Instead of a column, at a leaf."""


class Tree(msgspec.Struct, frozen=True):
    """Nodes by number, from the root at 0; a row goes left where its value is at most the threshold."""

    feature: tuple[int, ...]
    """Column that is looked at; `LEAF` at a leaf."""
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    missing_left: tuple[bool, ...]
    """Where a missing value goes."""
    values: tuple[float, ...]
    """What is added, one number per node or one per node and output."""
    output: int = 0
    """The first output that it is added to."""
    cover: tuple[float, ...] = ()
    """Rows of the training that came to each node, by weight; empty where that was not kept."""


class Trees(msgspec.Struct, frozen=True):
    """`forest.json`: link(base + sum of trees). Values and thresholds are compared as 32-bit numbers."""

    trees: tuple[Tree, ...]
    base: tuple[float, ...]
    """One per output."""
    link: Link = "identity"


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees, ready to answer."""

    trees: tuple[Grown, ...]
    base: Floats
    link: Link
    _paths: list[Paths] = field(default_factory=list)
    """Made when an answer is explained first."""
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def of(cls, made: Trees) -> Self:
        """Raises:
        Broken: a tree has arrays of unequal length, or names a node, a column or an output that there is not.
        """
        outputs = len(made.base)
        trees = tuple(_arrays(tree) for tree in made.trees)
        for tree in trees:
            nodes = len(tree.feature)
            inside = nodes and tree.output + tree.values.shape[1] <= outputs and tree.feature.min() >= LEAF
            children = np.concatenate((tree.left, tree.right))[np.tile(tree.feature, 2) != LEAF]
            below = np.tile(np.arange(nodes), 2)[np.tile(tree.feature, 2) != LEAF]
            if not (inside and (children < nodes).all() and (children > below).all()):  # so that every walk ends
                raise Broken(f"The model's file {FILE} has a tree that is none.", hint="Train it again.")
        return cls(trees, np.array(made.base, dtype=np.float64), made.link)

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            return cls.of(msgspec.json.decode((members / FILE).read_bytes(), type=Trees))
        except (OSError, ValueError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {str(error)[:200]}.", hint="Train it again.") from None

    def predict(self, rows: Floats) -> Floats:
        values = rows.astype(np.float32)
        scores = np.tile(self.base, (len(rows), 1))
        for tree in self.trees:
            leaves = tree.values[_walk(tree, values)]
            scores[:, tree.output : tree.output + leaves.shape[1]] += leaves
        match self.link:
            case "logistic":
                return np.asarray(np.exp(-np.logaddexp(0.0, -scores)))
            case "softmax":
                shares = np.exp(scores - scores.max(axis=1, keepdims=True))
                return np.asarray(shares / shares.sum(axis=1, keepdims=True))
            case "identity":
                return scores
            case "share":
                return np.asarray(np.clip(scores, 0.0, 1.0))

    @property
    def paths(self) -> Paths:
        """What explains its answers.

        Raises:
            Invalid: as `Paths.of`.
        """
        if not self._paths:
            self._paths.append(Paths.of(self.trees, self.base))
        return self._paths[0]

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        return self.paths.explain(rows, self.predict(rows).argmax(axis=1))


@dataclass(frozen=True, slots=True)
class Isolation(Forest):
    """Trees of an isolation forest, whose inner nodes hold values too: what is expected of a row that has come so far."""

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        """Each step of a row's path counts for the column that decided it, by how far it moved what is expected (Saabas 2014)."""
        values = rows.astype(np.float32)
        parts, base = np.zeros(rows.shape), np.full(len(rows), self.base[0])
        for tree in self.trees:
            base += tree.values[0, 0]
            node, walking = np.zeros(len(rows), dtype=np.int64), np.arange(len(rows) if tree.feature[0] != LEAF else 0)
            while walking.size:
                at = node[walking]
                reached = _next(tree, at, values[walking, tree.feature[at]])
                parts[walking, tree.feature[at]] += (tree.values[reached] - tree.values[at])[:, 0]
                node[walking] = reached
                walking = walking[tree.feature[reached] != LEAF]
        return parts, base


def _next(tree: Grown, at: NDArray[np.int64], value: NDArray[np.float32]) -> NDArray[np.int64]:
    """The child that each row goes to."""
    left = np.where(np.isnan(value), tree.missing_left[at], value <= tree.threshold[at])
    return np.where(left, tree.left[at], tree.right[at])


def _walk(tree: Grown, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """The leaf that each row ends in."""
    node = np.zeros(len(rows), dtype=np.int64)
    walking = np.arange(len(rows)) if tree.feature[0] != LEAF else np.empty(0, dtype=np.int64)
    while walking.size:
        at = node[walking]
        node[walking] = _next(tree, at, rows[walking, tree.feature[at]])
        walking = walking[tree.feature[node[walking]] != LEAF]
    return node


def _arrays(tree: Tree) -> Grown:
    nodes = len(tree.feature)
    if not nodes or len({nodes, len(tree.threshold), len(tree.left), len(tree.right), len(tree.missing_left)}) != 1:
        raise ValueError("a tree has arrays of unequal length")
    return Grown(
        feature=np.array(tree.feature, dtype=np.int64),
        threshold=below(np.array(tree.threshold, dtype=np.float64)),
        left=np.array(tree.left, dtype=np.int64),
        right=np.array(tree.right, dtype=np.int64),
        missing_left=np.array(tree.missing_left, dtype=np.bool_),
        values=np.array(tree.values, dtype=np.float64).reshape(nodes, -1),
        output=tree.output,
        cover=_cover(tree),
    )


def _cover(tree: Tree) -> Floats:
    if len(tree.cover) not in (0, len(tree.feature)):
        raise ValueError("a tree has arrays of unequal length")
    return np.array(tree.cover, dtype=np.float64)


def below(thresholds: NDArray[Any]) -> NDArray[np.float32]:
    """The largest 32-bit number not above each threshold: for 32-bit values, at most the one is at most the other."""
    near = thresholds.astype(np.float32)
    return np.where(near.astype(np.float64) > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
