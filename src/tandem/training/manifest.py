"""What passes between a training process and its parent: the order, and what was made. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tandem.core.errors import Broken, Invalid
from tandem.core.score import Estimate
from tandem.serving.signature import Signature
from tandem.training.task import Task

DONE = "done.json"
"""The manifest's file name; it is written last, so its presence means that all is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One training as a child process is told of it."""

    lake: str
    """The lake's directory."""
    table: str
    """The table's name in the lake."""
    version: int
    """The table's Delta version."""
    task: Task
    digest: str | None = None
    """The dataset's content digest; when given, other content is refused."""

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> Spec:
        """Reads what `to_json` wrote.

        Raises:
            Invalid: it is something else.
        """
        try:
            return msgspec.json.decode(text, type=cls)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Invalid(f"This is no training order: {error}.", field="spec") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """The comparison of a model's ONNX form with itself over the training rows."""

    held: bool
    """Every probability within the tolerance, and no row on another side of the threshold."""
    reason: str
    """For people."""
    rows: int
    tolerance: float
    """Largest difference of two probabilities that counts as the same."""
    largest: float | None = None
    """Largest absolute difference of two probabilities; None where there is no ONNX form."""
    changed: int | None = None
    """Rows whose predicted class differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a training made: the files in its directory, and what is known about the model."""

    members: Mapping[str, str]
    """File name → `sha256:…` of its bytes."""
    dataset: str
    digest: str
    """Of the dataset's content."""
    target: str
    rows: int
    metrics: Mapping[str, Estimate]
    """Every scorer on the out-of-fold predictions."""
    signature: Signature
    classes: tuple[str, str]
    """Negative, positive."""
    threshold: float
    runtime: str
    """`onnx`, or the native runtime where parity was not proven."""
    parity: Parity
    importances: Mapping[str, float]
    """Column → its share, largest first."""
    environment: Mapping[str, str]
    """Library → version."""

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of a finished training.

        Raises:
            Broken: there is none, or it is not one.
        """
        try:
            return msgspec.json.decode((directory / DONE).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError) as error:
            raise Broken(f"The training left no manifest: {error}.", hint="Train again.") from None
