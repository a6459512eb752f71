"""May this version take the alias? A Gate against evidence; knows no registry and moves nothing.

Every condition must hold, each at its own 95 %. That needs no adjustment: a version that ought to fail fails at least one of
them, and passes that one by chance in 2.5 % of cases at most (an intersection-union test, Berger 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from tandem.core.errors import Invalid
from tandem.core.policy import Gate
from tandem.core.score import Condition, Estimate, Kept, Outcome, Verdict
from tandem.evaluation.about.fairness import judge_fairness
from tandem.evaluation.compare import aligned, compare, too_few
from tandem.evaluation.evidence import Facts, Latency, OutOfFold
from tandem.evaluation.looks import ONCE, Rule
from tandem.evaluation.measures import scorer_of
from tandem.evaluation.slices import Cells, judge_slices

NOBODY = "There is no champion yet, so nothing to compare with."


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
    conditions: tuple[Condition, ...] = ()
    """Everything that was asked, in the order of the reasons."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def judge(
    gate: Gate,
    candidate: OutOfFold,
    champion: OutOfFold | None,
    *,
    cells: Cells | None = None,
    facts: Facts | None = None,
    rule: Rule = ONCE,
) -> GateReport:
    """Checks the candidate against everything the gate asks and, if there is a champion, against it.

    What cannot be compared does not pass: another dataset, other rows, too few rows, an inconclusive interval, a latency
    that nobody measured.

    Args:
        gate: what is asked.
        candidate: the candidate's predictions.
        champion: the champion's of the same rows; None where there is none.
        cells: the columns that the gate names, in the order of the candidate's rows.
        facts: speed and size of the candidate.
        rule: how wide intervals must be, where the evidence grows and was looked at before.

    Raises:
        Invalid: the gate itself makes no sense, such as a metric that is unknown, or of other tasks.
    """
    scorer = scorer_of(gate, gate.metric, candidate.task)
    try:
        shown = candidate.sample()
        estimate = rule.widen(scorer.score(shown))
    except Invalid as error:
        found = [data("rows", error.message, "inconclusive", n=len(candidate.labels))]
        return report(gate, found, candidate=None, verdict=None)
    found = [*_size(candidate), *_look(rule, len(candidate.labels)), *minimum(gate, estimate, scorer.more_is_better)]
    verdict: Verdict | None = None
    if champion is None:
        found.append(data("champion", NOBODY, "kept"))
    else:
        try:
            verdict = compare(gate.metric, candidate, champion, margin=gate.margin, scorer=scorer, rule=rule)
            champion = aligned(candidate, champion)
        except Invalid as error:
            champion = None
            found.append(data("champion", error.message, "inconclusive"))
        else:
            found.append(comparison(gate, verdict))
    for metric, bound in gate.minimums.items():
        one = scorer_of(gate, metric, candidate.task)
        found.append(_bound(metric, rule.widen(one.score(shown)), bound, one.more_is_better))
    found += judge_slices(gate, candidate, champion, cells, rule)
    found += judge_fairness(gate, candidate, cells, rule)
    found += _resources(gate, Facts() if facts is None else facts)
    return report(gate, found, candidate=estimate, verdict=verdict)


def report(gate: Gate, found: list[Condition], *, candidate: Estimate | None, verdict: Verdict | None) -> GateReport:
    """The report that follows from the conditions."""
    return GateReport(
        passed=all(condition.held for condition in found),
        gate=gate,
        candidate=candidate,
        verdict=verdict,
        reasons=tuple(condition.reason for condition in found),
        conditions=tuple(found),
    )


def data(name: str, reason: str, outcome: Literal["kept", "inconclusive", "not-enough-data"], *, n: int = 0) -> Condition:
    """What is said of the evidence itself; only `kept` lets it pass."""
    return Condition(kind="data", name=name, outcome=outcome, held=outcome == "kept", n=n, reason=reason)


def _size(candidate: OutOfFold) -> list[Condition]:
    told = too_few(candidate)
    return [data("rows", f"Not enough data: {told}", "not-enough-data", n=len(candidate.rows))] if told else []


def _look(rule: Rule, rows: int) -> list[Condition]:
    if not rule.told:
        return []
    return [data("looks", rule.told, "kept" if rule.allows else "inconclusive", n=rows)]


