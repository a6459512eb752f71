"""Has a column changed? Frozen bins of a reference, an effect with its interval, and a p-value for the actual sizes.

Bins are made once, from the reference: quantile bins with two open tails of one percent each, or one bin per value
where there are few values; missing values are judged apart. A window is only counted into them, so its verdict does
not depend on bins that the window itself has moved.

Effect: the population stability index, sum of (q - p) ln(q / p), with half a count added to every bin, minus
its own mean when nothing has changed: that mean is about (bins - 1)(1/n + 1/m) and alone passes 0.1 for windows of
a hundred rows and ten bins. Beside it the total variation distance, the largest difference in the share of any event.

Significance: twice the smaller of two p-values, which holds however the two depend on each other. One is of Pearson's
statistic of homogeneity, which sees every change of shape; the other of the difference of mean ranks, which spends its
one degree of freedom on a shift and needs half the rows to see one. Both are conditional on the pooled counts. Large
counts: a gamma distribution with the exact mean and variance of Pearson's statistic (Haldane 1940, Biometrika 31),
the normal distribution for the ranks. Small counts, where these are not to be trusted in a far tail: permutations, drawn
from the multivariate hypergeometric, and beyond what the draws resolve the tail of a Pearson type III distribution with
the draws' mean, variance and skewness (Mielke and Berry 2007, Permutation Methods, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.core.monitor import Histogram
from tandem.core.score import Estimate
from tandem.scorers.bins import Bins
from tandem.scorers.sample import Floats
from tandem.scorers.tails import gamma_above
from tandem.scorers.twosample import Rate, fisher

Counts = NDArray[np.int64]

CUTS = (0.01, *(tenth / 10 for tenth in range(1, 10)), 0.99)
"""The quantiles of the reference between which its bins lie."""
FEW = 20
"""A column with at most this many values has a bin for each."""
DRAWS = 4_999
"""Permutations behind a p-value."""
FAR, OFTENER = 0.003, 4
"""Where the closed form is not above the first, so many times the draws are spent."""
RESOLVED = 1
"""Draws beyond the statistic from which on the share of draws is the p-value."""
MANY = 50
"""The smallest expected count from which the closed forms hold as far out as a p-value matters."""
EXPECTED = 2.0
"""Rows that a bin expects at least, for a test of shape."""
CALM = 0.02
"""Where the closed form is above it, no draw is spent on a p-value that matters to nobody."""
CHUNK = 65_536
"""Values that are counted at once: half a megabyte, which the processor keeps near."""
REACH = 9.0
"""Standard deviations of a count beyond which nothing is summed."""
LEAST = 1e-12
"""No p-value below this is told: nothing that far out is known of a tail."""


def freeze(name: str, values: Floats) -> Bins:
    """The bins of a reference: its rows in, NaN where a value is missing.

    Raises:
        Invalid: there is no value.
    """
    seen = values[~np.isnan(values)]
    if not seen.size:
        raise Invalid(f"Column '{name}' has no value to compare with.", field=name, hint="Leave the column out.")
    distinct = np.unique(seen)
    few = distinct.size <= FEW
    marks = distinct if few else np.unique(np.quantile(seen, CUTS))
    bins = Bins(
        name=name,
        kind="values" if few else "quantiles",
        marks=tuple(float(mark) for mark in marks),
        counts=(),
        missing=int(values.size - seen.size),
        low=float(distinct[0]),
        high=float(distinct[-1]),
    )
    counts = count(bins, values)
    return Bins(
        name=name,
        kind=bins.kind,
        marks=bins.marks,
        counts=tuple(int(each) for each in counts),
        missing=bins.missing,
        low=bins.low,
        high=bins.high,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What is known of a column's values after counting them; tallies of the same bins add up."""

    counts: Counts
    """Over the bins; missing values are not in it."""
    missing: int
    outside: int
    """Values below the smallest or above the largest of the reference."""

    @property
    def n(self) -> int:
        """Rows, those without a value included."""
        return int(self.counts.sum()) + self.missing

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            counts=self.counts + other.counts,
            missing=self.missing + other.missing,
            outside=self.outside + other.outside,
        )


