"""Gradient-boosted trees by LightGBM (Ke et al. 2017): one thread, deterministic, grown leaf by leaf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import lightgbm
import numpy as np

from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.forest import LEAF, Tree, Trees
from tandem.serving.lightgbm import Light
from tandem.serving.linear import Link
from tandem.training.algorithms.base import Examples, Param, Trained
from tandem.training.algorithms.trees import bounded, graph, shared, single

OBJECTIVES: dict[TaskName, str] = {
    "classification": "binary",
    "regression": "regression",
    "multiclass": "multiclass",
    "ranking": "lambdarank",
}
LINKS: dict[TaskName, Link] = {
    "classification": "logistic",
    "regression": "identity",
    "multiclass": "softmax",
    "ranking": "identity",
}


@dataclass(frozen=True, slots=True)
class Grown:
    """A fitted booster."""

    booster: Any
    """`lightgbm.Booster`."""
    task: TaskName

    def predict(self, features: Floats) -> Floats:
        return Light(self.booster).predict(features)

    def native(self) -> tuple[str, bytes]:
        return "model.txt", self.booster.model_to_string().encode()

    def onnx(self) -> bytes:
        told = self.booster.dump_model()
        outputs = told["num_tree_per_iteration"]
        trees = tuple(_tree(each["tree_structure"], number % outputs) for number, each in enumerate(told["tree_info"]))
        return graph(Trees(trees=trees, base=(0.0,) * outputs, link=LINKS[self.task]), self.booster.num_feature())

    def importances(self) -> Floats:
        """Share of the total gain of splits on each column."""
        return shared(np.asarray(self.booster.feature_importance("gain"), dtype=np.float64))


class LightGbm:
    """Trees, each fitted to what the former left over."""

    runtime: ClassVar[str] = "lightgbm"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "regression", "multiclass", "ranking")
    params: ClassVar[Mapping[str, Param]] = {
        "rounds": Param(default=200, low=1, high=5000, whole=True, search=(50, 500), log=True),
        "learning_rate": Param(default=0.05, low=1e-4, high=1.0, search=(0.01, 0.3), log=True),
        "leaves": Param(default=15, low=2, high=1024, whole=True, search=(3, 64), log=True),
        "min_leaf": Param(default=10, low=1, high=1e6, whole=True, search=(2, 50), log=True),
        "columns": Param(default=0.8, low=0.05, high=1.0, search=(0.3, 1.0)),
        "l2": Param(default=0.0, low=0.0, high=1e6),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        settings = {
            "objective": OBJECTIVES[examples.task],
            **({"num_class": examples.classes} if examples.task == "multiclass" else {}),
            "learning_rate": params["learning_rate"],
            "num_leaves": int(params["leaves"]),
            "min_data_in_leaf": int(params["min_leaf"]),
            "feature_fraction": params["columns"],
            "lambda_l2": params["l2"],
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
        order, sizes = examples.grouped()
        data = lightgbm.Dataset(
            single(examples.features[order]),
            label=examples.target[order].astype(np.float64),
            weight=None if examples.weights is None else examples.weights[order],
            group=sizes,
            params=settings,
        )
        return Grown(lightgbm.train(settings, data, int(params["rounds"])), examples.task)


def _tree(root: Mapping[str, Any], output: int) -> Tree:
    """A tree of LightGBM's own description, its nodes numbered from the root down."""
    nodes, left, right = [root], [0], [0]
    for number, node in enumerate(nodes):  # grows while it is walked
        if "split_feature" in node:
            left[number], right[number] = len(nodes), len(nodes) + 1
            nodes += [node["left_child"], node["right_child"]]
            left += [0, 0]
            right += [0, 0]
    return Tree(
        feature=tuple(node.get("split_feature", LEAF) for node in nodes),
        threshold=tuple(bounded(np.array([float(node.get("threshold", 0.0)) for node in nodes])).tolist()),
        left=tuple(left),
        right=tuple(right),
        missing_left=tuple(_missing_left(node) for node in nodes),
        values=tuple(float(node.get("leaf_value", 0.0)) for node in nodes),
        output=output,
    )


def _missing_left(node: Mapping[str, Any]) -> bool:
    """Where a column had no gaps in training, LightGBM reads a missing value as 0."""
    if "split_feature" not in node:
        return False
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else bool(node["threshold"] >= 0)
