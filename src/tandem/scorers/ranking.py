"""Metrics of orders; bootstrap intervals in which whole groups are drawn again, n = groups with a relevant row."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Ranked


class _OfGroups:
    """The mean of a number per group, between 0 and 1."""

    name: ClassVar[str]
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Ranked) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Ranked) -> Floats:
        return np.column_stack((self.each(sample), np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])

    @abstractmethod
    def each(self, sample: Ranked) -> Floats:
        """Of each group; shape n."""


class _Ndcg(_OfGroups):
    """Discounted gain 2^grade - 1 of the first k rows, as a share of the best order's (Järvelin & Kekäläinen 2002)."""

    k: ClassVar[int]

    def each(self, sample: Ranked) -> Floats:
        gains, places = 2.0**sample.relevance - 1, sample.places
        weights = np.where(places < self.k, 1 / np.log2(places + 2), 0.0)
        groups = np.repeat(np.arange(sample.n), np.diff(np.append(sample.starts, gains.size)))
        best = gains[np.lexsort((-gains, groups))]
        return sample.sums(gains * weights) / sample.sums(best * weights)


class Ndcg10(_Ndcg):
    """Normalised discounted cumulative gain of the first ten rows."""

    name: ClassVar[str] = "ndcg@10"
    k: ClassVar[int] = 10


class Ndcg5(_Ndcg):
    """Normalised discounted cumulative gain of the first five rows."""

    name: ClassVar[str] = "ndcg@5"
    k: ClassVar[int] = 5


class ReciprocalRank(_OfGroups):
    """1 / the place of the first row with a grade above 0 (Voorhees 1999)."""

    name: ClassVar[str] = "mrr"

    def each(self, sample: Ranked) -> Floats:
        found = np.where(sample.relevance > 0, 1 / (sample.places + 1.0), 0.0)
        return np.asarray(np.maximum.reduceat(found, sample.starts))


class MeanPrecision10(_OfGroups):
    """Mean over the relevant rows of the precision down to each, of those among the first ten; a grade above 0 is relevant."""

    name: ClassVar[str] = "map@10"

    def each(self, sample: Ranked) -> Floats:
        relevant, places = (sample.relevance > 0).astype(np.float64), sample.places
        so_far = np.cumsum(relevant)
        within = so_far - np.repeat(
            so_far[sample.starts] - relevant[sample.starts], np.diff(np.append(sample.starts, places.size))
        )
        precision = np.where(places < 10, relevant * within / (places + 1), 0.0)
        return sample.sums(precision) / np.minimum(sample.sums(relevant), 10)
