"""May this prompt take the alias? A gate against the evaluations of candidate and champion. Imports no numpy, moves nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.errors import Blocked, Invalid
from tandem.core.policy import Gate
from tandem.core.score import Condition, Estimate, Verdict
from tandem.evaluation.compare import MINIMUM_PER_CLASS, MINIMUM_ROWS, enough, outcome
from tandem.evaluation.gate import NOBODY, GateReport, comparison, data, minimum, report
from tandem.evaluation.graded import paired, rows_needed
from tandem.evaluation.repo import Answered, Evaluation
from tandem.evaluation.summary import grades, models
from tandem.registry.kinds.suite import Suite
from tandem.scorers.proportions import mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """An evaluation with its rows."""

    evaluation: Evaluation
    rows: Sequence[Answered]


def judge_suite(gate: Gate, suite: Suite, candidate: Evidence, champion: Evidence | None) -> GateReport:
    """Checks the candidate against the gate's minimum and, if there is a champion, against it, row by row.

    Raises:
        Blocked: the two evaluations cannot be compared; the hint says which command makes one that can.
        Invalid: the suite makes no such metric.
    """
    if gate.metric not in suite.metrics:
        raise Invalid(
            f"The suite {candidate.evaluation.key.suite} makes no metric '{gate.metric}'.",
            hint=f"It makes {', '.join(suite.metrics)}; set the gate again.",
            field="metric",
        )
    judged = suite.judging is not None and gate.metric == suite.judging.metric
    values = grades(suite, gate.metric, candidate.rows)
    if judged and (champion is None or values is None or candidate.evaluation.key.against != champion.evaluation.id):
        return _unjudged(gate, candidate, champion)
    assert values is not None
    estimate = mean(values)
    size = len(values)
    few = f"Not enough data: {size} rows; a verdict needs {MINIMUM_ROWS}."
    checks = [] if enough(size, MINIMUM_PER_CLASS) else [data("rows", few, "not-enough-data", n=size)]
    checks += minimum(gate, estimate, more_is_better=True)
    verdict: Verdict | None = None
    if champion is None:
        checks.append(data("champion", NOBODY, "kept"))
    else:
        _check_comparable(candidate, champion)
        verdict, advice = _against(gate, suite, estimate, values, champion, judged=judged)
        checks += [comparison(gate, verdict), *advice]
    return report(gate, checks, candidate=estimate, verdict=verdict)


def _unjudged(gate: Gate, candidate: Evidence, champion: Evidence | None) -> GateReport:
    """A judge only compares: the first version has nobody to be compared with, any other must have met this champion."""
    key = candidate.evaluation.key
    if champion is not None:
        raise Blocked(
            f"The judge has not compared {key.prompt} with {champion.evaluation.key.prompt} as that was last evaluated.",
            hint=f"Run: tandem eval {key.prompt} --suite {key.suite} --against {champion.evaluation.key.prompt}",
            code="no_evidence",
        )
    held = gate.minimum is None
    reason = "There is no champion yet, and a judge needs one to compare with."
    found = [data("champion", reason, "kept" if held else "inconclusive")]
    return report(gate, found, candidate=None, verdict=None)


def _against(
    gate: Gate, suite: Suite, estimate: Estimate, values: Sequence[float], champion: Evidence, *, judged: bool
) -> tuple[Verdict, list[Condition]]:
    """The verdict, and what to do about one that tells nothing."""
    if judged:
        # A row's grade is 1, 0.5 or 0, so twice its distance from one half is a win, a tie or a loss.
        gaps = [2 * value - 1 for value in values]
        other = Estimate(value=1 - estimate.value, low=1 - estimate.high, high=1 - estimate.low, n=estimate.n)
    else:
        theirs = grades(suite, gate.metric, champion.rows)
        assert theirs is not None
        gaps, other = [one - its for one, its in zip(values, theirs, strict=True)], mean(theirs)
    gap, method = paired(gaps)
    verdict = Verdict(
        outcome=outcome(gap, margin=gate.margin, per_class=MINIMUM_PER_CLASS),
        metric=gate.metric,
        candidate=estimate,
        champion=other,
        difference=gap,
        margin=gate.margin,
        method=method,
    )
    needed = rows_needed(gaps, gate.margin) if verdict.outcome == "inconclusive" else None
    advice = f"If the difference stays what it is, about {needed} rows would tell; these are {gap.n}."
    return verdict, [] if needed is None else [data("rows needed", advice, "kept", n=gap.n)]


def _check_comparable(candidate: Evidence, champion: Evidence) -> None:
    ours, theirs = candidate.evaluation.key, champion.evaluation.key
    again = f"Run: tandem eval {theirs.prompt} --suite {theirs.suite} --fresh, and the same for {ours.prompt}."
    same = [(row.place, row.row) for row in candidate.rows] == [(row.place, row.row) for row in champion.rows]
    if ours.suite_digest != theirs.suite_digest or not same:
        raise Blocked(f"{ours.prompt} and {theirs.prompt} were not asked the same questions.", hint=again, code="no_evidence")
    mine, others = models(candidate.rows), models(champion.rows)
    if mine != others:
        raise Blocked(
            f"{ours.prompt} was answered by {', '.join(mine) or 'nobody'}, and {theirs.prompt} by "
            f"{', '.join(others) or 'nobody'}: the difference would be that of the models.",
            hint=again,
            code="no_evidence",
        )
