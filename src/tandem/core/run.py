"""Run: one execution that makes Assets or Scores. Ingest, train, evaluate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution, with what went in, how far it is and what came out."""

    id: str
    kind: str
    """The workflow's name: `train`, `ingest`."""
    name: str
    """What the run is about, for people: usually the asset it makes."""
    team: str
    created_by: str
    created_at: int
    state: State = "queued"
    inputs: Mapping[str, object] = field(default_factory=dict)
    outputs: Mapping[str, object] = field(default_factory=dict)
    """Assets made, metrics with intervals, environment."""
    progress: float = 0.0
    """Between 0 and 1."""
    stage: str = ""
    """What it is doing now, for people."""
    reason: str | None = None
    """Why it failed or was cancelled."""
    started_at: int | None = None
    ended_at: int | None = None
    parent: str | None = None
    """The Run that started it: of what a pipeline has trained, scored or added."""
