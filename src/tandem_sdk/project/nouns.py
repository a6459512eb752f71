"""What a project is made of: things that it declares, and stages that versions go through. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

PRODUCTION = "production"
"""The stage whose endpoints a promotion makes by itself, and what a gate guards unless it says so."""
SERVED = {"model": "predict", "decision": "decide", "index": "chat"}
"""Kind of asset → kind of the endpoint that serves it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One thing that a project declares."""

    kind: str
    name: str
    content: Mapping[str, object]
    """As it is compared and sent. What it leaves out is not compared."""
    file: str
    """`prompts/support.txt`, or `project.toml:12`."""

    @property
    def address(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step on the way of a version: an alias, and what is different there."""

    name: str
    values: Mapping[str, str] = field(default_factory=dict)
    """What `${…}` means here."""
    promote: tuple[str, ...] | None = None
    """Which assets move here; None: all."""
    suffix: str = ""
    """Of the endpoints' names: empty at the last stage."""
