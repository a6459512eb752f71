"""Histogram gradient boosting of scikit-learn, kept in its plain form: scikit-learn itself stores pickles only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from tandem.scorers.base import TaskName
from tandem.serving.forest import LEAF, Tree, Trees
from tandem.serving.linear import Link
from tandem.training.algorithms.base import Examples, Param, Trained
from tandem.training.algorithms.logistic import ABSENT
from tandem.training.algorithms.trees import Grown, bounded, single


class HistGradientBoosting:
    """Trees on binned columns, each fitted to what the former left over (as LightGBM, Ke et al. 2017)."""

    runtime: ClassVar[str] = "forest"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "regression", "multiclass")
    params: ClassVar[Mapping[str, Param]] = {
        "rounds": Param(default=100, low=1, high=5000, whole=True, search=(30, 300), log=True),
        "learning_rate": Param(default=0.1, low=1e-4, high=1.0, search=(0.01, 0.3), log=True),
        "leaves": Param(default=15, low=2, high=1024, whole=True, search=(3, 64), log=True),
        "min_leaf": Param(default=20, low=1, high=1e6, whole=True, search=(2, 50), log=True),
        "l2": Param(default=0.0, low=0.0, high=1e6),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        kind = HistGradientBoostingRegressor if examples.task == "regression" else HistGradientBoostingClassifier
        model = kind(
            max_iter=int(params["rounds"]),
            learning_rate=params["learning_rate"],
            max_leaf_nodes=int(params["leaves"]),
            min_samples_leaf=int(params["min_leaf"]),
            l2_regularization=params["l2"],
            early_stopping=False,
            random_state=seed,
        )
        model.fit(single(examples.features), examples.target, sample_weight=examples.weights)
        rounds = model._predictors  # the trees have no public name; a test compares what is made of them with the model
        base = np.asarray(model._baseline_prediction, dtype=np.float64).ravel()
        gains = np.zeros(examples.features.shape[1])
        for each in (predictor for trees in rounds for predictor in trees):
            splits = each.nodes[each.nodes["is_leaf"] == 0]
            np.add.at(gains, splits["feature_idx"], splits["gain"])
        outputs = _outputs(model, examples)
        trees = tuple(_tree(predictor.nodes, outputs[place]) for trees in rounds for place, predictor in enumerate(trees))
        if examples.task != "multiclass":
            link: Link = "identity" if examples.task == "regression" else "logistic"
            return Grown.of(Trees(trees=trees, base=tuple(base.tolist()), link=link), gains)
        scores = np.full(examples.classes, ABSENT)
        scores[np.asarray(model.classes_, dtype=np.int64)] = 0.0
        scores[outputs] = base
        return Grown.of(Trees(trees=trees, base=tuple(scores.tolist()), link="softmax"), gains)


def _outputs(model: Any, examples: Examples) -> list[int]:
    """The output that each tree of a round adds to: of two known classes there is one tree, for the second."""
    if examples.task != "multiclass":
        return [0]
    known = [int(each) for each in model.classes_]
    return known[1:] if len(known) == 2 else known


def _tree(nodes: Any, output: int) -> Tree:
    leaf = nodes["is_leaf"] == 1
    return Tree(
        feature=tuple(np.where(leaf, LEAF, nodes["feature_idx"]).tolist()),
        threshold=tuple(bounded(np.where(leaf, 0.0, nodes["num_threshold"])).tolist()),
        left=tuple(np.where(leaf, 0, nodes["left"]).tolist()),
        right=tuple(np.where(leaf, 0, nodes["right"]).tolist()),
        missing_left=tuple((nodes["missing_go_to_left"] == 1).tolist()),
        values=tuple(np.where(leaf, nodes["value"], 0.0).tolist()),
        output=output,
        cover=tuple(nodes["count"].astype(float).tolist()),
    )
