"""Open Inference Protocol v2 over JSON: requests into rows, predictions into responses. Knows no transport.

Source: the protocol's REST specification (kserve/open-inference-protocol). Inputs are either one tensor per column
of shape [n] or [n, 1], or one tensor of shape [n, k] whose columns are the signature's, or those that its
`parameters.columns` names (a list, or one text with commas). Outputs: `probability` (FP64), `label` (BYTES), and
on request `contributions` (FP64, [n, k]) and `base` (FP64); `parameters.explain` asks for the latter two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tandem.core.errors import Invalid, TandemError
from tandem.serving.signature import MISSING, Signature
from tandem.serving.target import ROWS, Prediction

FLOATS = frozenset({"FP16", "FP32", "FP64"})
WHOLES = {f"{sign}INT{bits}": bits for bits in (8, 16, 32, 64) for sign in ("", "U")}
USUAL, ON_REQUEST = ("probability", "label"), ("contributions", "base")
_WIRE = {"float": "FP64", "int": "INT64", "bool": "BOOL", "string": "BYTES"}


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input as it stands in a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


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

    rows: list[list[float]]
    """In the order of the signature's fields; NaN where a value is missing. Ranges are not checked yet."""
    id: str | None
    """The caller's; goes back unchanged."""
    outputs: tuple[str, ...]
    """Names of the outputs wanted, in the order asked for."""

    @property
    def explain(self) -> bool:
        return any(name in ON_REQUEST for name in self.outputs)


_decode = msgspec.json.Decoder(Infer).decode


def parse(body: bytes, signature: Signature) -> Request:
    """Reads an inference request for a model of that signature.

    Raises:
        Invalid: not JSON or not the protocol's form, a shape that its data do not have, unknown, missing or
            repeated columns, a wrong datatype, a number that is not finite; `field` names where.
    """
    try:
        asked = _decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        where = path.rstrip("`").lstrip(".") or "body"
        raise Invalid("The inference request does not have its form.", words=f"{message}.", field=where, hint=_FORM) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The inference request is not JSON.", words=f"{error}.", field="body", hint=_FORM) from None
    if not asked.inputs:
        raise Invalid("The inference request has no inputs.", field="inputs", hint=signature.hint)
    first = asked.inputs[0]
    rows = (
        _matrix(first, signature)
        if len(asked.inputs) == 1 and _is_matrix(first, signature)
        else _columns(asked.inputs, signature)
    )
    return Request(rows=rows, id=asked.id, outputs=_outputs(asked))


_FORM = 'Send {"inputs": [{"name": …, "shape": [n], "datatype": "FP64", "data": […]}]}.'


def _outputs(asked: Infer) -> tuple[str, ...]:
    explain = asked.parameters.get("explain", False)
    if not isinstance(explain, bool):
        raise Invalid("The parameter 'explain' is not true or false.", field="parameters.explain", hint="Send a truth value.")
    if asked.outputs is None or not asked.outputs:
        return USUAL + ON_REQUEST if explain else USUAL
    for number, wanted in enumerate(asked.outputs):
        if wanted.name not in USUAL + ON_REQUEST:
            raise Invalid(
                "The model has no such output.",
                words=f"'{wanted.name}' was asked for.",
                field=f"outputs[{number}].name",
                hint=f"It has: {', '.join(USUAL + ON_REQUEST)}.",
            )
    names = tuple(dict.fromkeys(wanted.name for wanted in asked.outputs))
    return names + tuple(name for name in ON_REQUEST if explain and name not in names)


def _is_matrix(tensor: Tensor, signature: Signature) -> bool:
    """One tensor that holds all columns, rather than the only column."""
    if len(tensor.shape) != 2:
        return False
    return tensor.shape[1] != 1 or "columns" in tensor.parameters or tensor.name not in signature.names


