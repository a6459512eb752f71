"""Learners of what is ordinary: an isolation forest (Liu et al. 2008), kept as plain trees, and ECOD (Li et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest as Isolating

from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.ecod import FILE, Ecod, Tails
from tandem.serving.forest import LEAF, Isolation, Tree, Trees
from tandem.training.algorithms.base import Examples, Param, Trained, Unconvertible
from tandem.training.algorithms.trees import Grown, bounded, shared, single

KEPT = 1_000
"""Values of a column that ECOD keeps: evenly many between any two of them."""
EXPLAINED = 1_000
"""Rows whose explanations make the importances."""
EULER = 0.5772156649015329


class IsolationForest:
    """Random splits of few rows: what is soon alone is odd. The score is minus the mean length of a row's paths."""

    runtime: ClassVar[str] = "isolation"
    tasks: ClassVar[tuple[TaskName, ...]] = ("anomaly",)
    params: ClassVar[Mapping[str, Param]] = {
        "trees": Param(default=200, low=1, high=2000, whole=True),
        "rows": Param(default=256, low=2, high=100_000, whole=True),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        rows = single(examples.features)
        gaps = np.array([np.median(known) if len(known := column[~np.isnan(column)]) else 0.0 for column in rows.T])
        filled = np.where(np.isnan(rows), gaps, rows)
        model = Isolating(
            n_estimators=int(params["trees"]), max_samples=min(int(params["rows"]), len(rows)), random_state=seed, n_jobs=1
        ).fit(filled)
        trees = Trees(trees=tuple(_tree(each.tree_, gaps, len(model.estimators_)) for each in model.estimators_), base=(0.0,))
        forest = Isolation.of(trees)
        parts, _ = forest.explain(rows[:EXPLAINED])
        return Grown(trees, forest, shared(np.abs(parts).mean(axis=0)))


@dataclass(frozen=True, slots=True)
class Tailed:
    """Fitted tails."""

    tails: Tails
    ecod: Ecod
    shares: Floats

    def predict(self, features: Floats) -> Floats:
        return self.ecod.predict(features)

    def native(self) -> tuple[str, bytes]:
        return FILE, msgspec.json.encode(self.tails)

    def onnx(self) -> bytes:
        raise Unconvertible("its tails have none.")

    def importances(self) -> Floats:
        """Share of what each column adds to the scores."""
        return self.shares


class EmpiricalTails:
    """ECOD: no parameters, and nothing drawn."""

    runtime: ClassVar[str] = "ecod"
    tasks: ClassVar[tuple[TaskName, ...]] = ("anomaly",)
    params: ClassVar[Mapping[str, Param]] = {}

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        del params, seed  # it has none, and draws nothing
        columns = [np.sort(column[~np.isnan(column)]) for column in examples.features.T]
        tails = Tails(
            columns=tuple(tuple(map(float, _thinned(column))) for column in columns),
            left=tuple(bool(len(column) and column.mean() < np.median(column)) for column in columns),
        )
        ecod = Ecod.of(tails)
        parts, _ = ecod.explain(examples.features[:EXPLAINED])
        return Tailed(tails, ecod, shared(parts.mean(axis=0)))


def _thinned(rising: Floats) -> Floats:
    if len(rising) <= KEPT:
        return rising
    return np.asarray(rising[np.linspace(0, len(rising) - 1, KEPT).round().astype(np.int64)])


def _tree(tree: Any, gaps: Floats, trees: int) -> Tree:
    """One tree; every node holds minus the length of path that is expected there, divided by the number of trees."""
    leaf = tree.children_left == -1
    feature = np.where(leaf, 0, tree.feature)
    lengths = -_lengths(tree) / trees
    return Tree(
        feature=tuple(np.where(leaf, LEAF, tree.feature).tolist()),
        threshold=tuple(bounded(np.where(leaf, 0.0, tree.threshold)).tolist()),
        left=tuple(np.where(leaf, 0, tree.children_left).tolist()),
        right=tuple(np.where(leaf, 0, tree.children_right).tolist()),
        missing_left=tuple((gaps[feature] <= tree.threshold).tolist()),
        values=tuple(lengths.tolist()),
    )


def _lengths(tree: Any) -> Floats:
    """Of a leaf its depth and what its rows would need further; of any other node the mean of its rows."""
    count = len(tree.children_left)
    depth = np.zeros(count)
    for node in range(count):
        if tree.children_left[node] != -1:
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
    found = depth + _needed(tree.n_node_samples)
    for node in reversed(range(count)):
        if tree.children_left[node] != -1:
            children = [tree.children_left[node], tree.children_right[node]]
            found[node] = np.average(found[children], weights=tree.n_node_samples[children])
    return found


def _needed(rows: NDArray[np.int64]) -> Floats:
    """The mean length of path that so many rows need to be told apart."""
    many = np.maximum(rows, 3).astype(np.float64)
    needed = 2 * (np.log(many - 1) + EULER) - 2 * (many - 1) / many
    return np.select([rows <= 1, rows == 2], [0.0, 1.0], needed)
