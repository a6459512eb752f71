"""Projects: what repositories declare on the platform, and each time that one was applied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tandem_sdk.shape import plain
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One thing that a project declares."""

    thing: str
    """`prompt/support`, `gate/model/fraud@production`, `budget/team/claims@day`."""
    project: str = ""
    file: str = ""
    """Where, as `FILE` or `FILE:LINE` within the repository."""
    commit: str = ""
    at: int = 0
    """UTC microseconds, like all times here."""
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """One thing of a plan, and what became of it."""

    thing: str
    action: str = ""
    state: str = "left"
    """`left` (not done), `done`, `waiting` (for people) or `failed`."""
    note: str = ""
    """What was made, which request waits, or why it failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """One time that a plan was applied."""

    id: str
    project: str = ""
    plan: str = ""
    """`sha256:…` of the plan."""
    stage: str = ""
    commit: str = ""
    by: str = ""
    state: str = "running"
    """`running`, `done`, `waiting`, `failed`, or `broken-off` where it never said how it ended."""
    begun_at: int = 0
    ended_at: int | None = None
    steps: tuple[Did, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A repository whose folder declares things."""

    name: str
    team: str = ""
    created_at: int = 0
    created_by: str = ""
    newest: Apply | None = None
    """In a list: its newest apply."""
    things: tuple[Declared, ...] = ()
    applies: tuple[Apply, ...] = ()
    """Newest first; these two where one project is shown."""


class Projects:
    """`client.projects`. What reads a folder, plans and applies is in `tandem_sdk.project`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Project, ...]:
        """Every project of the key's team, with its newest apply."""
        return read_replies(Project, self._wire.get(f"{API}/projects"))

    def show(self, name: str) -> Project:
        """What a project declares, and its applies.

        Raises:
            NotFound: nothing of this name was applied yet.
        """
        return read_reply(Project, self._wire.get(f"{API}/projects/{segment(name)}"))

    def declared(self) -> tuple[Declared, ...]:
        """Everything that projects declare, as far as the key sees it."""
        return read_replies(Declared, self._wire.get(f"{API}/declared"))

    @contextmanager
    def applying(
        self, name: str, things: Mapping[str, str], steps: Sequence[Did], *, plan: str, stage: str, commit: str
    ) -> Iterator[Apply]:
        """Begins an apply; what this client asks for inside the `with` is its deed, and the audit says so.

        Args:
            things: everything that the project declares → where.
            steps: what the plan does.

        Raises:
            Conflict: another project declares one of the things.
            Forbidden: the key may not write.
        """
        body = {"things": dict(things), "steps": plain(list(steps)), "plan": plan, "stage": stage, "commit": commit}
        begun = read_reply(Apply, self._wire.send("POST", f"{API}/projects/{segment(name)}/applies", body, once=True))
        with self._wire.bearing("x-tandem-apply", begun.id):
            yield begun

    def end(self, name: str, id: str, state: str, steps: Sequence[Did]) -> Apply:
        """Says how an apply ended: `done`, `waiting` or `failed`, and what became of each step."""
        body = {"state": state, "steps": plain(list(steps))}
        return read_reply(Apply, self._wire.send("PUT", f"{API}/projects/{segment(name)}/applies/{segment(id)}", body))
