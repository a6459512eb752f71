"""How good are predictions whose labels are not there yet? An estimate from calibrated probabilities, with its interval.

Confidence-based performance estimation: an isotonic curve (Ayer et al. 1955, pool adjacent violators) turns what the
model says into the frequency with which it was right on labelled rows; from these frequencies follow the expected
confusion matrix and the expected area under the ROC curve. It holds as far as the same score still means the same
frequency: a change of the rule from inputs to the label (concept drift) is not seen by it, so its own past error is told
beside it. The interval is of the metric that will be realised: labels are drawn from the frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tandem.core.score import Estimate
from tandem.scorers.auc import midranks
from tandem.scorers.sample import Floats, Sample

Metric = Literal["accuracy", "f1", "roc_auc"]
METRICS: tuple[Metric, ...] = ("accuracy", "f1", "roc_auc")
DRAWS = 400
"""Sets of labels behind an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Score → frequency: never falling, straight between its points, level beyond them."""

    scores: tuple[float, ...]
    frequencies: tuple[float, ...]

    def at(self, scores: Floats) -> Floats:
        """The frequencies of some scores."""
        return np.interp(scores, self.scores, self.frequencies)


def curve(sample: Sample) -> Curve:
    """The isotonic curve of labelled rows.

    >>> import numpy as np
    >>> curve(Sample.of([0, 1, 0, 1], [0.1, 0.2, 0.3, 0.4])).frequencies
    (0.0, 0.5, 0.5, 1.0)
    """
    scores, place = np.unique(sample.probabilities, return_inverse=True)
    weights = np.bincount(place).astype(np.float64)
    means = np.bincount(place, weights=sample.labels.astype(np.float64)) / weights
    blocks: list[list[float]] = []  # mean, weight, scores held
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        blocks.append([mean, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            last, before = blocks.pop(), blocks.pop()
            whole = before[1] + last[1]
            blocks.append([(before[0] * before[1] + last[0] * last[1]) / whole, whole, before[2] + last[2]])
    frequencies = np.repeat([block[0] for block in blocks], [int(block[2]) for block in blocks])
    return Curve(scores=tuple(scores.tolist()), frequencies=tuple(frequencies.tolist()))


def estimate(calibrated: Curve, probabilities: Floats, *, threshold: float = 0.5, seed: int = 1) -> dict[Metric, Estimate]:
    """Each metric as it is to be expected of rows without labels.

    Args:
        calibrated: of labelled rows of the same model.
        probabilities: what the model says; at least one row.
        threshold: at or above it a row is predicted positive.
        seed: of the draws behind the intervals.
    """
    chances = calibrated.at(probabilities)
    draws = np.random.default_rng(seed).random((DRAWS, chances.size)) < chances
    told = realised(probabilities, chances[None, :], threshold)
    drawn = realised(probabilities, draws.astype(np.float64), threshold)
    found: dict[Metric, Estimate] = {}
    for metric in METRICS:
        low, high = np.nanquantile(drawn[metric], (0.025, 0.975)) if np.isfinite(drawn[metric]).any() else (np.nan, np.nan)
        value = float(told[metric][0])
        found[metric] = Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)), n=chances.size)
    return found


def realised(probabilities: Floats, labels: Floats, threshold: float) -> dict[Metric, Floats]:
    """Each metric for each row of labels.

    Args:
        labels: sets x rows: 0 or 1, or the chance of 1, for which the expected counts stand.

    An area is NaN where a set has one class only.
    """
    positive = probabilities >= threshold
    n = probabilities.size
    hits, truths = labels @ positive, labels.sum(axis=1)
    called = float(positive.sum())
    right = hits + (n - called - (truths - hits))
    others = n - truths
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (labels @ midranks(probabilities) - _own(probabilities, labels)) / (truths * others)
        f1 = np.where(called + truths > 0, 2 * hits / (called + truths), 0.0)
    return {"accuracy": right / n, "f1": f1, "roc_auc": np.where((truths > 0) & (others > 0), area, np.nan)}


def _own(probabilities: Floats, labels: Floats) -> Floats:
    """What positive rows contribute to the rank sum among themselves, ties counted half."""
    _, place = np.unique(probabilities, return_inverse=True)
    bins = int(place.max()) + 1
    found = np.empty(len(labels))
    for row, weights in enumerate(labels):
        held = np.bincount(place, weights=weights, minlength=bins)
        below = np.cumsum(held) - held
        same = np.bincount(place, weights=weights**2, minlength=bins)  # a row is not ranked against itself
        found[row] = float((held * below).sum() + ((held**2 - same) / 2).sum() + weights @ (weights + 1) / 2 + _half(weights))
    return found


def _half(weights: Floats) -> float:
    """Of expected labels a row's own rank counts for its chance, as it does for a label of 1."""
    return float((weights * (1 - weights)).sum() / 2)