def _matrix(tensor: Tensor, signature: Signature) -> list[list[float]]:
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
    values = (
        tensor.data
        if rows <= ROWS and _is_plain(tensor, rows * width)
        else _values(tensor, _flat(tensor, rows, width, where), where)
    )
    if names == signature.names:
        return [values[start : start + width] for start in range(0, rows * width, width)]
    return _ordered({name: values[place::width] for place, name in enumerate(names)}, rows, signature)


def _named(tensor: Tensor, signature: Signature, where: str) -> tuple[str, ...]:
    """The columns of a matrix: as its parameter says, else as the signature says."""
    given = tensor.parameters.get("columns")
    if given is None:
        return signature.names
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Invalid("The parameter 'columns' is not a list of names.", field=f"{where}.parameters.columns", hint=signature.hint)
    for name in names:
        if name not in signature.names:
            raise _unknown(name, signature, f"{where}.parameters.columns")
        if names.count(name) > 1:
            raise Invalid(f"Column '{name}' is named twice.", field=f"{where}.parameters.columns", hint="Name each column once.")
    return tuple(names)


def _columns(tensors: Sequence[Tensor], signature: Signature) -> list[list[float]]:
    found: dict[str, list[float]] = {}
    names = frozenset(signature.names)
    rows = tensors[0].shape[0] if tensors[0].shape else 0
    shapes = ([rows], [rows, 1])
    fits = rows <= ROWS
    for number, tensor in enumerate(tensors):
        if fits and tensor.name in names and tensor.name not in found and tensor.shape in shapes and _is_plain(tensor, rows):
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
        found[tensor.name] = _values(tensor, _flat(tensor, rows, 1, where), where)
    return _ordered(found, rows, signature)


def _ordered(columns: dict[str, list[float]], rows: int, signature: Signature) -> list[list[float]]:
    ordered = []
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


def _flat(tensor: Tensor, rows: int, width: int, where: str) -> list[Any]:
    """The tensor's data in row-major order, whether it came flat or nested."""
    if "binary_data_size" in tensor.parameters:
        raise Invalid(
            f"{where} announces binary data.",
            field=f"{where}.parameters",
            hint="Send data as JSON: set binary_data=False in the client.",
        )
    if not 0 < rows <= ROWS or width < 1:
        raise Invalid(f"1 to {ROWS:,} rows are answered.", words=f"{where} has the shape {tensor.shape}.", field=f"{where}.shape")
    data = tensor.data
    if data and isinstance(data[0], list):
        if len(data) != rows or any(not isinstance(row, list) or len(row) != width for row in data):
            raise Invalid(
                f"The nested data of {where} do not have its shape.",
                words=f"It is {tensor.shape}.",
                field=f"{where}.data",
                hint=_SHAPE,
            )
        return [value for row in data for value in row]
    if len(data) != rows * width:
        raise Invalid(
            f"{where} has {len(data)} values, which is not its shape.",
            words=f"That is {tensor.shape}.",
            field=f"{where}.data",
            hint=_SHAPE,
        )
    return data


_SHAPE = "The product of the shape is the number of values."


def _values(tensor: Tensor, flat: list[Any], where: str) -> list[float]:
    """The values as numbers, each as its datatype says; null is a missing value."""
    read = _reader(tensor.datatype, where)
    return [MISSING if value is None else read(value, f"{where}.data[{number}]") for number, value in enumerate(flat)]


def _is_plain(tensor: Tensor, size: int) -> bool:
    """The common case, told apart without a call per value: flat, finite JSON numbers with a fraction, of the right number."""
    data = tensor.data
    if tensor.datatype != "FP64" or len(data) != size or tensor.parameters or not size:
        return False
    return set(map(type, data)) == _FLOAT and all(map(math.isfinite, data))


_FLOAT = {float}


