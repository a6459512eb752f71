"""Binary tensors of the Open Inference Protocol: the request's JSON in front, each tensor's values behind it. Knows no model.

Source: the protocol's binary tensor data extension (triton-inference-server/server, docs/protocol/extension_binary_data.md).
Values are little-endian and row-major; each of BYTES has its length in four bytes in front, BOOL is one byte of 0 or 1. NaN is
a missing value, as null is in JSON. Whatever is said about a size is compared with the bytes that came.
"""

from __future__ import annotations

import math
import struct
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tandem.core.errors import Invalid
from tandem.serving import pixelled
from tandem.serving.oip import Infer, Wanted
from tandem.serving.values import Tensor

FIXED = {
    "BOOL": ("?", 1),
    "INT8": ("b", 1),
    "INT16": ("h", 2),
    "INT32": ("i", 4),
    "INT64": ("q", 8),
    "UINT8": ("B", 1),
    "UINT16": ("H", 2),
    "UINT32": ("I", 4),
    "UINT64": ("Q", 8),
    "FP16": ("e", 2),
    "BF16": ("H", 2),
    "FP32": ("f", 4),
    "FP64": ("d", 8),
}
"""Datatype → its letter for `struct`, and bytes of a value."""
SIZE = "binary_data_size"
_LENGTH = struct.Struct("<I")
_HINT = "The sizes, the shapes and the body must agree; a client of the protocol writes them itself."


class _Tensor(msgspec.Struct, frozen=True, kw_only=True):
    """An input whose values may stand behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON in front."""

    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[Wanted] | None = None


_decode = msgspec.json.Decoder(_Head).decode


def unpack(body: bytes, length: int, *, most: int, files: bool = False) -> Infer:
    """The request as if its values had come in JSON.

    Args:
        body: the JSON and the tensors' bytes.
        length: bytes of the JSON, as the header `Inference-Header-Content-Length` says.
        most: values that all tensors may have together; no more are unpacked.
        files: whether values of BYTES are files, which become base64, and other tensors pixels of images, which become files
            too; else they are texts and numbers.

    Raises:
        Invalid: the JSON is none or not a request's, or a size does not agree with a shape or with the body; `field` names where.
    """
    if not 0 < length <= len(body):
        raise _lie(f"The JSON is said to be {length} of {len(body)} bytes.", "inference-header-content-length")
    try:
        head = _decode(memoryview(body)[:length])
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("The JSON in front is no inference request.", words=f"{error}.", field="body", hint=_HINT) from None
    rest, inputs = memoryview(body)[length:], []
    for number, tensor in enumerate(head.inputs):
        where = f"inputs[{number}]"
        size = tensor.parameters.get(SIZE)
        if size is None:
            inputs.append(_plain(tensor, where))
            continue
        if type(size) is not int or not 0 <= size <= len(rest) or tensor.data is not None:
            raise _lie(f"{where} does not say rightly how many bytes behind the JSON are its values.", f"{where}.parameters")
        if files and tensor.datatype in pixelled.WIDTHS:
            found = pixelled.files(tensor.datatype, tensor.shape, rest[:size], where)
            rest = rest[size:]
            inputs.append(pixelled.made(tensor.name, found, _bare(tensor)))
            continue
        values = _values(tensor, rest[:size], where, most, files)
        most, rest = most - len(values), rest[size:]
        inputs.append(_made(tensor, values))
    if rest:
        raise _lie(f"{len(rest)} bytes stand behind the last tensor.", "body")
    return Infer(inputs=inputs, id=head.id, parameters=head.parameters, outputs=head.outputs)


def _plain(tensor: _Tensor, where: str) -> Tensor:
    if tensor.data is None:
        raise Invalid(f"{where} has neither data nor {SIZE}.", field=f"{where}.data", hint=_HINT)
    return Tensor(name=tensor.name, shape=tensor.shape, datatype=tensor.datatype, data=tensor.data, parameters=tensor.parameters)


def _made(tensor: _Tensor, values: list[Any]) -> Tensor:
    datatype = "FP32" if tensor.datatype == "BF16" else tensor.datatype  # which JSON has no name for
    return Tensor(name=tensor.name, shape=tensor.shape, datatype=datatype, data=values, parameters=_bare(tensor))


def _bare(tensor: _Tensor) -> dict[str, Any]:
    """Its parameters without that of its size."""
    return {name: value for name, value in tensor.parameters.items() if name != SIZE}


