"""What people look at: the rows of an evaluation, the worst first, and the evaluations of a version. It computes no verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.core.score import Estimate
from tandem.evaluation.repo import Answer, Answered, Evaluation, Evaluations
from tandem.evaluation.suite import content
from tandem.evaluation.summary import grade, grades, summarise
from tandem.governance.authorise import Scope, scope_of
from tandem.observability.content import Subjects
from tandem.registry.kinds.suite import Suite, read
from tandem.registry.registry import Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One answer, as people see it."""

    trace: str
    error: str
    grades: Mapping[str, float]
    labels: Mapping[str, str]
    seconds: float
    cost: int | None
    """Nano-dollars."""
    orders: tuple[str, ...]
    text: str | None = None
    """What was answered, where it is kept and was asked for."""
    why: Mapping[str, object] | None = None
    """Metric → why it was graded so; content like the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of the dataset with its answers."""

    row: str
    grade: float
    """By the metric that was asked for: the mean over the repeats."""
    answers: tuple[Shown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The worst rows of an evaluation."""

    evaluation: str
    prompt: str
    suite: str
    metric: str
    whole: bool
    """False while rows are missing."""
    total: int
    """Rows that were answered."""
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One evaluation of a version, as its page lists it."""

    evaluation: Evaluation
    metric: str
    """The suite's own."""
    estimate: Estimate | None


class Looked(Protocol):
    """Shows the rows of an evaluating Run; `Look.rows` does."""

    def __call__(self, run: Run, by: Principal, *, metric: str | None, limit: int, content: bool) -> Lines: ...


class Look:
    """Reads evaluations for people."""

    def __init__(self, registry: Registry, evaluations: Evaluations, subjects: Subjects) -> None:
        self._registry, self._evaluations, self._subjects = registry, evaluations, subjects

    def __call__(self, run: Run, by: Principal, *, metric: str | None, limit: int, content: bool) -> Lines:
        """The rows that an evaluating Run asked about, or found answered, by one of the suite's metrics.

        Raises:
            NotFound: the Run evaluated nothing.
            Invalid: the suite makes no such metric, or took no such grade.
        """
        evaluation = self._evaluations.find(str(run.outputs.get("evaluation", run.id)), scope_of(by))
        suite = self._suite(evaluation, scope_of(by))
        rows = self._evaluations.rows(evaluation.id)
        wanted = metric or suite.judged_by
        values = grades(suite, wanted, rows) if wanted in suite.metrics and rows else None
        if values is None and (rows or wanted not in suite.metrics):
            raise Invalid(f"The evaluation has no grades by '{wanted}'.", field="metric", hint=f"Use {', '.join(suite.metrics)}.")
        ranked = sorted(zip(values or [], rows, strict=True), key=lambda pair: (pair[0], pair[1].place))
        return Lines(
            evaluation=evaluation.id,
            prompt=evaluation.key.prompt,
            suite=evaluation.key.suite,
            metric=wanted,
            whole=evaluation.done_at is not None,
            total=len(rows),
            lines=tuple(self._line(evaluation, suite, value, row, content) for value, row in ranked[:limit]),
        )

    def of(self, version: Version, by: Principal) -> tuple[Held, ...]:
        """The evaluations of a prompt version, newest first."""
        found = []
        for evaluation in self._evaluations.of(str(version.ref), scope_of(by))[:20]:
            try:
                suite = self._suite(evaluation, scope_of(by))
            except NotFound:  # another team's suite, which an admin used
                continue
            rows = self._evaluations.rows(evaluation.id) if evaluation.done_at is not None else ()
            estimate = summarise(suite, rows).metrics.get(suite.judged_by) if rows else None
            found.append(Held(evaluation=evaluation, metric=suite.judged_by, estimate=estimate))
        return tuple(found)

    def _suite(self, evaluation: Evaluation, scope: Scope) -> Suite:
        return read(self._registry.find(Ref.parse(evaluation.key.suite), scope).meta)

    def _line(self, evaluation: Evaluation, suite: Suite, value: float, row: Answered, wanted: bool) -> Line:
        kept = content(self._subjects, row) if wanted else None
        return Line(
            row=row.row,
            grade=value,
            answers=tuple(
                _shown(
                    suite,
                    answer,
                    None if kept is None else kept.texts[place],
                    None if kept is None else kept.details[place],
                )
                for place, answer in enumerate(row.answers)
            ),
        )


def _shown(suite: Suite, answer: Answer, text: str | None, why: Mapping[str, object] | None) -> Shown:
    found = {metric: grade(suite, metric, answer) for metric in suite.metrics}
    return Shown(
        trace=answer.trace,
        error=answer.error,
        grades={metric: value for metric, value in found.items() if value is not None},
        labels=answer.labels,
        seconds=answer.seconds,
        cost=answer.cost,
        orders=answer.orders,
        text=text,
        why=why,
    )


def known_columns(meta: Mapping[str, object]) -> tuple[str, ...]:
    """The columns of a dataset version's contract; empty where it does not say."""
    match meta.get("contract"):
        case {"columns": [*columns]}:
            return tuple(str(column["name"]) for column in columns if isinstance(column, Mapping) and "name" in column)
    return ()


def gate_metric(registry: Registry, suite: str, metric: str | None, scope: Scope) -> str:
    """The metric that a gate with this suite judges by: the one that was named, else the suite's own.

    Raises:
        NotFound, Invalid: there is no such suite, or it makes no such metric.
    """
    ref = Ref.parse(suite)
    if ref.kind != "suite":
        raise Invalid(f"{ref} is no suite.", field="suite", hint="Write suite/NAME.")
    found = read(registry.find(ref, scope).meta)
    if metric is not None and metric not in found.metrics:
        raise Invalid(f"{ref} makes no such metric.", field="metric", hint=f"It makes {', '.join(found.metrics)}.")
    return metric or found.judged_by
