"""The calls of a window as their model's task has them: what was answered, and the labels that have come. It judges nothing."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tandem.core.errors import Invalid
from tandem.evaluation.evidence import OutOfFold
from tandem.monitoring.child import Flagged, Foretold, Measure, Ordered, Perform, Task, Told
from tandem.monitoring.counts import chances_of, labels_of
from tandem.monitoring.labels import items, number, odd
from tandem.monitoring.outcomes import Known
from tandem.monitoring.retrain import Lineage
from tandem.monitoring.window import cells, known_values, rows_of, watched
from tandem.observability.explain import Kept

SERIES = "series.json"
"""The member in which a model of forecasts keeps its series."""
BANDS = ("prediction", "lower_80", "upper_80")
"""What is read of a forecast's answer."""
NEVER = 1e9
"""The place of an item that was not told."""


class Window(ABC):
    """Rows in the order of the calls."""

    noun: ClassVar[str] = "rows"
    """What labels are waited for of."""

    def __init__(self, evidence: OutOfFold, lineage: Lineage) -> None:
        self._evidence, self._lineage = evidence, lineage
        self.coverage: dict[str, int] = {}
        """Calls by what could be read of them, and whether their labels have come."""
        self.due = self.come = 0
        """Labels that are waited for, and those of them that have come."""

    @property
    def share(self) -> float:
        """Of the labels that are waited for, those that have come."""
        return self.come / self.due if self.due else 0.0

    def add(self, unread: str, kept: Kept | None, known: Known) -> None:
        """Adds a call.

        Args:
            unread: why there is no content; empty where there is.
        """
        due, come = (0, 0) if kept is None else self._take(kept, known)
        self.due, self.come = self.due + due, self.come + come
        what = unread or ("read" if not due else "labelled" if come == due else "waiting")
        self.coverage[what] = self.coverage.get(what, 0) + 1

    @abstractmethod
    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        """What is to be judged, in a process of its own.

        Args:
            mature: whether enough labels have come.
            over: whether no more are waited for.
        """

    @abstractmethod
    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        """Keeps what a call says; returns how many labels are waited for of it, and how many have come."""


def window_of(evidence: OutOfFold, lineage: Lineage, member: Callable[[str], bytes]) -> Window:
    """An empty window of what a model does.

    Args:
        member: gives a file of the model version.
    """
    match evidence.task:
        case "classification" | "multiclass":
            return _Classes(evidence, lineage)
        case "regression":
            return _Numbers(evidence, lineage)
        case "forecasting":
            return _Forecasts(evidence, lineage, member(SERIES))
        case "anomaly":
            return _Oddities(evidence, lineage)
        case "ranking":
            return _Orders(evidence, lineage)
        case "recommendation":
            return _Recommendations(evidence, lineage)


def _each(known: Known, rows: int) -> Sequence[str]:
    """A label for every row; empty texts where none has come, or where they are of other rows."""
    return known.labels if len(known.labels) == rows else ("",) * rows


class _Classes(Window):
    """Of two classes the positive one's probability and 1 or 0; of more the likeliest one's, and whether it was right."""

    def __init__(self, evidence: OutOfFold, lineage: Lineage) -> None:
        super().__init__(evidence, lineage)
        self._told: list[float] = []
        self._truth: list[int] = []

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        chances, width = chances_of(kept.answer), self._evidence.width
        told = [max(chances[at : at + width]) for at in range(0, len(chances), width)]
        right = labels_of(kept.answer) if self._evidence.task == "multiclass" else (self._evidence.positive,) * len(told)
        labels = _each(known, len(told))
        self._told += told
        self._truth += [int(said == label) if label else -1 for said, label in zip(right, labels, strict=False)]
        return len(told), sum(map(bool, labels))

    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        evidence = self._evidence
        chances, labels, cut = evidence.probabilities, [int(label) for label in evidence.labels], evidence.threshold
        if evidence.task == "multiclass":  # whether the answer was right is the question, and how sure it was the answer
            width = evidence.width
            rows = [chances[at : at + width] for at in range(0, len(chances), width)]
            labels = [int(row.index(max(row)) == label) for row, label in zip(rows, labels, strict=True)]
            chances, cut = tuple(max(row) for row in rows), 0.0
        return Perform(
            chances=self._told,
            labels=self._truth,
            reference_chances=list(chances),
            reference_labels=labels,
            cut=cut,
            mature=mature,
            state=state,
            right=evidence.task == "multiclass",
            **how,
        )


