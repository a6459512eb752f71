"""The difference of any metric that is a function of sums over rows: paired percentile bootstrap, fixed seed."""

from __future__ import annotations

from typing import cast

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.base import Additive, load
from tandem.scorers.intervals import percentiles, resample
from tandem.scorers.sample import Floats, Sample

METHOD = "paired percentile bootstrap over rows, 2,000 resamples"


def difference(metric: str, candidate: Sample, champion: Sample) -> Estimate:
    """Candidate's metric minus champion's: the same rows are drawn for both."""
    scorer = cast(Additive, load(metric))
    order = np.lexsort((champion.probabilities, candidate.probabilities, candidate.labels))
    ours, theirs = scorer.terms(candidate)[order], scorer.terms(champion)[order]
    width = ours.shape[1]

    def gap(sums: Floats) -> Floats:
        return np.asarray(scorer.of(sums[..., :width]) - scorer.of(sums[..., width:]))

    terms = np.concatenate((ours, theirs), axis=1)
    value = float(gap(terms.sum(axis=0)))
    low, high = percentiles(resample(terms, gap))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=candidate.n)
