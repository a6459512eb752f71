"""Window: over which span a cap counts. A text, so that it reads the same in SQL, URL, command and prose.

    minute · hour · day · week · month · quarter · year     of the calendar, in UTC
    day@Europe/Berlin                                       of the calendar there, with its summer time
    rolling-90m · rolling-24h · rolling-30d                 whatever ended less than that long ago
    total                                                   since the beginning

Weeks begin on Monday (ISO 8601).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tandem.core.clock import MICROS
from tandem.core.errors import Invalid

Window = str
_CLOCK = {"minute": 60, "hour": 3600}
CALENDAR = ("day", "week", "month", "quarter", "year")
"""Those that begin at midnight, somewhere."""
PLAIN = (*_CLOCK, *CALENDAR, "total")
NEVER = 2**62
"""The end of a window that does not end, UTC microseconds."""
STEPS = 60
"""Pieces in which a rolling window moves on."""
DAY = 86_400
LONGEST_SECONDS = 366 * DAY
_ROLLING = re.compile(r"rolling-([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY}


def check_window(window: str) -> Window:
    """The window, when it is one.

    Raises:
        Invalid: it is none, or names a time zone that nobody knows.
    """
    name, at, zone = window.partition("@")
    if name in CALENDAR and at:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Invalid(f"'{zone}' is no time zone.", hint="Write it like day@Europe/Berlin.", field="window") from None
        return window
    if not at and (name in PLAIN or _ROLLING.fullmatch(name)):
        seconds = rolling(window)
        if seconds is None or STEPS <= seconds <= LONGEST_SECONDS:
            return window
        raise Invalid(f"'{window}' is too short or too long.", hint="From rolling-60s to rolling-366d.", field="window")
    raise Invalid(f"'{window}' is no window.", hint=f"One of {', '.join(PLAIN)}, day@Europe/Berlin, rolling-24h.", field="window")


def rolling(window: Window) -> int | None:
    """Seconds of a rolling window; None for one of the calendar.

    >>> rolling("rolling-24h"), rolling("day")
    (86400, None)
    """
    match = _ROLLING.fullmatch(window)
    return None if match is None else int(match[1]) * _UNITS[match[2]]


def window_of(window: Window, at: int) -> tuple[int, int]:
    """Start and end (UTC microseconds) of the window that holds `at`; of a rolling one, of the step that does.

    >>> window_of("minute", 61_000_000)
    (60000000, 120000000)
    """
    if window == "total":
        return 0, NEVER
    seconds = rolling(window)
    if seconds is not None:
        step = step_of(seconds)
        start = at // step * step
        return start, start + step
    if window in _CLOCK:
        length = _CLOCK[window] * MICROS
        return at // length * length, at // length * length + length
    # No day begins inside a quarter of an hour, wherever it is.
    quarter = at // (900 * MICROS) * 900
    start, end = _calendar(window, quarter)
    return start * MICROS, end * MICROS


def step_of(seconds: int) -> int:
    """Microseconds in which a rolling window of so many seconds moves on."""
    return -(-seconds * MICROS // STEPS)


def since_of(window: Window, at: int) -> int:
    """UTC microseconds: bookings of a rolling window that begin before it count no more at `at`.

    A step counts as a whole, so what was booked in it counts for at least the window's length after it was.
    """
    seconds = rolling(window)
    assert seconds is not None
    step = step_of(seconds)
    return (at - seconds * MICROS) // step * step


@lru_cache(maxsize=1024)
def _calendar(window: Window, second: int) -> tuple[int, int]:
    """Bounds in seconds since 1970 of the calendar's window that holds a second."""
    name, _, zone = window.partition("@")
    place = ZoneInfo(zone) if zone else UTC
    local = datetime.fromtimestamp(second, place)
    first = datetime(local.year, local.month, local.day)
    if name == "week":
        first -= timedelta(days=first.weekday())
        after = first + timedelta(days=7)
    elif name == "month":
        first = first.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    elif name == "quarter":
        first = first.replace(month=(first.month - 1) // 3 * 3 + 1, day=1)
        after = (first + timedelta(days=95)).replace(day=1)
    elif name == "year":
        first = first.replace(month=1, day=1)
        after = first.replace(year=first.year + 1)
    else:
        after = first + timedelta(days=1)
    return int(first.replace(tzinfo=place).timestamp()), int(after.replace(tzinfo=place).timestamp())
