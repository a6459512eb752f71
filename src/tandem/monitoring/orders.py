"""Is what is chosen told as early as it was? Orders and recommendations: metrics of whole answers beside the evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from tandem.core.errors import Invalid
from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.evaluation.evidence import OutOfFold
from tandem.monitoring.findings import control
from tandem.monitoring.numbers import gap_of
from tandem.scorers.base import Scorer, TaskName, judged, load
from tandem.scorers.proportions import Z
from tandem.scorers.sample import Floats
from tandem.scorers.tails import student_beyond

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

WATCHED: Mapping[TaskName, Sequence[str]] = {"ranking": ("ndcg@10", "mrr"), "recommendation": ("ndcg@10", "hit@10")}
"""Task → the metrics that are compared."""


class _Each(Scorer, Protocol):
    """A metric that is the mean of a number per answer."""

    def each(self, sample: Any) -> Floats: ...


def judge_orders(
    outputs: Sequence[float],
    labels: Sequence[float],
    groups: Sequence[str],
    evidence: OutOfFold,
    *,
    mature: bool,
    minimum: int,
    threshold: float,
    level: float,
) -> tuple[Finding, ...]:
    """The findings of a window. An answer of which nothing was chosen does not count, as in the evidence.

    Args:
        outputs: row by row the score, or of a recommendation the place of an item that was chosen.
        labels: row by row the grade.
        groups: the answer that each row belongs to.
        mature: whether enough labels have come; else all is told and nothing compared.
        minimum: answers below which nothing is compared.
        threshold: the loss of a metric that matters.
        level: the chance of any false finding in this check.
    """
    try:
        now = judged(evidence.task, labels, outputs, groups=groups)
    except Invalid:  # nothing was chosen
        return ()
    if now.n < 2:
        return ()
    before = evidence.sample()
    found = [_finding(name, now, before, evidence.task, threshold) for name in WATCHED[evidence.task]]
    if not mature or now.n < minimum:
        return tuple(replace(each, verdict="not-enough-data", p=None) for each in found)
    return control(found, level=level)


def _finding(name: str, now: Judged, before: Judged, task: TaskName, threshold: float) -> Finding:
    """Whether the mean over answers has fallen: Welch's test."""
    scorer = cast(_Each, load(name, task))
    gap, error, freedom = gap_of(scorer.each(now), scorer.each(before))
    return Finding(
        subject=name,
        what="performance",
        verdict="stable",
        n=now.n,
        reference_n=before.n,
        measure="difference",
        threshold=threshold,
        effect=Estimate(value=gap, low=gap - Z * error, high=gap + Z * error, n=now.n),
        p=float(student_beyond(gap / error, freedom)) if gap < 0 and error else 1.0,  # what has become better calls nobody
        now=scorer.score(now),
        before=scorer.score(before),
    )
