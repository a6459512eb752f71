"""The difference of two mean grades on the same rows. Imports no numpy.

A row's grade is its mean over repeats, so that repeats of one row never count as rows. Where every row's difference is
a whole win, loss or tie the interval is Tango's. All other differences, which lie in [-1, 1], get Student's t after one
whole win and one whole loss were added, which is what Bonett & Price (2012) do for matched proportions: rows that all
came out equal are no proof that none ever differs, and with n of them a loss of about 2.8 / n stays possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tandem.core.score import Estimate
from tandem.evaluation import tango
from tandem.scorers.proportions import padded

PADDED = "Student's t of the paired differences with one win and one loss added (Bonett & Price)"


MOST_ROWS = 20_000
"""Beyond it nobody needs to be told how many rows it would take."""


def paired(gaps: Sequence[float]) -> tuple[Estimate, str]:
    """The mean of differences with its 95 % interval, and the method's name.

    Args:
        gaps: candidate's grade minus champion's, in [-1, 1], one for each row; at least one.
    """
    if all(gap in (-1.0, 0.0, 1.0) for gap in gaps):
        return tango.tango(sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps), len(gaps)), tango.METHOD
    value = math.fsum(gaps) / len(gaps)
    low, high = padded(gaps, ((-1.0, 1), (1.0, 1)))
    return Estimate(value=value, low=max(-1.0, min(low, value)), high=min(1.0, max(high, value)), n=len(gaps)), PADDED


def rows_needed(gaps: Sequence[float], margin: float) -> int | None:
    """About how many rows like these would clear the margin; None where none would, or more than `MOST_ROWS`."""
    if math.fsum(gaps) / len(gaps) <= -margin:
        return None
    ordered, rows = sorted(gaps), len(gaps)
    while rows <= MOST_ROWS:
        # As many rows as that, spread like those there are.
        found, _ = paired([ordered[place * len(ordered) // rows] for place in range(rows)])
        if found.low > -margin:
            return rows
        rows = math.ceil(rows * 1.1)
    return None
