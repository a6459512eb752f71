"""Open Inference Protocol v2 over JSON: requests into rows, predictions into responses. Knows no transport.

Source: the protocol's REST specification (kserve/open-inference-protocol). Inputs are either one tensor per column
of shape [n] or [n, 1], or one tensor of shape [n, k] whose columns are the signature's, or those that its
`parameters.columns` names (a list, or one text with commas). Texts, categories and times are BYTES. Of signals, inputs are one
tensor of shape [n, samples] per channel, or one of shape [n, samples, channels]. Outputs: of two
classes `probability` (FP64, [n]) and `label` (BYTES), of more the same with a probability per class ([n, k], named by its
`parameters.classes`), of a ranking `score` (FP64) and `rank` (INT64) within the call, of an anomaly `score` and `label`, of a
recommendation `items` (BYTES), `scores` (FP64, both [n, k]) and `by` (BYTES), else
`prediction` (FP64, [n]), of a forecast with the ends of its intervals; on request `contributions` (FP64, [n, k]) and `base`
(FP64), which `parameters.explain` asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.serving.signature import MISSING, NUMERIC, Cell, Field, Signature
from tandem.serving.target import ROWS, Prediction
from tandem.serving.values import Tensor, flat, is_plain, samples, values

PIXELS = "UINT8 or FP32 from 0 to 1, [-1, rows, columns, 1 or 3]"
"""As what an image is taken besides a file in BYTES."""
ON_REQUEST = ("contributions", "base")
NUMBERS = {"prediction": 0, "score": 0, "lower_80": 1, "upper_80": 2, "lower_95": 3, "upper_95": 4}
"""Outputs that are one number of each row → its place among them."""
_WIRE = {
    "float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES", "category": "BYTES", "text": "BYTES", "list": "BYTES",
    "datetime": "BYTES", "image": "BYTES", "signal": "FP64",
}  # fmt: skip


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """One output that a request asks for."""

    name: str
    parameters: dict[str, Any] = {}


class Infer(msgspec.Struct, frozen=True, kw_only=True):
    """An inference request as it stands on the wire; keys that are not named here are ignored, as the protocol wants."""

    inputs: list[Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An inference request, understood."""

    rows: list[list[Cell]]
    """In the order of the signature's fields; NaN where a value is missing. Ranges are not checked yet."""
    id: str | None
    """The caller's; goes back unchanged."""
    outputs: tuple[str, ...]
    """Names of the outputs wanted, in the order asked for."""
    binary: tuple[bool, Mapping[str, bool]] = (False, {})
    """Which outputs go behind the JSON as bytes, as `tensors.wanted` says."""
    plain: bytes | None = None
    """The request in JSON alone, where its tensors came behind it."""

    @property
    def explain(self) -> bool:
        return any(name in ON_REQUEST for name in self.outputs)


_decode = msgspec.json.Decoder(Infer).decode


def parse(body: bytes, signature: Signature) -> Request:
    """Reads an inference request for a model of that signature.

    Raises:
        Invalid: as `decode` and `understood`.
    """
    return understood(decode(body), signature)


def decode(body: bytes) -> Infer:
    """An inference request as it stands on the wire.

    Raises:
        Invalid: not JSON or not the protocol's form; `field` names where.
    """
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = path.rstrip("`").lstrip(".") or "body"
        raise Invalid("The inference request does not have its form.", words=f"{message}.", field=where, hint=_FORM) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The inference request is not JSON.", words=f"{error}.", field="body", hint=_FORM) from None


