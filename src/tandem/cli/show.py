"""What commands print: JSON for scripts, plain tables for people. It knows no noun."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from tandem_sdk.shape import plain
from tandem_sdk.verdicts import Estimate

NANO = 1_000_000_000
"""Nano-dollars in a dollar."""
MICROS = 1_000_000
"""Microseconds in a second."""
UNKNOWN = "unknown"
"""What stands for a cost without a known price; it is never zero."""


def encode(value: object) -> str:
    """Results as indented JSON, in an encoding the output can carry."""
    wide = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(plain(value), indent=2, ensure_ascii=not wide)
    return text.encode("utf-8", "backslashreplace").decode() if wide else text  # half a surrogate pair is no UTF-8


def emit(value: object) -> None:
    """Prints a result for scripts."""
    click.echo(encode(value))


def clean(text: str) -> str:
    """Text from elsewhere without what could steer a terminal.

    >>> clean("red \\x1b[31malert")
    'red ?[31malert'
    """
    return "".join([letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text])


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str = "Nothing yet.") -> None:
    """Prints columns, as wide as their widest cell; numbers stand right."""
    if not rows:
        click.echo(empty)
        return
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(heading), *[len(row[place]) for row in cells]) for place, heading in enumerate(headings)]
    right = [all(isinstance(row[place], int | float) or row[place] is None for row in rows) for place in range(len(headings))]
    for line in ([heading.upper() for heading in headings], *cells):
        padded = [
            cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(line, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def pairs(rows: Sequence[tuple[str, object]]) -> None:
    """Prints `name  value` lines; what is None or empty is left out."""
    shown = [(name, _cell(value)) for name, value in rows if value is not None and value != "" and value != ()]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        click.echo(f"{name.ljust(width)}  {value}")


def moment(micros: int | None) -> str:
    """A UTC time for people.

    >>> moment(1_750_000_000_000_000)
    '2025-06-15 15:06:40'
    """
    if not micros:
        return ""
    return datetime.fromtimestamp(micros / MICROS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def usd(nano: int | None) -> str:
    """Nano-dollars as dollars; a cost without a known price is unknown, not zero.

    >>> usd(2_000_000), usd(0), usd(None)
    ('$0.002', '$0', 'unknown')
    """
    if nano is None:
        return UNKNOWN
    text = f"{abs(nano) // NANO}.{abs(nano) % NANO:09d}".rstrip("0").rstrip(".")
    return f"-${text}" if nano < 0 else f"${text}"


def interval(estimate: Estimate | None, *, sign: bool = False) -> str:
    """An estimate with its interval and sample.

    >>> interval(Estimate(value=0.99, low=0.98, high=0.995, n=569))
    '0.9900 [0.9800, 0.9950] on 569 rows'
    """
    if estimate is None:
        return "none"
    form = "+.4f" if sign else ".4f"
    text = f"{estimate.value:{form}}"
    if estimate.low is not None and estimate.high is not None:
        text += f" [{estimate.low:{form}}, {estimate.high:{form}}]"
    return text if estimate.n is None else f"{text} on {estimate.n} rows"


def short(digest: object) -> str:
    """The first characters of a digest, enough to compare by eye."""
    text = str(digest or "")
    scheme, colon, rest = text.partition(":")
    return f"{scheme}:{rest[:12]}…" if colon and len(rest) > 12 else text


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(item) for item in value)
    return " ".join(clean(str(value)).split())
