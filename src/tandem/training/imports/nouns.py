"""What is asked of an examination and what comes of it. Imports no numpy: control reads it, the child carries it out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tandem.scorers.base import TaskName
from tandem.serving.signature import Signature
from tandem.training.imports.find import Candidate
from tandem.training.manifest import Parity

NETWORK = "network"
"""What the card of a network says that only makes numbers: no runtime serves it."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which candidate is examined, and where its members are put."""

    candidate: Candidate
    folder: str
    out: str
    trust: tuple[str, ...]


class Examined(msgspec.Struct, frozen=True, kw_only=True):
    """A model that is ready to be published."""

    members: Mapping[str, str]
    """File name → `sha256:…`; they lie in the order's `out`."""
    framework: str
    version: str
    """Of the framework here."""
    runtime: str
    signature: Signature
    classes: tuple[str, ...]
    threshold: float
    task: TaskName
    parity: Parity
    compared: str
    """Which calls on which rows, for people."""
    source: str
    """`sha256:…` of the file; of a directory, of its digests in order."""
    trusted: tuple[str, ...]
    """What was executed to examine it."""
    environment: Mapping[str, str]