def tally(bins: Bins, values: Floats) -> Tally:
    """Counts values into the bins, NaN as missing: n values, one of each in a few nanoseconds.

    Comparing a whole chunk with each mark is several times faster than looking each value up.
    """
    equal = bins.kind == "values"
    marks = np.asarray(bins.marks)
    upto = np.zeros(marks.size, dtype=np.int64)
    known = inside = 0
    held = np.empty(min(CHUNK, max(1, values.size)), dtype=np.bool_)
    other = np.empty_like(held)
    for start in range(0, values.size, CHUNK):
        chunk = values[start : start + CHUNK]
        hit, low = held[: chunk.size], other[: chunk.size]
        for place, mark in enumerate(marks):
            (np.equal if equal else np.less_equal)(chunk, mark, out=hit)
            upto[place] += np.count_nonzero(hit)
        known += int(np.count_nonzero(np.equal(chunk, chunk, out=hit)))  # only NaN differs from itself
        np.logical_and(np.less_equal(chunk, bins.high, out=hit), np.greater_equal(chunk, bins.low, out=low), out=hit)
        inside += int(np.count_nonzero(hit))
    counts = np.append(upto, known - upto.sum()) if equal else np.diff(upto, prepend=0, append=known)
    return Tally(counts=counts.astype(np.int64), missing=values.size - known, outside=known - inside)


def count(bins: Bins, values: Floats) -> Counts:
    """How many values fall into each bin; NaN is left out."""
    return tally(bins, values).counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two rows of counts over the same bins, compared."""

    effect: Estimate
    """The population stability index less its mean without change, not below zero; `n` is the window's."""
    variation: float
    """Total variation distance, 0 to 1; not corrected for its own noise."""
    p: float


def compare(reference: Sequence[int] | Counts, now: Sequence[int] | Counts, *, seed: int, draws: int = DRAWS) -> Comparison:
    """Compares the window's counts with the reference's.

    Args:
        reference: counts per bin; `now` over the same bins.
        now: as `reference`.
        seed: the same counts and seed give the same figures.
        draws: permutations, where any are needed.

    Raises:
        Invalid: the two have other bins, or one of them is empty.
    """
    then, new = _pair(reference, now)
    n = int(new.sum())
    if then.size == 1:
        return Comparison(effect=Estimate(value=0.0, low=0.0, high=0.0, n=n), variation=0.0, p=1.0)
    value = max(0.0, _stability(then, new) - _noise(then, new))
    half = 1.96 * _spread(then, new)
    effect = Estimate(value=value, low=max(0.0, value - half), high=value + half, n=n)
    variation = float(np.abs(then / then.sum() - new / n).sum() / 2)
    return Comparison(effect=effect, variation=variation, p=_significance(then, new, seed, draws))


def significance(reference: Sequence[int] | Counts, now: Sequence[int] | Counts, *, seed: int, draws: int = DRAWS) -> float:
    """The p-value of `compare` alone.

    Raises:
        Invalid: as `compare`.
    """
    then, new = _pair(reference, now)
    return 1.0 if then.size == 1 else _significance(then, new, seed, draws)


def _significance(then: Counts, new: Counts, seed: int, draws: int) -> float:
    then, new = _merged(then, new)
    pooled = then + new
    n, total = int(new.sum()), int(pooled.sum())
    if pooled.size == 2 and pooled.min() * min(n, total - n) / total < MANY:
        return max(LEAST, fisher(Rate(hits=int(new[0]), n=n), Rate(hits=int(then[0]), n=total - n)))
    closed = _together(_pearson_tail(pooled, n, float(_pearson(then, new))), _ranks_tail(pooled, n, new), then.size)
    if closed > CALM or pooled.min() * min(n, total - n) / total >= MANY:
        return closed
    often = draws if closed > FAR else OFTENER * draws
    drawn = _permuted(then, new, np.random.default_rng(seed), often)
    omnibus = _beyond(_pearson(then, new), _pearson(pooled - drawn, drawn))
    return _together(omnibus, _beyond(_ranks(pooled, n, new), _ranks(pooled, n, drawn)), then.size)


