"""A project: what a repository declares on the platform, and each time that it was applied. Plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ApplyState = Literal["running", "done", "waiting", "failed", "broken-off"]
"""`waiting`: all is done but for what people must approve; `broken-off`: it never said how it ended, and another one began."""
StepState = Literal["left", "done", "waiting", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One thing that a project declares."""

    thing: str
    """`prompt/support`, `gate/model/fraud@production`, `budget/team/claims@day`."""
    project: str
    file: str
    """Where, as `FILE` or `FILE:LINE` within the repository."""
    commit: str = ""
    """The commit of the apply that declared it last."""
    at: int = 0
    """UTC microseconds, like all times here."""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing of a plan, and what became of it."""

    thing: str
    action: str
    """`create`, `new version`, `change`, `replace`, `promote`, `adopt`, `remove` or `forget`."""
    state: StepState = "left"
    note: str = ""
    """What was made, which request waits, or why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """One time that a plan was applied."""

    id: str
    """`app_…`"""
    project: str
    team: str
    plan: str
    """`sha256:…` of the plan."""
    stage: str = ""
    commit: str = ""
    by: str = ""
    state: ApplyState = "running"
    begun_at: int = 0
    ended_at: int | None = None
    steps: tuple[Step, ...] = ()

    @property
    def because(self) -> Mapping[str, object]:
        """What the audit says of each deed that it does."""
        return {"name": self.project, "apply": self.id, "plan": self.plan, "stage": self.stage, "commit": self.commit}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A repository whose folder declares things."""

    name: str
    team: str
    created_at: int = 0
    created_by: str = ""
    newest: Apply | None = None
