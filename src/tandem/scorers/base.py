"""What a scorer is, and the table of those that come along. Imports no numpy, so that a base install can list them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, cast

from tandem.core.errors import Invalid
from tandem.core.score import Estimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tandem.scorers.sample import Classes, Floats, Forecasts, Oddities, Ranked, Recommended, Sample, Values

    Judged: TypeAlias = Sample | Values | Classes | Forecasts | Ranked | Recommended | Oddities

TaskName = Literal["classification", "regression", "multiclass", "forecasting", "ranking", "recommendation", "anomaly"]
"""Two classes, numbers, more than two classes; numbers of a series that goes on, the order of a group's rows, who gets what, odd
rows."""
BANDS = 4
"""Ends of the prediction intervals that stand beside a forecast: of 80 % the lower and the upper one, and of 95 %."""


class Scorer(Protocol):
    """One metric of one task."""

    name: ClassVar[str]
    more_is_better: ClassVar[bool]

    def score(self, sample: Any) -> Estimate:
        """The metric with its 95 % interval, of a sample of its task. Does not depend on the order of rows.

        Raises:
            Invalid: the metric is not defined for this sample.
        """
        ...


class Additive(Scorer, Protocol):
    """A metric that is a function of sums over rows, and so can be resampled without recomputing rows."""

    def terms(self, sample: Any) -> Floats:
        """What each row adds: rows x terms."""
        ...

    def of(self, sums: Floats) -> Floats:
        """The metric from sums of terms: … x terms in, … out."""
        ...


class Weighted(Scorer, Protocol):
    """A metric that is no function of sums, but can be had for rows that count more than once, or not at all."""

    def weigher(self, sample: Any, order: NDArray[np.int64]) -> Callable[[Floats], Floats]:
        """From weights to metrics: … x rows in, the rows being `sample`'s in that order; … out."""
        ...


SCORERS: dict[str, str] = {
    "accuracy": ".classes:Accuracy",
    "precision": ".classes:Precision",
    "recall": ".classes:Recall",
    "f1": ".classes:F1",
    "roc_auc": ".auc:RocAuc",
    "log_loss": ".losses:LogLoss",
    "brier": ".losses:Brier",
    "calibration_error": ".calibration:CalibrationError",
}
"""Of two classes: name → `module:class`, imported when asked for."""
METRICS: Mapping[TaskName, Mapping[str, str]] = {
    "classification": SCORERS,
    "regression": {
        "mae": ".regression:MeanAbsoluteError",
        "rmse": ".regression:RootMeanSquaredError",
        "r2": ".regression:R2",
        "median_absolute_error": ".regression:MedianAbsoluteError",
    },
    "multiclass": {
        "accuracy": ".classes:Accuracy",
        "macro_f1": ".multiclass:MacroF1",
        "log_loss": ".multiclass:LogLoss",
        "roc_auc": ".multiclass:RocAuc",
    },
    "forecasting": {
        "mae": ".forecasts:MeanAbsoluteError",
        "rmse": ".forecasts:RootMeanSquaredError",
        "mase": ".forecasts:ScaledError",
        "smape": ".forecasts:PercentageError",
        "quantile_loss": ".forecasts:QuantileLoss",
        "coverage_80": ".forecasts:Coverage80",
        "coverage_95": ".forecasts:Coverage95",
    },
    "ranking": {
        "ndcg@10": ".ranking:Ndcg10",
        "ndcg@5": ".ranking:Ndcg5",
        "mrr": ".ranking:ReciprocalRank",
        "map@10": ".ranking:MeanPrecision10",
    },
    "recommendation": {
        "ndcg@10": ".recommendation:Ndcg10",
        "recall@10": ".recommendation:Recall10",
        "hit@10": ".recommendation:Hit10",
    },
    "anomaly": {
        "false_alarm_rate": ".oddities:FalseAlarmRate",
        "roc_auc": ".oddities:RocAuc",
        "average_precision": ".oddities:AveragePrecision",
    },
}
"""Task → its metrics."""


def load(name: str, task: TaskName = "classification") -> Scorer:
    """The scorer of that name.

    Raises:
        Invalid: there is none for this task.
    """
    table = METRICS[task]
    if name not in table:
        where = "" if task == "classification" else f" of a {task} model"
        raise Invalid(f"There is no metric '{name}'{where}.", field="metric", hint=f"Use one of: {', '.join(table)}.")
    module, _, member = table[name].partition(":")
    return cast(Scorer, getattr(import_module(module, __package__), member)())


def cost(*, false_positive: float, false_negative: float) -> Scorer:
    """The scorer of expected cost, of two classes; it is in no table, because it needs to be told what mistakes cost."""
    kind = import_module("tandem.scorers.cost").Cost
    return cast(Scorer, kind(false_positive=false_positive, false_negative=false_negative))


def judged(
    task: TaskName,
    labels: Sequence[float],
    outputs: Sequence[float],
    *,
    classes: int = 2,
    threshold: float = 0.5,
    groups: Sequence[str] = (),
    scales: Sequence[float] = (),
) -> Judged:
    """The sample of a task, for callers that must not import numpy themselves; outputs row by row.

    Args:
        groups: what each row belongs to: of a ranking, a forecast and a recommendation always; else where rows come in units.
        scales: of a forecast, as `Forecasts.scales`.

    Raises:
        Invalid: as `of` of the sample's class.
    """
    known = import_module("tandem.scorers.sample")
    match task:
        case "classification":
            found = known.Sample.of(labels, outputs, threshold=threshold)
        case "regression":
            found = known.Values.of(labels, outputs)
        case "multiclass":
            found = known.Classes.of(labels, outputs, classes=classes)
        case "forecasting":
            found = known.Forecasts.of(labels, outputs, scales=scales, groups=groups)
        case "ranking":
            found = known.Ranked.of(labels, outputs, groups=groups)
        case "recommendation":
            found = known.Recommended.of(outputs, groups=groups)
        case "anomaly":
            found = known.Oddities.of(labels, outputs, threshold=threshold)
    if groups and task in ("classification", "regression", "multiclass"):
        found = replace(found, units=known.numbered(groups))
    return cast("Judged", found)
