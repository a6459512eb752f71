"""The difference of two accuracies on the same rows; see `tango.py`."""

from __future__ import annotations

from tandem.core.score import Estimate
from tandem.evaluation.tango import METHOD, tango
from tandem.scorers.sample import Sample

__all__ = ["METHOD", "difference"]


def difference(metric: str, candidate: Sample, champion: Sample) -> Estimate:
    """Candidate's accuracy minus champion's."""
    del metric  # this module knows one
    right, old_right = candidate.predicted == candidate.labels, champion.predicted == champion.labels
    won, lost = int((right & ~old_right).sum()), int((~right & old_right).sum())
    return tango(won, lost, candidate.n)