def minimum(gate: Gate, estimate: Estimate, more_is_better: bool) -> list[Condition]:
    """The bound on the bad side must keep the minimum: the lower one, or for losses the upper one as a maximum."""
    return [] if gate.minimum is None else [_bound(gate.metric, estimate, gate.minimum, more_is_better)]


def _bound(metric: str, estimate: Estimate, bound: float, more_is_better: bool) -> Condition:
    worse, better = (estimate.low, estimate.high) if more_is_better else (-estimate.high, -estimate.low)
    wanted = bound if more_is_better else -bound
    outcome = kept(worse, better, wanted)
    side, word = ("lower", "minimum") if more_is_better else ("upper", "maximum")
    keeps = "keeps" if outcome == "kept" else "does not keep"
    return Condition(
        kind="minimum",
        name=metric,
        outcome=outcome,
        held=outcome == "kept",
        n=estimate.n,
        effect=estimate,
        bound=bound,
        reason=f"{metric} is {show(estimate)}: its {side} bound {keeps} the {word} {bound:g}.",
    )


def kept(worse: float, better: float, bound: float) -> Outcome | Kept:
    """Whether an interval, from its worse to its better end, is beyond the bound; more is better."""
    return "kept" if worse >= bound else "missed" if better < bound else "inconclusive"


def comparison(gate: Gate, verdict: Verdict) -> Condition:
    """Whether the verdict is one that the gate lets pass."""
    passing = ("improved",) if gate.require == "improved" else ("improved", "non-inferior")
    gap = verdict.difference
    difference = "" if gap is None else f"the difference to the champion is {show(gap, sign=True)}"
    return Condition(
        kind="comparison",
        name=gate.metric,
        outcome=verdict.outcome,
        held=verdict.outcome in passing,
        n=0 if gap is None else gap.n,
        effect=gap,
        bound=-verdict.margin,
        method=verdict.method,
        reason=f"{gate.metric} {verdict.outcome}: {difference}, margin {gate.margin:g}; the gate requires {gate.require}.",
    )


def _resources(gate: Gate, facts: Facts) -> list[Condition]:
    found = []
    if gate.latency_ms is not None:
        found.append(_latency(gate.latency_ms, facts.latency))
    if gate.size_bytes is not None:
        found.append(_bytes(gate.size_bytes, facts.size))
    return found


def _latency(most: float, measured: Latency | None) -> Condition:
    """The upper bound of the 95 % quantile must be within what is allowed."""
    name = "p95 of one row, ms"
    if measured is None:
        told = f"How long a prediction takes was never measured; the gate allows {most:g} ms."
        return Condition(kind="latency", name=name, outcome="inconclusive", held=False, bound=most, reason=told)
    outcome = kept(-measured.high_ms, -measured.low_ms, -most)
    shown = f"{measured.p95_ms:.3f} ms [{measured.low_ms:.3f}, {measured.high_ms:.3f}] over {measured.n} predictions"
    machine = measured.machine.get("processor", "a machine without a name")
    return Condition(
        kind="latency",
        name=name,
        outcome=outcome,
        held=outcome == "kept",
        n=measured.n,
        effect=Estimate(value=measured.p95_ms, low=measured.low_ms, high=measured.high_ms, n=measured.n),
        bound=most,
        method="interval of a quantile by order statistics",
        reason=f"95 of 100 predictions of one row take at most {shown} on {machine}; the gate allows {most:g} ms.",
    )


def _bytes(most: int, size: int | None) -> Condition:
    if size is None:
        told = f"The size of the files is not known; the gate allows {most} bytes."
        return Condition(kind="size", name="bytes", outcome="inconclusive", held=False, bound=most, reason=told)
    outcome: Kept = "kept" if size <= most else "missed"
    exact = Estimate(value=size, low=size, high=size, n=1, level=1.0)
    told = f"The files have {size} bytes together; the gate allows {most}."
    return Condition(
        kind="size", name="bytes", outcome=outcome, held=outcome == "kept", n=1, effect=exact, bound=most, reason=told
    )


def show(estimate: Estimate, *, sign: bool = False) -> str:
    """Such as `0.9912 [0.9801, 0.9962] on 569 rows`."""
    form = "+.4f" if sign else ".4f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}] on {estimate.n} rows"
