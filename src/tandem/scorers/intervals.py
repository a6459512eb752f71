"""Intervals: seeded percentile and BCa bootstrap over rows. Proportions have theirs in `proportions.py`."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from tandem.core.score import Estimate
from tandem.scorers.base import Additive, Scorer, Weighted
from tandem.scorers.proportions import wilson
from tandem.scorers.sample import Classes, Floats, Sample, Values

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

RESAMPLES = 2_000
SEED = 20_240_601
"""The same data give the same interval, always."""
FURTHEST = 3.0
"""Standard errors beyond which too few of the resamples lie to tell a quantile."""
GROUPS = 500
"""Of more than `RESAMPLES` rows, how many groups of them a jackknife leaves out in turn."""
CELLS = 4_000_000
"""Index entries drawn at one time, which bounds the memory of a bootstrap."""


def bootstrap(scorer: Additive | Weighted, sample: Judged) -> Estimate:
    """The metric with a percentile bootstrap interval over rows (Efron 1979), 2,000 resamples, fixed seed.

    Rows are brought into a canonical order first, so that the interval does not depend on theirs. The interval
    is widened to contain the estimate where the bootstrap distribution is biased away from it. Rows of units are drawn
    unit by unit (Field & Welsh 2007), and `n` counts units.
    """
    n, measure = drawn(scorer, sample, np.lexsort(sample.keys))
    value = float(measure(np.ones((1, n)))[0])
    low, high = percentiles(reweigh(n, measure))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def share(scorer: Additive | Weighted, sample: Judged) -> Estimate:
    """`bootstrap` of a share; one that is 0 or 1 in every resample has Wilson's interval, with units as trials."""
    found = bootstrap(scorer, sample)
    return wilson(round(found.value) * found.n, found.n) if found.low == found.high and found.value in (0.0, 1.0) else found


def drawn(scorer: Scorer, sample: Judged, order: NDArray[np.int64]) -> tuple[int, Callable[[Floats], Floats]]:
    """How many units are drawn again, and the metric as a function of how often each was: … x units in, … out."""
    measure = measured(scorer, sample, order)
    if not isinstance(sample, Sample | Values | Classes) or sample.units is None:
        return sample.n, measure
    _, first, unit = np.unique(sample.units[order], return_index=True, return_inverse=True)
    unit = np.argsort(np.argsort(first))[unit]  # by their first rows, so that nothing depends on how units are numbered

    def by_unit(weights: Floats) -> Floats:
        blocks = np.array_split(weights, max(1, len(weights) * sample.n // CELLS))
        return np.concatenate([measure(block[:, unit]) for block in blocks])

    return len(first), by_unit


def measured(scorer: Scorer, sample: Judged, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
    """The metric as a function of weights of rows: … x rows in, the rows in that order; … out."""
    if hasattr(scorer, "weigher"):
        return cast(Weighted, scorer).weigher(sample, order)
    additive = cast(Additive, scorer)
    terms = additive.terms(sample)[order]
    return lambda weights: additive.of(weights @ terms)


def resample(terms: Floats, of: Callable[[Floats], Floats]) -> Floats:
    """`of` on the column sums of rows drawn with replacement, `RESAMPLES` times; rows x terms in."""
    return reweigh(len(terms), lambda weights: of(weights @ terms))


def reweigh(n: int, measure: Callable[[Floats], Floats]) -> Floats:
    """`measure` of how often each of `n` rows was drawn with replacement, `RESAMPLES` times; it gets some x n at a time."""
    draw = np.random.default_rng(SEED)
    chunk = max(1, min(RESAMPLES, CELLS // n))
    found = []
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn = draw.integers(0, n, size=(size, n), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int64)[:, None] * n).astype(np.int32)
        found.append(measure(np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)))
    return np.concatenate(found)


def percentiles(values: Floats) -> tuple[float, float]:
    """2.5 % and 97.5 % points."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def bca(n: int, measure: Callable[[Floats], Floats], z: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987), with the jackknife over rows for the acceleration.

    Args:
        n: rows.
        measure: the statistic from how often each row counts: … x n in, … out.
        z: half the interval's width in standard errors, were it a normal one; 1.96 gives 95 %.

    Returns:
        Its ends. Beyond what 2,000 resamples can tell, the plain standard error takes over.
    """
    values = reweigh(n, measure)
    value = float(measure(np.ones((1, n)))[0])
    normal = NormalDist()
    if z > FURTHEST:
        half = z * float(values.std(ddof=1))
        return value - half, value + half
    share = (float((values < value).mean()) + float((values <= value).mean())) / 2
    shift = normal.inv_cdf(min(1 - 1 / RESAMPLES, max(1 / RESAMPLES, share)))
    bend = _acceleration(jackknife(n, measure))

    def level(point: float) -> float:
        return normal.cdf(shift + (shift + point) / max(1e-9, 1 - bend * (shift + point)))

    low, high = np.quantile(values, (level(-z), level(z)))
    return float(low), float(high)


def jackknife(n: int, measure: Callable[[Floats], Floats]) -> Floats:
    """`measure` without each row in turn; of more than 2,000 rows, without each of 500 groups drawn at random."""
    groups = n if n <= RESAMPLES else GROUPS
    group = np.random.default_rng(SEED).permutation(n) % groups
    chunk = max(1, CELLS // n)
    found = []
    for start in range(0, groups, chunk):
        out = np.arange(start, min(groups, start + chunk))
        found.append(measure((group != out[:, None]).astype(np.float64)))
    return np.concatenate(found)


def _acceleration(values: Floats) -> float:
    gaps = values.mean() - values
    spread = float((gaps**2).sum())
    return float((gaps**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
