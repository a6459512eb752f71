"""Metrics of scores of oddity; those but the rate of false alarms need rows that are known to be anomalies."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.core.score import Estimate
from tandem.scorers.auc import RocAuc as Area
from tandem.scorers.intervals import bootstrap
from tandem.scorers.proportions import wilson
from tandem.scorers.sample import Floats, Oddities, Sample


class FalseAlarmRate:
    """Share of the rows that are not known to be anomalies and are called so; Wilson interval, n = such rows."""

    name: ClassVar[str] = "false_alarm_rate"
    more_is_better: ClassVar[bool] = False

    def score(self, sample: Oddities) -> Estimate:
        normal = ~sample.labels
        return wilson(int((sample.predicted & normal).sum()), int(normal.sum()))

    def terms(self, sample: Oddities) -> Floats:
        return np.column_stack((sample.predicted & ~sample.labels, ~sample.labels)).astype(np.float64)

    def of(self, sums: Floats) -> Floats:
        return np.asarray(np.divide(sums[..., 0], sums[..., 1], out=np.zeros_like(sums[..., 0]), where=sums[..., 1] > 0))


class RocAuc:
    """The chance that an anomaly has a higher score than another row."""

    name: ClassVar[str] = "roc_auc"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Oddities) -> Estimate:
        return Area().score(_classes(sample))

    def weigher(self, sample: Oddities, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        return _weigher(sample, order, _area)


class AveragePrecision:
    """Mean over the anomalies of the precision at their score; ties share one threshold."""

    name: ClassVar[str] = "average_precision"
    more_is_better: ClassVar[bool] = True

    def score(self, sample: Oddities) -> Estimate:
        _classes(sample)
        return bootstrap(self, sample)

    def weigher(self, sample: Oddities, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        return _weigher(sample, order, _precision)


def _classes(sample: Oddities) -> Sample:
    if not sample.labelled:
        raise Invalid(
            "No rows are known to be anomalies, or all are.",
            field="labels",
            hint="Name the column that says it: --target COLUMN.",
        )
    return Sample(labels=sample.labels, probabilities=sample.scores, threshold=sample.threshold)


def _weigher(
    sample: Oddities, order: NDArray[np.int64], of: Callable[[Floats, Floats, NDArray[np.int64]], Floats]
) -> Callable[[Floats], Floats]:
    """`of` gets the weights of anomalies and of all rows, highest score first, and the last row of each score."""
    falling = np.argsort(-sample.scores[order], kind="stable")
    scores, labels = sample.scores[order][falling], sample.labels[order][falling]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)

    def measure(weights: Floats) -> Floats:
        drawn = weights[..., falling]
        return of(np.cumsum(drawn * labels, axis=-1)[..., last], np.cumsum(drawn, axis=-1)[..., last], last)

    return measure


def _precision(hits: Floats, rows: Floats, last: NDArray[np.int64]) -> Floats:
    del last
    gained = np.diff(hits, axis=-1, prepend=0.0)
    precise = np.divide(hits, rows, out=np.zeros_like(hits), where=rows > 0)
    total = hits[..., -1]
    return np.asarray(np.divide((gained * precise).sum(axis=-1), total, out=np.zeros_like(total), where=total > 0))


def _area(hits: Floats, rows: Floats, last: NDArray[np.int64]) -> Floats:
    del last
    alarms = rows - hits
    steps = np.diff(alarms, axis=-1, prepend=0.0)
    middles = hits - np.diff(hits, axis=-1, prepend=0.0) / 2
    total = hits[..., -1] * alarms[..., -1]
    return np.asarray(np.divide((steps * middles).sum(axis=-1), total, out=np.full_like(total, 0.5), where=total > 0))