def _merged(then: Counts, new: Counts) -> tuple[Counts, Counts]:
    """Neighbouring bins taken together until each expects two rows on either side, but for two that remain.

    One row in a bin that expects a hundredth of one would be a statistic of its own, whose far tail nothing tells.
    """
    pooled = then + new
    share = min(int(then.sum()), int(new.sum())) / int(pooled.sum())
    starts, held = [0], 0.0
    for place, expected in enumerate(pooled * share):
        if held >= EXPECTED:
            starts.append(place)
            held = 0.0
        held += float(expected)
    if held < EXPECTED and len(starts) > 2:  # what is left at the end joins its neighbour
        starts.pop()
    if len(starts) == 1:
        starts = [0, max(1, int(np.searchsorted(np.cumsum(pooled), pooled.sum() / 2)))]
    return np.add.reduceat(then, starts), np.add.reduceat(new, starts)


def _together(omnibus: float, ranks: float, bins: int) -> float:
    """One p-value of two; with two bins both ask the same."""
    return max(LEAST, ranks if bins == 2 else min(1.0, 2 * min(omnibus, ranks)))


def _pearson_tail(pooled: Counts, n: int, statistic: float) -> float:
    """The closed form: a gamma distribution with the statistic's exact mean and variance, given the pooled counts."""
    total, bins = int(pooled.sum()), pooled.size
    if total < 4:
        return 1.0
    mean = total * (bins - 1) / (total - 1)
    sides, columns = (total - 2) / (total - 1), (bins - 1) * (total - bins) / (total - 1)
    uneven = (total / n + total / (total - n) - 4) / (total - 2)
    uneven_columns = (total * float((1 / pooled).sum()) - bins**2) / (total - 2)
    variance = (
        2 * total / (total - 3) * (sides - uneven) * (columns - uneven_columns) + total**2 / (total - 1) * uneven * uneven_columns
    )
    if variance <= 0:
        return 1.0
    return gamma_above(mean**2 / variance, statistic * mean / variance)


def _ranks(pooled: Counts, n: int, new: Counts) -> Floats:
    """The squared difference of mean ranks over its variance given the pooled counts (Wilcoxon with midranks)."""
    total = int(pooled.sum())
    scores = np.cumsum(pooled) - (pooled - 1) / 2
    scores = scores - float((pooled * scores).sum()) / total
    variance = n * (total - n) / (total * (total - 1)) * float((pooled * scores**2).sum())
    found: Floats = (new @ scores) ** 2 / max(variance, 1e-300)
    return found


def _ranks_tail(pooled: Counts, n: int, new: Counts) -> float:
    return math.erfc(math.sqrt(float(_ranks(pooled, n, new)) / 2))


def _pair(reference: Sequence[int] | Counts, now: Sequence[int] | Counts) -> tuple[Counts, Counts]:
    """Both rows of counts without the bins that are empty in both."""
    then, new = np.asarray(reference, dtype=np.int64), np.asarray(now, dtype=np.int64)
    if then.shape != new.shape or not then.sum() or not new.sum():
        raise Invalid("Only counts over the same bins, with rows on both sides, can be compared.", field="counts")
    used = (then + new) > 0
    return then[used], new[used]


def _permuted(then: Counts, new: Counts, random: np.random.Generator, draws: int) -> Counts:
    """Windows as they would be if all rows were of one distribution: draws x bins."""
    found: Counts = random.multivariate_hypergeometric(then + new, int(new.sum()), size=draws, method="marginals")
    return found


