"""Pictures of out-of-fold predictions as PNG, of each task its own. The same input gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from tandem.core.score import Estimate
from tandem.scorers.ranking import Ndcg10
from tandem.scorers.sample import Classes, Floats, Forecasts, Oddities, Ranked, Sample, Truths, Values

if TYPE_CHECKING:
    from tandem.scorers.base import Judged

INK, RULE, FILL = "#1f4e79", "#9aa5b1", "Blues"
Told = tuple[NDArray[np.int64], NDArray[np.int64]]
BINS = 10
FIRST = 20
"""Rows of a group over which precision is drawn."""
WINDOWS = 5
"""Of forecasts that are drawn."""


def draw(
    sample: Judged, classes: tuple[str, ...], metrics: Mapping[str, Estimate], *, told: Told | None = None
) -> dict[str, bytes]:
    """`plots/….png`: ROC, calibration and confusion; of more classes the latter two; of numbers fit and residuals.

    Of forecasts the last ones and their errors by step, of rankings precision and groups by size, of anomalies the scores.

    Args:
        told: of each row of a forecast the number of its series, and its step.
    """
    match sample:
        case Sample():
            table = _counted(sample.labels, sample.predicted, 2)
            figures = {
                "roc": _roc(sample, metrics["roc_auc"]),
                "calibration": _calibration(sample.probabilities, sample.labels, "Predicted probability"),
                "confusion": _confusion(table, classes, f"Confusion at {sample.threshold:g}"),
            }
        case Classes():
            right = sample.predicted == sample.labels
            figures = {
                "calibration": _calibration(sample.probabilities.max(axis=1), right, "Probability of the class answered"),
                "confusion": _confusion(_counted(sample.labels, sample.predicted, sample.k), classes, "Confusion"),
            }
        case Values():
            figures = {"fit": _fit(sample, metrics["r2"]), "residuals": _residuals(sample)}
        case Forecasts():
            assert told is not None  # as of every forecast
            figures = {"forecast": _forecast(sample, told), "steps": _steps(sample, told[1])}
        case Ranked():
            figures = {"precision": _precision(sample), "sizes": _sizes(sample, metrics["ndcg@10"])}
        case Oddities():
            figures = {"scores": _oddities(sample, metrics["false_alarm_rate"])}
    return {f"plots/{name}.png": _png(figure) for name, figure in figures.items()}


def _frame(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5, 4.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    return figure, axes


def _png(figure: Figure) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format="png", metadata={"Software": None})
    return held.getvalue()


def _roc(sample: Sample, area: Estimate) -> Figure:
    order = np.argsort(-sample.probabilities, kind="stable")
    truth, chance = sample.labels[order], sample.probabilities[order]
    last = np.append(np.flatnonzero(np.diff(chance)), sample.n - 1)  # ties move together
    hits = np.append(0, np.cumsum(truth)[last]) / truth.sum()
    alarms = np.append(0, np.cumsum(~truth)[last]) / (~truth).sum()
    figure, axes = _frame(
        f"ROC area {area.value:.4f} [{area.low:.4f}, {area.high:.4f}], n = {area.n}", "False positive rate", "True positive rate"
    )
    axes.plot([0, 1], [0, 1], color=RULE, linestyle="--", linewidth=1)
    axes.plot(alarms, hits, color=INK)
    return figure


def _calibration(chances: Floats, truths: Truths, across: str) -> Figure:
    place = np.minimum((chances * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    used = counts > 0
    said = np.bincount(place, weights=chances, minlength=BINS)[used] / counts[used]
    was = np.bincount(place, weights=truths, minlength=BINS)[used] / counts[used]
    figure, axes = _frame("Calibration in ten bins (area: rows)", across, "Observed frequency")
    axes.plot([0, 1], [0, 1], color=RULE, linestyle="--", linewidth=1)
    axes.scatter(said, was, s=20 + 400 * counts[used] / len(chances), color=INK)
    return figure


def _fit(sample: Values, explained: Estimate) -> Figure:
    title = f"R² {explained.value:.4f} [{explained.low:.4f}, {explained.high:.4f}], n = {explained.n}"
    figure, axes = _frame(title, "Predicted", "True")
    ends = [min(sample.truth.min(), sample.predictions.min()), max(sample.truth.max(), sample.predictions.max())]
    axes.plot(ends, ends, color=RULE, linestyle="--", linewidth=1)
    axes.scatter(sample.predictions, sample.truth, s=6, color=INK, alpha=0.5, rasterized=True)
    return figure


def _residuals(sample: Values) -> Figure:
    figure, axes = _frame("Residuals", "True - predicted", "Rows")
    axes.hist(sample.truth - sample.predictions, bins=30, color=INK)
    axes.axvline(0, color=RULE, linestyle="--", linewidth=1)
    return figure


def _forecast(sample: Forecasts, told: Told) -> Figure:
    """The last windows of the first series, one after the other."""
    figure, axes = _frame("The last windows, with 80 % and 95 %", "Values", "Target")
    owners, steps = told
    first = np.flatnonzero(owners == owners.min())
    start = 0
    for window in np.unique(sample.window[first])[-WINDOWS:]:
        rows = first[sample.window[first] == window]
        rows = rows[np.argsort(steps[rows])]
        across = start + np.arange(len(rows))
        for low, high, share in ((2, 3, 0.15), (0, 1, 0.25)):
            axes.fill_between(across, sample.bounds[rows, low], sample.bounds[rows, high], color=INK, alpha=share, linewidth=0)
        axes.plot(across, sample.predictions[rows], color=INK, linewidth=1)
        axes.plot(across, sample.truth[rows], color="black", linewidth=1, marker=".", markersize=3, linestyle="--")
        axes.axvline(start - 0.5, color=RULE, linewidth=1)
        start += len(rows)
    return figure


def _steps(sample: Forecasts, steps: NDArray[np.int64]) -> Figure:
    """How errors and intervals grow with the distance."""
    figure, axes = _frame("Mean error and half of the 80 % interval", "Steps after the origin", "Target's unit")
    across, place, counts = np.unique(steps, return_inverse=True, return_counts=True)
    errors = np.abs(sample.predictions - sample.truth)
    halves = (sample.bounds[:, 1] - sample.bounds[:, 0]) / 2
    axes.plot(across, np.bincount(place, weights=errors) / counts, color=INK, marker=".")
    axes.plot(across, np.bincount(place, weights=halves) / counts, color=RULE, linestyle="--")
    axes.set_ylim(bottom=0)
    return figure


def _precision(sample: Ranked) -> Figure:
    """How many of the first rows are relevant."""
    sizes = np.diff(np.append(sample.starts, sample.relevance.size))
    across = np.arange(1, min(FIRST, int(sizes.max())) + 1)
    hits = [((sample.relevance > 0) & (sample.places < k)).sum() / np.minimum(sizes, k).sum() for k in across]
    figure, axes = _frame("Relevant rows among the first", "First rows of each group", "Share with a grade above 0")
    axes.plot(across, hits, color=INK, marker=".")
    axes.axhline((sample.relevance > 0).mean(), color=RULE, linestyle="--", linewidth=1)
    axes.set_ylim(0, 1)
    return figure


def _sizes(sample: Ranked, gain: Estimate) -> Figure:
    """The metric of each group by how many rows it has."""
    sizes = np.diff(np.append(sample.starts, sample.relevance.size))
    figure, axes = _frame(f"ndcg@10 {gain.value:.4f} [{gain.low:.4f}, {gain.high:.4f}]", "Rows of the group", "ndcg@10")
    axes.scatter(sizes, Ndcg10().each(sample), s=8, color=INK, alpha=0.4, rasterized=True)
    axes.axhline(gain.value, color=RULE, linestyle="--", linewidth=1)
    return figure


def _oddities(sample: Oddities, rate: Estimate) -> Figure:
    """How rare rows are, those that are known to be anomalies apart, and from where on one is called so."""
    rare = -np.log10(np.maximum(1 - sample.scores, 1e-9))
    edges = np.linspace(0, rare.max() + 1e-9, 31)
    figure, axes = _frame(f"False alarms {rate.value:.4f} [{rate.low:.4f}, {rate.high:.4f}]", "-log10 of the p-value", "Rows")
    axes.hist([rare[~sample.labels], rare[sample.labels]], bins=list(edges), stacked=True, color=[INK, "#b5482a"])
    axes.axvline(-np.log10(1 - sample.threshold), color=RULE, linestyle="--", linewidth=1)
    axes.set_yscale("log")
    return figure


def _counted(labels: NDArray[Any], predicted: NDArray[Any], k: int) -> NDArray[np.int64]:
    table = np.zeros((k, k), dtype=np.int64)
    np.add.at(table, (labels.astype(int), predicted.astype(int)), 1)
    return table


def _confusion(table: NDArray[np.int64], classes: tuple[str, ...], title: str) -> Figure:
    k = len(table)
    figure, axes = _frame(title, "Predicted", "True")
    axes.imshow(table, cmap=FILL)
    for row in range(k):
        for column in range(k):
            dark = table[row, column] > table.max() / 2
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(k), classes, rotation=0 if k < 5 else 90)
    axes.set_yticks(range(k), classes)
    return figure
