"""Is a model as good as it was? Realised metrics of labelled rows, estimates without labels, and the stream of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.monitoring.findings import control
from tandem.scorers import change
from tandem.scorers.auc import RocAuc, placements, variance
from tandem.scorers.sample import Sample
from tandem.scorers.twosample import Rate, difference, fisher
from tandem.scorers.unlabelled import METRICS, Metric, curve, estimate, realised

KEPT = 5_000
"""Outcomes of the stream that a Monitor goes on from."""
PAST = 50
"""Windows behind the told error of past estimates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one window hands to the next."""

    wrong: str = ""
    """The newest labelled outcomes, oldest first: 1 where the model was wrong."""
    off: dict[str, tuple[float, ...]]
    """Metric → estimate minus realised, window by window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a model said of some rows, and what turned out."""

    chances: Sequence[float]
    """Of the positive class."""
    labels: Sequence[int]
    """1, 0, or -1 where none has come."""


def judge_performance(
    now: Rows,
    before: Rows,
    state: State,
    *,
    cut: float,
    mature: bool,
    minimum: int,
    threshold: float,
    level: float,
    metrics: Sequence[Metric] = METRICS,
    seed: int = 1,
) -> tuple[tuple[Finding, ...], State]:
    """The findings of a window, and the state after it.

    Args:
        now: the window, in the order of the calls.
        before: labelled rows that the model had not seen in training.
        state: as the last mature window left it.
        cut: at or above it a row is predicted positive.
        mature: whether enough labels have come; else only estimates are told, and the state stays.
        minimum: labelled rows below which nothing is compared.
        threshold: the loss of a metric that matters.
        level: the chance of any false finding in this check.
        metrics: that mean something here; of more than two classes it is asked whether the answer was right, which is `accuracy`.
        seed: of draws.
    """
    reference = Sample.of(before.labels, np.asarray(before.chances), threshold=cut)
    chances, labels = np.asarray(now.chances, dtype=np.float64), np.asarray(now.labels)
    told = estimate(curve(reference), chances, threshold=cut, seed=seed) if chances.size else {}
    told = {metric: value for metric, value in told.items() if metric in metrics}
    known, n = labels >= 0, len(before.labels)
    enough = mature and int(known.sum()) >= minimum
    if not enough:
        return tuple(expected(metric, told[metric], None, state.off.get(metric, ()), n) for metric in _sure(told)), state
    both = "roc_auc" in metrics and 0 < labels[known].sum() < known.sum()
    sample = Sample(labels=labels[known] == 1, probabilities=chances[known], threshold=cut)
    wrong = sample.predicted != sample.labels
    stream = np.concatenate((np.array([each == "1" for each in state.wrong], dtype=np.bool_), wrong))[-KEPT:]
    found = [_accuracy(sample, reference, threshold), changed(stream, len(wrong), threshold, seed)]
    if both:
        found.append(_area(sample, reference, threshold))
    actual = {metric: float(values[0]) for metric, values in realised(chances[known], labels[known][None, :] * 1.0, cut).items()}
    off = dict(state.off)
    for metric in _sure(told):
        if math.isfinite(actual[metric]):
            off[metric] = (*off.get(metric, ()), told[metric].value - actual[metric])[-PAST:]
    after = State(wrong="".join("1" if each else "0" for each in stream), off=off)
    estimates = [expected(metric, told[metric], actual[metric], state.off.get(metric, ()), n) for metric in _sure(told)]
    return (*control(found, level=level), *estimates), after


def _sure(told: dict[Metric, Estimate]) -> list[Metric]:
    return [metric for metric in METRICS if metric in told and math.isfinite(told[metric].low)]


def _accuracy(sample: Sample, reference: Sample, threshold: float) -> Finding:
    now, before = (Rate(hits=int((part.predicted == part.labels).sum()), n=part.n) for part in (sample, reference))
    return rated("accuracy", now, before, threshold, less=True)


def rated(subject: str, now: Rate, before: Rate, threshold: float, *, less: bool = False, compared: bool = True) -> Finding:
    """How a rate has moved; of `less`, only where it has fallen: what has become better calls nobody."""
    effect = difference(now, before)
    worse = effect.value < 0 or not less
    return Finding(
        subject=subject,
        what="performance",
        verdict="not-enough-data",
        n=now.n,
        reference_n=before.n,
        measure="difference of rates",
        threshold=threshold,
        effect=effect,
        p=None if not compared else fisher(now, before) if worse else 1.0,
        now=now.estimate,
        before=before.estimate,
    )


def _area(sample: Sample, reference: Sample, threshold: float) -> Finding:
    now, before = RocAuc().score(sample), RocAuc().score(reference)
    gap = now.value - before.value
    error = math.sqrt(variance(*placements(sample)) + variance(*placements(reference)))
    effect = Estimate(value=gap, low=gap - 1.96 * error, high=gap + 1.96 * error, n=sample.n)
    return Finding(
        subject="roc_auc",
        what="performance",
        verdict="stable",
        n=sample.n,
        reference_n=reference.n,
        measure="difference",
        threshold=threshold,
        effect=effect,
        p=math.erfc(-gap / error / math.sqrt(2)) if gap < 0 and error > 0 else 1.0,
        now=now,
        before=before,
    )


def changed(stream: change.Errors, fresh: int, threshold: float, seed: int) -> Finding:
    """Whether the errors have become more frequent within the window and those before it."""
    begun = change.since(stream)
    late, early = stream[begun:], stream[:begun]
    now, before = Rate(hits=int(late.sum()), n=len(late)), Rate(hits=int(early.sum()), n=len(early))
    worse = bool(len(late)) and bool(len(early))
    return Finding(
        subject="errors",
        what="performance",
        verdict="stable",
        n=len(stream),
        reference_n=len(early),
        measure="difference of rates",
        threshold=threshold,
        effect=difference(now, before) if worse else Estimate(value=0.0, low=0.0, high=0.0, n=len(stream)),
        p=change.significance(stream, fresh, seed=seed) if worse else 1.0,
        now=now.estimate if worse else None,
        before=before.estimate if worse else None,
        note=f"More errors since the last {len(late)} outcomes." if worse else "",
    )


def expected(subject: str, told: Estimate, actual: float | None, off: Sequence[float], reference_n: int) -> Finding:
    """What is to be expected without labels, beside what came of it and how far such estimates were off before."""
    past = f"Past estimates were off by {np.mean(np.abs(off)):.3g} on average of {len(off)} windows." if off else ""
    beside = f"Realised {actual:.3g}." if actual is not None and math.isfinite(actual) else "No realised value yet."
    return Finding(
        subject=subject,
        what="estimate",
        verdict="not-enough-data" if actual is None else "stable",
        n=told.n,
        reference_n=reference_n,
        measure="without labels",
        threshold=0.0,
        now=told,
        note=f"{beside} {past}".strip(),
    )
