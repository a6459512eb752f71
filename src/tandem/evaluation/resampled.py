"""The difference of any metric that can be had for rows drawn again: paired BCa bootstrap, fixed seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tandem.core.score import Estimate
from tandem.evaluation.looks import Rule
from tandem.scorers.base import Scorer
from tandem.scorers.intervals import bca, drawn
from tandem.scorers.sample import Floats

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

METHOD = "paired BCa bootstrap over rows, 2,000 resamples"


def difference(scorer: Scorer, candidate: Judged, champion: Judged, rule: Rule) -> Estimate:
    """Candidate's metric minus champion's: the same rows, or units of rows, are drawn for both."""
    order = np.lexsort((*champion.keys[:-1], *candidate.keys))
    (n, ours), (_, theirs) = drawn(scorer, candidate, order), drawn(scorer, champion, order)

    def gap(weights: Floats) -> Floats:
        return np.asarray(ours(weights) - theirs(weights))

    value = float(gap(np.ones((1, n)))[0])
    low, high = bca(n, gap, rule.z)
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n, level=rule.level)


def p_value(scorer: Scorer, candidate: Judged, champion: Judged) -> float | None:
    """None: the interval is the test."""
    del scorer, candidate, champion
    return None
