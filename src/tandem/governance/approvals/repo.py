"""Rules and requests as they are kept: every statement that touches them. It decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Select, Table, Text, delete, insert, select, update

from tandem.core.approval import WAITING, Action, Approval, Request
from tandem.governance.authorise import Scope
from tandem.store.canonical import canonical
from tandem.store.sql import metadata

approvals = Table(
    "approvals",
    metadata,
    Column("action", Text, primary_key=True),
    Column("team", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
)
requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_requests_team_created_at", "team", "created_at"),
    Index("ix_requests_state", "state"),
)

EVERY = ""
"""The team of a rule that holds for every team without one of its own."""
LIMIT = 1000


class ApprovalRows:
    """The rules."""

    def one(self, conn: Connection, action: Action, team: str | None) -> Approval | None:
        """The rule of exactly this team, or of all of them."""
        here = (approvals.c.action == action, approvals.c.team == (team or EVERY))
        body = conn.execute(select(approvals.c.body).where(*here)).scalar()
        return None if body is None else msgspec.json.decode(body, type=Approval)

    def list(self, conn: Connection, scope: Scope) -> tuple[Approval, ...]:
        """The rules that hold for the scope's things, by deed and team."""
        query = select(approvals.c.body).order_by(approvals.c.action, approvals.c.team)
        if scope.team is not None:
            query = query.where(approvals.c.team.in_((EVERY, scope.team)))
        return tuple(msgspec.json.decode(body, type=Approval) for body in conn.execute(query).scalars())

    def put(self, conn: Connection, rule: Approval, now: int, by: str) -> None:
        """Adds a rule, or replaces the one of its deed and team."""
        here = (approvals.c.action == rule.action, approvals.c.team == (rule.team or EVERY))
        state = {"body": canonical(msgspec.to_builtins(rule)), "changed_at": now, "changed_by": by}
        if conn.execute(update(approvals).where(*here).values(state)).rowcount == 0:
            conn.execute(insert(approvals).values(action=rule.action, team=rule.team or EVERY, **state))

    def remove(self, conn: Connection, action: Action, team: str | None) -> None:
        conn.execute(delete(approvals).where(approvals.c.action == action, approvals.c.team == (team or EVERY)))


class RequestRows:
    """What waits for people, and what became of it."""

    def add(self, conn: Connection, request: Request) -> None:
        conn.execute(
            insert(requests).values(
                id=request.id, team=request.team, state=request.state, created_at=request.created_at, body=_text(request)
            )
        )

    def keep(self, conn: Connection, request: Request) -> None:
        """Writes a request as it now is."""
        conn.execute(update(requests).where(requests.c.id == request.id).values(state=request.state, body=_text(request)))

    def one(self, conn: Connection, id: str, scope: Scope) -> Request | None:
        row = conn.execute(select(requests.c.team, requests.c.body).where(requests.c.id == id)).first()
        return None if row is None or not scope.admits(row.team) else _request(row.body)

    def list(self, conn: Connection, scope: Scope, *, state: str | None, limit: int) -> tuple[Request, ...]:
        """Newest first."""
        query: Select[Any] = (
            select(requests.c.body).order_by(requests.c.created_at.desc(), requests.c.id.desc()).limit(max(1, min(limit, LIMIT)))
        )
        for column, wanted in ((requests.c.team, scope.team), (requests.c.state, state)):
            if wanted is not None:
                query = query.where(column == wanted)
        return tuple(_request(body) for body in conn.execute(query).scalars())

    def waiting(self, conn: Connection, scope: Scope) -> Sequence[Request]:
        """What is open, or approved and not done in every store yet; oldest first."""
        query = select(requests.c.body).where(requests.c.state.in_(WAITING)).order_by(requests.c.created_at, requests.c.id)
        if scope.team is not None:
            query = query.where(requests.c.team == scope.team)
        return [_request(body) for body in conn.execute(query).scalars()]


def _request(body: str) -> Request:
    found = msgspec.json.decode(body, type=Request)
    # Those that a Monitor opened before requests named their author.
    return found if found.author else replace(found, author=f"monitor/{found.monitor}", person=f"monitor/{found.monitor}")


def _text(request: Request) -> str:
    return canonical(msgspec.to_builtins(request))
