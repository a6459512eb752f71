"""Tensors of pixels as image files, which a host then opens as it opens any. Light enough for the door.

`UINT8` of [n, rows, columns, channels] becomes PPM, `FP32` from 0 to 1 the form that `data.pixels.opened` knows as `FLOATS`; it
looks at their values, which would take the door too long. Channels are 1 of grey, or 3 of red, green and blue.
"""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tandem.core.errors import Invalid
from tandem.serving.oip import PIXELS, Infer
from tandem.serving.target import ROWS
from tandem.serving.values import Tensor

WIDTHS = {"UINT8": 1, "FP32": 4}
"""Datatype → bytes of a value."""
_VALUES = {"UINT8": "Send whole numbers from 0 to 255.", "FP32": "Send numbers from 0 to 1."}
_NESTED = "The product of the shape is the number of values, which come flat or nested as the shape says."


def files(datatype: str, shape: Sequence[int], data: bytes | memoryview, where: str) -> list[str]:
    """Each image of a tensor as a file in base64.

    Args:
        data: its values, little-endian and row-major.
        where: the tensor, for messages.

    Raises:
        Invalid: the shape is none of images, or not that of the values; `field` names where.
    """
    count, rows, columns, channels = _sizes(shape, where)
    size = rows * columns * channels * WIDTHS[datatype]
    if len(data) != count * size:
        told = f"{where} has {len(data):,} bytes of values; its shape and datatype make {count * size:,}."
        raise Invalid(told, field=f"{where}.shape", hint=_NESTED)
    if datatype == "FP32":
        head = b"PF32 %d %d %d\n" % (rows, columns, channels)
    else:
        head = b"P%d %d %d 255\n" % (5 if channels == 1 else 6, columns, rows)
    return [b64encode(head + data[at : at + size]).decode() for at in range(0, count * size, size)]


def filed(asked: Infer) -> Infer:
    """A request to a model of images that came in JSON, its pixels as files.

    Raises:
        Invalid: as `files`; a value is none of its datatype; or images are not sent as that datatype.
    """
    inputs = [_filed(tensor, f"inputs[{number}]") for number, tensor in enumerate(asked.inputs)]
    return Infer(inputs=inputs, id=asked.id, parameters=asked.parameters, outputs=asked.outputs)


def _filed(tensor: Tensor, where: str) -> Tensor:
    if tensor.datatype == "BYTES":
        return tensor
    if tensor.datatype not in WIDTHS:
        told = f"Images are not sent as the datatype that {where} has."
        raise Invalid(
            told, words=f"It is '{tensor.datatype}'.", field=f"{where}.datatype", hint=f"Send BYTES of files, or {PIXELS}."
        )
    values = _flat(tensor.data, _sizes(tensor.shape, where), where)
    try:
        data = bytes(values) if tensor.datatype == "UINT8" else array("f", values).tobytes()
    except (TypeError, ValueError, OverflowError):
        told = f"{where} holds a value that is no {tensor.datatype}."
        raise Invalid(told, field=f"{where}.data", hint=_VALUES[tensor.datatype]) from None
    return made(tensor.name, files(tensor.datatype, tensor.shape, data, where), tensor.parameters)


def made(name: str, found: list[str], parameters: dict[str, Any]) -> Tensor:
    """The tensor of files that takes the place of one of pixels."""
    return Tensor(name=name, shape=[len(found)], datatype="BYTES", data=found, parameters=parameters)


def _sizes(shape: Sequence[int], where: str) -> tuple[int, int, int, int]:
    if len(shape) != 4 or min(shape) < 1 or shape[3] not in (1, 3) or shape[0] > ROWS:
        raise Invalid(
            f"{where} has the shape {list(shape)}, which is none of images.",
            field=f"{where}.shape",
            hint=f"Send 1 to {ROWS:,} images as [n, rows, columns, channels]: the channels, 1 or 3, come last.",
        )
    count, rows, columns, channels = shape
    return count, rows, columns, channels


def _flat(data: list[Any], sizes: tuple[int, int, int, int], where: str) -> list[Any]:
    """Values in row-major order, whether they came flat or nested."""
    if not data or not isinstance(data[0], list):
        return data
    for size in sizes[1:]:
        if not all(isinstance(each, list) and len(each) == size for each in data):
            raise Invalid(f"The nested data of {where} do not have its shape.", field=f"{where}.data", hint=_NESTED)
        data = list(chain.from_iterable(data))
    return data
