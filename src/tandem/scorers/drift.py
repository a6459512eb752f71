"""Has a column changed? Frozen bins of a reference, an effect with its interval, and a p-value for the actual sizes.

Bins are made once, from the reference: quantile bins with two open tails of one percent each, or one bin per value
where there are few values; missing values are judged apart. A window is only counted into them, so its verdict does
not depend on bins that the window itself has moved.

Effect: the population stability index, sum of (q - p) ln(q / p), with half a count added to every bin, minus
its own mean when nothing has changed: that mean is about (bins - 1)(1/n + 1/m) and alone passes 0.1 for windows of
a hundred rows and ten bins. Beside it the total variation distance, the largest difference in the share of any event.

Significance: Pearson's statistic of homogeneity against its permutation distribution given the pooled counts, drawn
from the multivariate hypergeometric; so the p-value holds where expected counts are small, and counts the sampling
error of the reference too. Beyond what the draws resolve, the tail of a Pearson type III distribution with the draws'
mean, variance and skewness is used (Mielke and Berry 2007, Permutation Methods, section 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.core.monitor import Histogram
from tandem.core.score import Estimate
from tandem.scorers.sample import Floats
from tandem.scorers.tails import gamma_above

Counts = NDArray[np.int64]

CUTS = (0.01, *(tenth / 10 for tenth in range(1, 10)), 0.99)
"""The quantiles of the reference between which its bins lie."""
FEW = 20
"""A column with at most this many values has a bin for each."""
DRAWS = 4_999
"""Permutations behind a p-value."""
RESOLVED = 10
"""Draws beyond the statistic above which the share of draws is the p-value."""
RESAMPLES = 1_000
"""Resamples behind an interval."""
LEAST = 1e-12
"""No p-value below this is told: nothing that far out is known of a tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bins:
    """The frozen reference of one column."""

    name: str
    kind: Literal["quantiles", "values"]
    marks: tuple[float, ...]
    """Cuts between the bins, ascending (a value on a cut lies below it); or the values themselves."""
    counts: tuple[int, ...]
    """One more than cuts; or one per value and a last one, zero, for all others. Missing values are not in it."""
    missing: int
    low: float = math.nan
    """The smallest and the largest value of the reference."""
    high: float = math.nan

    @property
    def n(self) -> int:
        """Rows of the reference, those without a value included."""
        return sum(self.counts) + self.missing

    @property
    def labels(self) -> tuple[str, ...]:
        """The bins in words."""
        texts = [f"{mark:.4g}" for mark in self.marks]
        if self.kind == "values":
            return (*texts, "others")
        if not texts:
            return ("all",)
        return (f"≤ {texts[0]}", *(f"{a} – {b}" for a, b in pairwise(texts)), f"> {texts[-1]}")


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


def count(bins: Bins, values: Floats) -> Counts:
    """How many values fall into each bin; NaN is left out."""
    seen = values[~np.isnan(values)]
    marks = np.asarray(bins.marks)
    places = np.searchsorted(marks, seen, side="left")
    if bins.kind == "values":
        inside = np.minimum(places, marks.size - 1)
        places = np.where(marks[inside] == seen, inside, marks.size)
    return np.bincount(places, minlength=marks.size + 1).astype(np.int64)


def outside(bins: Bins, values: Floats) -> int:
    """How many values lie below the smallest or above the largest of the reference."""
    seen = values[~np.isnan(values)]
    return int(((seen < bins.low) | (seen > bins.high)).sum())


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
        draws: permutations.

    Raises:
        Invalid: the two have other bins, or one of them is empty.
    """
    then, new = _pair(reference, now)
    if then.size == 1:
        return Comparison(effect=Estimate(value=0.0, low=0.0, high=0.0, n=int(new.sum())), variation=0.0, p=1.0)
    random = np.random.default_rng(seed)
    drawn = _permuted(then, new, random, draws)
    rest = (then + new) - drawn
    p = _beyond(_pearson(then, new), _pearson(rest, drawn))
    raw, noise = float(_stability(then, new)), float(_stability(rest, drawn).mean())
    low, high = _basic(then, new, raw, random)
    value = max(0.0, raw - noise)
    effect = Estimate(value=value, low=min(low, value), high=max(high, value), n=int(new.sum()))
    variation = float(np.abs(then / then.sum() - new / new.sum()).sum() / 2)
    return Comparison(effect=effect, variation=variation, p=p)


def significance(reference: Sequence[int] | Counts, now: Sequence[int] | Counts, *, seed: int, draws: int = DRAWS) -> float:
    """The p-value of `compare` alone, which costs a fraction of it.

    Raises:
        Invalid: as `compare`.
    """
    then, new = _pair(reference, now)
    if then.size == 1:
        return 1.0
    drawn = _permuted(then, new, np.random.default_rng(seed), draws)
    return _beyond(_pearson(then, new), _pearson((then + new) - drawn, drawn))


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


def _stability(then: Counts, new: Counts) -> Floats:
    """The population stability index for each row of counts, half a count added to each."""
    p = (then + 0.5) / (then + 0.5).sum(axis=-1, keepdims=True)
    q = (new + 0.5) / (new + 0.5).sum(axis=-1, keepdims=True)
    found: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return found


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


def _basic(then: Counts, new: Counts, raw: float, random: np.random.Generator) -> tuple[float, float]:
    """The basic bootstrap interval of the index: the resamples' own upward bias reflects to a downward correction."""
    m, n = int(then.sum()), int(new.sum())
    found = _stability(
        random.multinomial(m, then / m, size=RESAMPLES).astype(np.int64),
        random.multinomial(n, new / n, size=RESAMPLES).astype(np.int64),
    )
    low, high = np.quantile(found, (0.025, 0.975))
    return max(0.0, 2 * raw - float(high)), max(0.0, 2 * raw - float(low))


def histogram(bins: Bins, counts: Counts, missing: int) -> Histogram:
    """Reference and window side by side, missing values last."""
    return Histogram(
        labels=(*bins.labels, "missing"),
        reference=(*bins.counts, bins.missing),
        now=(*(int(each) for each in counts), missing),
    )
