"""Gradient-boosted trees by XGBoost (Chen & Guestrin 2016): one thread, histogram splits, fully seeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xgboost

from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.training.algorithms.base import Examples, Param, Trained, Unconvertible

OPSET = 15
OBJECTIVES: dict[TaskName, dict[str, str]] = {
    "classification": {"objective": "binary:logistic"},
    "regression": {"objective": "reg:squarederror"},
    "multiclass": {"objective": "multi:softprob"},
    "ranking": {"objective": "rank:ndcg", "lambdarank_pair_method": "topk"},
}


@dataclass(frozen=True, slots=True)
class Trees:
    """A fitted booster."""

    booster: Any
    """`xgboost.Booster`."""
    columns: int
    ranks: bool = False

    def predict(self, features: Floats) -> Floats:
        found = np.asarray(self.booster.inplace_predict(features.astype(np.float32)), dtype=np.float64)
        return found.reshape(len(features), -1)

    def native(self) -> tuple[str, bytes]:
        return "model.ubj", bytes(self.booster.save_raw(raw_format="ubj"))

    def onnx(self) -> bytes:
        from onnxmltools import convert_xgboost  # slow to import, and not needed while folds are fitted
        from onnxmltools.convert.common.data_types import FloatTensorType

        kinds = [("input", FloatTensorType([None, self.columns]))]
        booster = self.booster
        if self.ranks:  # the converter knows no objective of ranks, and the sum of trees is that of a number
            booster = xgboost.Booster()
            booster.load_model(bytearray(self.booster.save_raw(raw_format="ubj")))
            booster.set_param(OBJECTIVES["regression"])
        try:
            model = convert_xgboost(booster, name="tandem", initial_types=kinds, target_opset=OPSET)
        except (RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as error:
            raise Unconvertible(str(error)) from error
        return bytes(model.SerializeToString(deterministic=True))

    def importances(self) -> Floats:
        """Share of the total gain of splits on each column."""
        gains = self.booster.get_score(importance_type="total_gain")
        found = np.array([float(gains.get(f"f{number}", 0.0)) for number in range(self.columns)])
        total = found.sum()
        return found / total if total > 0 else found


class GradientBoosting:
    """Trees, each fitted to what the former left over."""

    runtime: ClassVar[str] = "xgboost"
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "regression", "multiclass", "ranking")
    params: ClassVar[Mapping[str, Param]] = {
        "rounds": Param(default=200, low=1, high=5000, whole=True, search=(50, 500), log=True),
        "max_depth": Param(default=3, low=1, high=16, whole=True, search=(1, 8)),
        "learning_rate": Param(default=0.1, low=1e-4, high=1.0, search=(0.01, 0.3), log=True),
        "min_child_weight": Param(default=1.0, low=0.0, high=1e6, search=(0.5, 20.0), log=True),
        "subsample": Param(default=0.8, low=0.05, high=1.0, search=(0.5, 1.0)),
        "colsample": Param(default=0.5, low=0.05, high=1.0, search=(0.2, 1.0)),
        "l2": Param(default=1.0, low=0.0, high=1e6, search=(0.01, 30.0), log=True),
        "l1": Param(default=0.0, low=0.0, high=1e6),
    }

    def fit(self, examples: Examples, *, params: Mapping[str, float], seed: int) -> Trained:
        order, sizes = examples.grouped()
        data = xgboost.DMatrix(
            examples.features[order].astype(np.float32),
            label=examples.target[order].astype(np.float32),
            weight=None if examples.weights is None else examples.weights[order],
            group=sizes,
            nthread=1,
        )
        settings = {
            **OBJECTIVES[examples.task],
            **({"num_class": examples.classes} if examples.task == "multiclass" else {}),
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
            "verbosity": 0,
            "max_depth": int(params["max_depth"]),
            "eta": params["learning_rate"],
            "min_child_weight": params["min_child_weight"],
            "subsample": params["subsample"],
            "colsample_bytree": params["colsample"],
            "lambda": params["l2"],
            "alpha": params["l1"],
        }
        booster = xgboost.train(settings, data, int(params["rounds"]))
        return Trees(booster, examples.features.shape[1], ranks=examples.task == "ranking")
