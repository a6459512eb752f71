"""Is a model that tells numbers as near as it was? Realised errors of labelled rows, and an estimate without labels.

The estimate is direct loss estimation: a second model learns, on rows that the first had not seen, how far off the first one
is where; asked about new rows, it says how far off it is to be expected. It holds as far as the same inputs still mean the
same error: a change of the rule from inputs to the number is not seen by it, so its own past error is told beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tandem.core.monitor import Finding
from tandem.core.score import Estimate
from tandem.monitoring.findings import control
from tandem.monitoring.perform import KEPT, PAST, State, changed, expected
from tandem.scorers.sample import Floats
from tandem.scorers.tails import student_beyond

LARGE = 0.9
"""The share of the reference's errors above which an error is large."""
LEARNED = 20_000
"""Rows that the second model learns from, at most."""
FOLDS = 5
LEAST = 100
"""Reference rows below which nothing is estimated."""
Z = 1.959963984540054


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What a model said of some rows, and what turned out."""

    inputs: Floats
    """Rows x columns, NaN where a value is missing, categories by number."""
    told: Floats
    truth: Floats
    """NaN where it has not come."""

    @property
    def errors(self) -> Floats:
        """How far off the model was; NaN where nobody knows."""
        return np.abs(self.told - self.truth)


def judge_numbers(
    now: Numbers,
    before: Numbers,
    state: State,
    *,
    categories: Sequence[int] = (),
    mature: bool,
    minimum: int,
    threshold: float,
    level: float,
    seed: int = 1,
) -> tuple[tuple[Finding, ...], State]:
    """The findings of a window, and the state after it.

    Args:
        now: the window, in the order of the calls.
        before: rows that the model had not seen in training.
        state: as the last mature window left it.
        categories: the places of inputs that are categories.
        mature: whether enough labels have come; else only the estimate is told, and the state stays.
        minimum: labelled rows below which nothing is compared.
        threshold: by which share the mean error must have grown to matter.
        level: the chance of any false finding in this check.
        seed: of draws.
    """
    off = state.off.get("mae", ())
    told = expect(now, before, categories=categories, seed=seed)
    known = now.errors[~np.isnan(now.errors)]
    if not mature or len(known) < minimum:
        return () if told is None else (expected("mae", told, None, off, len(before.told)),), state
    large = np.quantile(before.errors, LARGE)
    stream = np.concatenate((np.array([each == "1" for each in state.wrong], dtype=np.bool_), known > large))[-KEPT:]
    found = [_error(known, before.errors, threshold), changed(stream, len(known), threshold, seed)]
    if told is None:
        return control(found, level=level), replace(state, wrong=_kept(stream))
    actual = float(known.mean())
    after = State(wrong=_kept(stream), off={"mae": (*off, told.value - actual)[-PAST:]})
    return (*control(found, level=level), expected("mae", told, actual, off, len(before.told))), after


def _kept(stream: NDArray[np.bool_]) -> str:
    return "".join("1" if each else "0" for each in stream)


def expect(now: Numbers, before: Numbers, *, categories: Sequence[int] = (), seed: int = 1) -> Estimate | None:
    """The mean absolute error that is to be expected of rows without labels; None where there is too little to learn from.

    What the second model cannot tell is taken from its own held-out predictions: their mean is added, their spread is in the
    interval, which is of the mean that will be realised.
    """
    if len(before.told) < LEAST or not len(now.told):
        return None
    order = np.random.default_rng(seed).permutation(len(before.told))[:LEARNED]
    inputs, errors = _beside(before)[order], before.errors[order]
    left = np.empty(len(errors))
    for fold in range(FOLDS):
        out = np.arange(len(errors)) % FOLDS == fold
        left[out] = errors[out] - _learned(inputs[~out], errors[~out], categories, seed)(inputs[out])
    far = np.maximum(0.0, _learned(inputs, errors, categories, seed)(_beside(now)) + left.mean())
    spread = float(left.var(ddof=1))
    half = Z * math.sqrt(spread / len(now.told) + spread / len(errors))
    value = float(far.mean())
    return Estimate(value=value, low=max(0.0, value - half), high=value + half, n=len(now.told))


def _beside(rows: Numbers) -> Floats:
    """The inputs, and what the model said of them."""
    return np.column_stack((rows.inputs, rows.told))


def _learned(inputs: Floats, errors: Floats, categories: Sequence[int], seed: int) -> _Predict:
    import lightgbm

    told: Mapping[str, object] = {
        "objective": "l2",
        "num_leaves": 15,
        "min_data_in_leaf": max(10, min(40, len(errors) // 20)),
        "learning_rate": 0.05,
        "seed": seed,
        "deterministic": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    data = lightgbm.Dataset(inputs, errors, categorical_feature=list(categories), free_raw_data=True)
    return _Predict(lightgbm.train(dict(told), data, num_boost_round=100))


@dataclass(frozen=True, slots=True)
class _Predict:
    booster: object

    def __call__(self, inputs: Floats) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.asarray(self.booster.predict(inputs))  # type: ignore[attr-defined]  # lightgbm's
        return found


def gap_of(now: Floats, before: Floats) -> tuple[float, float, float]:
    """The difference of two means, its standard error, and the degrees of freedom of Student's t (Welch 1947)."""
    here, there = (part.var(ddof=1) / len(part) for part in (now, before))
    gap, error = float(now.mean() - before.mean()), math.sqrt(here + there)
    freedom = (here + there) ** 2 / (here**2 / (len(now) - 1) + there**2 / (len(before) - 1)) if error else 1.0
    return gap, error, freedom


def _error(now: Floats, before: Floats, threshold: float) -> Finding:
    """Whether the mean absolute error has grown: Welch's test, and by which share."""
    gap, error, freedom = gap_of(now, before)
    base = float(before.mean()) or 1.0
    p = float(student_beyond(gap / error, freedom)) if error and gap > 0 else 1.0  # what has become better calls nobody
    low, high = gap - Z * error, gap + Z * error
    return Finding(
        subject="mae",
        what="performance",
        verdict="stable",
        n=len(now),
        reference_n=len(before),
        measure="relative difference",
        threshold=threshold,
        effect=Estimate(value=gap / base, low=low / base, high=high / base, n=len(now)),
        p=p,
        now=_mean(now),
        before=_mean(before),
    )


def _mean(values: Floats) -> Estimate:
    half = Z * math.sqrt(values.var(ddof=1) / len(values))
    value = float(values.mean())
    return Estimate(value=value, low=max(0.0, value - half), high=value + half, n=len(values))
