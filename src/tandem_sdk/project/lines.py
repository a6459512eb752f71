"""Where in a TOML text something is written. It understands headers and keys, and no values."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(#.*)?$")
_PART = re.compile(r'"([^"]*)"|\'([^\']*)\'|([^."\'\s]+)')


def line_of(text: str, where: tuple[str, ...]) -> int | None:
    """The line of a table, of the n-th table of an array (`gates[1]`), or of a key in it; None where it is not found.

    >>> line_of('name = "a"\\n[stages.dev]\\nvalues = {}', ("stages", "dev", "values"))
    3
    >>> line_of('[[gates]]\\n[[gates]]\\nalias = "dev"', ("gates[1]",))
    2
    """
    counted: dict[str, int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.match(line)
        if header is not None:
            table = _parts(header[2])
            if header[1] == "[[":
                name = ".".join(table)
                counted[name] = counted.get(name, -1) + 1
                table = (*table[:-1], f"{table[-1]}[{counted[name]}]")
            if table[: len(where)] == where:
                return number
        elif (*table, *_parts(line.partition("=")[0]))[: len(where)] == where and "=" in line:
            return number
    return None


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(double or single or bare for double, single, bare in _PART.findall(dotted))
