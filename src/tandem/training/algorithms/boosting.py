"""Gradient-boosted trees by XGBoost (Chen & Guestrin 2016): one thread, histogram splits, fully seeded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import xgboost

from tandem.scorers.sample import Floats, Truths
from tandem.training.algorithms.base import Param, Trained, Unconvertible

OPSET = 15


@dataclass(frozen=True, slots=True)
class Trees:
    """A fitted booster."""

    booster: Any
    """`xgboost.Booster`."""
    columns: int

    def predict(self, features: Floats) -> Floats:
        return np.asarray(self.booster.inplace_predict(features.astype(np.float32)), dtype=np.float64)

    def native(self) -> tuple[str, bytes]:
        return "model.ubj", bytes(self.booster.save_raw(raw_format="ubj"))

    def onnx(self) -> bytes:
        from onnxmltools import convert_xgboost  # slow to import, and not needed while folds are fitted
        from onnxmltools.convert.common.data_types import FloatTensorType

        kinds = [("input", FloatTensorType([None, self.columns]))]
        try:
            model = convert_xgboost(self.booster, name="tandem", initial_types=kinds, target_opset=OPSET)
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
    params: ClassVar[Mapping[str, Param]] = {
        "rounds": Param(default=200, low=1, high=5000, whole=True),
        "max_depth": Param(default=3, low=1, high=16, whole=True),
        "learning_rate": Param(default=0.1, low=1e-4, high=1.0),
        "min_child_weight": Param(default=1.0, low=0.0, high=1e6),
        "subsample": Param(default=0.8, low=0.05, high=1.0),
        "colsample": Param(default=0.5, low=0.05, high=1.0),
        "l2": Param(default=1.0, low=0.0, high=1e6),
        "l1": Param(default=0.0, low=0.0, high=1e6),
    }

    def fit(self, features: Floats, labels: Truths, *, params: Mapping[str, float], seed: int) -> Trained:
        data = xgboost.DMatrix(features.astype(np.float32), label=labels.astype(np.float32), nthread=1)
        settings = {
            "objective": "binary:logistic",
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
        return Trees(xgboost.train(settings, data, int(params["rounds"])), features.shape[1])
