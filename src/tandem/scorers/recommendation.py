"""Metrics of recommendations: means over users of what became of the items they turned to later; users are drawn again."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.intervals import bootstrap
from tandem.scorers.sample import Floats, Recommended

K = 10
"""Items that are looked at."""


class _OfUsers:
    """The mean of a number per user, between 0 and 1."""

    name: ClassVar[str]
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Recommended) -> Estimate:
        return bootstrap(self, sample)

    def terms(self, sample: Recommended) -> Floats:
        return np.column_stack((self.each(sample), np.ones(sample.n)))

    def of(self, sums: Floats) -> Floats:
        return np.asarray(sums[..., 0] / sums[..., 1])

    @abstractmethod
    def each(self, sample: Recommended) -> Floats:
        """Of each user; shape n."""


class Recall10(_OfUsers):
    """The share of a user's later items that are among the first ten."""

    name: ClassVar[str] = "recall@10"

    def each(self, sample: Recommended) -> Floats:
        return np.asarray(sample.sums(sample.ranks <= K) / sample.sizes)


class Hit10(_OfUsers):
    """Whether one of a user's later items is among the first ten."""

    name: ClassVar[str] = "hit@10"

    def each(self, sample: Recommended) -> Floats:
        return np.minimum(sample.sums(sample.ranks <= K), 1.0)


class Ndcg10(_OfUsers):
    """Discounted gain of the first ten items, as a share of the best order's (Järvelin & Kekäläinen 2002)."""

    name: ClassVar[str] = "ndcg@10"

    def each(self, sample: Recommended) -> Floats:
        gains = np.where(sample.ranks <= K, 1 / np.log2(sample.ranks + 1), 0.0)
        best = np.cumsum(1 / np.log2(np.arange(K) + 2.0))
        return np.asarray(sample.sums(gains) / best[np.minimum(sample.sizes, K).astype(np.int64) - 1])
