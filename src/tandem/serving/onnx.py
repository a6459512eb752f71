"""ONNX models by onnxruntime: one thread, no explanations. The fast path of the door."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import onnxruntime

from tandem.core.errors import Broken, Invalid
from tandem.scorers.sample import Floats

FILE = "model.onnx"
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
FAULTS = tuple(
    getattr(_STATE, name)
    for name in ("Fail", "InvalidGraph", "InvalidProtobuf", "InvalidArgument", "NotImplemented", "RuntimeException")
)
"""What onnxruntime raises for a file or a call that it cannot take."""


@dataclass(frozen=True, slots=True)
class Onnx:
    """A session and how it wants its input; what it answers is its last output.

    Of two columns, which are the probabilities of two classes, the last one is the answer.
    """

    session: Any
    """`onnxruntime.InferenceSession`."""
    input: str
    output: str
    dtype: Any
    """float32 or float64."""
    explains: ClassVar[bool] = False
    cells: ClassVar[bool] = False

    @classmethod
    def load(cls, members: Path) -> Self:
        try:
            return cls.of((members / FILE).read_bytes())
        except OSError as error:
            raise Broken(f"The model's file {FILE} cannot be read: {error}.", hint="Train it again.") from None

    @classmethod
    def of(cls, model: bytes) -> Self:
        """A session over the bytes of an ONNX file.

        Raises:
            Broken: they are not one that onnxruntime takes.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except FAULTS as error:
            raise Broken(f"The model's file {FILE} cannot be loaded: {str(error)[:200]}.", hint="Train it again.") from None
        given = session.get_inputs()[0]
        kind = np.float64 if given.type == "tensor(double)" else np.float32
        return cls(session, given.name, session.get_outputs()[-1].name, kind)

    def predict(self, rows: Floats) -> Floats:
        try:
            found = self.session.run([self.output], {self.input: rows.astype(self.dtype, copy=False)})[0]
        except FAULTS as error:
            raise Broken(f"The ONNX model cannot answer: {str(error)[:200]}.", hint="Train it again.") from None
        outputs = np.asarray(found, dtype=np.float64).reshape(len(rows), -1)
        return outputs[:, -1:] if outputs.shape[1] == 2 else outputs

    def explain(self, rows: Floats) -> tuple[Floats, Floats]:
        raise Invalid("ONNX models do not explain themselves.", field="explain", hint="Ask the model's native runtime.")
