"""Checks an exported audit without the platform: one file, the standard library, nothing else.

    python -m tandem_audit FILE --key-file audit.pub [--extends OLDER]

What it checks, byte by byte:

1. Every row's hash is the SHA-256 of the hash before it and of the row, so that no row was changed, moved, added or left out:
   SHA-256("tandem-audit-row-1\\n" | the hash before, 32 bytes | canonical JSON of
   [seq, at, actor, team, action, subject, detail]).
2. The last line signs how many rows there are, where they begin and end, and the SHA-256 of all bytes before it, so that
   nothing was cut off and no byte is another: Ed25519 (RFC 8032) over "tandem-audit-export-1\\n" and the canonical JSON of
   that line without its signature.
3. Rows with the action `audit.checkpoint` sign the chain before them: Ed25519 over "tandem-audit-head-1\\n" and the
   canonical JSON of {"entries", "hash"}. Whoever keeps an older export or its last line can show that history was not
   written anew (`--extends`).

Canonical JSON is JSON with keys in code-point order, no blanks, UTF-8. Without the public key of the platform, which
`tandem audit key` shows, the file can only be shown to be whole under the key that it names itself.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

FORMAT = 1
ROW, HEAD, EXPORT = b"tandem-audit-row-1\n", b"tandem-audit-head-1\n", b"tandem-audit-export-1\n"
START = "0" * 64
"""The hash before the first row."""
FIELDS = ("seq", "at", "actor", "team", "action", "subject", "detail")
CHECKPOINT = "audit.checkpoint"
KEY_PREFIX = "ed25519:"
LINE = 1 << 26
"""The longest line that is read, in bytes."""
WELL, BROKEN, USAGE = 0, 5, 2


class Falsified(Exception):
    """The export is not what was signed; the message says where."""


# --- what is hashed and signed


def canonical(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def row_hash(before: str, row: Sequence[object]) -> str:
    """The hash of a row, its values in the order of `FIELDS`."""
    return hashlib.sha256(ROW + bytes.fromhex(before) + canonical(list(row))).hexdigest()


def head_message(entries: int, last: str) -> bytes:
    """What a checkpoint signs."""
    return HEAD + canonical({"entries": entries, "hash": last})


def export_message(end: dict[str, object]) -> bytes:
    """What the last line of an export signs."""
    return EXPORT + canonical({name: value for name, value in end.items() if name != "signature"})


# --- Ed25519, verification only, after RFC 8032, section 5.1 and its appendix A

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)
_Point = tuple[int, int, int, int]


def _x_of(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P:
        return None
    return _P - x if (x & 1) != sign else x


def _point(data: bytes) -> _Point | None:
    number = int.from_bytes(data, "little")
    y = number & ((1 << 255) - 1)
    x = _x_of(y, number >> 255)
    return None if x is None else (x, y, 1, x * y % _P)


def _add(one: _Point, two: _Point) -> _Point:
    a, b = (one[1] - one[0]) * (two[1] - two[0]) % _P, (one[1] + one[0]) * (two[1] + two[0]) % _P
    c, d = 2 * one[3] * two[3] * _D % _P, 2 * one[2] * two[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _times(number: int, point: _Point) -> _Point:
    found: _Point = (0, 1, 1, 0)
    while number:
        if number & 1:
            found = _add(found, point)
        point = _add(point, point)
        number >>= 1
    return found


_BASE_Y = 4 * pow(5, _P - 2, _P) % _P
_BASE_X = _x_of(_BASE_Y, 0) or 0
_BASE: _Point = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this key signed these bytes."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, first = _point(public), _point(signature[:32])
    scalar = int.from_bytes(signature[32:], "little")
    if key is None or first is None or scalar >= _L:
        return False
    factor = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _L
    left, right = _times(scalar, _BASE), _add(first, _times(factor, key))
    same = (left[0] * right[2] - right[0] * left[2]) % _P == 0
    return same and (left[1] * right[2] - right[1] * left[2]) % _P == 0


# --- keys and lines


def read_key(text: str) -> bytes:
    """A public key as `tandem audit key` writes it: `ed25519:` and 32 bytes in base64.

    Raises:
        Falsified: it is none.
    """
    given = text.strip()
    try:
        key = base64.b64decode(given.removeprefix(KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32 or given != write_key(key):
        raise Falsified(f"'{given[:80]}' is no public key: it is written ed25519:BASE64, as `tandem audit key` shows it.")
    return key


def write_key(key: bytes) -> str:
    return KEY_PREFIX + base64.b64encode(key).decode()


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := source.readline(LINE):
        number += 1
        if not line.endswith(b"\n"):
            raise Falsified(f"Line {number} has no end: the file was cut off.")
        yield number, line


def _object(number: int, line: bytes) -> dict[str, object]:
    try:
        found = json.loads(line)
        exact = canonical(found) + b"\n"
    except (ValueError, RecursionError):
        raise Falsified(f"Line {number} is no JSON.") from None
    if not isinstance(found, dict) or exact != line:
        raise Falsified(f"Line {number} is not written as an export writes it.")
    return found


def _signature(value: object) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) and value == value.lower() else b""
    except ValueError:
        return b""


# --- the check


def check(source: BinaryIO, *, key: bytes | None = None, extends: dict[str, object] | None = None) -> dict[str, object]:
    """Reads an export from its first byte to its last, in bounded memory.

    Args:
        key: the platform's public key; None takes the one that the export names.
        extends: the last line of an older export, which must be a part of this one's history.

    Returns:
        The export's last line, and in `trusted` whether the key was given.

    Raises:
        Falsified: it is not what was signed; the message says where.
    """
    digest, begun, rows, known = hashlib.sha256(), None, 0, extends is None
    expected, last, own = 0, START, b""
    for number, line in _lines(source):
        told = _object(number, line)
        if begun is None:
            begun = told
            expected, last, own = _begin(begun, key)
            known = known or _same(extends, expected - 1, last)
        elif "end" in told:
            if source.read(1):
                raise Falsified(f"Something follows line {number}, which is the last one that was signed.")
            return _end(told, begun, rows, expected - 1, last, digest.hexdigest(), own, known, key is not None)
        else:
            last = _row(number, told, expected, last, own)
            known = known or _same(extends, expected, last)
            expected, rows = expected + 1, rows + 1
        digest.update(line)
    raise Falsified("The signed last line is missing: the tail was cut off.")


def _begin(begun: dict[str, object], key: bytes | None) -> tuple[int, str, bytes]:
    first, before, named = begun.get("first"), begun.get("before"), begun.get("key")
    if begun.get("tandem_audit") != FORMAT or type(first) is not int or not _is_hash(before) or not isinstance(named, str):
        raise Falsified("Line 1 does not begin an export of the audit.")
    own = read_key(named)
    if key is not None and key != own:
        raise Falsified(f"The export was signed by {named}, which is not the key that was given.")
    if first == 1 and before != START:
        raise Falsified("Line 1 begins the chain with another hash than the first row has.")
    return first, str(before), own


def _row(number: int, told: dict[str, object], expected: int, last: str, own: bytes) -> str:
    if set(told) != {*FIELDS, "hash"}:
        raise Falsified(f"Line {number} is no row of the audit.")
    seq = told["seq"]
    if seq != expected or type(seq) is not int:
        raise Falsified(
            f"Line {number} is row {str(seq)[:40]}, and row {expected} comes here: rows were moved, added or left out."
        )
    found = row_hash(last, [told[name] for name in FIELDS])
    if told["hash"] != found:
        raise Falsified(f"Row {seq} (line {number}) was changed, or a row before it.")
    if told["action"] == CHECKPOINT:
        try:
            said = json.loads(str(told["detail"]))
            sound = signed(own, head_message(seq - 1, last), _signature(said["signature"])) and said["key"] == write_key(own)
        except (ValueError, KeyError, TypeError):
            sound = False
        if not sound:
            raise Falsified(f"The checkpoint in row {seq} (line {number}) was not signed by {write_key(own)}.")
    return found


def _end(
    told: dict[str, object], begun: dict[str, object], rows: int, seq: int, last: str, digest: str, own: bytes, known: bool,
    trusted: bool,
) -> dict[str, object]:  # fmt: skip
    end = told["end"]
    if set(told) != {"end"} or not isinstance(end, dict):
        raise Falsified("The last line is not written as an export writes it.")
    found = {"rows": rows, "first": begun["first"], "last": seq, "hash": last, "sha256": digest, "key": write_key(own)}
    for name, value in found.items():
        if end.get(name) != value or type(end.get(name)) is not type(value):
            raise Falsified(f"The last line says {name} {str(end.get(name))[:80]}, and the file has {value}.")
    if not signed(own, export_message(end), _signature(end.get("signature"))):
        raise Falsified(f"The last line was not signed by {write_key(own)}.")
    if not known:
        raise Falsified("The older export is no part of this history: it was written anew, or begins later.")
    return {**end, "trusted": trusted}


def _same(extends: dict[str, object] | None, seq: int, last: str) -> bool:
    return extends is not None and (extends.get("last"), extends.get("hash")) == (seq, last)


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and all(letter in "0123456789abcdef" for letter in value)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns 0 when the export is whole, 5 when it is not, 2 when it cannot be read."""
    parser = argparse.ArgumentParser(prog="tandem_audit", description="Check an exported audit without the platform.")
    parser.add_argument("file", type=Path, help="what `tandem audit export` wrote")
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--key", help="the public key, ed25519:BASE64")
    given.add_argument("--key-file", type=Path, help="a file that holds it, as `tandem audit key` writes it")
    parser.add_argument("--extends", type=Path, metavar="OLDER", help="an older export that must be a part of this history")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        text = options.key if options.key_file is None else options.key_file.read_text("ascii")
        key = None if text is None else read_key(text)
        older = None
        if options.extends is not None:
            with options.extends.open("rb") as source:
                older = check(source, key=key)
        with options.file.open("rb") as source:
            found = check(source, key=key, extends=older)
    except Falsified as fault:
        print(json.dumps({"ok": False, "problem": str(fault)}) if options.json else f"The export is not whole: {fault}")
        return BROKEN
    except (OSError, ValueError) as error:
        print(f"tandem_audit: {error}", file=sys.stderr)
        return USAGE
    if options.json:
        print(json.dumps({"ok": True, **found}))
    else:
        print(f"The export is whole: {found['rows']} rows, {found['first']} to {found['last']}, signed by {found['key']}.")
        if not found["trusted"]:
            print("Compare that key with the one that `tandem audit key` shows; no --key was given.")
    return WELL


if __name__ == "__main__":
    sys.exit(main())
