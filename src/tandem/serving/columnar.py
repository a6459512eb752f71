"""ONNX models that take one tensor per column, as converters of whole pipelines write them: texts and numbers side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from tandem.core.errors import Broken
from tandem.scorers.sample import Floats
from tandem.serving.base import Card
from tandem.serving.cells import Cells, shaped, signature_in
from tandem.serving.foreign import Foreign
from tandem.serving.onnx import FAULTS, Onnx
from tandem.serving.signature import Signature

KINDS = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
"""Types of inputs that are fed."""


@dataclass(frozen=True, slots=True)
class OnnxColumns(Foreign):
    """A session whose inputs are the columns of the signature; what it answers is its last output."""

    session: Any
    """`onnxruntime.InferenceSession`."""
    signature: Signature
    card: Card
    cells: ClassVar[bool] = True

    @classmethod
    def load(cls, members: Path) -> Self:
        return cls(Onnx.load(members).session, signature_in(members), Card.read(members))

    def predict(self, rows: Cells) -> Floats:
        try:
            fed = {given.name: self._fed(rows, given) for given in self.session.get_inputs()}
            found = self.session.run([self.session.get_outputs()[-1].name], fed)[0]
        except (*FAULTS, ValueError) as error:
            raise Broken(f"The ONNX model cannot answer: {str(error)[:200]}.", hint="Look at what it takes.") from None
        return shaped(found, self.card, len(rows))

    def _fed(self, rows: Cells, given: Any) -> Cells:
        """One column as its input wants it; a missing text is the empty one."""
        column = rows[:, self.signature.names.index(given.name)]
        kind = KINDS[given.type]
        cells = ["" if cell != cell else cell for cell in column] if kind is np.object_ else column
        return np.array(cells, dtype=kind).reshape(-1, 1)
