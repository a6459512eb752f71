"""What a forecast is made from: earlier values of its series and the calendar. Vectorised; training and serving use it alike.

A forecast is told at an origin, for a step from 1 to the horizon after it. Nothing later than the origin is looked at, and
nothing more than `reach` steps before it: so the last `reach` values of a series are all that a model must keep.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np

from tandem.scorers.sample import Floats
from tandem.serving.grid import DAY, WEEK, Grid, Places

BACK = 4
"""Seasons that are looked back."""
RECENT = 3
"""Last values that stand by themselves."""


def reach(seasons: Sequence[int]) -> int:
    """How many values up to the origin are looked at."""
    return BACK * max(*seasons, RECENT)


def spacing(steps: int, seasons: Sequence[int]) -> int:
    """At least so many steps, and with no factor in common with a season: so that origins wander through all of its hours."""
    while any(math.gcd(steps, season) > 1 for season in seasons):
        steps += 1
    return steps


def names(target: str, seasons: Sequence[int]) -> list[str]:
    """The columns of `features`: first those that are forecasts by themselves, the last value and one for each season."""
    return [
        f"{target}[last]",
        *(f"{target}[{season} before]" for season in seasons),
        *(f"{target}[last {place}]" for place in range(2, RECENT + 1)),
        *(f"{target}[mean of {BACK} at {season}]" for season in seasons),
        *(f"{target}[mean of last {size}]" for size in _windows(seasons)),
        "step",
    ]


def features(values: Floats, origins: Places, steps: Places, seasons: Sequence[int]) -> tuple[Floats, Floats]:
    """The columns that `names` names, and of each row the scale.

    Args:
        values: of one series, evenly apart; NaN where one is missing.
        origins: places in `values` of the last value that is known.
        steps: from the origin to what is told.
        seasons: in steps.

    Returns:
        Rows x columns; and for each row the mean of |value - value a season before| (the first season's) over what is
        looked at, NaN where there is no such pair.
    """
    back = reach(seasons)
    padded = np.concatenate((np.full(back, np.nan), values))  # so that no place before the first value is negative
    at = origins + back
    seasonal = [_seasonal(padded, at, steps, season) for season in seasons]
    columns = [
        _last(padded, at, back),
        *map(_first, seasonal),
        *(padded[at - place] for place in range(1, RECENT)),
        *map(_mean, seasonal),
        *(_rolling(padded, at, size) for size in _windows(seasons)),
        steps.astype(np.float64),
    ]
    season = seasons[0]
    changes = np.abs(padded - np.concatenate((np.full(season, np.nan), padded[:-season])))
    return np.column_stack(columns), _rolling(changes, at, back - season)


def calendar(grid: Grid) -> list[str]:
    """The parts of a moment that change from step to step."""
    if grid.unit == "month":
        return ["month"]
    parts = {"hour": grid.size < DAY, "weekday": grid.size < WEEK, "day": True, "month": True}
    return [part for part, used in parts.items() if used]


def dated(grid: Grid, places: Places) -> Floats:
    """The parts of each moment that `calendar` names: hour with fraction, weekday (Monday is 0), day and month from 1; UTC."""
    moments = grid.moments(places)
    days = moments // DAY
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    found = {
        "hour": (moments % DAY) / 3600,
        "weekday": (days + 3) % 7,
        "day": (dates - months.astype("datetime64[D]")).astype(np.int64) + 1,
        "month": months.astype(np.int64) % 12 + 1,
    }
    return np.column_stack([found[part] for part in calendar(grid)]).astype(np.float64)


def _windows(seasons: Sequence[int]) -> list[int]:
    return sorted({RECENT, *(season for season in seasons if season > RECENT), BACK * max(*seasons, RECENT)})


def _seasonal(padded: Floats, at: Places, steps: Places, season: int) -> Floats:
    """The known values one, two, … seasons before what is told, the newest first; rows x `BACK`."""
    newest = at + steps - season * (-(-steps // season))
    return np.asarray(padded[newest[:, None] - season * np.arange(BACK)])


def _first(found: Floats) -> Floats:
    """The first value of each row that is not missing."""
    known = ~np.isnan(found)
    return np.asarray(found[np.arange(len(found)), known.argmax(axis=1)])


def _mean(found: Floats) -> Floats:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.asarray(np.nanmean(found, axis=1))


def _last(padded: Floats, at: Places, back: int) -> Floats:
    """The last value up to each place that is not missing, among the `back` last ones."""
    where = np.maximum.accumulate(np.where(np.isnan(padded), -1, np.arange(len(padded))))[at]
    return np.asarray(np.where(where > at - back, padded[where], np.nan))


def _rolling(padded: Floats, at: Places, size: int) -> Floats:
    """The mean of the `size` values up to each place that are not missing; NaN where all are."""
    known = ~np.isnan(padded)
    sums = np.concatenate(((0.0,), np.cumsum(np.where(known, padded, 0.0))))
    counts = np.concatenate(((0,), np.cumsum(known)))
    total, count = sums[at + 1] - sums[at + 1 - size], counts[at + 1] - counts[at + 1 - size]
    return np.asarray(np.divide(total, count, out=np.full(len(at), np.nan), where=count > 0))
