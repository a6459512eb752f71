"""Three pictures of out-of-fold predictions as PNG: ROC, calibration, confusion. The same input gives the same bytes."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tandem.core.score import Estimate
from tandem.scorers.sample import Sample

INK, RULE, FILL = "#1f4e79", "#9aa5b1", "Blues"
BINS = 10


def draw(sample: Sample, classes: tuple[str, str], area: Estimate) -> dict[str, bytes]:
    """`plots/roc.png`, `plots/calibration.png`, `plots/confusion.png`."""
    figures = {"roc": _roc(sample, area), "calibration": _calibration(sample), "confusion": _confusion(sample, classes)}
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


def _calibration(sample: Sample) -> Figure:
    place = np.minimum((sample.probabilities * BINS).astype(int), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    used = counts > 0
    said = np.bincount(place, weights=sample.probabilities, minlength=BINS)[used] / counts[used]
    was = np.bincount(place, weights=sample.labels, minlength=BINS)[used] / counts[used]
    figure, axes = _frame("Calibration in ten bins (area: rows)", "Predicted probability", "Observed frequency")
    axes.plot([0, 1], [0, 1], color=RULE, linestyle="--", linewidth=1)
    axes.scatter(said, was, s=20 + 400 * counts[used] / sample.n, color=INK)
    return figure


def _confusion(sample: Sample, classes: tuple[str, str]) -> Figure:
    table = np.zeros((2, 2), dtype=int)
    np.add.at(table, (sample.labels.astype(int), sample.predicted.astype(int)), 1)
    figure, axes = _frame(f"Confusion at {sample.threshold:g}", "Predicted", "True")
    axes.imshow(table, cmap=FILL)
    for row in range(2):
        for column in range(2):
            dark = table[row, column] > table.max() / 2
            axes.text(column, row, str(table[row, column]), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks([0, 1], classes)
    axes.set_yticks([0, 1], classes)
    return figure