def understood(asked: Infer, signature: Signature) -> Request:
    """A decoded request for a model of that signature.

    Raises:
        Invalid: a shape that its data do not have, unknown, missing or repeated columns, a wrong datatype, a number that is
            not finite; `field` names where.
    """
    if not asked.inputs:
        raise Invalid("The inference request has no inputs.", field="inputs", hint=signature.hint)
    if signature.sampled:
        return Request(
            rows=_signals(asked.inputs, signature), id=asked.id, outputs=outputs(asked.parameters, asked.outputs, signature)
        )
    first = asked.inputs[0]
    rows = (
        _matrix(first, signature)
        if len(asked.inputs) == 1 and _is_matrix(first, signature)
        else _columns(asked.inputs, signature)
    )
    rows = signature.filled(rows, asked.parameters)
    return Request(rows=rows, id=asked.id, outputs=outputs(asked.parameters, asked.outputs, signature))


_FORM = 'Send {"inputs": [{"name": …, "shape": [n], "datatype": "FP64", "data": […]}]}.'


def outputs(parameters: Mapping[str, Any], asked: Sequence[Wanted] | None, signature: Signature) -> tuple[str, ...]:
    """The outputs that a request asks for, in its order.

    Raises:
        Invalid: the model has no such output; `field` names where.
    """
    explain = parameters.get("explain", False)
    if not isinstance(explain, bool):
        raise Invalid("The parameter 'explain' is not true or false.", field="parameters.explain", hint="Send a truth value.")
    usual = signature.usual
    if not asked:
        return usual + ON_REQUEST if explain else usual
    for number, wanted in enumerate(asked):
        if wanted.name not in usual + ON_REQUEST:
            raise Invalid(
                "The model has no such output.",
                words=f"'{wanted.name}' was asked for.",
                field=f"outputs[{number}].name",
                hint=f"It has: {', '.join(usual + ON_REQUEST)}.",
            )
    names = tuple(dict.fromkeys(wanted.name for wanted in asked))
    return names + tuple(name for name in ON_REQUEST if explain and name not in names)


def _is_matrix(tensor: Tensor, signature: Signature) -> bool:
    """One tensor that holds all columns, rather than the only column."""
    if len(tensor.shape) != 2:
        return False
    return tensor.shape[1] != 1 or "columns" in tensor.parameters or tensor.name not in signature.by_name


def _matrix(tensor: Tensor, signature: Signature) -> list[list[Cell]]:
    where = "inputs[0]"
    rows, width = tensor.shape
    names = _named(tensor, signature, where)
    if width != len(names):
        raise Invalid(
            f"{where} has not {len(names)} columns, as expected.",
            words=f"It has {width}.",
            field=f"{where}.shape",
            hint=signature.hint,
        )
    cells: list[Cell] = (
        tensor.data
        if rows <= ROWS and signature.numeric and is_plain(tensor, rows * width)
        else values(tensor, flat(tensor, rows, width, where), where, [signature.by_name[name] for name in names])
    )
    if names == signature.names:
        return [cells[start : start + width] for start in range(0, rows * width, width)]
    return _ordered({name: cells[place::width] for place, name in enumerate(names)}, rows, signature)


def _named(tensor: Tensor, signature: Signature, where: str) -> tuple[str, ...]:
    """The columns of a matrix: as its parameter says, else as the signature says."""
    given = tensor.parameters.get("columns")
    if given is None:
        return signature.names
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid("The parameter 'columns' is not a list of names.", field=f"{where}.parameters.columns", hint=signature.hint)
    for name in names:
        if name not in signature.by_name:
            raise _unknown(name, signature, f"{where}.parameters.columns")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"Column '{twice}' is named twice.", field=f"{where}.parameters.columns", hint="Name each column once.")
    return tuple(names)


