"""How values are written for people: times, durations, money, numbers. Pure; it knows no page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise

import msgspec

from tandem.core.clock import MICROS, iso
from tandem.core.money import dollars

STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
"""Seconds of a unit and its sign, the longest first."""
ROUNDS_UP = 999_500
"""Microseconds from which a duration is a second, rounded."""
LIST_CHARACTERS, OBJECT_CHARACTERS = 2_000, 100
"""How long a list or an object of plain values may be to be written in one line."""
FEW = 6
"""Values that a list may have to be written in one line."""
LAST = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * MICROS
"""Times past this one have no date, and mean never."""


def utc(micros: int) -> str:
    """A time to the second, in UTC.

    >>> utc(1_750_000_000_000_000)
    '2025-06-15 15:06:40Z'
    """
    return iso(micros)[:19].replace("T", " ") + "Z" if 0 <= micros <= LAST else "never"


def moment(micros: int) -> str:
    """A time to the microsecond, as RFC 3339; out of bounds it is empty."""
    return iso(micros) if 0 <= micros <= LAST else ""


def ago(then: int, now: int) -> str:
    """How far a time is from now, in its largest unit.

    >>> ago(0, 90_000_000), ago(90_000_000, 0), ago(5, 5)
    ('1 min ago', 'in 1 min', 'now')
    """
    seconds = abs(now - then) // MICROS
    for length, sign in STEPS:
        if seconds >= length:
            text = f"{seconds // length} {sign}"
            return f"{text} ago" if then < now else f"in {text}"
    return "now"


def lasted(micros: int) -> str:
    """A duration in microseconds, in the unit people would choose.

    >>> lasted(42), lasted(420), lasted(12_345), lasted(1_240_000), lasted(192_000_000)
    ('42 µs', '0.42 ms', '12.3 ms', '1.24 s', '3 min 12 s')
    """
    if micros < 100:
        return f"{micros} µs"
    if micros < 60 * MICROS:
        size, sign = (micros / 1_000, "ms") if micros < ROUNDS_UP else (micros / MICROS, "s")
        return f"{size:.{2 if size < 10 else 1 if size < 100 else 0}f} {sign}"
    seconds = micros // MICROS
    for (length, sign), (smaller, small_sign) in pairwise(STEPS):
        if seconds >= length:
            return f"{seconds // length} {sign} {seconds % length // smaller} {small_sign}"
    return f"{seconds} s"


def money(amount: int | None) -> str:
    """Nano-dollars as dollars, exact; what has no known price is unknown, not nothing.

    >>> money(1_050), money(None)
    ('$0.00000105', 'unknown')
    """
    if amount is None:
        return "unknown"
    text = dollars(amount)
    return f"-${text[1:]}" if amount < 0 else f"${text}"


def number(value: object) -> str:
    """A number to four significant digits; everything else as it is.

    >>> number(0.98765), number(1234567), number(0.00001234), number(3680.4), number(True)
    ('0.9877', '1,234,567', '1.234e-05', '3,680', 'true')
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.0f}" if 1e3 <= abs(value) < 1e15 else f"{value:.4g}"
        case None:
            return "—"
        case _:
            return str(value)


def short(digest: object) -> str:
    """The first twelve digits of a digest.

    >>> short("sha256:0123456789abcdef")
    '0123456789ab'
    """
    return str(digest).removeprefix("sha256:")[:12]


def percent(part: float, whole: float) -> float:
    """A share between 0 and 100; of nothing, everything is taken.

    >>> percent(1, 4), percent(0, 0), percent(9, 3)
    (25.0, 100.0, 100.0)
    """
    return 100.0 if whole <= 0 else round(min(100.0, max(0.0, 100 * part / whole)), 4)


def shown(share: float) -> str:
    """A share in percent, for people: what is there is never shown as nothing.

    >>> shown(0.0), shown(0.003), shown(20.82), shown(100.0)
    ('0%', 'under 0.1%', '20.8%', '100%')
    """
    return "under 0.1%" if 0 < share < 0.1 else f"{share:.3g}%"


def counted(number_of: int, one: str, many: str | None = None) -> str:
    """A count with its noun.

    >>> counted(1, "entry", "entries"), counted(1200, "row")
    ('1 entry', '1,200 rows')
    """
    return f"{number_of:,} {one if number_of == 1 else many or one + 's'}"


def pretty(value: object) -> str:
    """A value as JSON that is laid out."""
    return laid_out(msgspec.json.encode(value, enc_hook=str))


def readable(text: str) -> str:
    """JSON laid out; everything else as it is."""
    try:
        value: object = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text
    return laid_out(text.encode()) if isinstance(value, Mapping | list) else text


def laid_out(text: bytes) -> str:
    """JSON with every token as it was: indented, but plain lists and small objects in one line.

    >>> print(laid_out(b'{"name":"x","shape":[1,2],"deep":{"a":{"b":1}}}'))
    {
      "name": "x",
      "shape": [1, 2],
      "deep": {
        "a": {"b": 1}
      }
    }
    """
    indented = msgspec.json.format(text, indent=2).decode()
    # A line break in this text is never inside a string: there it would be written as an escape.
    lists = re.sub(r"\[\n\s*([^\[\]{}]*?)\n\s*\]", lambda found: _joined(found, LIST_CHARACTERS), indented)
    return re.sub(r"\{\n\s*([^{}]*?)\n\s*\}", lambda found: _joined(found, OBJECT_CHARACTERS), lists)


def _joined(found: re.Match[str], limit: int) -> str:
    whole = found.group(0)
    line = whole[0] + re.sub(r",\n\s*", ", ", found.group(1)) + whole[-1]
    return line if len(line) <= limit and "\n" not in line else whole


def plain(value: object) -> str:
    """A value in one line: texts as they are, short lists by their members, the rest as JSON.

    >>> plain(["benign", "malignant"]), plain([]), plain({"a": 1})
    ('benign, malignant', 'none', '{"a":1}')
    """
    if is_line(value):
        members = value if isinstance(value, list | tuple) else [] if isinstance(value, Mapping) else [value]
        return ", ".join(member if isinstance(member, str) else number(member) for member in members) or "none"
    return msgspec.json.encode(value, enc_hook=str).decode()


def is_line(value: object) -> bool:
    """Whether a value reads well in one line: a text or number, a few of them, or nothing."""
    if isinstance(value, list | tuple):
        return len(value) <= FEW and all(isinstance(member, str | int | float) for member in value)
    return not value if isinstance(value, Mapping) else isinstance(value, str | int | float | None)
