"""Intervals: seeded percentile bootstrap for functions of sums. Proportions have theirs in `proportions.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.base import Additive
from tandem.scorers.sample import Floats, Sample

RESAMPLES = 2_000
SEED = 20_240_601
"""The same data give the same interval, always."""
CELLS = 4_000_000
"""Index entries drawn at one time, which bounds the memory of a bootstrap."""


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
