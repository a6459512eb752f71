"""What a tensor of the Open Inference Protocol holds over JSON: numbers, truth values and texts, each as its datatype says.

Knows datatypes and shapes, and the types of fields; neither requests nor which columns a model takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tandem.core.errors import Invalid
from tandem.serving.signature import MISSING, NUMERIC, Cell, Field
from tandem.serving.target import ROWS

FLOATS = frozenset({"FP16", "FP32", "FP64"})
WHOLES = {f"{sign}INT{bits}": bits for bits in (8, 16, 32, 64) for sign in ("", "U")}
VALUES = 2_000_000
"""Samples of signals in one tensor, and in all binary ones of a call."""


class Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """One input as it stands in a request."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Any] = {}


def samples(tensor: Tensor, where: str) -> list[float | None]:
    """The numbers of a tensor in row-major order, None where one is missing."""
    if min(tensor.shape) < 1 or tensor.shape[0] > ROWS or math.prod(tensor.shape) > VALUES:
        raise Invalid(
            f"1 to {ROWS:,} windows of {VALUES:,} samples at most are taken.",
            words=f"{where} has the shape {tensor.shape}.",
            field=f"{where}.shape",
        )
    rows, *deep = tensor.shape
    data = tensor.data
    if len(deep) == 2 and data and isinstance(data[0], list) and data[0] and isinstance(data[0][0], list):
        parts = [msgspec.structs.replace(tensor, data=each if isinstance(each, list) else []) for each in data]
        data = [flat(part, deep[0], deep[1], where) for part in parts]
    numbers = flat(msgspec.structs.replace(tensor, data=data), rows, math.prod(deep), where)
    read = _reader(tensor.datatype, where)
    return [None if value is None else read(value, f"{where}.data[{place}]") for place, value in enumerate(numbers)]


def flat(tensor: Tensor, rows: int, width: int, where: str) -> list[Any]:
    """The tensor's data in row-major order, whether it came flat or nested."""
    if "binary_data_size" in tensor.parameters:
        raise Invalid(
            f"{where} announces binary data.",
            field=f"{where}.parameters",
            hint="Send Inference-Header-Content-Length with it, as the protocol's clients do, or set binary_data=False.",
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


def values(tensor: Tensor, data: list[Any], where: str, fields: Sequence[Field]) -> list[Cell]:
    """The values in row-major order, each as its datatype says and of its field's type; null is a missing value."""
    if all(value is None for value in data):  # clients cannot know of what type nothing is
        return [MISSING] * len(data)
    if tensor.datatype == "BYTES":
        return _texts(data, where, fields)
    worded = next((field for field in fields if field.dtype not in NUMERIC), None)
    if worded is not None:
        raise Invalid(
            f"Column '{worded.name}' is sent as BYTES; {where} has another datatype.",
            words=f"It is '{tensor.datatype}'.",
            field=f"{where}.datatype",
            hint="Send one tensor per column.",
        )
    read = _reader(tensor.datatype, where)
    return [MISSING if value is None else read(value, f"{where}.data[{number}]") for number, value in enumerate(data)]


def _texts(data: list[Any], where: str, fields: Sequence[Field]) -> list[Cell]:
    number = next((field for field in fields if field.dtype in NUMERIC), None)
    if number is not None:
        raise Invalid(
            f"Column '{number.name}' is {number.dtype}; {where} has another datatype.",
            words="It is 'BYTES'.",
            field=f"{where}.datatype",
            hint=f"Use one of: {', '.join(sorted(FLOATS))}, {', '.join(WHOLES)}, BOOL.",
        )
    for place, value in enumerate(data):
        if value is not None and type(value) is not str:
            at = f"{where}.data[{place}]"
            raise Invalid(f"{at} is no text.", words=f"It is {_show(value)}.", field=at, hint="Send JSON texts, or null.")
    width = len(fields)
    return [
        MISSING if value is None else fields[place % width].cell(value, f"{where}.data[{place}]")
        for place, value in enumerate(data)
    ]


def is_plain(tensor: Tensor, size: int) -> bool:
    """The common case, told apart without a call per value: flat, finite JSON numbers with a fraction, of the right number."""
    data = tensor.data
    if tensor.datatype != "FP64" or len(data) != size or tensor.parameters.keys() - _NAMING or not size:
        return False
    return set(map(type, data)) == _FLOAT and all(map(math.isfinite, data))


_FLOAT = {float}
_NAMING = {"columns"}
"""Parameters of a tensor that say nothing of its values."""


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
