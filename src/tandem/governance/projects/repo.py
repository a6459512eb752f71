"""Projects as they are kept: every statement that touches them. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Row, Table, Text, delete, insert, select, update

from tandem.core.project import Apply, Declared, Project
from tandem.governance.authorise import Scope
from tandem.store.canonical import canonical
from tandem.store.sql import metadata

projects = Table(
    "projects",
    metadata,
    Column("name", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)
declared = Table(
    "declared",
    metadata,
    Column("thing", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("file", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Index("ix_declared_project", "project"),
)
applies = Table(
    "applies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_applies_project", "project"),
)

KEPT = 200
"""Applies of one project; the audit has all of them."""


class ProjectRows:
    """Projects, what they declare, and their applies."""

    def one(self, conn: Connection, name: str) -> Project | None:
        row = conn.execute(select(projects).where(projects.c.name == name)).first()
        return None if row is None else Project(**row._mapping)

    def add(self, conn: Connection, project: Project) -> None:
        conn.execute(
            insert(projects).values(
                name=project.name, team=project.team, created_at=project.created_at, created_by=project.created_by
            )
        )

    def list(self, conn: Connection, scope: Scope) -> tuple[Project, ...]:
        """By name."""
        rows = conn.execute(select(projects).order_by(projects.c.name))
        return tuple(Project(**row._mapping) for row in rows if scope.admits(row.team))

    def declared(self, conn: Connection, scope: Scope, project: str | None = None) -> tuple[Declared, ...]:
        """What projects of the scope declare, by thing."""
        query = select(declared, projects.c.team).join(projects, projects.c.name == declared.c.project)
        if project is not None:
            query = query.where(declared.c.project == project)
        rows = conn.execute(query.order_by(declared.c.thing))
        return tuple(_declared(row) for row in rows if scope.admits(row.team))

    def owner(self, conn: Connection, thing: str) -> str | None:
        """The project that declares a thing."""
        return conn.execute(select(declared.c.project).where(declared.c.thing == thing)).scalar()

    def declare(self, conn: Connection, each: Declared) -> None:
        """Adds what a project declares, or replaces what it said before."""
        conn.execute(delete(declared).where(declared.c.thing == each.thing))
        conn.execute(insert(declared).values(msgspec.to_builtins(each)))

    def forget(self, conn: Connection, project: str, things: Iterable[str]) -> None:
        conn.execute(delete(declared).where(declared.c.project == project, declared.c.thing.in_(list(things))))

    def begin(self, conn: Connection, apply: Apply) -> None:
        """Adds an apply; of its project the newest `KEPT` stay."""
        conn.execute(insert(applies).values(id=apply.id, project=apply.project, state=apply.state, body=_text(apply)))
        newest = select(applies.c.id).where(applies.c.project == apply.project).order_by(applies.c.id.desc())
        oldest = conn.execute(newest.offset(KEPT - 1).limit(1)).scalar()
        if oldest is not None:
            conn.execute(delete(applies).where(applies.c.project == apply.project, applies.c.id < oldest))

    def keep(self, conn: Connection, apply: Apply) -> None:
        """Writes an apply as it now is."""
        conn.execute(update(applies).where(applies.c.id == apply.id).values(state=apply.state, body=_text(apply)))

    def apply(self, conn: Connection, id: str) -> Apply | None:
        body = conn.execute(select(applies.c.body).where(applies.c.id == id)).scalar()
        return None if body is None else msgspec.json.decode(body, type=Apply)

    def applies(self, conn: Connection, project: str, *, state: str | None = None, limit: int) -> tuple[Apply, ...]:
        """Newest first."""
        query = select(applies.c.body).where(applies.c.project == project)
        if state is not None:
            query = query.where(applies.c.state == state)
        bodies = conn.execute(query.order_by(applies.c.id.desc()).limit(limit)).scalars()
        return tuple(msgspec.json.decode(body, type=Apply) for body in bodies)


def _declared(row: Row[Any]) -> Declared:
    return Declared(thing=row.thing, project=row.project, file=row.file, commit=row.commit, at=row.at, by=row.by)


def _text(apply: Apply) -> str:
    return canonical(msgspec.to_builtins(apply))
