"""Steps of pipelines and their triggers, as they are kept: every statement that touches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Row,
    Select,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from tandem.core.clock import Clock
from tandem.core.errors import NotFound
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import Scope, scope_of
from tandem.pipelines.talk import Parts
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

steps = Table(
    "pipeline_steps",
    metadata,
    Column("run", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("team", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("used_at", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_pipeline_steps_key", "team", "pipeline", "key"),
    Index("ix_pipeline_steps_used_at", "used_at"),
)
triggers = Table(
    "pipeline_triggers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("pipeline", Text, nullable=False, index=True),
    Column("team", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("standing", Text, nullable=False),
)
StepState = Literal["running", "done", "cached", "failed"]
KEPT: tuple[StepState, ...] = ("done", "cached")
GONE = ""
"""The key of a step whose result is no longer kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of one Run."""

    run: str
    position: int
    team: str
    pipeline: str
    name: str
    key: str
    state: StepState = "running"
    parts: Parts
    after: tuple[int, ...] = ()
    """Positions of the steps whose results it was given."""
    why: str = ""
    """Why it was not taken from the cache; of one that was, empty."""
    source: str = ""
    """The Run that its result was taken from."""
    attempts: int = 1
    value: str = "null"
    """Its result, as JSON."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Of the result: name → blob digest."""
    bytes: int = 0
    """Of these files."""
    error: str = ""
    log: str = ""
    """What it printed, bounded."""
    started_at: int = 0
    ended_at: int | None = None


class Steps:
    """What the steps of Runs returned, by what it depends on."""

    def __init__(self, sql: Sql, clock: Clock) -> None:
        self._sql, self._clock = sql, clock

    def keep(self, step: Step) -> None:
        """Keeps how a step stands, in the place of what was known of it."""
        values = {
            "team": step.team,
            "pipeline": step.pipeline,
            "name": step.name,
            "key": step.key,
            "state": step.state,
            "used_at": self._clock.now(),
            "bytes": step.bytes,
            "body": canonical(msgspec.to_builtins(step)),
        }
        with self._sql.write() as conn:
            own = (steps.c.run == step.run) & (steps.c.position == step.position)
            if conn.execute(update(steps).where(own).values(values)).rowcount == 0:
                conn.execute(insert(steps).values(run=step.run, position=step.position, **values))

    def of(self, run: str) -> tuple[Step, ...]:
        """The steps of a Run, in their order."""
        with self._sql.read() as conn:
            return tuple(map(_step, conn.execute(select(steps).where(steps.c.run == run).order_by(steps.c.position))))

    def same(self, step: Step) -> Step | None:
        """What this very step of this very Run returned before it was interrupted."""
        query = select(steps).where(steps.c.run == step.run, steps.c.position == step.position, steps.c.key == step.key)
        return self._one(query.where(steps.c.state.in_(KEPT)))

    def equal(self, step: Step) -> Step | None:
        """The newest result of an equal step of any Run of this pipeline; it counts as used now."""
        query = select(steps).where(steps.c.team == step.team, steps.c.pipeline == step.pipeline, steps.c.key == step.key)
        found = self._one(query.where(steps.c.state == "done").order_by(steps.c.used_at.desc()).limit(1))
        if found is not None:
            with self._sql.write() as conn:
                own = (steps.c.run == found.run) & (steps.c.position == found.position)
                conn.execute(update(steps).where(own).values(used_at=self._clock.now()))
        return found

    def before(self, step: Step) -> Step | None:
        """The newest step of this name in another Run of the pipeline; rather one at the same place."""
        query = select(steps).where(steps.c.team == step.team, steps.c.pipeline == step.pipeline, steps.c.name == step.name)
        place = (steps.c.position == step.position).desc()
        query = query.where(steps.c.run != step.run, steps.c.state.in_(KEPT)).order_by(place, steps.c.used_at.desc())
        return self._one(query.limit(1))

    def sweep(self, most_bytes: int, days: float) -> set[str]:
        """Forgets steps that nobody used for so many days, and the oldest results beyond so many bytes.

        Returns:
            the digests of the files that are still wanted.
        """
        live: set[str] = set()
        total = 0
        with self._sql.write() as conn:
            conn.execute(delete(steps).where(steps.c.used_at < self._clock.now() - round(days * 86_400_000_000)))
            for row in conn.execute(select(steps).where(steps.c.bytes > 0).order_by(steps.c.used_at.desc())).all():
                step = _step(row)
                fresh = sum(1 for digest in step.files.values() if digest not in live)
                total += step.bytes if fresh else 0
                if total <= most_bytes:
                    live.update(step.files.values())
                else:
                    own = (steps.c.run == step.run) & (steps.c.position == step.position)
                    conn.execute(update(steps).where(own).values(key=GONE, bytes=0))
        return live

    def _one(self, query: Select[Any]) -> Step | None:
        with self._sql.read() as conn:
            row = conn.execute(query).first()
        return None if row is None else _step(row)


