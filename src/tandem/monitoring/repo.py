"""Monitors and their reports, as they are kept: every statement that touches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Connection, Index, Row, Select, Table, Text, delete, insert, select, update

from tandem.core.clock import Clock
from tandem.core.errors import Conflict, NotFound
from tandem.core.monitor import Monitor, Report
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope, scope_of
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

monitors = Table(
    "monitors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("standing", Text, nullable=False),
    Column("reference", Text),
    Index("ix_monitors_team", "team"),
)
monitor_reports = Table(
    "monitor_reports",
    metadata,
    Column("id", Text, primary_key=True),
    Column("monitor", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("alarm", Boolean, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_monitor_reports_monitor_at", "monitor", "at"),
)
monitor_frozen = Table(
    "monitor_frozen",
    metadata,
    Column("model", Text, primary_key=True),
    Column("segment", Text, primary_key=True),
    Column("body", Text, nullable=False),
)

LIMIT = 1000
KEPT = 1000
"""Reports of one Monitor; older ones go. Their alarms and retrainings stay in the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a Monitor is: what its next check goes on from."""

    since: int = 0
    """Calls that ended by then have been judged."""
    checked_at: int = 0
    alarmed: bool = False
    """Whether an alarm goes on."""
    retrained_at: int | None = None
    acted_on: str | None = None
    """The newest dataset version that a retraining was begun on, or looked at."""
    key: str = ""
    """What the frozen reference was made from."""
    moved: tuple[int, int] = (0, 0)
    """Of the alarm that goes on: since and until when the calls were, UTC microseconds."""


class Monitors:
    """The Monitors of the platform and their reports."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock

    def add(self, monitor: Monitor, *, by: Principal) -> Monitor:
        """Keeps a new Monitor; calls from now on are what it judges. The same one again stays as it is.

        Raises:
            Conflict: the name is taken by another one.
        """
        now = self._clock.now()
        monitor = replace(monitor, created_at=now, created_by=by.name)
        with self._sql.write() as conn:
            known = conn.execute(select(monitors).where(monitors.c.name == monitor.name)).first()
            if known is not None:
                there = _monitor(known)
                if replace(monitor, created_at=there.created_at, created_by=there.created_by) == there:
                    return there
                raise Conflict(
                    f"The name '{monitor.name}' is taken by another monitor.",
                    hint="Choose another name, or remove that one: `tandem monitor remove`.",
                )
            conn.execute(
                insert(monitors).values(
                    name=monitor.name,
                    team=monitor.team,
                    body=_text(monitor),
                    standing=_text(Standing(since=now, checked_at=now)),
                )
            )
            detail = {
                "endpoint": monitor.endpoint,
                "question": monitor.question,
                "on_alarm": monitor.on_alarm,
                "on_data": monitor.on_data,
                "promote": monitor.promote,
            }
            self._note(conn, by.name, "monitor.add", monitor, detail)
        return monitor

    def remove(self, name: str, *, by: Principal) -> Monitor:
        """Drops a Monitor and its reports; the audit keeps that it was there.

        Raises:
            NotFound: there is none in the caller's scope.
        """
        with self._sql.write() as conn:
            monitor = _monitor(_must(conn, name, scope_of(by)))
            conn.execute(delete(monitors).where(monitors.c.name == name))
            conn.execute(delete(monitor_reports).where(monitor_reports.c.monitor == name))
            self._note(conn, by.name, "monitor.remove", monitor, {})
        return monitor

    def find(self, name: str, scope: Scope) -> Monitor:
        """The Monitor of that name.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            return _monitor(_must(conn, name, scope))

    def list(self, scope: Scope) -> tuple[Monitor, ...]:
        """The Monitors of the scope, by name."""
        query: Select[Any] = select(monitors).order_by(monitors.c.name)
        if scope.team is not None:
            query = query.where(monitors.c.team == scope.team)
        with self._sql.read() as conn:
            return tuple(_monitor(row) for row in conn.execute(query))

    def standing(self, name: str) -> tuple[Standing, bytes | None]:
        """Where a Monitor is, and its frozen reference; for the platform's own work.

        Raises:
            NotFound: it was removed.
        """
        with self._sql.read() as conn:
            row = _must(conn, name, ALL)
        return msgspec.json.decode(row.standing, type=Standing), None if row.reference is None else row.reference.encode()

    def keep(self, report: Report, standing: Standing, reference: bytes | None) -> None:
        """Keeps a report and where the Monitor now is, with an audit row if it raised an alarm or began a retraining.

        Raises:
            NotFound: the Monitor was removed meanwhile.
        """
        with self._sql.write() as conn:
            monitor = _monitor(_must(conn, report.monitor, ALL))
            kept = None if reference is None else reference.decode()
            conn.execute(
                update(monitors).where(monitors.c.name == report.monitor).values(standing=_text(standing), reference=kept)
            )
            conn.execute(
                insert(monitor_reports).values(
                    id=report.id,
                    monitor=report.monitor,
                    team=report.team,
                    at=report.at,
                    alarm=report.alarm,
                    body=_text(report),
                )
            )
            _forget(conn, report.monitor)
            actor = f"monitor/{monitor.name}"
            if report.alarm:
                moved = sorted({finding.subject for finding in report.findings if finding.verdict == "drifted"})
                self._note(conn, actor, "monitor.alarm", monitor, {"report": report.id, "n": report.n, "subjects": moved[:20]})
            if report.run is not None:
                self._note(conn, actor, "monitor.retrain", monitor, {"report": report.id, "run": report.run})

    def reports(self, name: str, scope: Scope, *, limit: int = 50) -> tuple[Report, ...]:
        """The reports of a Monitor, newest first.

        Raises:
            NotFound: there is no such Monitor in the scope.
        """
        query = (
            select(monitor_reports.c.body)
            .where(monitor_reports.c.monitor == name)
            .order_by(monitor_reports.c.at.desc(), monitor_reports.c.id.desc())
            .limit(max(1, min(limit, LIMIT)))
        )
        with self._sql.read() as conn:
            row = _must(conn, name, scope)
            found = conn.execute(query.where(monitor_reports.c.team == row.team)).scalars().all()
        return tuple(msgspec.json.decode(body, type=Report) for body in found)

    def report(self, id: str, scope: Scope) -> Report:
        """One report.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            row = conn.execute(select(monitor_reports).where(monitor_reports.c.id == id)).first()
        if row is None or not scope.admits(row.team):
            raise NotFound("There is no such report.", hint="`tandem monitor show NAME` lists the newest ones.")
        return msgspec.json.decode(row.body, type=Report)

    def freeze(self, model: str, segment: str, body: str) -> None:
        """Keeps what a model version was trained on, as counts; what is there stays."""
        with self._sql.write() as conn:
            if conn.execute(_frozen(model, segment)).first() is None:
                conn.execute(insert(monitor_frozen).values(model=model, segment=segment, body=body))

    def frozen(self, model: str, segment: str) -> str | None:
        """What `freeze` kept; None where nothing was."""
        with self._sql.read() as conn:
            return conn.execute(_frozen(model, segment)).scalars().first()

    def _note(self, conn: Connection, actor: str, action: str, monitor: Monitor, detail: Mapping[str, object]) -> None:
        self._audit.append(conn, actor=actor, action=action, subject=f"monitor/{monitor.name}", team=monitor.team, detail=detail)


def _frozen(model: str, segment: str) -> Select[Any]:
    """Empty where no column makes segments."""
    return select(monitor_frozen.c.body).where(monitor_frozen.c.model == model, monitor_frozen.c.segment == segment)


def _forget(conn: Connection, monitor: str) -> None:
    """Drops the reports beyond the newest `KEPT`."""
    own = monitor_reports.c.monitor == monitor
    newest = select(monitor_reports.c.at).where(own).order_by(monitor_reports.c.at.desc()).offset(KEPT - 1).limit(1)
    last = conn.execute(newest).scalar()
    if last is not None:
        conn.execute(delete(monitor_reports).where(own, monitor_reports.c.at < last))


def _must(conn: Connection, name: str, scope: Scope) -> Row[Any]:
    row = conn.execute(select(monitors).where(monitors.c.name == name)).first()
    if row is None or not scope.admits(row.team):
        raise NotFound("There is no such monitor.", hint="`tandem monitor list` shows the ones you may see.")
    return row


def _monitor(row: Row[Any]) -> Monitor:
    return msgspec.json.decode(row.body, type=Monitor)


def _text(noun: Monitor | Standing | Report) -> str:
    return canonical(msgspec.to_builtins(noun))
