"""Approval: how many people a deed needs, and a request: one deed that waits for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Action = Literal["promote", "release", "budget.raise", "guard.change", "key.broad"]
"""What can be made to need people: an alias moved to production, the same of a release, a cap raised or dropped, guards
that move or weaken, a key that may more than call one endpoint."""
ACTIONS: tuple[Action, ...] = get_args(Action)
ApproverRole = Literal["approver", "admin"]
State = Literal["open", "performing", "approved", "declined", "expired", "stale"]
"""`performing`: approved, and what another store must hear of it is not told yet; `stale`: what it was about has changed."""
WAITING: tuple[State, ...] = ("open", "performing")
HOURS = 72


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A rule: a deed of this kind needs so many people, and its author is none of them."""

    action: Action
    team: str | None = None
    """Whose things it is about; None: every team's that has no rule of its own."""
    people: int = 1
    role: ApproverRole = "approver"
    """What each of them must be; an admin is an approver too."""
    hours: int = HOURS
    """How long a request waits for them."""
    managed: str | None = None
    """`file:NAME:LINE` when `tandem.toml` declares it; then it is read-only elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One person's approval."""

    person: str
    """`person/NAME`, or `key/NAME` where nobody is known behind the key. Whatever key they use, they count once."""
    by: str
    """The principal they used, as the audit names it."""
    at: int
    """UTC microseconds, like all times here."""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A deed that waits for people: what exactly shall be done, who asked, who has approved."""

    id: str
    team: str
    subject: str
    """What it is about: `model/NAME@N`, `team/T`, `key/N`, `endpoint/E`."""
    reason: str
    """Why it was asked for, in sentences."""
    action: Action = "promote"
    does: str = "alias.promote"
    """The deed as the audit will name it."""
    deed: Mapping[str, object] = field(default_factory=dict)
    """Everything that is needed to do it; JSON."""
    digest: str = ""
    """`sha256:…` of team, subject, `does` and `deed` in canonical JSON: what people approve is what is done."""
    author: str = ""
    """The principal that asked, as the audit names it."""
    person: str = ""
    """Who is behind it, as `Voice.person`."""
    people: int = 1
    role: ApproverRole = "approver"
    rule: Approval | None = None
    """The rule as it was when this was asked; None: no rule asked for people, a Monitor did."""
    approvals: tuple[Voice, ...] = ()
    state: State = "open"
    created_at: int = 0
    expires_at: int | None = None
    decided_at: int | None = None
    decided_by: str | None = None
    note: str = ""
    """What the person said who decided, or why it is stale."""
    alias: str = ""
    """Of a promotion: what moves."""
    monitor: str = ""
    """The Monitor that asked, if one did."""
    report: str | None = None
    """The report that led to it."""
    run: str = ""
    """The Run that made the version."""
    passed: bool = True
    """Whether the gate let the version pass when the request was opened."""
