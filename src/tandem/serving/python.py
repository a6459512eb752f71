"""Models that are Python of the user's own: a folder with `model.py`. See `base.TRUST`.

`model.py` defines `class Model` with `load(folder)` and `predict(rows)`, or a function `predict(rows)`. `rows` is a list of
objects, column → value; the answer has one number per row, or one per class.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from tandem.core.errors import Invalid
from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.cells import Cells, records, shaped, signature_in
from tandem.serving.foreign import Foreign, foreign
from tandem.serving.signature import Signature
from tandem.serving.sklearn import admit

FILE = "model.py"
MEND = "Mend it and import it again."
Predict = Callable[[list[dict[str, object]]], object]


@dataclass(frozen=True, slots=True)
class Python(Foreign):
    """A function of the user's."""

    function: Predict
    signature: Signature
    card: Card
    cells: ClassVar[bool] = True

    @classmethod
    def load(cls, members: Path) -> Self:
        card = Card.read(members)
        return cls(read((members / card.file).parent), signature_in(members), card)

    def predict(self, rows: Cells) -> Floats:
        return shaped(told(self.function, records(rows, self.signature)), self.card, len(rows))


def told(function: Predict, rows: list[dict[str, object]]) -> object:
    """What the function answers.

    Raises:
        Broken: it raised.
    """
    with foreign(f"{FILE} raised", MEND):
        return function(rows)


def read(folder: Path) -> Predict:
    """Runs the folder's `model.py` and gives what predicts. Modules beside it are imported from this folder alone.

    Raises:
        Broken: it raised.
        Invalid: it defines nothing that predicts.
    """
    admit()
    name = f"tandem_model_{abs(hash(str(folder)))}"
    spec = importlib.util.spec_from_file_location(name, folder / FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    known = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        with foreign(f"{FILE} raised", MEND):
            spec.loader.exec_module(module)
            kind: Any = getattr(module, "Model", None)
            model = module if kind is None else kind()
            if kind is not None and hasattr(model, "load"):
                model = model.load(str(folder)) or model  # a classmethod gives the model, a method fills it
    finally:
        sys.path.remove(str(folder))
        for beside in [name for name in set(sys.modules) - known if _of(sys.modules[name], folder)]:
            del sys.modules[beside]  # two models may each have a helper of the same name
    function = getattr(model, "predict", None)
    if not callable(function):
        raise Invalid(f"{FILE} defines neither a class Model nor a function predict.", field="file", hint=__doc__.splitlines()[2])
    return function  # type: ignore[no-any-return]  # a user's


def _of(module: Any, folder: Path) -> bool:
    return str(getattr(module, "__file__", None) or "").startswith(f"{folder}/")
