"""Out-of-fold predictions: the evidence that a model version carries with it. Imports no numpy."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from tandem.core.errors import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfFold:
    """For every row of a dataset, what a model said that had not seen the row in training."""

    dataset: str
    """The version predicted on, as `dataset/NAME@N`."""
    digest: str
    """The content digest of that version: equal names are not enough."""
    target: str
    """The column that was predicted."""
    positive: str
    """The class whose probability is meant."""
    rows: tuple[str, ...]
    """Row ids, unique."""
    labels: tuple[int, ...]
    """1 where the row is of the positive class."""
    probabilities: tuple[float, ...]
    """Probability of the positive class."""
    seed: int
    """Of the folds: the same dataset and seed give the same folds."""
    folds: int
    threshold: float = 0.5
    """At or above it the model predicts the positive class."""

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.labels) == len(self.probabilities):
            raise Invalid(
                f"The predictions on {self.dataset} have {len(self.rows)} ids, {len(self.labels)} labels and "
                f"{len(self.probabilities)} probabilities.",
                field="rows",
                hint="Train again; the file was changed or cut.",
            )
        if len(set(self.rows)) != len(self.rows):
            raise Invalid(f"The predictions on {self.dataset} name a row twice.", field="rows", hint="Train again.")

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> OutOfFold:
        """Reads what `to_json` wrote.

        Raises:
            Invalid: it is something else.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Invalid(f"These are no out-of-fold predictions: {error}.", field="oof.json", hint="Train again.") from None