def _pearson(then: Counts, new: Counts) -> Floats:
    """Pearson's statistic of homogeneity for each row of counts."""
    m, n = then.sum(axis=-1, keepdims=True), new.sum(axis=-1, keepdims=True)
    found: Floats = ((math.sqrt(n.flat[0] / m.flat[0]) * then - math.sqrt(m.flat[0] / n.flat[0]) * new) ** 2 / (then + new)).sum(
        axis=-1
    )
    return found


def _stability(then: Counts, new: Counts) -> float:
    """The population stability index, half a count added to each bin."""
    p = (then + 0.5) / (then + 0.5).sum()
    q = (new + 0.5) / (new + 0.5).sum()
    return float(((q - p) * np.log(q / p)).sum())


def _noise(then: Counts, new: Counts) -> float:
    """The mean of the index when nothing has changed, given the pooled counts: bin by bin over the hypergeometric."""
    pooled = then + new
    n, total = int(new.sum()), int(pooled.sum())
    expected = pooled * (n / total)
    if min(expected.min(), (pooled - expected).min()) >= MANY:
        return (pooled.size - 1) * (1 / n + 1 / (total - n))
    reach = REACH * np.sqrt(expected * (1 - pooled / total)) + REACH
    low = np.maximum(np.maximum(0, n - (total - pooled)), np.floor(expected - reach)).astype(np.int64)
    high = np.minimum(np.minimum(n, pooled), np.ceil(expected + reach)).astype(np.int64)
    found = low[:, None] + np.arange(int((high - low).max()) + 1)
    held = pooled[:, None]
    beyond = found > high[:, None]
    found = np.minimum(found, high[:, None])
    steps = (held - found[:, :-1]) * (n - found[:, :-1]) / ((found[:, :-1] + 1.0) * (total - held - n + found[:, :-1] + 1.0))
    logs = np.cumsum(np.log(np.where(beyond[:, 1:], 1.0, steps)), axis=1)
    logs = np.where(beyond, -np.inf, np.concatenate((np.zeros((len(low), 1)), logs), axis=1))
    chance = np.exp(logs - logs.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    half = pooled.size / 2
    q, p = (found + 0.5) / (n + half), (held - found + 0.5) / (total - n + half)
    return float((chance * (q - p) * np.log(q / p)).sum())


def _spread(then: Counts, new: Counts) -> float:
    """The standard error of the index: its slope in each share, and what remains of it where the slope is zero."""
    m, n = int(then.sum()), int(new.sum())
    p = (then + 0.5) / (then + 0.5).sum()
    q = (new + 0.5) / (new + 0.5).sum()
    slopes = (np.log(p / q) + 1 - q / p, np.log(q / p) + 1 - p / q)
    variance = sum(
        (float((share * slope**2).sum()) - float((share * slope).sum()) ** 2) / rows
        for share, slope, rows in zip((p, q), slopes, (m, n), strict=True)
    )
    return math.sqrt(variance + 2 * (then.size - 1) * (1 / n + 1 / m) ** 2)


def _beyond(statistic: Floats, drawn: Floats) -> float:
    """The share of draws that reach the statistic, or the fitted tail where hardly any does."""
    reached = int((drawn >= statistic * (1 - 1e-12)).sum())
    share = (1 + reached) / (1 + drawn.size)
    if reached >= RESOLVED:
        return share
    mean, spread = float(drawn.mean()), float(drawn.std())
    if spread <= 0:
        return share
    skew = max(0.1, float((((drawn - mean) / spread) ** 3).mean()))
    shape, scale = 4 / skew**2, spread * skew / 2
    tail = gamma_above(shape, (float(statistic) - mean) / scale + shape)
    return min(share, max(LEAST, tail))


def histogram(bins: Bins, counts: Counts, missing: int) -> Histogram:
    """Reference and window side by side, missing values last."""
    return Histogram(
        labels=(*bins.labels, "missing"),
        reference=(*bins.counts, bins.missing),
        now=(*(int(each) for each in counts), missing),
    )
