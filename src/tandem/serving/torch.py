"""Models of PyTorch: TorchScript (`.pt`) and exported programs (`.pt2`). Both are programs; see `base.TRUST`."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import numpy as np

from tandem.core.errors import Broken, Invalid
from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.cells import shaped
from tandem.serving.foreign import Foreign, foreign

EXPORTED = ".pt2"
HINT = "Save it with torch.jit.script(model).save(FILE.pt) or torch.export.save(torch.export.export(model, …), FILE.pt2)."


@dataclass(frozen=True, slots=True)
class Torch(Foreign):
    """A module that takes rows x columns of float32; one thread."""

    module: Any
    card: Card

    @classmethod
    def load(cls, members: Path) -> Self:
        card = Card.read(members)
        return cls(read(members / card.file), card)

    def predict(self, rows: Floats) -> Floats:
        return shaped(told(self.module, rows), self.card, len(rows))


@dataclass(frozen=True, slots=True)
class Network:
    """A module that takes one image, for the numbers that it makes of it."""

    module: Any

    def predict(self, rows: Floats) -> Floats:
        """One row of numbers for each image.

        Raises:
            Broken: as `told`.
        """
        return told(self.module, rows).reshape(len(rows), -1)


def taken(path: Path) -> tuple[int, ...] | None:
    """The shape that an exported program takes; None for one of TorchScript, which does not say, and for several inputs.

    Raises:
        Invalid, Unavailable: as `read`.
    """
    if path.suffix != EXPORTED:
        return None
    with foreign(f"{path.name} holds no exported program", HINT):
        inputs = [*import_module("torch").export.load(io.BytesIO(path.read_bytes())).example_inputs[0]]
    return tuple(inputs[0].shape) if len(inputs) == 1 else None


def told(module: Any, rows: Floats) -> Floats:
    """What the module answers, rounded to float32 on the way in.

    Raises:
        Broken: it raised, or answered no tensor.
    """
    torch = import_module("torch")
    with foreign("The model raised", "Look at what it takes."), torch.no_grad():
        return np.asarray(module(torch.from_numpy(rows.astype(np.float32))).numpy(), dtype=np.float64)


def read(path: Path) -> Any:
    """The module in a file. Its program may do whatever PyTorch's operators can.

    Raises:
        Invalid: it holds weights or a pickled module, and no program.
        Unavailable: PyTorch is not installed.
    """
    with foreign("The model needs PyTorch", "pip install 'tandem-ai[torch]'"):
        torch = import_module("torch")
    torch.set_num_threads(1)
    content = io.BytesIO(path.read_bytes())
    try:
        with (
            foreign(f"{path.name} holds no program of PyTorch, such as weights alone or a pickled module", HINT),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", DeprecationWarning)  # PyTorch would have others write something else
            if path.suffix == EXPORTED:
                return torch.export.load(content).module()
            return torch.jit.load(content, map_location="cpu").eval()
    except Broken as error:
        raise Invalid(error.message, hint=HINT, field="file") from None
