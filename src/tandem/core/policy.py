"""Policy: what may be spent, what a version must prove, what may not pass, who is told. Budgets, gates, guards, alerts."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A destination outside, and which deeds of the audit it is told of."""

    name: str
    kind: str
    """How it is spoken to: `webhook`, `slack` or `email`."""
    url: str
    """A reference, never clear text once stored, because an address may be a secret: `env:NAME`, `file:PATH`, `sealed:…`."""
    on: tuple[str, ...]
    """Actions of the audit, such as `monitor.alarm`; `budget.*` is every one of a noun, `*` all of them."""
    team: str | None = None
    """Whose deeds it is told of; None: every team's."""
    secret: str = ""
    """A reference like `url`: what a webhook is signed with, or the password at a mail server."""
    user: str = ""
    """Who signs in at a mail server; empty: nobody does."""
    sender: str = ""
    """The address that mail comes from."""
    to: tuple[str, ...] = ()
    """The addresses that mail goes to."""
    managed: str | None = None
    """`file:NAME:LINE` when `tandem.toml` declares it; then it is read-only elsewhere."""
