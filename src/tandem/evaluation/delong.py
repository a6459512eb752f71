"""The difference of two correlated ROC areas, closed form.

The areas' variances and covariance are DeLong's (DeLong, DeLong & Clarke-Pearson 1988). The interval is put
together from each area's own logit interval by MOVER (Zou & Donner 2008), because near an area of 1 the plain
normal interval is too narrow: with true areas 0.99 and 0.97 on 100 rows it passes a candidate at the margin in
10 % of simulated cases instead of 2.5 %; this one in 3 %.
"""

from __future__ import annotations

import math

from tandem.core.score import Estimate
from tandem.evaluation.looks import Rule
from tandem.scorers.auc import RocAuc, placements, variance
from tandem.scorers.base import Scorer
from tandem.scorers.sample import Sample

METHOD = "DeLong's covariance of two ROC areas, MOVER interval of their difference on logit intervals"


def difference(scorer: Scorer, candidate: Sample, champion: Sample, rule: Rule) -> Estimate:
    """Candidate's area minus champion's; exactly zero where both rank every pair alike."""
    del scorer  # this module knows one
    (above, below), (old_above, old_below) = placements(candidate), placements(champion)
    value = float(above.mean() - old_above.mean())
    ours, theirs = variance(above, below), variance(old_above, old_below)
    gap = variance(above - old_above, below - old_below)
    if gap == 0 and value == 0:
        return Estimate(value=0.0, low=0.0, high=0.0, n=candidate.n, level=rule.level)
    scale = 2 * math.sqrt(ours * theirs)
    correlation = min(1.0, max(-1.0, (ours + theirs - gap) / scale)) if scale else 0.0
    new, old = RocAuc().score(candidate), RocAuc().score(champion)
    down = _joined(new.value - new.low, old.high - old.value, correlation)
    up = _joined(new.high - new.value, old.value - old.low, correlation)
    return rule.widen(Estimate(value=value, low=value - down, high=value + up, n=candidate.n))


def p_value(scorer: Scorer, candidate: Sample, champion: Sample) -> float | None:
    """DeLong's test: the difference in standard errors, against the normal distribution."""
    del scorer
    (above, below), (old_above, old_below) = placements(candidate), placements(champion)
    gap = variance(above - old_above, below - old_below)
    distance = abs(float(above.mean() - old_above.mean()))
    if gap == 0:
        return 1.0 if distance == 0 else 0.0
    return math.erfc(distance / math.sqrt(2 * gap))


def _joined(one: float, other: float, correlation: float) -> float:
    """The half width of a difference from the half widths of its parts."""
    return math.sqrt(max(0.0, one * one + other * other - 2 * correlation * one * other))
