"""Has a stream of right and wrong answers become worse, and since when? A scan over the moments at which it may have.

At every outcome, the newest ones are held against all those before them, for window lengths in geometric steps: twice
the log likelihood ratio of two rates against one (Siegmund and Venkatraman 1995, Annals of Statistics 23:255-271, with
both rates unknown), where the newest rate is the higher one, less a multiple of the logarithm of how many such windows the
stream holds (after Duembgen and Spokoiny 2001, Annals of Statistics 29:124-152): else the many short windows would set
a threshold that the few long ones, which alone show a small change, never reach. The stream is all that is watched, also
while it is young: held against its length so far, its first outcomes would be as many chances of a false alarm as all the
later ones. The largest over all lengths is the statistic. A threshold is found by simulation at the stream's own rate, so it
needs no table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tandem.scorers.sample import Floats

SHORTEST = 4
"""Outcomes: of fewer, nothing is concluded."""
PENALTY = 2.0
"""Per logarithm of the number of windows: 1 treats all lengths alike, more favours small changes; see `bench.points`."""
STEP = 1.15
"""From one window length to the next."""
STREAMS = 199
"""Simulated streams behind a p-value."""
TAIL, SLOPE = 0.1, 2.2
"""The share of them behind the fitted tail, and the least mean excess: of twice a log likelihood ratio it is a little over 2."""
PART = 50
"""Streams that are simulated at once."""
LEAST = 1e-12
"""No p-value below this is told."""
Errors = NDArray[np.bool_]


def lengths(n: int) -> list[int]:
    """Window lengths up to half of n outcomes.

    >>> lengths(20)
    [4, 5, 6, 7, 8, 9, 10]
    """
    found: list[int] = []
    length = float(SHORTEST)
    while length <= n / 2:
        if not found or int(length) > found[-1]:
            found.append(int(length))
        length = max(length * STEP, int(length) + 1)
    return found


def scan(errors: Errors, *, fresh: int | None = None) -> Floats:
    """The statistic after each outcome.

    Args:
        errors: streams x outcomes (or one stream), true where the answer was wrong.
        fresh: so many outcomes at the end are looked at, the others being known; None looks at all.

    Returns:
        Of the same shape, or of the fresh outcomes only; 0 where nothing is worse than before.
    """
    streams: Floats = np.atleast_2d(errors).astype(np.float64)
    n = streams.shape[1]
    sums: Floats = np.concatenate((np.zeros((len(streams), 1)), np.cumsum(streams, axis=1)), axis=1)
    first_one = 0 if fresh is None else max(0, n - fresh)
    found = np.zeros((len(streams), n - first_one))
    for length in lengths(n):
        at = np.arange(max(2 * length, first_one + 1), n + 1)  # at least as many before as in the window
        late = sums[:, at] - sums[:, at - length]
        early, before = sums[:, at - length], at - length
        ratio = _fit(late, length) + _fit(early, before) - _fit(late + early, at)
        worse = late * before > early * length
        held = found[:, at[0] - 1 - first_one :] if at.size else found[:, :0]
        np.maximum(held, np.where(worse, 2 * (ratio - PENALTY * math.log(n / length)), 0.0), out=held)
    return found if np.ndim(errors) == 2 else found[0]


def since(errors: Errors) -> int:
    """The outcome with which the change most likely began, seen from the end of the stream; its length where nothing is worse."""
    sums = np.concatenate(([0.0], np.cumsum(errors)))
    n = len(errors)
    best, place = 0.0, n
    for length in lengths(n):
        late, early = sums[n] - sums[n - length], sums[n - length]
        ratio = float(_fit(late, length) + _fit(early, n - length) - _fit(sums[n], n)) - PENALTY * math.log(n / length)
        if late * (n - length) > early * length and ratio > best:
            best, place = ratio, n - length
    return place


def first(errors: Errors, threshold: float) -> int | None:
    """How many outcomes it takes until the statistic reaches the threshold; None where it never does.

    Args:
        errors: as many as the threshold is for: a longer stream holds more windows, and each is held to more.
        threshold: as `threshold` tells it.
    """
    reached = np.flatnonzero(scan(errors) >= threshold)
    return int(reached[0]) + 1 if reached.size else None


def significance(errors: Errors, fresh: int, *, seed: int, streams: int = STREAMS) -> float:
    """The chance of a statistic as large among the newest outcomes, when the rate never changed.

    Args:
        errors: one stream.
        fresh: outcomes at its end that were not judged before.
        seed: of the simulation.
        streams: how many are simulated, each of the stream's own outcomes in random order, so the rate is no guess.
    """
    told = float(scan(errors, fresh=fresh).max())
    draw = np.random.default_rng(seed)
    tops: list[float] = []
    for start in range(0, streams, PART):
        shuffled = draw.permuted(np.tile(errors, (min(PART, streams - start), 1)), axis=1)
        tops += scan(shuffled, fresh=fresh).max(axis=1).tolist()
    edge = quantile(tops, 1 - TAIL)
    if told <= edge:
        return (1 + sum(top >= told * (1 - 1e-12) for top in tops)) / (1 + streams)
    beyond = [top - edge for top in tops if top > edge]
    slope = max(SLOPE, math.fsum(beyond) / len(beyond)) if beyond else SLOPE
    return max(LEAST, TAIL * math.exp(-(told - edge) / slope))


def threshold(rate: float, n: int, chance: float, *, seed: int, streams: int = STREAMS) -> float:
    """What the statistic reaches within n outcomes with that chance, when the rate never changes."""
    draw = np.random.default_rng(seed)
    tops: list[float] = []
    for start in range(0, streams, PART):
        drawn = draw.random((min(PART, streams - start), n)) < rate
        tops += scan(drawn).max(axis=1).tolist()
    return quantile(tops, 1 - chance)


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))]


def _fit(errors: Floats, n: Floats | NDArray[np.int64] | int) -> Floats:
    """The log likelihood of so many errors among n at their own rate."""
    right = n - errors
    with np.errstate(divide="ignore", invalid="ignore"):
        wrong_part = np.where(errors > 0, errors * np.log(errors / n), 0.0)
        right_part = np.where(right > 0, right * np.log(right / n), 0.0)
    found: Floats = wrong_part + right_part
    return found
