"""JSON into frozen dataclasses, tolerantly: the unknown is passed over, the missing takes its default. It knows no noun."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[object, str], object]


class Mismatch(ValueError):
    """The JSON does not have the shape that was asked for; the message says where."""


def read(wanted: type[T], data: object, where: str = "$") -> T:
    """The dataclass `wanted` out of decoded JSON.

    Raises:
        Mismatch: a field without default is missing, or a value has another type; names where.
    """
    annotation: Any = wanted
    value: Any = _reader(annotation)(data, where)
    return value  # type: ignore[no-any-return]  # the reader of T returns T


def read_list(wanted: type[T], data: object, where: str = "$") -> tuple[T, ...]:
    """A tuple of `wanted` out of a JSON list.

    Raises:
        Mismatch: see `read`.
    """
    if not isinstance(data, list):
        raise Mismatch(f"{where} is {_kind(data)}, not a list")
    return tuple([read(wanted, item, f"{where}[{index}]") for index, item in enumerate(data)])


def plain(value: object) -> object:
    """A result as dicts, lists and scalars, ready for `json.dumps`; fields keep their order."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


@cache
def _reader(annotation: Any) -> Reader:
    if annotation is Any or annotation is object:
        return lambda data, where: data
    if is_dataclass(annotation):
        return _dataclass(annotation)  # type: ignore[arg-type]  # annotations are classes, not instances
    if annotation in (str, int, float, bool):
        return _scalar(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _optional(arguments)
    if origin is tuple:
        return _tuple(_reader(arguments[0]))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(_reader(arguments[1]))
    raise TypeError(f"{annotation} cannot be read from JSON")


def _dataclass(cls: type[object]) -> Reader:
    hints = get_type_hints(cls)
    known = [
        (field.name, hints[field.name], field.default is MISSING and field.default_factory is MISSING)
        for field in fields(cls)  # type: ignore[arg-type]  # a dataclass, the caller has looked
    ]

    def reader(data: object, where: str) -> object:
        if not isinstance(data, Mapping):
            raise Mismatch(f"{where} is {_kind(data)}, not an object")
        values: dict[str, object] = {}
        for name, hint, required in known:
            found = data.get(name)
            if found is None and name in data and not required and not _takes_none(hint):
                continue
            if name in data:
                values[name] = _reader(hint)(found, f"{where}.{name}")
            elif required:
                raise Mismatch(f"{where} has no '{name}'")
        return cls(**values)

    return reader


def _takes_none(hint: Any) -> bool:
    return hint in (object, Any) or type(None) in get_args(hint)


def _scalar(wanted: type[str] | type[int] | type[float] | type[bool]) -> Reader:
    def reader(data: object, where: str) -> object:
        if wanted is float and isinstance(data, int) and not isinstance(data, bool):
            return float(data)
        if not isinstance(data, wanted) or (wanted is not bool and isinstance(data, bool)):
            raise Mismatch(f"{where} is {_kind(data)}, not {wanted.__name__}")
        return data

    return reader


def _optional(arguments: tuple[Any, ...]) -> Reader:
    inner = [_reader(argument) for argument in arguments if argument is not type(None)]

    def reader(data: object, where: str) -> object:
        if data is None and type(None) in arguments:
            return None
        for attempt in inner[:-1]:
            try:
                return attempt(data, where)
            except Mismatch:
                continue
        return inner[-1](data, where)

    return reader


def _tuple(item: Reader) -> Reader:
    def reader(data: object, where: str) -> object:
        if not isinstance(data, list):
            raise Mismatch(f"{where} is {_kind(data)}, not a list")
        return tuple([item(value, f"{where}[{index}]") for index, value in enumerate(data)])

    return reader


def _mapping(item: Reader) -> Reader:
    def reader(data: object, where: str) -> object:
        if not isinstance(data, Mapping):
            raise Mismatch(f"{where} is {_kind(data)}, not an object")
        return {str(key): item(value, f"{where}.{key}") for key, value in data.items()}

    return reader


def _kind(data: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", int: "a number", float: "a number"}
    return "null" if data is None else names.get(type(data), type(data).__name__)
