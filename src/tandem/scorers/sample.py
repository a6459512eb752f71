"""Labels and predicted probabilities of the same rows: what every binary scorer judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tandem.core.errors import Invalid

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """`n` rows with both classes among them; build it with `Sample.of`."""

    labels: Truths
    """True where the row is of the positive class; shape n."""
    probabilities: Floats
    """Predicted probability of the positive class; shape n, in [0, 1]."""
    threshold: float = 0.5
    """At or above it a row is predicted positive."""

    @classmethod
    def of(cls, labels: Sequence[int] | Truths, probabilities: Sequence[float] | Floats, *, threshold: float = 0.5) -> Sample:
        """Checks the arrays once, so that scorers can trust them.

        Raises:
            Invalid: unequal lengths, labels other than 0 and 1, only one class, probabilities outside [0, 1].
        """
        truth = np.asarray(labels)
        chance = np.asarray(probabilities, dtype=np.float64)
        if truth.ndim != 1 or truth.shape != chance.shape:
            raise Invalid(
                f"There are {truth.size} labels of shape {truth.shape} for probabilities of shape {chance.shape}.",
                field="labels",
                hint="Give one label and one probability per row.",
            )
        if not np.isin(truth, (0, 1)).all():
            raise Invalid("Labels must be 0 or 1.", field="labels", hint="1 is the positive class.")
        if not (np.isfinite(chance).all() and ((chance >= 0) & (chance <= 1)).all()):
            raise Invalid(
                "Probabilities must lie between 0 and 1.", field="probabilities", hint="Do not pass log-odds or missing values."
            )
        positive = truth.astype(np.bool_)
        if positive.all() or not positive.any():
            only = "no rows" if not positive.size else "only the positive class" if positive.all() else "only the negative class"
            raise Invalid(f"The sample has {only}; a score needs both classes.", field="labels", hint="Add rows of both classes.")
        return cls(labels=positive, probabilities=chance, threshold=threshold)

    @property
    def n(self) -> int:
        return int(self.labels.size)

    @property
    def predicted(self) -> Truths:
        """True where the row is predicted positive; shape n."""
        return self.probabilities >= self.threshold