def _columns(tensors: Sequence[Tensor], signature: Signature) -> list[list[Cell]]:
    found: dict[str, list[Cell]] = {}
    names = signature.by_name
    rows = tensors[0].shape[0] if tensors[0].shape else 0
    shapes = ([rows], [rows, 1])
    fits = rows <= ROWS
    for number, tensor in enumerate(tensors):
        known = fits and tensor.name in names and tensor.name not in found and tensor.shape in shapes
        if known and names[tensor.name].dtype in NUMERIC and is_plain(tensor, rows):
            found[tensor.name] = tensor.data
            continue
        where = f"inputs[{number}]"
        if tensor.name not in names:
            raise _unknown(tensor.name, signature, f"{where}.name")
        if tensor.name in found:
            raise Invalid(f"Column '{tensor.name}' is sent twice.", field=f"{where}.name", hint="Send each column once.")
        if tensor.shape not in shapes:
            raise Invalid(
                f"{where} '{tensor.name}' has another shape than [{rows}] or [{rows}, 1].",
                words=f"It has {tensor.shape}.",
                field=f"{where}.shape",
                hint="Every column has as many rows as the first.",
            )
        found[tensor.name] = values(tensor, flat(tensor, rows, 1, where), where, [names[tensor.name]])
    return _ordered(found, rows, signature)


def _signals(tensors: Sequence[Tensor], signature: Signature) -> list[list[Cell]]:
    """Windows of signals, one row each: a tensor per channel, or all channels in one, whose last size is theirs."""
    if len(tensors) == 1 and len(tensors[0].shape) == 3:
        tensor, width = tensors[0], len(signature.fields)
        names = _named(tensor, signature, "inputs[0]")
        if tensor.shape[2] != len(names):
            raise _reshaped(tensor, "inputs[0]", f"[n, samples, {width}]", signature)
        numbers = samples(tensor, "inputs[0]")
        channels = {name: numbers[place :: len(names)] for place, name in enumerate(names)}
    else:
        channels = {}
        for number, tensor in enumerate(tensors):
            where = f"inputs[{number}]"
            if tensor.name not in signature.by_name:
                raise _unknown(tensor.name, signature, f"{where}.name")
            if tensor.name in channels:
                raise Invalid(f"Column '{tensor.name}' is sent twice.", field=f"{where}.name", hint="Send each column once.")
            if len(tensor.shape) != 2 or tensor.shape != tensors[0].shape:
                raise _reshaped(tensor, where, "[n, samples]", signature)
            channels[tensor.name] = samples(tensor, where)
    rows, length = tensors[0].shape[:2]
    cells: dict[str, list[Cell]] = {}
    for field in signature.fields:
        if field.name in channels:
            windows = [channels[field.name][start : start + length] for start in range(0, rows * length, length)]
            cells[field.name] = [field.window(each, f"rows[{row}].{field.name}") for row, each in enumerate(windows)]
    return _ordered(cells, rows, signature)


def _reshaped(tensor: Tensor, where: str, shape: str, signature: Signature) -> Invalid:
    return Invalid(
        f"{where} '{tensor.name}' has another shape than {shape}.",
        words=f"It has {tensor.shape}.",
        field=f"{where}.shape",
        hint=signature.hint,
    )


def _ordered(columns: dict[str, list[Cell]], rows: int, signature: Signature) -> list[list[Cell]]:
    ordered: list[list[Cell]] = []
    for field in signature.fields:
        if field.name in columns:
            ordered.append(columns[field.name])
        elif field.nullable:
            ordered.append([MISSING] * rows)
        else:
            raise Invalid(f"Column '{field.name}' is missing.", field=f"inputs.{field.name}", hint=signature.hint)
    return [list(row) for row in zip(*ordered, strict=True)]


def _unknown(name: str, signature: Signature, where: str) -> Invalid:
    return Invalid("The model takes no such column.", words=f"'{name}' was sent.", field=where, hint=signature.hint)


