"""Is the candidate better, no worse, or worse than the champion on the same rows? Knows no gate and no registry.

The 95 % interval of the paired difference, oriented so that more is better, decides:

    improved         low > 0
    non-inferior     low > -margin          (also where high < 0: worse for certain, but within what is tolerated)
    regressed        high < 0 and low <= -margin
    inconclusive     anything else: the interval holds 0 and reaches beyond -margin
    not-enough-data  fewer than 30 rows or 5 of any class; the interval is reported, but nothing follows from it

Two-sided 95 % means that a candidate whose true loss is the margin passes with probability 2.5 %. The interval
speaks of these predictions: what another draw of training rows would change is not in it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from tandem.core.errors import Invalid
from tandem.core.score import Estimate, Outcome, Verdict, concluded
from tandem.evaluation.evidence import CLASSED, OutOfFold
from tandem.evaluation.looks import ONCE, Rule
from tandem.scorers.base import Scorer, TaskName, load

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

MINIMUM_ROWS = 30
MINIMUM_PER_CLASS = 5


class Paired(Protocol):
    """One statistical method for the difference of a metric on the same rows."""

    METHOD: str
    """The method, named as its source names it."""

    def difference(self, scorer: Scorer, candidate: Judged, champion: Judged, rule: Rule) -> Estimate:
        """Candidate minus champion with its interval, in the metric's own direction."""
        ...

    def p_value(self, scorer: Scorer, candidate: Judged, champion: Judged) -> float | None:
        """Two-sided, of the test that the two are alike; None where the interval is the test."""
        ...


METHODS: dict[tuple[TaskName, str], str] = {
    ("classification", "roc_auc"): "tandem.evaluation.delong",
    ("classification", "accuracy"): "tandem.evaluation.matched",
    ("multiclass", "accuracy"): "tandem.evaluation.matched",
}
"""Task and metric → module of its closed form; every other metric is resampled."""
RESAMPLED = "tandem.evaluation.resampled"
SEQUENCE = {
    "accuracy": "confidence sequence by betting (Waudby-Smith & Ramdas 2024), constant bets mixed",
}
"""Metric → method at repeated looks; every other metric's interval is widened to `ASYMPTOTIC`."""
ASYMPTOTIC = "widened to an asymptotic confidence sequence (Waudby-Smith et al. 2024)"
ALPHA = 0.05


def compare(
    metric: str,
    candidate: OutOfFold,
    champion: OutOfFold,
    *,
    margin: float,
    scorer: Scorer | None = None,
    rule: Rule = ONCE,
) -> Verdict:
    """Compares two models by their predictions of the same rows.

    Args:
        metric: A name of `tandem.scorers.base.METRICS` for their task.
        candidate: The challenger's predictions.
        champion: The predictions of what stands now.
        margin: The loss that non-inferiority tolerates, in units of the metric; not negative.
        scorer: The metric itself, where it is in no table.
        rule: How wide the intervals must be, for evidence that is looked at again.

    Raises:
        Invalid: the predictions are not of the same rows, target and dataset, or hold only one class.
    """
    if not margin >= 0:
        raise Invalid(f"A margin of {margin} makes no sense.", field="margin", hint="Use zero or more.")
    scorer = load(metric, candidate.task) if scorer is None else scorer
    champion = aligned(candidate, champion)
    ours, theirs = candidate.sample(), champion.sample()
    module = RESAMPLED if candidate.groups else METHODS.get((candidate.task, metric), RESAMPLED)
    method = cast(Paired, import_module(module))
    difference = method.difference(scorer, ours, theirs, rule)
    if not scorer.more_is_better:
        difference = Estimate(
            value=-difference.value, low=-difference.high, high=-difference.low, n=difference.n, level=rule.level
        )
    found = outcome(difference, margin=margin, per_class=candidate.rarest)
    p = method.p_value(scorer, ours, theirs) if rule.name == "once" else None
    if found == "improved" and metric == "accuracy" and p is not None and p > ALPHA:
        found = "non-inferior"  # few rows differ: the exact test and the interval may disagree, and the stricter one holds
    return Verdict(
        outcome=found,
        metric=metric,
        candidate=rule.widen(scorer.score(ours)),
        champion=rule.widen(scorer.score(theirs)),
        difference=difference,
        margin=margin,
        method=_method(metric, method.METHOD, rule),
        p=p,
    )


def _method(metric: str, method: str, rule: Rule) -> str:
    if rule.name != "sequence":
        return method
    return SEQUENCE.get(metric, f"{method}, {ASYMPTOTIC}")


def outcome(difference: Estimate, *, margin: float, per_class: int) -> Outcome:
    """The verdict that follows from an interval, as the table above says; `per_class` rows of the rarer class."""
    return concluded(difference, margin) if enough(difference.n, per_class) else "not-enough-data"


def enough(rows: int, per_class: int) -> bool:
    """Whether that many rows, and that many of the rarer class, allow a verdict."""
    return rows >= MINIMUM_ROWS and per_class >= MINIMUM_PER_CLASS


def too_few(evidence: OutOfFold) -> str:
    """Why these rows allow no verdict, for people; empty where they do."""
    rows, units = len(evidence.rows), evidence.units
    grouped = f" in {units} {'windows' if evidence.task == 'forecasting' else 'groups'}" if evidence.groups else ""
    if evidence.task not in CLASSED:
        if evidence.task == "regression" and len(set(evidence.labels)) < 2:
            return f"{rows} rows whose targets are all alike; a verdict needs two values."
        return "" if enough(units, units) else f"{rows} rows{grouped}; a verdict needs {MINIMUM_ROWS}."
    if enough(units, evidence.rarest):
        return ""
    needs = f"a verdict needs {MINIMUM_ROWS} and {MINIMUM_PER_CLASS}."
    return f"{rows} rows{grouped} with {evidence.rarest} of the {'rarer' if evidence.width == 1 else 'rarest'} class; {needs}"


def aligned(candidate: OutOfFold, champion: OutOfFold) -> OutOfFold:
    """The champion's predictions in the candidate's order of rows.

    Raises:
        Invalid: the two are not of the same rows, target and dataset.
    """
    for what, ours, theirs in (
        ("dataset", candidate.dataset, champion.dataset),
        ("content of the dataset", candidate.digest, champion.digest),
        ("target", candidate.target, champion.target),
        ("task", candidate.task, champion.task),
        ("positive class", candidate.positive, champion.positive),
        ("set of classes", ", ".join(candidate.classes), ", ".join(champion.classes)),
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
    ordered = champion.at([place[row] for row in candidate.rows])
    if ordered.labels != candidate.labels:
        raise Invalid("The two models were given different labels for the same rows.", field="labels", hint="Train both again.")
    if (ordered.groups, ordered.scales) != (candidate.groups, candidate.scales):
        raise Invalid(
            "The two models were judged in different groups or windows of rows.",
            field="groups",
            hint="Train both with the same group, or with the same horizon, season and folds.",
        )
    return ordered
