"""XGBoost models in their own format: exact contributions of trees (TreeSHAP, Lundberg et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import xgboost

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats

FILE = "model.ubj"
START = b"{L"
"""How an XGBoost file in UBJSON begins. XGBoost ends the whole process on bytes that are not UBJSON (measured
with 3.2), so the file is looked at first; what passes and is broken inside ends a host, never the door."""


@dataclass(frozen=True, slots=True)
class Booster:
    """Trees, one thread."""

    booster: Any
    """`xgboost.Booster`."""
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def load(cls, members: Path) -> Self:
        booster = xgboost.Booster({"nthread": 1})
        try:
            content = (members / FILE).read_bytes()
            if not (content.startswith(START) and content.endswith(b"}")):
                raise Broken(f"The model's file {FILE} cannot be read: it is cut or something else.", hint="Train it again.")
            booster.load_model(bytearray(content))
        except (OSError, xgboost.core.XGBoostError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {str(error)[:200]}.", hint="Train it again.") from None
        return cls(booster)

    def predict(self, rows: Floats) -> Floats:
        found = np.asarray(self.booster.inplace_predict(rows.astype(np.float32)), dtype=np.float64)
        return found.reshape(len(rows), -1)

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        data = xgboost.DMatrix(rows.astype(np.float32), nthread=1)
        found = np.asarray(self.booster.predict(data, pred_contribs=True), dtype=np.float64)
        if found.ndim == 3:  # rows x classes x columns
            found = found[np.arange(len(rows)), found.sum(axis=2).argmax(axis=1)]
        return found[:, :-1], found[:, -1]
