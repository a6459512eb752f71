"""Directories that MLflow wrote, loaded by MLflow itself. That executes what is in them; see `base.TRUST`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self

from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.cells import Cells, frame, shaped, signature_in
from tandem.serving.foreign import Foreign, foreign
from tandem.serving.signature import Signature
from tandem.serving.sklearn import admit


@dataclass(frozen=True, slots=True)
class Pyfunc(Foreign):
    """A model as MLflow loads it, whatever its flavor."""

    model: Any
    signature: Signature
    card: Card
    cells: ClassVar[bool] = True

    @classmethod
    def load(cls, members: Path) -> Self:
        card = Card.read(members)
        return cls(read((members / card.file).parent), signature_in(members), card)

    def predict(self, rows: Cells) -> Floats:
        return shaped(told(self.model, frame(rows, self.signature)), self.card, len(rows))


def told(model: Any, rows: Any) -> Any:
    """What the model answers.

    Raises:
        Broken: it raised.
    """
    with foreign("The model raised", "Look at what it takes."):
        return model.predict(rows)


def read(folder: Path) -> Any:
    """The model in a directory with an `MLmodel`.

    Raises:
        Broken: MLflow cannot load it.
        Unavailable: a library is not installed; `tandem-ai[mlflow]` has MLflow's own.
    """
    admit()
    with foreign("MLflow cannot load it", "Install what its requirements.txt names."):
        return import_module("mlflow.pyfunc").load_model(str(folder))