Cause = Literal["every", "cron", "data", "labels", "alarm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What begins a pipeline by itself."""

    id: str
    pipeline: str
    """Its name; the newest version runs, or the one that an alias behind `@` names."""
    team: str
    on: Cause
    what: str
    """Seconds, a cron line in UTC, `dataset/NAME`, `model/NAME`, or a Monitor."""
    at_least: int = 1
    """Of labels: how many must have come."""
    given: Mapping[str, object] = field(default_factory=dict)
    """Parameter → value."""
    cooldown: float = 0.0
    """Seconds after it began a Run in which it begins none."""
    by: Principal
    """Who made it, and whose rights its Runs have."""
    created_at: int = 0
    paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a trigger is: what has come, and what was begun."""

    seen: int = 0
    """Up to where causes have been counted: a time, a version, or a number of labels."""
    causes: tuple[str, ...] = ()
    """Those that wait."""
    more: int = 0
    """Further ones, which are not named."""
    fired: int = 0
    """Runs that it has begun, the one in `run` included."""
    run: str = ""
    """The newest Run."""
    because: tuple[str, ...] = ()
    """Its causes, while it is not certain that it was begun."""
    fired_at: int = 0
    note: str = ""
    """Why it begins none, where that needs a person."""


class Triggers:
    """The triggers of the platform."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock

    def add(self, trigger: Trigger, standing: Standing) -> None:
        """Keeps a new trigger."""
        with self._sql.write() as conn:
            conn.execute(
                insert(triggers).values(
                    id=trigger.id, pipeline=trigger.pipeline, team=trigger.team, body=_text(trigger), standing=_text(standing)
                )
            )
            self._note(conn, trigger.by.name, "trigger.add", trigger, {"given": dict(trigger.given)})

    def remove(self, id: str, *, by: Principal) -> Trigger:
        """Drops a trigger; the Run that it has begun goes on.

        Raises:
            NotFound: there is none in the caller's scope.
        """
        with self._sql.write() as conn:
            trigger, _ = _both(_must(conn, id, scope_of(by)))
            conn.execute(delete(triggers).where(triggers.c.id == id))
            self._note(conn, by.name, "trigger.remove", trigger, {})
        return trigger

    def pause(self, id: str, paused: bool, *, by: str, scope: Scope, why: str = "") -> Trigger:
        """Lets a trigger rest, or go on; one that rests as asked stays as it is.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.write() as conn:
            trigger, standing = _both(_must(conn, id, scope))
            if trigger.paused == paused:
                return trigger
            trigger = replace(trigger, paused=paused)
            told = _text(replace(standing, note=why))
            conn.execute(update(triggers).where(triggers.c.id == id).values(body=_text(trigger), standing=told))
            self._note(conn, by, "trigger.pause" if paused else "trigger.resume", trigger, {"why": why} if why else {})
        return trigger

    def find(self, id: str, scope: Scope) -> tuple[Trigger, Standing]:
        """One trigger and where it is.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            return _both(_must(conn, id, scope))

    def list(self, scope: Scope, pipeline: str | None = None) -> tuple[tuple[Trigger, Standing], ...]:
        """The triggers of the scope, oldest first, each with where it is; those of one pipeline, or all."""
        query: Select[Any] = select(triggers).order_by(triggers.c.id)
        for column, wanted in ((triggers.c.team, scope.team), (triggers.c.pipeline, pipeline)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._sql.read() as conn:
            return tuple(_both(row) for row in conn.execute(query))

    def count(self, team: str) -> int:
        """How many a team has."""
        with self._sql.read() as conn:
            return int(conn.execute(select(func.count()).where(triggers.c.team == team)).scalar_one())

    def move(self, id: str, before: Standing, after: Standing) -> bool:
        """Moves a trigger on, unless another process has; returns whether it was this one."""
        with self._sql.write() as conn:
            same = (triggers.c.id == id) & (triggers.c.standing == _text(before))
            return conn.execute(update(triggers).where(same).values(standing=_text(after))).rowcount == 1

    def _note(self, conn: Connection, actor: str, action: str, trigger: Trigger, detail: Mapping[str, object]) -> None:
        told = {"trigger": trigger.id, "on": trigger.on, "what": trigger.what, **detail}
        subject = f"pipeline/{trigger.pipeline}"
        self._audit.append(conn, actor=actor, action=action, subject=subject, team=trigger.team, detail=told)


def _must(conn: Connection, id: str, scope: Scope) -> Row[Any]:
    row = conn.execute(select(triggers).where(triggers.c.id == id)).first()
    if row is None or not scope.admits(row.team):
        raise NotFound("There is no such trigger.", hint="`tandem pipeline trigger list NAME` shows them.")
    return row


def _both(row: Row[Any]) -> tuple[Trigger, Standing]:
    return msgspec.json.decode(row.body, type=Trigger), msgspec.json.decode(row.standing, type=Standing)


def _step(row: Row[Any]) -> Step:
    return msgspec.json.decode(row.body, type=Step)


def _text(noun: Trigger | Standing) -> str:
    return canonical(msgspec.to_builtins(noun))
