"""Canonical JSON: one text per value, so that equal values have equal digests. It knows no schema.

The form is RFC 8259 JSON with keys in code-point order, no blanks, UTF-8, and no NaN or infinity.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tandem.core.errors import Invalid
from tandem.core.secret import Secret

DEPTH = 64
"""Levels of nesting that are still a description and not an attack."""


def canonical(value: object) -> str:
    """The canonical JSON text of a value made of mappings, sequences, text, numbers, booleans and None.

    Raises:
        Invalid: something in it is not JSON; `field` is the path to it.

    >>> canonical({"b": 1, "a": [True, None]})
    '{"a":[true,null],"b":1}'
    """
    plain = _plain(value, "$", 0)
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object, path: str, depth: int) -> object:
    if depth > DEPTH:
        raise Invalid(f"The value at {path[:80]}… is nested more than {DEPTH} deep.", field=path)
    match value:
        case None | bool() | int():
            return value
        case float():
            if value != value or value in (float("inf"), float("-inf")):
                raise Invalid(
                    f"The number at {path} is not finite.", hint="JSON has no NaN and no infinity; use null.", field=path
                )
            return value
        case str():
            if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
                raise Invalid(f"The text at {path} is not valid Unicode.", field=path)
            return value
        case Secret():
            raise Invalid(f"A secret stands at {path} where it would be kept in the clear.", field=path)
        case Mapping():
            return {_key(key, path): _plain(inner, f"{path}.{key}", depth + 1) for key, inner in value.items()}
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return [_plain(inner, f"{path}[{place}]", depth + 1) for place, inner in enumerate(value)]
        case _:
            raise Invalid(f"A {type(value).__name__} stands at {path}.", hint="Only JSON values can be kept.", field=path)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise Invalid(f"A key of the object at {path} is a {type(key).__name__}.", hint="JSON keys are text.", field=path)
    _plain(key, path, 0)
    return key
