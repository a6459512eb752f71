"""Reviews as they are kept: every statement that touches them.

There is one for each call that a person should look at. What was said of it in words is sealed under the key of the
call's subject; the opinion stays readable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    Row,
    Select,
    Table,
    Text,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from tandem.core.clock import MICROS, Clock
from tandem.core.errors import NotFound
from tandem.core.principal import Principal
from tandem.core.review import Opinion, Review, Tally
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, Scope, scope_of
from tandem.scorers.proportions import wilson
from tandem.store.sql import Sql, metadata

reviews = Table(
    "reviews",
    metadata,
    Column("id", Text, primary_key=True),
    Column("team", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("call", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("called_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("held_by", Text),
    Column("held_until", BigInteger, nullable=False),
    Column("opinion", Text),
    Column("decided_at", BigInteger),
    Column("decided_by", Text),
    Column("said", LargeBinary),
    Column("scored", Boolean, nullable=False),
    Index("ix_reviews_state_rank_called_at", "state", "rank", "called_at"),
    Index("ix_reviews_endpoint_state", "endpoint", "state"),
)
SAMPLED = "monitor/"
"""How the source of a sampled review begins; whoever asked for a call by name comes before these."""
LIMIT = 1000


class Reviews:
    """Every review of the platform."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock

    def add(self, wanted: Sequence[Review], *, by: Principal | None = None) -> int:
        """Keeps reviews; a call that has one already keeps that one. Returns how many are new.

        Args:
            by: the person who asked for them, for the audit; None where a call's own mark or a monitor did.
        """
        new = 0
        with self._sql.write() as conn:
            for review in wanted:
                if conn.execute(select(reviews.c.id).where(reviews.c.id == review.id)).first() is not None:
                    continue
                conn.execute(insert(reviews).values(_reviewed(review)))
                new += 1
                if by is not None:
                    self._note(conn, by.name, "review.add", review, {"trace": review.trace, "endpoint": review.endpoint})
        return new

    def list(
        self,
        scope: Scope,
        *,
        state: str | None = None,
        endpoint: str | None = None,
        source: str | None = None,
        limit: int = 50,
    ) -> tuple[Review, ...]:
        """Reviews of the scope: open ones in the order of the queue, others by when they were decided, newest first."""
        order = (reviews.c.rank, reviews.c.called_at, reviews.c.id)
        if state != "open":
            order = (reviews.c.state.desc(), reviews.c.decided_at.desc(), *order)  # type: ignore[assignment]  # another shape
        query = _within(select(reviews), scope).order_by(*order).limit(max(1, min(limit, LIMIT)))
        for column, wanted in ((reviews.c.state, state), (reviews.c.endpoint, endpoint), (reviews.c.source, source)):
            if wanted is not None:
                query = query.where(column == wanted)
        with self._sql.read() as conn:
            return tuple(_review(row) for row in conn.execute(query))

    def find(self, id: str, scope: Scope) -> tuple[Review, bytes]:
        """One review, and what was said of it, sealed; empty where nothing was.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._sql.read() as conn:
            row = _found(conn, id, scope)
        return _review(row), row.said or b""

    def next(self, by: Principal, *, endpoint: str | None, after: str | None, seconds: int) -> Review | None:
        """The first open review that nobody else holds, held for `by` from now on; None when there is none.

        Args:
            endpoint: of this one alone.
            after: the review that was looked at before, which is let go; what follows it comes first, then what stands
                before it, so that what was skipped comes again at the end.
            seconds: how long it is held.
        """
        now = self._clock.now()
        free = or_(reviews.c.held_until <= now, reviews.c.held_by == by.name)
        query = _within(select(reviews), scope_of(by)).where(reviews.c.state == "open", free)
        if endpoint is not None:
            query = query.where(reviews.c.endpoint == endpoint)
        query = query.order_by(reviews.c.rank, reviews.c.called_at, reviews.c.id).limit(1)
        with self._sql.write() as conn:
            row = None
            if after is not None:
                query = query.where(reviews.c.id != after)
                last = conn.execute(_within(select(reviews), scope_of(by)).where(reviews.c.id == after)).first()
                if last is not None:
                    mine = and_(reviews.c.id == after, reviews.c.held_by == by.name)
                    conn.execute(update(reviews).where(mine).values(held_by=None, held_until=0))
                    row = conn.execute(query.where(_behind(last))).first()
            row = row or conn.execute(query).first()
            if row is None:
                return None
            held = {"held_by": by.name, "held_until": now + seconds * MICROS}
            conn.execute(update(reviews).where(reviews.c.id == row.id).values(held))
            return _review(_found(conn, row.id, ALL))

    def decide(self, id: str, opinion: Opinion, said: bytes, *, corrected: bool, by: Principal) -> Review:
        """Ends a review, or changes what was said of it, with its audit row; its Score is due.

        Args:
            said: correction and note, sealed; empty for neither.

        Raises:
            NotFound: there is none in the caller's scope.
        """
        with self._sql.write() as conn:
            before = _review(_found(conn, id, scope_of(by)))
            told = {"opinion": opinion, "decided_at": self._clock.now(), "decided_by": by.name, "said": said or None}
            ended = {**told, "state": "done", "held_by": None, "held_until": 0, "scored": False}
            conn.execute(update(reviews).where(reviews.c.id == id).values(ended))
            detail: dict[str, object] = {"opinion": opinion, "trace": before.trace, "endpoint": before.endpoint}
            if corrected:
                detail["corrected"] = True
            if before.opinion is not None:
                detail["before"] = before.opinion
            self._note(conn, by.name, "review.decide", before, detail)
            return _review(_found(conn, id, ALL))

    def due(self, limit: int = 200) -> tuple[Review, ...]:
        """Decided reviews whose Score is not kept yet."""
        query = select(reviews).where(reviews.c.state == "done", reviews.c.scored.is_(False)).limit(limit)
        with self._sql.read() as conn:
            return tuple(_review(row) for row in conn.execute(query))

    def scored(self, review: Review) -> None:
        """The Score of a review is kept, unless it was decided otherwise meanwhile."""
        same = and_(reviews.c.id == review.id, reviews.c.decided_at == review.decided_at)
        with self._sql.write() as conn:
            conn.execute(update(reviews).where(same).values(scored=True))

    def forget(self, before: int) -> int:
        """Drops open reviews of calls that began before a time: their traces are gone. Returns how many."""
        old = and_(reviews.c.state == "open", reviews.c.called_at < before)
        with self._sql.write() as conn:
            return conn.execute(delete(reviews).where(old)).rowcount

    def forget_one(self, id: str) -> None:
        """Drops an open review whose trace is gone."""
        with self._sql.write() as conn:
            conn.execute(delete(reviews).where(reviews.c.id == id, reviews.c.state == "open"))

    def tallies(self, scope: Scope) -> tuple[Tally, ...]:
        """How many of each endpoint and source are open, right, wrong and unsure."""
        columns = (reviews.c.endpoint, reviews.c.source, reviews.c.state, reviews.c.opinion)
        query = _within(select(*columns, func.count().label("n")), scope).group_by(*columns)
        found: dict[tuple[str, str], dict[str, int]] = {}
        with self._sql.read() as conn:
            for row in conn.execute(query):
                counts = found.setdefault((row.endpoint, row.source), {})
                counts["open" if row.state == "open" else row.opinion] = row.n
        return tuple(_tally(endpoint, source, counts) for (endpoint, source), counts in sorted(found.items()))

    def decided(self, endpoint: str, scope: Scope) -> tuple[tuple[Review, bytes], ...]:
        """Every decided review of an endpoint with what was said, sealed; by call."""
        query = _within(select(reviews), scope).where(reviews.c.endpoint == endpoint, reviews.c.state == "done")
        with self._sql.read() as conn:
            rows = conn.execute(query.order_by(reviews.c.called_at, reviews.c.id)).all()
        return tuple((_review(row), row.said or b"") for row in rows)

    def _note(self, conn: Connection, actor: str, action: str, review: Review, detail: dict[str, object]) -> None:
        self._audit.append(conn, actor=actor, action=action, subject=f"review/{review.id}", team=review.team, detail=detail)


_FIELDS = tuple(Review.__slots__)


def _reviewed(review: Review) -> dict[str, object]:
    flat: dict[str, object] = {name: getattr(review, name) for name in _FIELDS}
    return flat | {"rank": int(review.source.startswith(SAMPLED)), "said": None, "scored": False}


def _review(row: Row[Any]) -> Review:
    return Review(**{name: getattr(row, name) for name in _FIELDS})


def _found(conn: Connection, id: str, scope: Scope) -> Row[Any]:
    row = conn.execute(select(reviews).where(reviews.c.id == id)).first()
    if row is None or not scope.admits(row.team):
        raise NotFound("There is no such review.", hint="`tandem review list` shows the ones you may see.")
    return row


def _within(query: Select[Any], scope: Scope) -> Select[Any]:
    return query if scope.team is None else query.where(reviews.c.team == scope.team)


def _behind(last: Row[Any]) -> Any:
    """Whatever stands behind a row in the order of the queue."""
    c = reviews.c
    later = or_(c.called_at > last.called_at, and_(c.called_at == last.called_at, c.id > last.id))
    return or_(c.rank > last.rank, and_(c.rank == last.rank, later))


def _tally(endpoint: str, source: str, counts: dict[str, int]) -> Tally:
    right, wrong = counts.get("right", 0), counts.get("wrong", 0)
    return Tally(
        endpoint=endpoint,
        source=source,
        open=counts.get("open", 0),
        right=right,
        wrong=wrong,
        unsure=counts.get("unsure", 0),
        share=wilson(right, right + wrong),
    )
