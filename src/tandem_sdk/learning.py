"""Learning online: how an endpoint's model learns from labels as they come, and what came of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Labels that were learned, one after the other."""

    labels: int = 0
    digest: str = ""
    since: int = 0
    """When the first of their calls began, UTC microseconds."""
    until: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a candidate is promoted."""

    need: str = "improved"
    """`improved` or `non-inferior`."""
    margin: float = 0.01
    confirm: int = 400
    """Rows that it must have been judged on at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPlan:
    """How an endpoint's model learns."""

    endpoint: str = ""
    every: int = 200
    """Labelled rows of a step."""
    seconds: float | None = None
    """After this time a step takes what labels there are."""
    rule: Rule = field(default_factory=Rule)
    rate: float = 0.3
    team: str = ""
    model: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningStep:
    """What came of one step."""

    run: str
    number: int
    at: int
    """UTC microseconds."""
    outcome: str
    """`started`, `waits`, `renewed`, `thrown-away`, `promoted`, `asked` or `rolled-back`."""
    reason: str
    labels: int
    losses: Mapping[str, float]
    """Model → mean over the step's rows, each predicted before it was learned: of classes the share of wrong answers, of numbers
    the mean absolute error."""
    champion: str
    """After the step."""
    version: str | None = None
    """That it published."""
    request: str | None = None
    span: Span = field(default_factory=Span)
    """Labels that had been learned by then, since learning began from a champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """How an endpoint's model learns, and what came of it."""

    endpoint: str
    state: str
    """`learning`, `stopped` or `failed`."""
    plan: LearningPlan
    run: str
    """The newest step's."""
    champion: str
    reason: str | None = None
    stage: str = ""
    steps: tuple[LearningStep, ...] = ()
    """Those that are over, the newest first."""
