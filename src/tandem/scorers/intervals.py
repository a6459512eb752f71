"""Intervals: Wilson for proportions, seeded percentile bootstrap for functions of sums."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.base import Additive
from tandem.scorers.sample import Floats, Sample

Z = 1.959963984540054
"""97.5 % point of the standard normal distribution: two-sided 95 %."""
RESAMPLES = 2_000
SEED = 20_240_601
"""The same data give the same interval, always."""
CELLS = 4_000_000
"""Index entries drawn at one time, which bounds the memory of a bootstrap."""


def wilson(hits: int, n: int) -> Estimate:
    """A proportion with Wilson's score interval (Wilson 1927); 0 in [0, 1] where there were no trials."""
    if not n:
        return Estimate(value=0.0, low=0.0, high=1.0, n=0)
    share = hits / n
    middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    return Estimate(value=share, low=min(max(0.0, middle - half), share), high=max(min(1.0, middle + half), share), n=n)


def bootstrap(scorer: Additive, sample: Sample) -> Estimate:
    """The metric with a percentile bootstrap interval over rows (Efron 1979), 2,000 resamples, fixed seed.

    Rows are brought into a canonical order first, so that the interval does not depend on theirs. The interval
    is widened to contain the estimate where the bootstrap distribution is biased away from it.
    """
    order = np.lexsort((sample.probabilities, sample.labels))
    terms = scorer.terms(sample)[order]
    value = float(scorer.of(terms.sum(axis=0)))
    low, high = percentiles(resample(terms, scorer.of))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=sample.n)


def resample(terms: Floats, of: Callable[[Floats], Floats]) -> Floats:
    """`of` on the column sums of rows drawn with replacement, `RESAMPLES` times; rows x terms in."""
    n = len(terms)
    draw = np.random.default_rng(SEED)
    chunk = max(1, min(RESAMPLES, CELLS // n))
    found = []
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn = draw.integers(0, n, size=(size, n), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int64)[:, None] * n).astype(np.int32)
        weights = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n)
        found.append(of(weights @ terms))
    return np.concatenate(found)


def percentiles(values: Floats) -> tuple[float, float]:
    """2.5 % and 97.5 % points."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
