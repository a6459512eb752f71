"""Runs as they are kept: every statement that touches them. It starts nothing and knows no workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Row, Select, Table, Text, insert, select, update

from tandem.core.clock import Clock
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.ids import new_run
from tandem.core.principal import Principal
from tandem.core.run import ENDED, Run, State
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("outputs", Text, nullable=False),
    Column("progress", Float, nullable=False),
    Column("stage", Text, nullable=False),
    Column("reason", Text),
    Column("started_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("parent", Text, index=True),
    Index("ix_runs_team_created_at", "team", "created_at"),
)

LIST_LIMIT = 1000


class TeamScope(Protocol):
    """The part of `governance.authorise.Scope` that is needed here."""

    @property
    def team(self) -> str | None:
        """The one team whose runs may be seen; None for all teams."""
        ...


class Runs:
    """The Runs of the platform: queued → running → succeeded, failed or cancelled."""

    def __init__(self, sql: Sql, clock: Clock) -> None:
        self._sql, self._clock = sql, clock

    def create(
        self, kind: str, name: str, *, inputs: Mapping[str, object] | None = None, by: Principal, id: str | None = None
    ) -> Run:
        """A queued Run in the team of `by`.

        Args:
            kind: the workflow's name, such as `train`.
            name: what the run is about, usually the asset it makes.
            inputs: what goes in; JSON.
            by: who asked for it.
            id: the id to use; one that is there already is returned as it is, so that a workflow may repeat this step.

        Raises:
            Invalid: the inputs are not JSON.
            Conflict: the id is another team's or another kind's.
        """
        run = Run(
            id=id or new_run(),
            kind=kind,
            name=name,
            team=by.team,
            created_by=by.name,
            created_at=self._clock.now(),
            inputs=dict(inputs or {}),
            parent=by.run or None,
        )
        with self._sql.write() as conn:
            present = _one(conn, run.id)
            if present is not None:
                if (present.kind, present.team) != (kind, by.team):
                    raise Conflict(f"The id {run.id} belongs to another run.", hint="Leave the id out to get a fresh one.")
                return present
            conn.execute(
                insert(runs).values(
                    id=run.id,
                    kind=run.kind,
                    name=run.name,
                    team=run.team,
                    created_by=run.created_by,
                    created_at=run.created_at,
                    state=run.state,
                    inputs=canonical(run.inputs),
                    outputs=canonical(run.outputs),
                    progress=run.progress,
                    stage=run.stage,
                    parent=run.parent,
                )
            )
        return run

    def start(self, id: str) -> Run:
        """The Run begins to run; one that runs already goes on, because its executor was replaced.

        Raises:
            NotFound: there is no such run.
            Conflict: it has ended.
        """
        with self._sql.write() as conn:
            run = _open(conn, id)
            started_at = self._clock.now() if run.started_at is None else run.started_at
            return _change(conn, id, {"state": "running", "started_at": started_at})

    def progress(self, id: str, fraction: float, stage: str = "") -> Run:
        """How far it is: `fraction` between 0 and 1, and what it does now, for people.

        Raises:
            NotFound: there is no such run.
            Conflict: it has ended.
            Invalid: the fraction is out of bounds.
        """
        if not 0.0 <= fraction <= 1.0:
            raise Invalid(f"A run cannot be {fraction} done.", hint="Progress lies between 0 and 1.", field="fraction")
        with self._sql.write() as conn:
            _open(conn, id)
            return _change(conn, id, {"progress": fraction, "stage": stage})

    def finish(self, id: str, state: State, *, outputs: Mapping[str, object] | None = None, reason: str | None = None) -> Run:
        """The Run ends. The same end again is no error, because a workflow may repeat its last step.

        Args:
            id: the run.
            state: `succeeded`, `failed` or `cancelled`.
            outputs: assets made, metrics, environment; JSON. None keeps what is there.
            reason: why it failed or was cancelled.

        Raises:
            NotFound: there is no such run.
            Conflict: it has ended otherwise.
            Invalid: the state is no end, or the outputs are not JSON.
        """
        if state not in ENDED:
            raise Invalid(f"A run cannot end as '{state}'.", hint=f"Ends are {', '.join(sorted(ENDED))}.", field="state")
        with self._sql.write() as conn:
            run = _must(conn, id)
            if run.state == state:
                return run
            run = _open(conn, id)
            return _change(
                conn,
                id,
                {
                    "state": state,
                    "ended_at": self._clock.now(),
                    "reason": reason,
                    "outputs": canonical(run.outputs if outputs is None else outputs),
                    "progress": 1.0 if state == "succeeded" else run.progress,
                },
            )

    def find(self, id: str, scope: TeamScope) -> Run:
        """The Run of this id.

        Raises:
            NotFound: there is none, or it is not in the scope.
        """
        with self._sql.read() as conn:
            run = _one(conn, id)
        if run is None or scope.team not in (None, run.team):
            raise _none(id)
        return run

    def list(
        self,
        scope: TeamScope,
        *,
        kind: str | None = None,
        state: State | None = None,
        name: str | None = None,
        parent: str | None = None,
        limit: int = 100,
    ) -> tuple[Run, ...]:
        """Runs of the scope, newest first; at most `limit`, and never more than a thousand."""
        query: Select[Any] = (
            select(runs).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(max(1, min(limit, LIST_LIMIT)))
        )
        for column, wanted in (
            (runs.c.team, scope.team),
            (runs.c.kind, kind),
            (runs.c.state, state),
            (runs.c.name, name),
            (runs.c.parent, parent),
        ):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._sql.read() as conn:
            return tuple(_run(row) for row in conn.execute(query))


def _one(conn: Connection, id: str) -> Run | None:
    row = conn.execute(select(runs).where(runs.c.id == id)).first()
    return None if row is None else _run(row)


def _must(conn: Connection, id: str) -> Run:
    run = _one(conn, id)
    if run is None:
        raise _none(id)
    return run


def _open(conn: Connection, id: str) -> Run:
    run = _must(conn, id)
    if run.state in ENDED:
        raise Conflict(f"The run {id} has {run.state} and does not change any more.", hint="Start a new one.")
    return run


def _change(conn: Connection, id: str, values: Mapping[str, object]) -> Run:
    conn.execute(update(runs).where(runs.c.id == id).values(dict(values)))
    return _must(conn, id)


def _none(id: str) -> NotFound:
    return NotFound(f"There is no run '{id}'.", hint="`tandem run list` shows the ones you may see.")


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        kind=row.kind,
        name=row.name,
        team=row.team,
        created_by=row.created_by,
        created_at=row.created_at,
        state=row.state,
        inputs=json.loads(row.inputs),
        outputs=json.loads(row.outputs),
        progress=row.progress,
        stage=row.stage,
        reason=row.reason,
        started_at=row.started_at,
        ended_at=row.ended_at,
        parent=row.parent,
    )
