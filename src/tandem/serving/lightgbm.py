"""LightGBM models in their own text format: exact contributions of trees (TreeSHAP, Lundberg et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import lightgbm
import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats

FILE = "model.txt"
START, END = "tree\n", "end of parameters"
"""What the text of a whole model holds; LightGBM itself does not notice a cut one."""


@dataclass(frozen=True, slots=True)
class Light:
    """Trees, one thread."""

    booster: Any
    """`lightgbm.Booster`."""
    dtype: ClassVar[Any] = np.float32
    """What a number is rounded to before the trees see it; models that are trained here were fitted to such numbers."""
    explains: ClassVar[bool] = True
    cells: ClassVar[bool] = False

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            text = (members / FILE).read_text()
            if not text.startswith(START) or END not in text:
                raise Broken(f"The model's file {FILE} cannot be read: it is cut or something else.", hint="Train it again.")
            return cls(lightgbm.Booster(model_str=text))
        except (OSError, UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
            raise Broken(f"The model's file {FILE} cannot be read: {str(error)[:200]}.", hint="Train it again.") from None

    def predict(self, rows: Floats) -> Floats:
        found = np.asarray(self.booster.predict(rows.astype(self.dtype), num_threads=1), dtype=np.float64)
        return found.reshape(len(rows), -1)

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        found = self.booster.predict(rows.astype(self.dtype), num_threads=1, pred_contrib=True)
        parts = np.asarray(found, dtype=np.float64).reshape(len(rows), self.booster.num_model_per_iteration(), -1)
        answered = parts[np.arange(len(rows)), parts.sum(axis=2).argmax(axis=1)]
        return answered[:, :-1], answered[:, -1]


class Double(Light):
    """Trees that were fitted elsewhere, to numbers of double precision."""

    __slots__ = ()
    dtype: ClassVar[Any] = np.float64
