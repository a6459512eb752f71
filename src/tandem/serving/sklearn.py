"""Models of scikit-learn, and of libraries with its interface: pickles (joblib, pickle, skops). See `base.TRUST`."""

from __future__ import annotations

import io
import pickle
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.cells import Cells, frame, shaped, signature_in
from tandem.serving.foreign import Foreign, foreign
from tandem.serving.signature import Signature

SKOPS = ".skops"
MASKED = ("xgboost", "lightgbm")
"""Libraries that build classes of their own on scikit-learn if it can be imported when they are."""


@dataclass(frozen=True, slots=True)
class Sklearn(Foreign):
    """An estimator that takes a matrix."""

    model: Any
    signature: Signature
    card: Card

    @classmethod
    def load(cls, members: Path) -> Self:
        card = Card.read(members)
        model = read(members / card.file, trusted=not card.native.startswith("skops"))
        return cls(model, signature_in(members), card)

    def predict(self, rows: Cells) -> Floats:
        return shaped(told(self.model, rows), self.card, len(rows))


class SklearnCells(Sklearn):
    """An estimator that takes a frame, such as a Pipeline that begins with a ColumnTransformer."""

    __slots__ = ()
    cells: ClassVar[bool] = True

    def predict(self, rows: Cells) -> Floats:
        return shaped(told(self.model, frame(rows, self.signature)), self.card, len(rows))


def told(model: Any, rows: Any) -> Floats:
    """Of a classifier the probabilities, else the number.

    Raises:
        Broken: it raised.
    """
    with foreign("The model raised", "Look at what it takes."):
        said = model.predict_proba(rows) if hasattr(model, "predict_proba") else model.predict(rows)
        return np.asarray(said, dtype=np.float64)


def read(path: Path, *, trusted: bool) -> Any:
    """The object in a file. Unpickling executes what the file says.

    Args:
        trusted: whether any type may be made; else only those that skops knows to be harmless.

    Raises:
        Broken: it cannot be read.
        Unavailable: a library that it needs is not installed.
    """
    admit()
    content = path.read_bytes()
    with foreign(f"{path.name} cannot be read", "Install the versions of the libraries that it was written with."):
        if path.suffix == SKOPS:
            skops = import_module("skops.io")
            return skops.loads(content, trusted=skops.get_untrusted_types(data=content) if trusted else [])
        return pickle.loads(content) if path.suffix in (".pkl", ".pickle") else import_module("joblib").load(io.BytesIO(content))


def admit() -> None:
    """Lets scikit-learn in where the process had shut it out, and has what was imported meanwhile imported again."""
    if sys.modules.get("sklearn", sys) is None:
        del sys.modules["sklearn"]
        for name in [name for name in sys.modules if name.partition(".")[0] in MASKED]:
            del sys.modules[name]
