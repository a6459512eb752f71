"""What an evaluation found: a mean with its interval for every metric, and how the asking went. Imports no numpy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tandem.core.score import Estimate
from tandem.evaluation.repo import Answer, Answered
from tandem.registry.kinds.suite import WEIGHTED, Suite
from tandem.scorers.proportions import mean
from tandem.scorers.text.base import JUDGE


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike the repeats of one question were."""

    texts: float
    """Share of rows whose repeats all gave one text."""
    grades: float
    """Share of rows whose repeats all got one grade by the suite's metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """How the judge behaved; a judge that follows place or length is no judge."""

    win: Estimate
    """Share of rows won against the champion, a tie counting half."""
    consistent: float
    """Share of comparisons in which both orders meant the same."""
    first: float | None
    """Share of the verdicts that fell for the answer shown first; half would be fair."""
    longer: float | None
    """Share of the wins that went to the longer answer; None without wins."""
    unreadable: int
    """Comparisons in which the judge said nothing that could be read: they count as lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """An evaluation in numbers."""

    metrics: dict[str, Estimate]
    """Metric → mean over rows of the rows' means over repeats."""
    rows: int
    answers: int
    errors: dict[str, int]
    """Error code → answers that it took the place of; each counts 0."""
    labels: dict[str, int]
    """`metric: word` → answers that bear the word, such as `grounded: no-claims`."""
    agreement: Agreement | None
    """None without repeats."""
    cost: int | None
    """Nano-dollars of the answers together; None when one of them has no known price."""
    seconds: dict[str, float]
    """`p50` and `p95` of the answers that came."""
    models: tuple[str, ...]
    """What answered, as it said itself."""
    judge: Judging | None = None


def summarise(suite: Suite, rows: Sequence[Answered]) -> Summary:
    """The numbers of an evaluation with at least one row."""
    answers = [answer for row in rows for answer in row.answers]
    came = sorted(answer.seconds for answer in answers if not answer.error)
    costs = [answer.cost for answer in answers if not answer.error]
    metrics = {metric: grades(suite, metric, rows) for metric in suite.metrics}
    return Summary(
        metrics={metric: mean(values) for metric, values in metrics.items() if values is not None},
        rows=len(rows),
        answers=len(answers),
        errors=dict(Counter(answer.error for answer in answers if answer.error)),
        labels=dict(Counter(f"{metric}: {word}" for answer in answers for metric, word in answer.labels.items() if word)),
        agreement=_agreement(suite, rows),
        cost=None if None in costs else sum(cost for cost in costs if cost is not None),
        seconds={"p50": _point(came, 0.5), "p95": _point(came, 0.95)} if came else {},
        models=models(rows),
        judge=_judging(suite, rows),
    )


def models(rows: Sequence[Answered]) -> tuple[str, ...]:
    """What answered, each once."""
    return tuple(sorted({answer.model for row in rows for answer in row.answers if answer.model}))


def grades(suite: Suite, metric: str, rows: Sequence[Answered]) -> list[float] | None:
    """Each row's mean grade over its repeats; None where the metric was not taken, as a judge's without a champion."""
    found = [[grade(suite, metric, answer) for answer in row.answers] for row in rows]
    if all(value is None for values in found for value in values):
        return None
    return [math.fsum(value or 0.0 for value in values) / len(values) for values in found]


def grade(suite: Suite, metric: str, answer: Answer) -> float | None:
    """An answer's grade by a metric of the suite: 0 for an error."""
    if answer.error and (suite.judging is None or metric != suite.judging.metric):
        return 0.0
    if metric != WEIGHTED or metric in answer.grades:
        return answer.grades.get(metric)
    parts = [(scoring.weight, answer.grades.get(scoring.metric, 0.0)) for scoring in suite.scorers if scoring.scorer != JUDGE]
    return math.fsum(weight * value for weight, value in parts) / math.fsum(weight for weight, _ in parts)


def _agreement(suite: Suite, rows: Sequence[Answered]) -> Agreement | None:
    if max(len(row.answers) for row in rows) < 2:
        return None
    same = sum(len({grade(suite, suite.judged_by, answer) for answer in row.answers}) == 1 for row in rows)
    return Agreement(texts=sum(row.distinct == 1 for row in rows) / len(rows), grades=same / len(rows))


def _judging(suite: Suite, rows: Sequence[Answered]) -> Judging | None:
    values = None if suite.judging is None else grades(suite, suite.judging.metric, rows)
    if values is None:
        return None
    answers = [answer for row in rows for answer in row.answers if answer.orders]
    said = [side for answer in answers for side in answer.orders if side in ("first", "second")]
    decided = [answer.longer for answer in answers if answer.longer is not None]
    alike = {("first", "second"), ("second", "first"), ("tie", "tie")}
    return Judging(
        win=mean(values),
        consistent=sum(answer.orders in alike for answer in answers) / len(answers) if answers else 0.0,
        first=said.count("first") / len(said) if said else None,
        longer=sum(decided) / len(decided) if decided else None,
        unreadable=sum("unreadable" in answer.orders for answer in answers),
    )


def _point(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of ascending values."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 4)
