"""Random forests of scikit-learn (Breiman 2001), kept in their plain form: scikit-learn itself stores pickles only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from tandem.scorers.base import TaskName
from tandem.serving.forest import LEAF, Tree, Trees
from tandem.serving.linear import Link
from tandem.training.algorithms.base import Examples, Param, Trained
from tandem.training.algorithms.trees import Grown, bounded, single


class RandomForest:
    """Trees on rows drawn with replacement, each split on a share of the columns; their mean answers."""

    runtime: ClassVar[str] = "forest"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "regression", "multiclass")
    params: ClassVar[Mapping[str, Param]] = {
        "trees": Param(default=200, low=1, high=2000, whole=True),
        "max_depth": Param(default=10, low=1, high=32, whole=True, search=(3, 20)),
        "min_leaf": Param(default=2, low=1, high=1e6, whole=True, search=(1, 20), log=True),
        "columns": Param(default=0.4, low=0.01, high=1.0, search=(0.1, 1.0)),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        kind = RandomForestRegressor if examples.task == "regression" else RandomForestClassifier
        model = kind(
            n_estimators=int(params["trees"]),
            max_depth=int(params["max_depth"]),
            min_samples_leaf=int(params["min_leaf"]),
            max_features=params["columns"],
            random_state=seed,
            n_jobs=1,
        )
        model.fit(single(examples.features), examples.target, sample_weight=examples.weights)
        trees = tuple(_tree(each.tree_, model, examples) for each in model.estimators_)
        base = (0.0,) * (examples.classes if examples.task == "multiclass" else 1)
        link: Link = "identity" if examples.task == "regression" else "share"
        return Grown.of(Trees(trees=trees, base=base, link=link), np.asarray(model.feature_importances_, dtype=np.float64))


def _tree(tree: Any, model: Any, examples: Examples) -> Tree:
    """One tree; what its leaves say is divided by the number of trees, so that the sum of all is their mean."""
    leaf = tree.children_left == -1
    said = tree.value[:, 0, :] / len(model.estimators_)
    match examples.task:
        case "classification":
            said = said[:, -1:]
        case "multiclass":
            known = np.zeros((len(said), examples.classes))
            known[:, np.asarray(model.classes_, dtype=np.int64)] = said
            said = known
        case "regression":
            pass
    return Tree(
        feature=tuple(np.where(leaf, LEAF, tree.feature).tolist()),
        threshold=tuple(bounded(np.where(leaf, 0.0, tree.threshold)).tolist()),
        left=tuple(np.where(leaf, 0, tree.children_left).tolist()),
        right=tuple(np.where(leaf, 0, tree.children_right).tolist()),
        missing_left=tuple(tree.missing_go_to_left.astype(bool).tolist()),
        values=tuple(said.ravel().tolist()),
        cover=tuple(tree.weighted_n_node_samples.tolist()),
    )
