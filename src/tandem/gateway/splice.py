"""Changes named fields of a JSON object in its bytes; every other byte stays as it is. Knows no protocol's fields.

The body must have been decoded before (RFC 8259); this file finds places in it and is no validator. A named key that
stands twice, or also in other letter case, is refused: two parsers would read two values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache

import msgspec

from tandem.core.errors import Invalid

_OPEN = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*")
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_KEY = re.compile(rb"(" + _STRING + rb")[ \t\n\r]*:[ \t\n\r]*", re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|[-+.0-9A-Za-z]+", re.DOTALL)
_NEST = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_NEXT = re.compile(rb"[ \t\n\r]*([,}])[ \t\n\r]*")
_VALUE = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*(?:(" + _STRING + rb"|[-+.0-9A-Za-z]+)|(?=[\[{]))", re.DOTALL)
_LETTER = re.compile(rb"\\u00(?:3[0-9]|[46][1-9a-f]|5[0-9af]|7[0-9a])")
"""In lower case: an escape that stands for a character of an identifier."""


def splice(body: bytes, edits: Mapping[str, bytes]) -> bytes:
    """The body with the value of each named top-level key replaced, or with the key put in first where it is absent.

    Args:
        body: a JSON object that a decoder has accepted.
        edits: key → its new value as JSON text.

    Raises:
        Invalid: not an object, or a named key stands in it twice.

    >>> splice(b'{ "model" : "a", "x": 1e400 }', {"model": b'"b"', "n": b"1"})
    b'{"n":1, "model" : "b", "x": 1e400 }'
    """
    places = top_level(body, edits)
    if len(places) == len(edits) == 1:  # what nearly every request needs: one field, and it is there
        ((name, (start, end)),) = places.items()
        return b"%b%b%b" % (body[:start], edits[name], body[end:])
    added = b",".join([msgspec.json.encode(name) + b":" + value for name, value in edits.items() if name not in places])
    pieces = []
    at = 0
    if added:
        at = body.index(b"{") + 1
        pieces += [body[:at], added, b"" if _empty(body) else b","]
    for start, end, name in sorted([(start, end, name) for name, (start, end) in places.items()]):
        pieces += [body[at:start], edits[name]]
        at = end
    pieces.append(body[at:])
    return b"".join(pieces)


def top_level(body: bytes, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """Where the values of the named top-level keys stand: name → (first byte, byte after the last); absent ones are left out.

    Raises:
        Invalid: not an object, or a named key stands in it twice.
    """
    found: dict[str, tuple[int, int]] = {}
    lowered = body.lower()
    escaped = b"\\u00" in lowered and _LETTER.search(lowered) is not None
    for name in names:
        place = None if escaped else _quick(body, lowered, name)
        if place is None:
            return _scan(body, names)
        if place != _ABSENT:
            found[name] = place
    return found


_ABSENT = (-1, -1)


def _quick(body: bytes, lowered: bytes, name: str) -> tuple[int, int] | None:
    """The place of a plain name by search alone; None when only a scan can tell.

    Quotes inside strings are escaped. So where no letter is escaped, the only `"name"` that no backslash precedes is a whole
    string; before a colon it is a key; and it is a top-level key if nothing was opened before it but the object itself,
    or nothing is closed behind its value but the object itself.
    """
    token, lower = _token(name)
    if not token:
        return None
    count = lowered.count(lower)
    if count != 1:
        return None if count else _object(body)
    at = body.find(token)
    if at < 1 or body[at - 1] == 0x5C:
        return None
    value = _VALUE.match(body, at + len(token))
    if value is None:
        return None
    start, end = value.span(1)
    if start < 0:
        start = value.end()
        end = _end(body, start)
    first = body.count(b"{", 0, at) == 1 and body.find(b"[", 0, at) < 0
    if first or (body.count(b"}", end) == 1 and body.find(b"]", end) < 0):
        return start, end
    return None


@lru_cache(maxsize=256)
def _token(name: str) -> tuple[bytes, bytes]:
    """A plain name in its quotes, as it is and in lower case; nothing where it is not plain."""
    token = f'"{name}"'.encode("ascii") if name.isascii() and name.isidentifier() else b""
    return token, token.lower()


def _object(body: bytes) -> tuple[int, int]:
    if _OPEN.match(body) is None:
        raise _not_an_object()
    return _ABSENT


def _scan(body: bytes, names: Collection[str]) -> dict[str, tuple[int, int]]:
    """Walks the top level from key to key, passing over nested values by their brackets."""
    wanted = {name.lower(): name for name in names}
    found: dict[str, tuple[int, int]] = {}
    opened = _OPEN.match(body)
    if opened is None:
        raise _not_an_object()
    at = opened.end()
    while not body.startswith(b"}", at):
        key = _KEY.match(body, at)
        if key is None:
            raise _not_an_object()
        end = _end(body, key.end())
        name = _name(key[1])
        meant = wanted.get(name.lower())
        if meant is not None:
            if name != meant or meant in found:
                raise Invalid(
                    f"The key '{meant}' stands more than once in the body, or in other letter case.",
                    hint="Send each key once, as documented; parsers disagree about which one counts.",
                    field=meant,
                )
            found[meant] = (key.end(), end)
        follows = _NEXT.match(body, end)
        if follows is None:
            raise _not_an_object()
        if follows[1] == b"}":
            break
        at = follows.end()
    return found


def _end(body: bytes, start: int) -> int:
    """The byte after the value that begins at `start`."""
    if body[start : start + 1] not in (b"{", b"["):
        scalar = _SCALAR.match(body, start)
        if scalar is None:
            raise _not_an_object()
        return scalar.end()
    depth = 0
    for token in _NEST.finditer(body, start):
        mark = token[0]
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if not depth:
                return token.end()
    raise _not_an_object()


def _name(token: bytes) -> str:
    try:
        return msgspec.json.decode(token, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _not_an_object() from None


def _empty(body: bytes) -> bool:
    opened = _OPEN.match(body)
    return opened is not None and body.startswith(b"}", opened.end())


def _not_an_object() -> Invalid:
    return Invalid("The body is not a JSON object.", hint="Send one JSON object.")
