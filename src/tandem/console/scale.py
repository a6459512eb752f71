"""Intervals as lines and histograms as bars, in percent of a drawing's width and height. Pure; it draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.monitor import Histogram
from tandem.core.score import Estimate

PADDING = 0.1
"""Of the range, left free on either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A value that the interval is read against: zero, a margin, a minimum."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An interval on its axis; positions in percent."""

    low: float
    value: float
    high: float
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """One bin as two bars, in percent of the tallest."""

    label: str
    before: int
    now: int


def line(estimate: Estimate, marks: Sequence[tuple[float, str]] = (), *, bounds: tuple[float, float] | None = None) -> Line:
    """Where an interval and its marks stand on an axis that just holds them all.

    Args:
        estimate: the interval.
        marks: (value, text), in the metric's units.
        bounds: the axis to use instead, widened where the interval leaves it.

    >>> line(Estimate(value=0.5, low=0.4, high=0.6, n=9), bounds=(0, 1)).value
    50.0
    """
    values = [estimate.low, estimate.value, estimate.high, *(value for value, _ in marks)]
    if bounds is None:
        gap = PADDING * (max(values) - min(values) or 1.0)
        start, end = min(values) - gap, max(values) + gap
    else:
        start, end = min(*values, bounds[0]), max(*values, bounds[1])
    length = end - start or 1.0

    def at(value: float) -> float:
        return round(100 * (value - start) / length, 2)

    found = tuple(Mark(at=at(value), text=text) for value, text in marks)
    return Line(low=at(estimate.low), value=at(estimate.value), high=at(estimate.high), marks=found)


def heights(counts: Sequence[int]) -> tuple[int, ...]:
    """Counts as heights from 0 to 100; what is there is at least 4 high.

    >>> heights([0, 1, 50, 100])
    (0, 4, 50, 100)
    """
    top = max(counts, default=0)
    return tuple(max(4, round(100 * count / top)) if count > 0 else 0 for count in counts)


def paired(shown: Histogram | None) -> tuple[Bin, ...]:
    """Shares of then and now, so that samples of different size can be compared by eye; nothing where one is empty."""
    if shown is None or not sum(shown.reference) or not sum(shown.now):
        return ()
    per = [(10_000 * count // sum(counts)) for counts in (shown.reference, shown.now) for count in counts]
    high = heights(per)
    middle = len(shown.labels)
    return tuple(Bin(label=label, before=high[place], now=high[middle + place]) for place, label in enumerate(shown.labels))
