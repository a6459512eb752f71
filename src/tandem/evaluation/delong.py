"""The difference of two correlated ROC areas (DeLong, DeLong & Clarke-Pearson 1988), closed form."""

from __future__ import annotations

import math

from tandem.core.score import Estimate
from tandem.scorers.auc import placements, variance
from tandem.scorers.intervals import Z
from tandem.scorers.sample import Sample

METHOD = "DeLong's paired interval for two correlated ROC areas"


def difference(metric: str, candidate: Sample, champion: Sample) -> Estimate:
    """Candidate's area minus champion's, with the normal interval of DeLong's variance."""
    del metric  # this module knows one
    (above, below), (old_above, old_below) = placements(candidate), placements(champion)
    value = float(above.mean() - old_above.mean())
    half = Z * math.sqrt(variance(above - old_above, below - old_below))
    return Estimate(value=value, low=value - half, high=value + half, n=candidate.n)
