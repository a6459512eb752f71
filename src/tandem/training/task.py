"""What is to be trained: data, target, algorithm, seed. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.errors import Invalid
from tandem.data.contract import Contract

AlgorithmName = Literal["gradient-boosting", "logistic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training, complete: the same task on the same data gives the same bytes."""

    name: str
    """The model's name."""
    dataset: str
    """The dataset version it is trained on, as `dataset/NAME@N`."""
    target: str
    """The column to predict; it has exactly two values."""
    algorithm: AlgorithmName = "gradient-boosting"
    params: Mapping[str, float | int] = field(default_factory=dict)
    """The algorithm's own; what is left out has its default, what it does not know is refused."""
    positive: str | None = None
    """The class whose probability is predicted; by default 1, true, or the last in text order."""
    threshold: float = 0.5
    """At or above it the positive class is predicted."""
    seed: int = 0
    """Of folds and algorithm; not negative."""
    folds: int = 5
    exclude: tuple[str, ...] = ()
    """Columns that are no features, besides the contract's id and time columns and the target."""
    contract: Contract | None = None
    """Of the dataset: its ranges become the model's; inferred from the data when missing."""

    def __post_init__(self) -> None:
        if not 2 <= self.folds <= 20:
            raise Invalid(f"{self.folds} folds are not possible.", field="folds", hint="Use 2 to 20.")
        if not 0 <= self.seed < 2**31:
            raise Invalid(f"The seed {self.seed} is not possible.", field="seed", hint="Use 0 to 2147483647.")
        if not 0 < self.threshold < 1:
            raise Invalid(
                f"The threshold {self.threshold} is not possible.", field="threshold", hint="Use a number between 0 and 1."
            )
