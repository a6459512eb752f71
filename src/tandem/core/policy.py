"""Policy: what a Principal may spend, what a version must prove, what may not pass. Budgets, gates and guards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Window = Literal["minute", "hour", "day", "month", "total"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A hard cap on what one scope may spend in one window (UTC calendar)."""

    scope: str
    """`org`, `team/T` or `key/N`."""
    cap: int
    """Nano-dollars."""
    window: Window = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a version must prove before an alias moves to it."""

    asset: str
    """`model/tumor`, or `model/*` for the default of a kind."""
    alias: str = "production"
    metric: str = "roc_auc"
    minimum: float | None = None
    """The lower bound of the candidate's interval must reach this."""
    margin: float = 0.02
    """The loss against the champion that non-inferiority tolerates, in units of the metric."""
    require: Literal["improved", "non-inferior"] = "non-inferior"
    suite: str | None = None
    """For prompts: the suite they are evaluated with, `suite/NAME` for its newest version or `suite/NAME@VERSION`."""


Action = Literal["allow", "observe", "mask", "block"]
Side = Literal["in", "out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What happens to what a detector finds on its way in or out."""

    detector: str
    """`card`, or one of its forms such as `credential/github`; the form's row wins over the detector's."""
    action: Action = "block"
    on: tuple[Side, ...] = ("in", "out")
