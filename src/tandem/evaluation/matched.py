"""The difference of two accuracies on the same rows; see `tango.py`, and `sequential.py` where looks are repeated."""

from __future__ import annotations

from tandem.core.score import Estimate
from tandem.evaluation.looks import Rule
from tandem.evaluation.tango import mid_p, tango
from tandem.scorers.base import Scorer
from tandem.scorers.sample import Classes, Sample
from tandem.scorers.sequential import Paired

METHOD = "McNemar's mid-p test; Tango's score interval for matched proportions"


def difference(scorer: Scorer, candidate: Sample | Classes, champion: Sample | Classes, rule: Rule) -> Estimate:
    """Candidate's accuracy minus champion's."""
    del scorer  # this module knows one
    won, lost = _discordant(candidate, champion)
    if rule.name == "sequence":
        return Paired(won=won, lost=lost, n=candidate.n).interval(rule.alpha)
    return tango(won, lost, candidate.n, z=rule.z, level=rule.level)


def p_value(scorer: Scorer, candidate: Sample | Classes, champion: Sample | Classes) -> float | None:
    """McNemar's mid-p."""
    del scorer
    return mid_p(*_discordant(candidate, champion))


def _discordant(candidate: Sample | Classes, champion: Sample | Classes) -> tuple[int, int]:
    right, old_right = candidate.predicted == candidate.labels, champion.predicted == champion.labels
    return int((right & ~old_right).sum()), int((~right & old_right).sum())
