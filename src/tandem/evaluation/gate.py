"""May this version take the alias? A Gate against evidence; knows no registry and moves nothing."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.core.score import Estimate, Verdict
from tandem.evaluation.compare import MINIMUM_PER_CLASS, MINIMUM_ROWS, compare, enough
from tandem.evaluation.evidence import OutOfFold
from tandem.scorers.base import load, sample


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What a gate concluded, and why."""

    passed: bool
    gate: Gate
    candidate: Estimate | None
    """The candidate's metric; None where it could not be computed."""
    verdict: Verdict | None
    """The comparison; None without a champion, or where the two cannot be compared."""
    reasons: tuple[str, ...]
    """Sentences for people, one per check, whether it held or not."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a gate looked at."""

    held: bool
    reason: str
    """A sentence for people; empty where there is nothing to say."""


def judge(gate: Gate, candidate: OutOfFold, champion: OutOfFold | None) -> GateReport:
    """Checks the candidate against the gate's minimum and, if there is a champion, against it.

    What cannot be compared does not pass: another dataset, other rows, too few rows, an inconclusive interval.

    Raises:
        Invalid: the gate itself makes no sense, such as an unknown metric.
    """
    scorer = load(gate.metric)
    try:
        estimate = scorer.score(sample(candidate.labels, candidate.probabilities, threshold=candidate.threshold))
    except Invalid as error:
        return GateReport(passed=False, gate=gate, candidate=None, verdict=None, reasons=(error.message,))
    checks = [_size(candidate), *minimum(gate, estimate, scorer.more_is_better)]
    verdict: Verdict | None = None
    if champion is None:
        checks.append(Check(True, "There is no champion yet, so nothing to compare with."))
    else:
        try:
            verdict = compare(gate.metric, candidate, champion, margin=gate.margin)
        except Invalid as error:
            checks.append(Check(False, error.message))
        else:
            checks.append(comparison(gate, verdict))
    return GateReport(
        passed=all(check.held for check in checks),
        gate=gate,
        candidate=estimate,
        verdict=verdict,
        reasons=tuple(check.reason for check in checks if check.reason),
    )


def _size(candidate: OutOfFold) -> Check:
    rows, positives = len(candidate.labels), sum(candidate.labels)
    rarer = min(positives, rows - positives)
    if enough(rows, rarer):
        return Check(True, "")
    return Check(
        False,
        f"Not enough data: {rows} rows with {rarer} of the rarer class; a verdict needs {MINIMUM_ROWS} and {MINIMUM_PER_CLASS}.",
    )


def minimum(gate: Gate, estimate: Estimate, more_is_better: bool) -> list[Check]:
    """The bound on the bad side must keep the minimum: the lower one, or for losses the upper one as a maximum."""
    if gate.minimum is None:
        return []
    bound = estimate.low if more_is_better else estimate.high
    held = bound >= gate.minimum if more_is_better else bound <= gate.minimum
    side, word = ("lower", "minimum") if more_is_better else ("upper", "maximum")
    keeps = "keeps" if held else "does not keep"
    return [Check(held, f"{gate.metric} is {show(estimate)}: its {side} bound {keeps} the {word} {gate.minimum:g}.")]


def comparison(gate: Gate, verdict: Verdict) -> Check:
    """Whether the verdict is one that the gate lets pass."""
    passing = ("improved",) if gate.require == "improved" else ("improved", "non-inferior")
    held = verdict.outcome in passing
    difference = "" if verdict.difference is None else f"the difference to the champion is {show(verdict.difference, sign=True)}"
    return Check(
        held, f"{gate.metric} {verdict.outcome}: {difference}, margin {gate.margin:g}; the gate requires {gate.require}."
    )


def show(estimate: Estimate, *, sign: bool = False) -> str:
    """Such as `0.9912 [0.9801, 0.9962] on 569 rows`."""
    form = "+.4f" if sign else ".4f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}] on {estimate.n} rows"