def respond(
    request: Request,
    prediction: Prediction,
    *,
    name: str,
    version: str,
    columns: Sequence[str] = (),
    classes: Sequence[str] = (),
    beside: Sequence[Mapping[str, Any]] = (),
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The response to a request, with the outputs that it asked for.

    Args:
        columns: names those of the contributions.
        classes: names those of the probabilities, where there are more than two.
        beside: further outputs.
        parameters: of the response.
    """
    many = len(classes) > 2
    told: list[dict[str, Any]] = []
    for wanted in request.outputs:
        datatype, shape, data = _tensor(wanted, prediction, len(classes) if many else 1)
        told.append({"name": wanted, "datatype": datatype, "shape": shape, "data": data})
    for output in told:
        if output["name"] == "contributions" and columns:  # the protocol's parameters are texts, numbers and truth values
            output["parameters"] = {"columns": msgspec.json.encode(list(columns)).decode()}
        if output["name"] == "probability" and many:
            output["parameters"] = {"classes": msgspec.json.encode(list(classes)).decode()}
    reply: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        reply["id"] = request.id
    if parameters:
        reply["parameters"] = parameters
    return {**reply, "outputs": [*told, *beside]}


def _tensor(name: str, prediction: Prediction, classes: int) -> tuple[str, list[int], list[Any]]:
    """Datatype, shape and values of an output; `classes` is how many probabilities a row has."""
    rows = len(prediction.outputs)
    if name in NUMBERS:
        return "FP64", [rows], [row[NUMBERS[name]] for row in prediction.outputs]
    match name:
        case "probability":
            shape = [rows, classes] if classes > 1 else [rows]
            return "FP64", shape, [number for row in prediction.outputs for number in row]
        case "label":
            return "BYTES", [rows], prediction.labels
        case "rank":
            return "INT64", [rows], _ranks([row[0] for row in prediction.outputs])
        case "items" | "scores" | "by":
            return _listed(name, prediction)
        case "base":
            return "FP64", [rows], prediction.base or []
    contributions = prediction.contributions or []
    width = len(contributions[0]) if contributions else 0
    return "FP64", [rows, width], [value for row in contributions for value in row]


def _listed(name: str, prediction: Prediction) -> tuple[str, list[int], list[Any]]:
    """An output of a recommendation; rows that have fewer items than the longest are filled with empty texts and zeros."""
    texts, scores = prediction.texts or [], prediction.outputs
    width = max((len(row) for row in scores), default=0)
    if name == "by":
        return "BYTES", [len(texts)], [row[0] for row in texts]
    if name == "items":
        return "BYTES", [len(texts), width], [item for row in texts for item in [*row[1:], *[""] * (width + 1 - len(row))]]
    return "FP64", [len(texts), width], [value for row in scores for value in [*row, *[0.0] * (width - len(row))]]


def _ranks(scores: Sequence[float]) -> list[int]:
    """The place of each row of a call, from 1 at the highest score; equal ones in their order."""
    found = [0] * len(scores)
    for rank, place in enumerate(sorted(range(len(scores)), key=lambda place: -scores[place]), 1):
        found[place] = rank
    return found


def metadata(signature: Signature, *, name: str, versions: Sequence[str], platform: str) -> bytes:
    """The answer to `GET /v2/models/NAME`; -1 stands for any number of rows."""
    width = len(signature.fields)
    usual: list[dict[str, Any]] = [
        {
            "name": out.name,
            "datatype": _WIRE[out.dtype],
            "shape": [-1] if out.width == 1 else [-1, -1 if signature.lists else out.width],
        }
        for out in signature.outputs
    ]
    on_request: list[dict[str, Any]] = [
        {"name": "contributions", "datatype": "FP64", "shape": [-1, width]},
        {"name": "base", "datatype": "FP64", "shape": [-1]},
    ]
    return msgspec.json.encode(
        {
            "name": name,
            "versions": list(versions),
            "platform": platform,
            "inputs": [_told(field) for field in signature.fields],
            "outputs": usual + on_request,
        }
    )


def _told(field: Field) -> dict[str, Any]:
    told: dict[str, Any] = {"name": field.name, "datatype": _WIRE[field.dtype], "shape": [-1, field.size] if field.size else [-1]}
    return {**told, "parameters": {"pixels": PIXELS}} if field.dtype == "image" else told


def error(fault: TandemError) -> bytes:
    """An error as the protocol writes it: one text."""
    return msgspec.json.encode({"error": str(fault)})
