"""Is the candidate better, no worse, or worse than the champion on the same rows? Knows no gate and no registry.

The 95 % interval of the paired difference, oriented so that more is better, decides:

    improved         low > 0
    non-inferior     low > -margin          (also where high < 0: worse for certain, but within what is tolerated)
    regressed        high < 0 and low <= -margin
    inconclusive     anything else: the interval holds 0 and reaches beyond -margin
    not-enough-data  fewer than 30 rows or 5 of either class; the interval is reported, but nothing follows from it

Two-sided 95 % means that a candidate whose true loss is the margin passes with probability 2.5 %. The interval
speaks of these predictions: what another draw of training rows would change is not in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from tandem.core.errors import Invalid
from tandem.core.score import Estimate, Outcome, Verdict
from tandem.evaluation.evidence import OutOfFold
from tandem.scorers.base import load, sample

if TYPE_CHECKING:
    from tandem.scorers.sample import Sample

MINIMUM_ROWS = 30
MINIMUM_PER_CLASS = 5


class Paired(Protocol):
    """One statistical method for the difference of a metric on the same rows."""

    METHOD: str
    """The method, named as its source names it."""

    def difference(self, metric: str, candidate: Sample, champion: Sample) -> Estimate:
        """Candidate minus champion with its 95 % interval, in the metric's own direction."""
        ...


METHODS: dict[str, str] = {"roc_auc": "tandem.evaluation.delong", "accuracy": "tandem.evaluation.matched"}
"""Metric → module of its closed form; every other metric is resampled."""
RESAMPLED = "tandem.evaluation.resampled"


def compare(metric: str, candidate: OutOfFold, champion: OutOfFold, *, margin: float) -> Verdict:
    """Compares two models by their predictions of the same rows.

    Args:
        metric: A name of `tandem.scorers.base.SCORERS`.
        candidate: The challenger's predictions.
        champion: The predictions of what stands now.
        margin: The loss that non-inferiority tolerates, in units of the metric; not negative.

    Raises:
        Invalid: the predictions are not of the same rows, target and dataset, or hold only one class.
    """
    if not margin >= 0:
        raise Invalid(f"A margin of {margin} makes no sense.", field="margin", hint="Use zero or more.")
    scorer = load(metric)
    champion = _aligned(candidate, champion)
    ours = sample(candidate.labels, candidate.probabilities, threshold=candidate.threshold)
    theirs = sample(champion.labels, champion.probabilities, threshold=champion.threshold)
    method = cast(Paired, import_module(METHODS.get(metric, RESAMPLED)))
    difference = method.difference(metric, ours, theirs)
    if not scorer.more_is_better:
        difference = Estimate(value=-difference.value, low=-difference.high, high=-difference.low, n=difference.n)
    positives = sum(candidate.labels)
    return Verdict(
        outcome=outcome(difference, margin=margin, per_class=min(positives, len(candidate.labels) - positives)),
        metric=metric,
        candidate=scorer.score(ours),
        champion=scorer.score(theirs),
        difference=difference,
        margin=margin,
        method=method.METHOD,
    )


def outcome(difference: Estimate, *, margin: float, per_class: int) -> Outcome:
    """The verdict that follows from an interval, as the table above says; `per_class` rows of the rarer class."""
    if not enough(difference.n, per_class):
        return "not-enough-data"
    if difference.low > 0:
        return "improved"
    if difference.low > -margin:
        return "non-inferior"
    return "regressed" if difference.high < 0 else "inconclusive"


def enough(rows: int, per_class: int) -> bool:
    """Whether that many rows, and that many of the rarer class, allow a verdict."""
    return rows >= MINIMUM_ROWS and per_class >= MINIMUM_PER_CLASS


def _aligned(candidate: OutOfFold, champion: OutOfFold) -> OutOfFold:
    """The champion's predictions in the candidate's order of rows."""
    for what, ours, theirs in (
        ("dataset", candidate.dataset, champion.dataset),
        ("content of the dataset", candidate.digest, champion.digest),
        ("target", candidate.target, champion.target),
        ("positive class", candidate.positive, champion.positive),
    ):
        if ours != theirs:
            raise Invalid(
                f"The candidate was evaluated on another {what} ({ours}) than the champion ({theirs}).",
                field=what,
                hint="Train or evaluate both on the same dataset version; only paired predictions are compared.",
            )
    place = {row: number for number, row in enumerate(champion.rows)}
    missing = [row for row in candidate.rows if row not in place]
    if missing or len(candidate.rows) != len(champion.rows):
        raise Invalid(
            f"The candidate was evaluated on {len(candidate.rows)} rows and the champion on {len(champion.rows)}; "
            f"{len(missing)} of the candidate's are not among the champion's.",
            field="rows",
            hint="Train both with the same rows; only paired predictions are compared.",
        )
    order = [place[row] for row in candidate.rows]
    labels = tuple(champion.labels[number] for number in order)
    if labels != candidate.labels:
        raise Invalid("The two models were given different labels for the same rows.", field="labels", hint="Train both again.")
    return OutOfFold(
        dataset=champion.dataset,
        digest=champion.digest,
        target=champion.target,
        positive=champion.positive,
        rows=candidate.rows,
        labels=labels,
        probabilities=tuple(champion.probabilities[number] for number in order),
        seed=champion.seed,
        folds=champion.folds,
        threshold=champion.threshold,
    )
