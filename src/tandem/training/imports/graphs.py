"""Files of ONNX: which output tells, what the graph takes, and the graph with that output alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tandem.core.errors import Broken, Invalid
from tandem.serving.columnar import KINDS
from tandem.serving.foreign import foreign
from tandem.serving.onnx import FAULTS, FILE, Onnx
from tandem.training.imports.original import Original

if TYPE_CHECKING:
    from tandem.training.imports.sample import Sample

FLOATS = ("tensor(float)", "tensor(double)")
LABELS = ("classlabels_int64s", "classlabels_strings", "classlabels_ints")
"""Attributes of operators that name classes."""


def opened(content: bytes) -> Any:
    """A session over a graph.

    Raises:
        Broken: onnxruntime does not take it.
    """
    return Onnx.of(content).session


def takes_images(path: Path) -> bool:
    """Whether a file is a graph that takes one tensor of four sizes, of which one is of channels."""
    try:
        inputs = opened(path.read_bytes()).get_inputs()
    except Broken:
        return False  # `read` says why
    shape = inputs[0].shape
    return len(inputs) == 1 and len(shape) == 4 and (shape[1] in (1, 3) or shape[3] in (1, 3))


def read(path: Path) -> Original:
    """The graph in a file.

    Raises:
        Broken: it is none.
        Invalid: its weights lie in other files, it tells labels alone, or it takes what is no table.
    """
    import onnx

    content = path.read_bytes()
    with foreign(f"{path.name} cannot be read", "Export it again."):
        model = onnx.load_from_string(content)
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in model.graph.initializer):
        raise Invalid("The weights lie in other files.", hint="Save it with onnx.save(model, FILE, save_as_external_data=False).")
    session = opened(content)
    told = _telling(session)
    return Original(
        framework="onnx",
        library="onnxruntime",
        runtime=_runtime(session),
        members={FILE: _alone(model, told)},
        own=lambda rows: _own(session, told, rows),
        by=f"onnxruntime, output '{told}'",
        names=tuple(given.name for given in session.get_inputs()) if len(session.get_inputs()) > 1 else (),
        width=_width(session),
        classes=_classes(model),
    )


def _telling(session: Any) -> str:
    """The output with the probabilities or numbers: the last one that holds floats."""
    names = [out.name for out in session.get_outputs() if out.type in FLOATS or out.type.startswith("seq(map(")]
    if not names:
        raise Invalid("The graph tells labels alone.", hint="Export it with its probabilities.")
    return str(next((name for name in names if "prob" in name.lower()), names[-1]))


def _runtime(session: Any) -> str:
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type in FLOATS and len(inputs[0].shape) == 2:
        return "onnx"
    if all(given.type in KINDS and len(given.shape) == 2 and given.shape[1] in (1, None) for given in inputs):
        return "onnx-columns"
    shown = ", ".join(f"{given.name} {given.type} {given.shape}" for given in inputs[:5])
    raise Invalid(
        f"The graph takes no table of rows: {shown}.", hint="Tables are [rows, columns] of floats, or [rows, 1] for each column."
    )


def _width(session: Any) -> int | None:
    inputs = session.get_inputs()
    if len(inputs) > 1:
        return len(inputs)
    size = inputs[0].shape[1]
    return size if isinstance(size, int) else None


def _own(session: Any, told: str, rows: Sample) -> Any:
    inputs = session.get_inputs()
    if len(inputs) == 1 and inputs[0].type in FLOATS:
        kind = np.float64 if inputs[0].type == FLOATS[1] else np.float32
        fed = {inputs[0].name: rows.matrix.astype(kind)}
    else:
        fed = {given.name: rows.column(given.name).astype(KINDS[given.type]).reshape(-1, 1) for given in inputs}
    try:
        found = session.run([told], fed)[0]
    except FAULTS as error:
        raise Broken(f"The graph cannot answer: {str(error)[:200]}.", hint="Look at what it takes.") from None
    return [list(row.values()) for row in found] if isinstance(found, list) else found


def _alone(model: Any, told: str) -> bytes:
    """The graph with that output as its only one, without the operator that makes a dictionary of it."""
    import onnx
    from onnx import helper

    graph = model.graph
    maps = {node.output[0]: node for node in graph.node if node.op_type == "ZipMap"}
    tensor = maps[told].input[0] if told in maps else told
    kept = next((out for out in graph.output if out.name == tensor), None)
    kinds = [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE]
    tries = [kept] if kept is not None else [helper.make_tensor_value_info(tensor, kind, [None, None]) for kind in kinds]
    nodes = [node for node in graph.node if node.op_type != "ZipMap"]
    for output in tries:
        made = onnx.ModelProto()
        made.CopyFrom(model)
        del made.graph.output[:], made.graph.node[:]
        made.graph.node.extend(nodes)
        made.graph.output.append(output)
        content = bytes(made.SerializeToString(deterministic=True))
        try:
            opened(content)
            return content
        except Broken as error:
            refused = error
    raise refused


def _classes(model: Any) -> tuple[str, ...]:
    for node in reversed(model.graph.node):
        for attribute in node.attribute:
            if attribute.name in LABELS and (attribute.ints or attribute.strings):
                return tuple(map(str, attribute.ints)) or tuple(text.decode() for text in attribute.strings)
    return ()