def _values(tensor: _Tensor, data: memoryview, where: str, most: int, files: bool) -> list[Any]:
    count = _count(tensor, where, most)
    if tensor.datatype == "BYTES":
        return _texts(data, count, where, files)
    if tensor.datatype not in FIXED:
        raise Invalid(
            f"{where} has a datatype that is not known.",
            words=f"It is '{tensor.datatype}'.",
            field=f"{where}.datatype",
            hint=f"Use one of: {', '.join(FIXED)}, BYTES.",
        )
    letter, width = FIXED[tensor.datatype]
    if count * width != len(data):
        raise _lie(f"{where} has {len(data)} bytes; its shape and datatype make {count * width}.", f"{where}.shape")
    if tensor.datatype == "BOOL" and data and max(data) > 1:
        raise Invalid(f"{where} holds a byte that is neither 0 nor 1.", field=f"{where}.data", hint="BOOL is one byte each.")
    if tensor.datatype == "BF16":  # the upper half of a 32-bit number
        data = memoryview(b"".join(b"\0\0" + data[at : at + 2] for at in range(0, len(data), 2)))
        letter = "f"
    values = list(struct.unpack(f"<{count}{letter}", data))
    if letter in "efd" and any(map(math.isnan, values)):
        return [None if math.isnan(value) else value for value in values]
    return values


def _count(tensor: _Tensor, where: str, most: int) -> int:
    """Values that the shape makes.

    Raises:
        Invalid: a negative size, or more than may be unpacked.
    """
    count = 1
    for size in tensor.shape:
        if size < 0:
            raise _lie(f"{where} has a negative size in its shape.", f"{where}.shape")
        count *= min(size, most + 1)
        if count > most:
            raise Invalid(f"{where} has more values than a call may.", field=f"{where}.shape", hint="Split the batch.")
    return count


def _texts(data: memoryview, count: int, where: str, files: bool) -> list[Any]:
    texts, at = [], 0
    for number in range(count):
        if at + 4 > len(data):
            raise _lie(f"{where} ends before its value {number}.", f"{where}.data")
        (length,) = _LENGTH.unpack_from(data, at)
        at += 4
        if length > len(data) - at:
            raise _lie(f"Value {number} of {where} is longer than what came.", f"{where}.data")
        value = data[at : at + length]
        try:
            texts.append(b64encode(value).decode() if files else str(value, "utf-8"))
        except UnicodeDecodeError:
            raise Invalid(f"Value {number} of {where} is not UTF-8.", field=f"{where}.data", hint="Send texts.") from None
        at += length
    if at != len(data):
        raise _lie(f"{where} has {len(data) - at} bytes behind its last value.", f"{where}.data")
    return texts


def wanted(parameters: Mapping[str, Any], outputs: Sequence[Wanted] | None) -> tuple[bool, Mapping[str, bool]]:
    """Whether outputs are wanted as bytes: of those that say nothing themselves, and by name of the others.

    Raises:
        Invalid: it is said with something else than a truth value.
    """
    usual = _truth(parameters, "binary_data_output", "parameters", usual=False)
    each = {
        out.name: _truth(out.parameters, "binary_data", f"outputs[{number}].parameters", usual=usual)
        for number, out in enumerate(outputs or ())
    }
    return usual, each


def _truth(parameters: Mapping[str, Any], name: str, where: str, *, usual: bool) -> bool:
    value = parameters.get(name, usual)
    if not isinstance(value, bool):
        raise Invalid(f"The parameter '{name}' is not true or false.", field=f"{where}.{name}", hint="Send a truth value.")
    return value


def pack(reply: Mapping[str, Any], usual: bool, each: Mapping[str, bool]) -> tuple[bytes, int | None]:
    """A response with the outputs that are wanted so behind its JSON, and the JSON's length; None where all stands in it."""
    tails: list[bytes] = []
    outputs = [_moved(out, tails) if each.get(out["name"], usual) else out for out in reply["outputs"]]
    head = msgspec.json.encode({**reply, "outputs": outputs})
    return (b"".join([head, *tails]), len(head)) if tails else (head, None)


def _moved(output: Mapping[str, Any], tails: list[bytes]) -> dict[str, Any]:
    data, datatype = output["data"], output["datatype"]
    if datatype == "BYTES":
        encoded = [str(value).encode() for value in data]
        tail = b"".join([part for text in encoded for part in (_LENGTH.pack(len(text)), text)])
    else:
        tail = struct.pack(f"<{len(data)}{FIXED[datatype][0]}", *data)
    tails.append(tail)
    kept = {name: value for name, value in output.items() if name not in ("data", "parameters")}
    return {**kept, "parameters": {**output.get("parameters", {}), SIZE: len(tail)}}


def _lie(message: str, field: str) -> Invalid:
    return Invalid(message, field=field, hint=_HINT)
