"""What a deed that needs people looks like: the rule, the request that waits, who has approved. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.verdicts import Promotion


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A rule: a deed of this kind needs so many people, and its author is none of them."""

    action: str
    """`promote`, `release`, `budget.raise`, `guard.change` or `key.broad`."""
    people: int = 1
    role: str = "approver"
    """`approver` or `admin`; an admin is an approver too."""
    team: str | None = None
    """Whose things; None: every team's that has no rule of its own."""
    hours: int = 72
    """How long a request waits for them."""
    managed: str | None = None
    """`file:NAME:LINE` when `tandem.toml` declares it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """One person's approval."""

    person: str
    by: str = ""
    """The principal they used, as the audit names it."""
    at: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A deed that waits for people."""

    id: str
    subject: str = ""
    """What it is about: `model/NAME@N`, `team/T`, `key/N`, `endpoint/E`."""
    action: str = "promote"
    """Which rule it falls under."""
    does: str = "alias.promote"
    """The deed as the audit will name it."""
    deed: Mapping[str, object] = field(default_factory=dict)
    """Everything that is needed to do it."""
    digest: str = ""
    author: str = ""
    people: int = 1
    role: str = "approver"
    approvals: tuple[Voice, ...] = ()
    waits_for: str | None = None
    """Who may still approve, in words; None when nobody is waited for."""
    alias: str = ""
    """Of a promotion: what moves."""
    reason: str = ""
    monitor: str = ""
    report: str | None = None
    run: str = ""
    passed: bool = True
    """Whether the gate let the version pass when the request was opened."""
    state: str = "open"
    """`open`, `performing`, `approved`, `declined`, `expired` or `stale`."""
    team: str = ""
    created_at: int = 0
    expires_at: int | None = None
    decided_at: int | None = None
    decided_by: str | None = None
    note: str = ""
    promotion: Promotion | None = None
    """What the promotion came to; only in the answer to an approval."""
    done: Mapping[str, object] | None = None
    """What the deed came to; only in the answer to the last approval."""