def _reader(datatype: str, where: str) -> Callable[[Any, str], float]:
    if datatype in FLOATS:
        return _float
    if datatype in WHOLES:
        bits = WHOLES[datatype]
        low, high = (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

        def whole(value: Any, place: str) -> float:
            if type(value) is not int or not low <= value <= high:
                raise Invalid(
                    f"{place} is no {datatype}.", words=f"It is {_show(value)}.", field=place, hint="Send whole numbers in range."
                )
            return float(value)

        return whole
    if datatype == "BOOL":
        return _bool
    raise Invalid(
        f"The model takes numbers; {where} has another datatype.",
        words=f"It is '{datatype}'.",
        field=f"{where}.datatype",
        hint=f"Use one of: {', '.join(sorted(FLOATS))}, {', '.join(WHOLES)}, BOOL.",
    )


def _float(value: Any, place: str) -> float:
    if type(value) is float:
        return _finite(value, place)
    if type(value) is int and abs(value) <= 2**1023:
        return float(value)
    raise Invalid(
        f"{place} is not a number.",
        words=f"It is {_show(value)}.",
        field=place,
        hint="Send JSON numbers, or null for a missing value.",
    )


def _finite(value: float, place: str) -> float:
    if not math.isfinite(value):
        raise Invalid(f"{place} is not a finite number.", field=place, hint="Send null for a missing value.")
    return value


def _bool(value: Any, place: str) -> float:
    if type(value) is not bool:
        raise Invalid(
            f"{place} is not true or false.", words=f"It is {_show(value)}.", field=place, hint="Send JSON truth values."
        )
    return 1.0 if value else 0.0


def _show(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 40 else f"{text[:40]}…"


def respond(request: Request, prediction: Prediction, *, name: str, version: str, columns: Sequence[str] = ()) -> bytes:
    """The response to a request, with the outputs that it asked for; `columns` names those of the contributions."""
    rows = len(prediction.probabilities)
    contributions = prediction.contributions or []
    tensors: dict[str, tuple[str, list[int], list[Any]]] = {
        "probability": ("FP64", [rows], prediction.probabilities),
        "label": ("BYTES", [rows], [str(label) for label in prediction.labels]),
        "contributions": (
            "FP64",
            [rows, len(contributions[0]) if contributions else 0],
            [value for row in contributions for value in row],
        ),
        "base": ("FP64", [rows], prediction.base or []),
    }
    outputs: list[dict[str, Any]] = [
        {"name": wanted, "datatype": tensors[wanted][0], "shape": tensors[wanted][1], "data": tensors[wanted][2]}
        for wanted in request.outputs
    ]
    for output in outputs:
        if output["name"] == "contributions" and columns:  # the protocol's parameters are texts, numbers and truth values
            output["parameters"] = {"columns": msgspec.json.encode(list(columns)).decode()}
    reply: dict[str, Any] = {"model_name": name, "model_version": version}
    if request.id is not None:
        reply["id"] = request.id
    return msgspec.json.encode({**reply, "outputs": outputs})


def metadata(signature: Signature, *, name: str, versions: Sequence[str], platform: str) -> bytes:
    """The answer to `GET /v2/models/NAME`; -1 stands for any number of rows."""
    width = len(signature.fields)
    usual: list[dict[str, Any]] = [{"name": out.name, "datatype": _WIRE[out.dtype], "shape": [-1]} for out in signature.outputs]
    on_request: list[dict[str, Any]] = [
        {"name": "contributions", "datatype": "FP64", "shape": [-1, width]},
        {"name": "base", "datatype": "FP64", "shape": [-1]},
    ]
    return msgspec.json.encode(
        {
            "name": name,
            "versions": list(versions),
            "platform": platform,
            "inputs": [{"name": field.name, "datatype": _WIRE[field.dtype], "shape": [-1]} for field in signature.fields],
            "outputs": usual + on_request,
        }
    )


def error(fault: TandemError) -> bytes:
    """An error as the protocol writes it: one text."""
    return msgspec.json.encode({"error": str(fault)})
