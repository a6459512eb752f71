"""The moments of a series, evenly apart: seconds or months. From moments to whole numbers and back. Knows no values."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid

Places = NDArray[np.int64]
DAY = 86_400
WEEK = 7 * DAY
MOST_SEASON = 1000
"""Steps of the longest season that is taken without being named."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": DAY, "w": WEEK}
_FREQUENCY = re.compile(r"([1-9]\d{0,5})(s|m|h|d|w|mo)")
HINT = "Use auto, or a number and a unit: 15m, 1h, 1d, 1w, 1mo, 3mo."


class Grid(msgspec.Struct, frozen=True, kw_only=True):
    """Every moment is a whole number of steps after a first one."""

    unit: Literal["second", "month"]
    size: int
    """Units of one step."""
    phase: int
    """Seconds since 1970 (UTC) of one of the moments."""

    @classmethod
    def of(cls, frequency: str, moments: Places) -> Self:
        """The grid of that frequency (`auto`, or such as `1h`) on which these moments lie.

        Args:
            moments: seconds since 1970, of one series, rising, at least two.

        Raises:
            Invalid: no such frequency, or the moments are not evenly apart.
        """
        phase = int(moments[0])
        if frequency != "auto":
            return cls.named(frequency, phase)
        months, rest = _months(moments)
        if (rest == rest[0]).all() and np.diff(months).min() > 0:
            return cls(unit="month", size=int(np.gcd.reduce(np.diff(months))), phase=phase)
        return cls(unit="second", size=int(np.diff(moments).min()), phase=phase)

    @classmethod
    def named(cls, frequency: str, phase: int = 0) -> Self:
        """The grid of a frequency such as `1h`.

        Raises:
            Invalid: there is none.
        """
        match = _FREQUENCY.fullmatch(frequency)
        if match is None:
            raise Invalid(f"There is no frequency '{frequency[:40]}'.", field="frequency", hint=HINT)
        if match[2] == "mo":
            return cls(unit="month", size=int(match[1]), phase=phase)
        return cls(unit="second", size=int(match[1]) * _UNITS[match[2]], phase=phase)

    def places(self, moments: Places) -> Places:
        """Steps from the phase to each moment.

        Raises:
            Invalid: one lies between two steps.
        """
        if self.unit == "second":
            steps, off = np.divmod(moments - self.phase, self.size)
        else:
            months, rest = _months(moments)
            first, start = _months(np.array([self.phase]))
            steps, off = np.divmod(months - first[0], self.size)
            off = off + (rest != start[0])
        if off.any():
            odd = int(moments[np.flatnonzero(off)[0]])
            raise Invalid(
                f"A moment lies between two steps of {self}.",
                words=f"It is {told(odd)}.",
                field="frequency",
                hint="Bring the rows to even steps, or name their frequency: --frequency 1h.",
            )
        return np.asarray(steps, dtype=np.int64)

    def moments(self, places: Places) -> Places:
        """Seconds since 1970 of each place."""
        if self.unit == "second":
            return np.asarray(self.phase + places * self.size, dtype=np.int64)
        first, start = _months(np.array([self.phase]))
        begun = (first[0] + places * self.size).astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)
        return np.asarray(begun + start[0], dtype=np.int64)

    def seasons(self, longest: int) -> tuple[int, ...]:
        """Steps of a day and a week, or of a year, as far as they are whole numbers from 2 to `longest`; else one step."""
        if self.unit == "month":
            spans = [12 / self.size]
        elif self.size >= WEEK:
            spans = [52 * WEEK / self.size]
        else:
            spans = [DAY / self.size, WEEK / self.size]
        return tuple(int(span) for span in spans if span == int(span) and 2 <= span <= min(longest, MOST_SEASON)) or (1,)

    def __str__(self) -> str:
        if self.unit == "month":
            return f"{self.size}mo"
        unit = max((name for name, size in _UNITS.items() if self.size % size == 0), key=lambda name: _UNITS[name])
        return f"{self.size // _UNITS[unit]}{unit}"


def told(moment: int) -> str:
    """A moment as people write it."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _months(moments: Places) -> tuple[Places, Places]:
    """Months since 1970, and seconds since each one's beginning."""
    whole = moments.astype("datetime64[s]").astype("datetime64[M]")
    return whole.astype(np.int64), moments - whole.astype("datetime64[s]").astype(np.int64)
