"""Spans of time as people write them: `90m`, `12h`, `30d`, `2w`."""

from __future__ import annotations

import re

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdw])")


def seconds(text: str) -> int | None:
    """Seconds of a span; None where the text is none.

    >>> seconds("90m"), seconds("2w"), seconds("soon")
    (5400, 1209600, None)
    """
    found = _SPAN.fullmatch(text)
    return None if found is None else int(found[1]) * SECONDS[found[2]]