class _Numbers(Window):
    """The number that was told, the one that came, and the inputs."""

    def __init__(self, evidence: OutOfFold, lineage: Lineage) -> None:
        super().__init__(evidence, lineage)
        self._rows: list[list[float]] = []
        self._told: list[float] = []
        self._truth: list[float] = []

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        told = chances_of(kept.answer, "prediction")
        try:
            rows = rows_of(kept, self._lineage.signature)
        except Invalid:  # written for a model with other columns
            return 0, 0
        if len(rows) != len(told):
            return 0, 0
        truth = [number(label) for label in _each(known, len(told))]
        self._rows += rows
        self._told += told
        self._truth += truth
        return len(told), sum(not math.isnan(each) for each in truth)

    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        evidence, lineage = self._evidence, self._lineage
        return Measure(
            lake=lake,
            table=lineage.table,
            version=lineage.version,
            columns=tuple(field.name for _, field in watched(lineage.signature)),
            categories=known_values(lineage.signature),
            rows=self._rows,
            told=self._told,
            truth=self._truth,
            reference_told=list(evidence.probabilities),
            reference_truth=list(evidence.labels),
            places=list(evidence.places),
            mature=mature,
            state=state,
            **how,
        )


class _Forecasts(Window):
    """Whole calls, because the rows of one belong together; a row of history has its value, and waits for none."""

    noun = "values"

    def __init__(self, evidence: OutOfFold, lineage: Lineage, series: bytes) -> None:
        super().__init__(evidence, lineage)
        self._series = series
        self._calls: list[Told] = []

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        signature = self._lineage.signature
        try:
            rows = cells(kept, signature)
        except Invalid:  # written for a model with other columns
            return 0, 0
        told = [chances_of(kept.answer, name) for name in BANDS]
        if any(len(each) != len(rows) for each in told):
            return 0, 0
        value = signature.names.index(str(signature.history))
        labels = zip(rows, _each(known, len(rows)), strict=True)
        truth = [number(label) if math.isnan(float(row[value])) else float(row[value]) for row, label in labels]
        asked = [at for at, row in enumerate(rows) if math.isnan(float(row[value]))]
        self._calls.append(Told(rows=rows, told=[list(each) for each in zip(*told, strict=True)], truth=truth))
        return len(asked), sum(not math.isnan(truth[at]) for at in asked)

    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        return Foretold(
            lake=lake,
            table=self._lineage.table,
            version=self._lineage.version,
            moment=self._lineage.signature.names[0],
            evidence=self._evidence,
            series=self._series,
            calls=self._calls,
            mature=mature,
            state=state,
            **how,
        )


class _Oddities(Window):
    """Scores of oddity; labels are waited for of the rows that were flagged."""

    noun = "flagged rows"

    def __init__(self, evidence: OutOfFold, lineage: Lineage) -> None:
        super().__init__(evidence, lineage)
        self._scores: list[float] = []
        self._truth: list[float] = []
        self._drawn: list[bool] = []

    @property
    def share(self) -> float:
        return 1.0 if self._scores and not self.due else super().share

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        scores = chances_of(kept.answer, "score")
        truth = [odd(label) for label in _each(known, len(scores))]
        self._scores += scores
        self._truth += truth
        self._drawn += [known.drawn] * len(scores)
        flagged = [true for score, true in zip(scores, truth, strict=True) if score >= self._evidence.threshold]
        return len(flagged), sum(not math.isnan(true) for true in flagged)

    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        return Flagged(
            evidence=self._evidence,
            scores=self._scores,
            truth=self._truth,
            drawn=self._drawn,
            mature=mature,
            over=over,
            state=state,
            **how,
        )


class _Orders(Window):
    """Each call is a group: the scores of its rows, and their grades; a row without a label was not chosen."""

    noun = "answers"

    def __init__(self, evidence: OutOfFold, lineage: Lineage) -> None:
        super().__init__(evidence, lineage)
        self._outputs: list[float] = []
        self._grades: list[float] = []
        self._groups: list[str] = []
        self._count = 0

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        scores = chances_of(kept.answer, "score")
        labels = _each(known, len(scores))
        if any(labels):
            self._keep(scores, [number(label) if label else 0.0 for label in labels])
        return int(bool(scores)), int(any(labels))

    def _keep(self, outputs: Sequence[float], grades: Sequence[float]) -> None:
        """One more group."""
        self._count += 1
        self._groups += [str(self._count)] * len(outputs)
        self._outputs += outputs
        self._grades += grades

    def task(self, lake: str, *, mature: bool, over: bool, state: str, how: Mapping[str, Any]) -> Task:
        return Ordered(
            evidence=self._evidence,
            outputs=self._outputs,
            labels=self._grades,
            groups=self._groups,
            mature=mature,
            state=state,
            **how,
        )


class _Recommendations(_Orders):
    """Each row is a group: the places that the chosen items had in what was told."""

    def _take(self, kept: Kept, known: Known) -> tuple[int, int]:
        told, rows = labels_of(kept.answer, "items"), len(labels_of(kept.answer, "by"))
        k = len(told) // max(1, rows)
        labels = _each(known, rows)
        for row, label in enumerate(labels):
            places = {item: place + 1.0 for place, item in enumerate(told[row * k : (row + 1) * k])}
            chosen = items(label) if label else ()
            self._keep([places.get(item, NEVER) for item in dict.fromkeys(chosen)], [1.0] * len(set(chosen)))
        return rows, sum(map(bool, labels))
