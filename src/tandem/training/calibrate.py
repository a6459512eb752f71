"""Learns what makes a score a probability, or tells how rare it is, from rows that no model had seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tandem.core.errors import Invalid
from tandem.scorers.losses import LogLoss
from tandem.scorers.sample import Floats, Sample, Truths
from tandem.serving.calibration import EDGE, Calibration, Curve, Isotonic, Platt, Rarity
from tandem.training.split import Splits
from tandem.training.task import Calibrate

MOST_SCORES = 10_000
"""Held-out scores that a model keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """A calibration, and scores that it did not see."""

    calibration: Calibration | None
    """For the model that is kept; None where scores are better as they are."""
    chances: Floats
    """For each judged row, by a curve that was learned from the other folds."""


def calibrate(how: Calibrate, scores: Floats, truths: Truths, splits: Splits) -> Calibrated:
    """Curves for out-of-fold scores of the judged rows.

    With `auto` the way of the smallest log loss is taken, scores as they are among them.
    """
    fold = splits.fold[splits.judged]
    ways = ("none", "platt", "isotonic") if how == "auto" else (how,)
    tried = {way: _crossed(way, scores, truths, fold) for way in ways}
    best = min(tried, key=lambda way: _loss(tried[way], truths))
    curve = _learn(best, scores, truths)
    return Calibrated(calibration=None if curve is None else Calibration(curve), chances=tried[best])


def rarity(scores: Floats, splits: Splits, *, false_alarms: float, seed: int) -> Calibrated:
    """How rare out-of-fold scores are among those of the other folds.

    Raises:
        Invalid: there are too few rows to tell a share of false alarms that small.
    """
    needed = math.ceil(1 / false_alarms)
    fewest = min(int((splits.fold != number).sum()) for number in range(splits.count))
    if fewest + 1 < needed:
        raise Invalid(
            f"{len(scores)} rows cannot tell {false_alarms:g} of false alarms.",
            field="false_alarms",
            hint=f"Allow more of them, or bring {needed} rows beside those of each fold.",
        )
    draw = np.random.default_rng(seed)
    chances = np.empty(len(scores))
    for number in range(splits.count):
        held = splits.fold == number
        curve = _rarity(scores[~held], draw)
        chances[held] = [curve.of(float(score)) for score in scores[held]]
    return Calibrated(calibration=Calibration(_rarity(scores, draw)), chances=chances)


def _rarity(scores: Floats, draw: np.random.Generator) -> Rarity:
    """Of many scores some, drawn."""
    some = scores if len(scores) <= MOST_SCORES else draw.choice(scores, MOST_SCORES, replace=False)
    return Rarity(tuple(map(float, np.sort(some))))


def _loss(chances: Floats, truths: Truths) -> float:
    sums = LogLoss().terms(Sample.of(truths, chances)).sum(axis=0)
    return float(LogLoss().of(sums))


def _crossed(way: str, scores: Floats, truths: Truths, fold: np.ndarray) -> Floats:
    found = np.empty(len(scores))
    for number in np.unique(fold):
        held = fold == number
        curve = _learn(way, scores[~held], truths[~held])
        found[held] = scores[held] if curve is None else [curve.of(float(score)) for score in scores[held]]
    return found


def _learn(way: str, scores: Floats, truths: Truths) -> Curve | None:
    if way == "none" or truths.all() or not truths.any():
        return None
    if way == "platt":
        kept = np.clip(scores, EDGE, 1 - EDGE)
        line = LogisticRegression(C=1e6, max_iter=1000).fit(np.log(kept / (1 - kept))[:, None], truths)
        return Platt(float(line.coef_[0, 0]), float(line.intercept_[0]))
    edge = 1 / (len(scores) + 2)  # as many rows cannot show that a thing is impossible
    steps = IsotonicRegression(y_min=edge, y_max=1 - edge, out_of_bounds="clip").fit(scores, truths.astype(np.float64))
    return Isotonic(tuple(map(float, steps.X_thresholds_)), tuple(map(float, steps.y_thresholds_)))
