"""Price rows of our own and what own machines were seen to do: every statement that touches them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, PrimaryKeyConstraint, Row, Table, Text, delete, insert, or_, select

from tandem.core.clock import Clock
from tandem.core.errors import NotFound
from tandem.core.money import Price
from tandem.core.principal import LOCAL, Principal
from tandem.gateway.pricing.rows import Origin, PriceRow, shown
from tandem.governance.audit import Audit
from tandem.governance.authorise import Scope, authorise
from tandem.registry.repo import bump
from tandem.store.canonical import canonical
from tandem.store.sql import Sql, metadata

prices = Table(
    "prices",
    metadata,
    Column("provider", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("team", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("since", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
    PrimaryKeyConstraint("provider", "model", "team", "origin", "since"),
)

throughputs = Table(
    "throughputs",
    metadata,
    Column("provider", Text, primary_key=True),
    Column("tokens", BigInteger, nullable=False),
    Column("micros", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """What a provider's machines did while they were busy."""

    provider: str
    tokens: int
    """Input and output tokens."""
    micros: int
    """Microseconds in which it was busy."""
    source: str
    """Where that was seen: `traces`, `traces and NVML`, or `vLLM's metrics`."""
    at: int
    """When, UTC microseconds."""

    @property
    def per_second(self) -> float:
        """Tokens a second."""
        return 1e6 * self.tokens / self.micros if self.micros else 0.0


class Prices:
    """Price rows of our own. Each change is an audit row and reaches the doors with the next snapshot."""

    def __init__(self, sql: Sql, clock: Clock, audit: Audit) -> None:
        self._sql, self._clock, self._audit = sql, clock, audit

    def list(self, scope: Scope) -> tuple[PriceRow, ...]:
        """Rows for everybody and for the scope's team, by model, team and day."""
        table = prices
        query = select(table).order_by(table.c.provider, table.c.model, table.c.team, table.c.since, table.c.origin)
        if scope.team is not None:
            query = query.where(or_(table.c.team == "", table.c.team == scope.team))
        with self._sql.read() as conn:
            return tuple(_row(row) for row in conn.execute(query))

    def set(self, row: PriceRow, *, by: Principal) -> PriceRow:
        """Sets what a model costs from a day on; a row of the same day is replaced.

        Raises:
            Forbidden: `by` is no admin.
        """
        authorise(by, "admin")
        kept = replace(row, origin="hand", changed_at=self._clock.now(), changed_by=by.name)
        with self._sql.write() as conn:
            self._clear(conn, kept.provider, kept.model, kept.team, kept.since)
            conn.execute(insert(prices).values(_values(kept)))
            self._audit.append(
                conn,
                actor=by.name,
                action="price.set",
                subject=f"price/{kept.target}",
                team=kept.team or by.team,
                detail={"team": kept.team or None, "from": kept.since, "usd": shown(kept.price)},
            )
            bump(conn)
        return kept

    def drop(self, provider: str, model: str, *, team: str, since: str | None, by: Principal) -> int:
        """Takes rows back that were set by hand: of a day, or (None) of every day; returns how many.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: there is none.
        """
        authorise(by, "admin")
        with self._sql.write() as conn:
            gone = self._clear(conn, provider, model, team, since)
            if not gone:
                whose = f" for the team {team}" if team else ""
                raise NotFound(
                    f"No price of {provider}/{model}{whose} was set by hand{f' from {since}' if since else ''}.",
                    hint="`tandem cost price list` shows them; rows of a file change with the file.",
                )
            self._audit.append(
                conn,
                actor=by.name,
                action="price.drop",
                subject=f"price/{provider}/{model}",
                team=team or by.team,
                detail={"team": team or None, "from": since, "rows": gone},
            )
            bump(conn)
        return gone

    def load(self, rows: Sequence[PriceRow], origin: Origin, *, by: Principal = LOCAL) -> bool:
        """Puts the rows of a file in the place of all earlier ones of that origin; False where nothing changes.

        Raises:
            Forbidden: `by` is no admin.
        """
        authorise(by, "admin")
        now = self._clock.now()
        fresh = [replace(row, origin=origin, changed_at=now, changed_by=by.name) for row in rows]
        with self._sql.write() as conn:
            query = select(prices).where(prices.c.origin == origin)
            known = {_key(row): row.price for row in map(_row, conn.execute(query))}
            if known == {_key(row): row.price for row in fresh}:
                return False
            conn.execute(delete(prices).where(prices.c.origin == origin))
            if fresh:
                conn.execute(insert(prices), [_values(row) for row in fresh])
            body = canonical([[*_key(row), shown(row.price)] for row in fresh]).encode()
            self._audit.append(
                conn,
                actor=by.name,
                action="price.import",
                subject=f"price/{origin}",
                team=by.team,
                detail={"rows": len(fresh), "before": len(known), "sha256": hashlib.sha256(body).hexdigest()},
            )
            bump(conn)
        return True

    @staticmethod
    def _clear(conn: Connection, provider: str, model: str, team: str, since: str | None) -> int:
        table = prices
        chosen = [table.c.provider == provider, table.c.model == model, table.c.team == team, table.c.origin == "hand"]
        if since is not None:
            chosen.append(table.c.since == since)
        return conn.execute(delete(table).where(*chosen)).rowcount


class Throughputs:
    """What own machines were seen to do, one row a provider."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def list(self, scope: Scope) -> tuple[Throughput, ...]:
        """All of them; providers belong to no team, so every scope sees them."""
        with self._sql.read() as conn:
            rows = conn.execute(select(throughputs).order_by(throughputs.c.provider)).all()
        return tuple(
            Throughput(provider=row.provider, tokens=row.tokens, micros=row.micros, source=row.source, at=row.at) for row in rows
        )

    def put(self, seen: Throughput) -> None:
        """Keeps what was seen last."""
        row = {"provider": seen.provider, "tokens": seen.tokens, "micros": seen.micros, "source": seen.source, "at": seen.at}
        with self._sql.write() as conn:
            conn.execute(delete(throughputs).where(throughputs.c.provider == seen.provider))
            conn.execute(insert(throughputs).values(row))
            bump(conn)


def _key(row: PriceRow) -> tuple[str, str, str, str]:
    return row.provider, row.model, row.team, row.since


def _values(row: PriceRow) -> dict[str, object]:
    return {
        "provider": row.provider,
        "model": row.model,
        "team": row.team,
        "origin": row.origin,
        "since": row.since,
        "body": canonical(msgspec.to_builtins(row.price)),
        "changed_at": row.changed_at,
        "changed_by": row.changed_by,
    }


def _row(row: Row[Any]) -> PriceRow:
    return PriceRow(
        provider=row.provider,
        model=row.model,
        team=row.team,
        since=row.since,
        origin=row.origin,
        price=msgspec.json.decode(row.body, type=Price),
        changed_at=row.changed_at,
        changed_by=row.changed_by,
    )
