"""What projects declare and what their applies came to. It does none of the deeds: an apply asks for them one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tandem.core.asset import check_name
from tandem.core.clock import Clock
from tandem.core.errors import Conflict, NotFound
from tandem.core.ids import new_id
from tandem.core.principal import Principal
from tandem.core.project import Apply, ApplyState, Declared, Project, Step
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.projects.repo import ProjectRows
from tandem.store.sql import Sql

SHOWN = 50
"""Applies that are listed."""


class Projects:
    """Who declared what. A thing belongs to one project at most."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock
        self._rows = ProjectRows()

    def list(self, by: Principal) -> tuple[Project, ...]:
        """The projects that `by` sees, each with its newest apply."""
        authorise(by, "read")
        with self._sql.read() as conn:
            found = self._rows.list(conn, scope_of(by))
            newest = {each.name: self._rows.applies(conn, each.name, limit=1) for each in found}
        return tuple(replace(each, newest=newest[each.name][0] if newest[each.name] else None) for each in found)

    def find(self, name: str, by: Principal) -> tuple[Project, tuple[Declared, ...], tuple[Apply, ...]]:
        """A project, what it declares, and its applies, newest first.

        Raises:
            NotFound: `by` sees none of this name.
        """
        authorise(by, "read")
        with self._sql.read() as conn:
            found = self._rows.one(conn, name)
            if found is None or not scope_of(by).admits(found.team):
                raise NotFound(
                    f"There is no project '{name}'.", hint="`tandem project list` shows them; the first apply makes one."
                )
            return found, self._rows.declared(conn, scope_of(by), name), self._rows.applies(conn, name, limit=SHOWN)

    def declared(self, by: Principal) -> tuple[Declared, ...]:
        """Everything that projects declare, as far as `by` sees them."""
        authorise(by, "read")
        with self._sql.read() as conn:
            return self._rows.declared(conn, scope_of(by))

    def begin(
        self, name: str, things: Mapping[str, str], steps: Sequence[Step], *, plan: str, stage: str, commit: str, by: Principal
    ) -> Apply:
        """Remembers what a project declares, before anything of the plan is done.

        An apply that is under way ends here as broken off: what it still asks for is refused.

        Args:
            things: what it declares → where.
            steps: what the plan does.

        Raises:
            Forbidden: `by` may not write, or not in the project's team.
            Conflict: another project declares one of the things, or has the name.
        """
        authorise(by, "write")
        check_name(name)
        now = self._clock.now()
        with self._sql.write() as conn:
            project = self._rows.one(conn, name)
            if project is None:
                project = Project(name=name, team=by.team, created_at=now, created_by=by.name)
                self._rows.add(conn, project)
            elif not scope_of(by).admits(project.team):
                raise Conflict(f"The name '{name}' is another team's project.", hint="Choose another name in project.toml.")
            authorise(by, "write", project.team)
            for thing, file in things.items():
                owner = self._rows.owner(conn, thing)
                if owner not in (None, name):
                    raise Conflict(
                        f"{thing} is declared by the project '{owner}'.",
                        hint=f"Take it out of {file}, or out of that project first and apply it with --prune.",
                    )
                self._rows.declare(
                    conn, Declared(thing=thing, project=name, file=file, commit=commit, at=now, by=by.name)
                )  # fmt: skip
            for before in self._rows.applies(conn, name, state="running", limit=SHOWN):
                self._rows.keep(conn, replace(before, state="broken-off", ended_at=now))
            begun = Apply(
                id=new_id("app"), project=name, team=project.team, plan=plan, stage=stage, commit=commit, by=by.name,
                begun_at=now, steps=tuple(steps),
            )  # fmt: skip
            self._rows.begin(conn, begun)
            self._audit.append(
                conn,
                actor=by.name,
                action="project.apply",
                subject=f"project/{name}",
                team=project.team,
                detail={"things": len(things), "steps": len(steps), "project": begun.because},
            )
        return begun

    def end(self, name: str, id: str, state: ApplyState, steps: Sequence[Step], *, by: Principal) -> Apply:
        """Keeps how an apply ended; what it removed is declared no longer.

        Raises:
            Forbidden, NotFound, Conflict: see `under_way`.
        """
        begun = self.under_way(id, by)
        if begun.project != name:
            raise NotFound(f"The project '{name}' has no apply '{id}'.")
        ended = replace(begun, state=state, steps=tuple(steps), ended_at=self._clock.now())
        gone = [each.thing for each in steps if each.action in ("remove", "forget") and each.state == "done"]
        with self._sql.write() as conn:
            self._rows.keep(conn, ended)
            self._rows.forget(conn, name, gone)
            self._audit.append(
                conn,
                actor=by.name,
                action="project.applied",
                subject=f"project/{name}",
                team=begun.team,
                detail={"state": state, "done": sum(each.state == "done" for each in steps), "project": begun.because},
            )
        return ended

    def under_way(self, id: str, by: Principal) -> Apply:
        """The apply that a deed belongs to.

        Raises:
            Forbidden: another principal began it.
            NotFound: there is none in the scope.
            Conflict: it is over.
        """
        authorise(by, "write")
        with self._sql.read() as conn:
            found = self._rows.apply(conn, id)
        if found is None or not scope_of(by).admits(found.team):
            raise NotFound(f"There is no apply '{id}'.", hint="`tandem project show NAME` lists them.")
        authorise(by, "write", found.team)
        if found.state != "running" or found.by != by.name:
            raise Conflict(
                f"The apply {id} of the project '{found.project}' is over ({found.state}).",
                hint="Somebody may have begun another one: look with `tandem plan`, then apply again.",
            )
        return found
