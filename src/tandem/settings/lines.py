"""Where in the text of a settings file something stands, so that what is wrong with it can be told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tandem.core.errors import Invalid


def line_of(text: str, table: str, key: str | None = None) -> int | None:
    """1-based line of a table's header or of a key inside it; None when the text does not hold it."""
    current = ""
    found: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r"\s*\[+\s*(.+?)\s*\]+\s*(?:#.*)?", line)
        if header:
            current = header[1].replace('"', "")
            if key is not None and current == f"{table}.{key}":
                return number
            if current == table and found is None:
                found = number
                if key is None:
                    return number
            if key is not None and not table and current.split(".")[0] == key:
                return number
        elif key is not None and current == table and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number
        elif key is not None and f"{current}." == table[: len(current) + 1] and re.search(rf"\b{re.escape(key)}\s*=", line):
            found = found or number
    return found


def where(message: str, text: str) -> str:
    """A message of msgspec, with the line of what it is about."""
    match = re.search(r"`\$\.([^`]+)`", message)
    if match is None:
        return message
    *table, key = match[1].replace("[...]", "").split(".")
    line = line_of(text, ".".join(table), key)
    return f"line {line}: {message}" if line else message


@contextmanager
def in_table(path: Path, table: str) -> Iterator[None]:
    """What is wrong with a table's values, told with the file and the table."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{path}: [{table}]: {error.message}", hint=error.hint, field=f"{table}.{error.field}") from None


def managed(text: str, path: Path, table: str) -> str:
    """Where a thing was declared, as it is shown."""
    line = line_of(text, table)
    return f"file:{path.name}:{line}" if line else "environment"
