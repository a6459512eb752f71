"""Is what is flagged still odd? How much is flagged, and how often rightly; recall only where rows were drawn by chance."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.evaluation.evidence import OutOfFold
from tandem.monitoring.findings import control
from tandem.monitoring.perform import KEPT, State, changed, rated
from tandem.scorers.sample import Floats, Truths
from tandem.scorers.twosample import Rate

LEAST = 10
"""Labelled rows that were flagged, below which their precision is not compared; and rows drawn by chance, for a recall."""
NO_RECALL = (
    "The recall is not known: nobody knows what was missed among rows that were not flagged, unless some are drawn by chance "
    "and labelled (drawn: true)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """What a model said of some rows, and what turned out; all arrays have one entry for each."""

    scores: Floats
    truth: Floats
    """1 of an anomaly, 0 of none, NaN where that is not known."""
    drawn: Truths
    """Whether the row was drawn by chance, whatever its score."""


def judge_oddities(
    now: Odd,
    evidence: OutOfFold,
    state: State,
    *,
    mature: bool,
    over: bool,
    minimum: int,
    threshold: float,
    level: float,
    seed: int = 1,
) -> tuple[tuple[Finding, ...], State]:
    """The findings of a window, and the state after it.

    Args:
        now: the window, in the order of the calls.
        evidence: what the model said of rows that it had not seen.
        state: as the last mature window left it; of the flagged rows those that were no anomalies are the wrong ones.
        mature: whether enough of what was flagged has its label.
        over: whether no more labels are waited for: then what needs none is compared.
        minimum: rows below which nothing is compared.
        threshold: the difference of a rate that matters.
        level: the chance of any false finding in this check.
        seed: of draws.
    """
    flagged = now.scores >= evidence.threshold
    known = ~np.isnan(now.truth)
    enough = len(now.scores) >= minimum
    found = [_flagged(flagged, evidence, threshold, compared=enough and (mature or over))]
    wrong = now.truth[flagged & known] == 0
    after = state
    if len(wrong):
        found.append(_precision(wrong, evidence, threshold, compared=enough and mature and len(wrong) >= LEAST))
    if mature and enough and len(wrong):
        stream = np.concatenate((np.array([each == "1" for each in state.wrong], dtype=np.bool_), wrong))[-KEPT:]
        found.append(changed(stream, len(wrong), threshold, seed))
        after = replace(state, wrong="".join("1" if each else "0" for each in stream))
    if mature or over:
        found.append(_recall(now, flagged, known))
    return control(found, level=level), after


def _flagged(flagged: Truths, evidence: OutOfFold, threshold: float, *, compared: bool) -> Finding:
    """How much is flagged, beside how much of the rows that the model had not seen."""
    expected = Rate(hits=sum(each >= evidence.threshold for each in evidence.probabilities), n=len(evidence.rows))
    now = Rate(hits=int(flagged.sum()), n=len(flagged))
    found = rated("flagged", now, expected, threshold, compared=compared)
    return replace(found, note=f"{1 - evidence.threshold:.2g} were to be expected of rows like those of the training.")


def _precision(wrong: Truths, evidence: OutOfFold, threshold: float, *, compared: bool) -> Finding:
    """How often a flag was right, beside how often it was where anomalies were known in training."""
    now = Rate(hits=int((~wrong).sum()), n=len(wrong))
    called = [label for label, score in zip(evidence.labels, evidence.probabilities, strict=True) if score >= evidence.threshold]
    if any(evidence.labels) and called:
        return rated("precision", now, Rate(hits=int(sum(called)), n=len(called)), threshold, compared=compared, less=True)
    note = "Nothing to compare with: no anomalies were known in training. The stream of errors is watched."
    return _told("precision", now.estimate, now.n, note)


def _recall(now: Odd, flagged: Truths, known: Truths) -> Finding:
    """Of all anomalies the share that was flagged: what was missed is estimated from the rows that were drawn by chance."""
    passed = now.truth[~flagged & known & now.drawn]
    if len(passed) < LEAST:
        return _told("recall", None, 0, NO_RECALL)
    precise = now.truth[flagged & known]
    found = Rate(hits=int(precise.sum()), n=len(precise)).estimate if len(precise) else Estimate(value=0, low=0, high=1, n=0)
    missed = Rate(hits=int(passed.sum()), n=len(passed)).estimate
    caught, left = int(flagged.sum()), int((~flagged).sum())
    estimate = Estimate(
        value=_part(found.value * caught, missed.value * left),
        low=_part(found.low * caught, missed.high * left),
        high=_part(found.high * caught, missed.low * left),
        n=len(passed),
    )
    return _told("recall", estimate, len(passed), f"From {len(passed)} rows drawn by chance that were not flagged.")


def _part(caught: float, missed: float) -> float:
    return caught / (caught + missed) if caught + missed else math.nan


def _told(subject: str, now: Estimate | None, n: int, note: str) -> Finding:
    """What is told and not compared."""
    return Finding(
        subject=subject,
        what="performance",
        verdict="not-enough-data",
        n=n,
        reference_n=0,
        measure="told",
        threshold=0.0,
        now=now,
        note=note,
    )
