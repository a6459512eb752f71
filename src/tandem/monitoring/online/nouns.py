"""What learning is told in: how, from where, and what came of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from tandem.monitoring.online.step import Outcome, Rule, Standing

Told = Literal[Outcome, "promoted", "asked", "rolled-back"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint's model learns."""

    endpoint: str
    every: int = 200
    """Labelled rows of a step."""
    seconds: float | None = None
    """After this time a step takes what labels there are; None waits for all."""
    rule: Rule = Rule()
    rate: float = 0.3
    """How much one row moves the model: by this share of its error, at most."""
    team: str = "default"
    model: str = ""
    """Its name."""
    by: str = ""
    """Who began it."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that were learned, one after the other."""

    labels: int = 0
    digest: str = ""
    """Of all of them, in their order."""
    since: int = 0
    """When the first of their calls began, UTC microseconds."""
    until: int = 0
    """The last."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A version that waits for a person."""

    version: str
    request: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What a step goes on from."""

    number: int = 1
    since: int = 0
    """Calls that began later are learned from."""
    first: str = ""
    """The version that learning began from."""
    champion: str = ""
    former: str = ""
    """The champion before, while it is still compared."""
    standing: Standing = Standing()
    folder: str = ""
    """The step before, whose learner goes on; empty where learning begins from the champion."""
    learned: Span = Span()
    """By the learner, since it began from a champion."""
    frozen: Span = Span()
    """By the candidate."""
    asked: Asked | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a step has learned."""

    state: State
    """As the step found things: people may have moved production meanwhile."""
    losses: dict[str, list[float]]
    calls: list[tuple[str, str, bool]]
    """Trace, call, and whether its rows could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What came of one step."""

    run: str
    number: int
    at: int
    """UTC microseconds."""
    outcome: Told
    reason: str
    labels: int
    losses: Mapping[str, float]
    """Mean over the step's rows, each predicted before it was learned: of classes the share of wrong answers, of numbers the mean
    absolute error. `champion`, `first`, `learner`, and where there is one `candidate` and `former`."""
    champion: str
    """After the step."""
    version: str | None = None
    """That it published."""
    request: str | None = None
    span: Span = field(default_factory=Span)
    """Labels that the learner had learned by then, since it began from a champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """How an endpoint's model learns, and what came of it."""

    endpoint: str
    state: Literal["learning", "stopped", "failed"]
    reason: str | None
    """Why it failed or was stopped."""
    plan: Plan
    run: str
    """The newest step's."""
    stage: str
    """What it waits for."""
    champion: str
    steps: tuple[Step, ...] = ()
    """Those that are over, the newest first."""
