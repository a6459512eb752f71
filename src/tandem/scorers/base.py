"""What a scorer is, and the table of those that come along. Imports no numpy, so that a base install can list them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

from tandem.core.errors import Invalid
from tandem.core.score import Estimate

if TYPE_CHECKING:
    from tandem.scorers.sample import Floats, Sample


class Scorer(Protocol):
    """One metric of a binary classifier."""

    name: ClassVar[str]
    more_is_better: ClassVar[bool]

    def score(self, sample: Sample) -> Estimate:
        """The metric with its 95 % interval. Does not depend on the order of rows.

        Raises:
            Invalid: the metric is not defined for this sample.
        """
        ...


class Additive(Scorer, Protocol):
    """A metric that is a function of sums over rows, and so can be resampled without recomputing rows."""

    def terms(self, sample: Sample) -> Floats:
        """What each row adds: rows x terms."""
        ...

    def of(self, sums: Floats) -> Floats:
        """The metric from sums of terms: … x terms in, … out."""
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
"""Name → `module:class`, imported when asked for."""


def load(name: str) -> Scorer:
    """The scorer of that name.

    Raises:
        Invalid: there is none.
    """
    if name not in SCORERS:
        raise Invalid(f"There is no metric '{name}'.", field="metric", hint=f"Use one of: {', '.join(SCORERS)}.")
    module, _, member = SCORERS[name].partition(":")
    return cast(Scorer, getattr(import_module(module, __package__), member)())


def sample(labels: Sequence[int], probabilities: Sequence[float], *, threshold: float = 0.5) -> Sample:
    """`Sample.of`, for callers that must not import numpy themselves.

    Raises:
        Invalid: as `Sample.of`.
    """
    found = import_module("tandem.scorers.sample").Sample.of(labels, probabilities, threshold=threshold)
    return cast("Sample", found)
