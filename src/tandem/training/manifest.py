"""What passes between a training process and its parent: the order, and what was made. Imports no numeric library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tandem.core.errors import Broken, Invalid
from tandem.core.score import Estimate
from tandem.evaluation.evidence import Latency
from tandem.jobs.pieces import HERE, Compute
from tandem.scorers.base import TaskName
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
    images: bool = False
    """Whether the rows' images are learned from."""
    network: str | None = None
    """The directory of an imported network that makes numbers of images."""
    trust: tuple[str, ...] = ()
    """What may be executed of it, as words of `serving.base.TRUST`."""
    compute: Compute = HERE
    """Who fits the trials of a search."""

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
    """Every output within the tolerance, and no row of another class."""
    reason: str
    """For people."""
    rows: int
    tolerance: float
    """Largest difference of two outputs that counts as the same."""
    largest: float | None = None
    """Largest absolute difference of two outputs; None where there is no ONNX form."""
    changed: int | None = None
    """Rows whose predicted class differs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How scores became probabilities."""

    way: str
    """`platt` or `isotonic`."""
    before: Estimate
    """The calibration error of the scores themselves."""
    after: Estimate
    """That of probabilities by curves that were learned from other folds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One set of parameters that a search tried."""

    number: int
    params: Mapping[str, float]
    """Those that were searched."""
    loss: float
    """Mean over the inner folds that it came to."""
    folds: int
    """How many those were."""
    pruned: bool
    """Whether it was given up early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """What a search came to."""

    study: str
    """`all`, or `fold N` for the search of an outer fold."""
    params: Mapping[str, float]
    """All of the algorithm's, as the best trial had them."""
    loss: float
    """Its loss; of the rows that chose it, so no estimate of anything."""
    trials: tuple[Trial, ...]


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
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where the answer is a number."""
    threshold: float
    runtime: str
    """`onnx`, or the native runtime where parity was not proven."""
    parity: Parity
    importances: Mapping[str, float]
    """Column → its share, largest first."""
    environment: Mapping[str, str]
    """Library → version."""
    latency: Latency | None = None
    """How long one row takes, on the machine that trained."""
    task: TaskName = "classification"
    algorithm: str = ""
    """What was trained, where the order left that open."""
    warnings: tuple[str, ...] = ()
    """Sentences for people about what may make the metrics too good to be true."""
    calibration: Calibration | None = None
    params: Mapping[str, float] = field(default_factory=dict)
    """All of the algorithm's, as the model that is kept has them."""
    tuning: tuple[Searched, ...] = ()
    """The search over all rows, and one for each outer fold; empty where nothing was searched."""
    beyond: float = 0.0
    """Seconds of trials elsewhere, beyond those that the training waited for them."""

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
