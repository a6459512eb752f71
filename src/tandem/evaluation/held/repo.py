"""Evidence on held-out rows as it is kept, and every look at it; every statement that touches them."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    Row,
    Table,
    Text,
    insert,
    select,
    update,
)

from tandem.core.clock import Clock
from tandem.core.ids import new_id
from tandem.evaluation.evidence import Latency, OutOfFold
from tandem.governance.audit import Audit
from tandem.store.sql import Sql, metadata

held_evidence = Table(
    "held_evidence",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False, index=True),
    Column("dataset", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("given", Boolean, nullable=False),
    Column("team", Text, nullable=False),
    Column("latency", Text),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)

gate_looks = Table(
    "gate_looks",
    metadata,
    Column("candidate", Text, primary_key=True),
    Column("champion", Text, primary_key=True),
    Column("look", Integer, primary_key=True, autoincrement=False),
    Column("evidence", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("looked_at", BigInteger, nullable=False),
    Column("looked_by", Text, nullable=False),
    ForeignKeyConstraint(["evidence"], ["held_evidence.id"]),
)


_NEWEST = (held_evidence.c.created_at.desc(), held_evidence.c.id.desc())


class _Told(msgspec.Struct, frozen=True):
    """What stands beside the predictions in the same text."""

    about: dict[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Predictions of held-out rows by one version."""

    id: str
    model: str
    """`model/NAME@VERSION`."""
    dataset: str
    """`dataset/NAME@VERSION`, all of whose rows were predicted."""
    digest: str
    """Of the predictions and their rows."""
    rows: int
    given: bool
    """Whether the predictions came from outside and nobody here could make them again."""
    team: str
    latency: Latency | None
    """Measured where the server predicted."""
    created_at: int
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One comparison of a candidate with a champion on held-out rows."""

    look: int
    """From 1; the same evidence asked again is the same look."""
    evidence: str
    """The candidate's."""
    rows: int


class HeldEvidence:
    """All evidence on held-out rows, and all looks."""

    def __init__(self, sql: Sql, audit: Audit, clock: Clock) -> None:
        self._sql, self._audit, self._clock = sql, audit, clock

    def add(
        self,
        model: str,
        evidence: OutOfFold,
        *,
        latency: Latency | None,
        given: bool,
        team: str,
        by: str,
        about: Mapping[str, str] | None = None,
    ) -> Held:
        """Keeps evidence; the same as the version's newest is the newest.

        Args:
            about: what it tells of the model beyond metrics, as `about`.
        """
        newest = self.newest(model)
        if newest is not None and OutOfFold.from_json(self.body(newest.id)) == evidence:  # however it was written then
            self._tell(newest, evidence, {**_told(self.body(newest.id)), **(about or {})}, by)
            return newest
        digest = f"sha256:{hashlib.sha256(evidence.to_json()).hexdigest()}"
        held = Held(
            id=new_id("evd"),
            model=model,
            dataset=evidence.dataset,
            digest=digest,
            rows=len(evidence.rows),
            given=given,
            team=team,
            latency=latency,
            created_at=self._clock.now(),
            created_by=by,
        )
        told = {name: getattr(held, name) for name in _FIELDS}
        measured = None if latency is None else msgspec.json.encode(latency).decode()
        with self._sql.write() as conn:
            conn.execute(insert(held_evidence).values(**told, latency=measured, body=_body(evidence, about or {})))
            detail = {"dataset": held.dataset, "digest": digest, "rows": held.rows, "given": given}
            self._audit.append(conn, actor=by, action="evidence.add", subject=model, team=team, detail=detail)
        return held

    def _tell(self, held: Held, evidence: OutOfFold, about: Mapping[str, str], by: str) -> None:
        """Puts what known evidence tells in place of what it told: it stays the same evidence, and a look at it the same look."""
        if about == _told(self.body(held.id)):
            return
        with self._sql.write() as conn:
            here = update(held_evidence).where(held_evidence.c.id == held.id)
            conn.execute(here.values(body=_body(evidence, about)))
            detail = {"dataset": held.dataset, "digest": held.digest, "told": sorted(about)}
            self._audit.append(conn, actor=by, action="evidence.add", subject=held.model, team=held.team, detail=detail)

    def newest(self, model: str, dataset: str | None = None) -> Held | None:
        """The last evidence of a version, or its last on one dataset version."""
        query = select(held_evidence).where(held_evidence.c.model == model)
        if dataset is not None:
            query = query.where(held_evidence.c.dataset == dataset)
        with self._sql.read() as conn:
            row = conn.execute(query.order_by(*_NEWEST)).first()
        return None if row is None else _held(row)

    def body(self, identifier: str) -> bytes:
        """The predictions, as `OutOfFold.to_json` wrote them."""
        query = select(held_evidence.c.body).where(held_evidence.c.id == identifier)
        with self._sql.read() as conn:
            return zlib.decompress(conn.execute(query).scalar_one())

    def about(self, model: str) -> Mapping[str, str]:
        """What the newest evidence that tells anything says of a version beyond metrics: name → JSON, as members of that name."""
        query = select(held_evidence.c.body).where(held_evidence.c.model == model)
        with self._sql.read() as conn:
            for body in conn.execute(query.order_by(*_NEWEST)).scalars():
                if told := _told(zlib.decompress(body)):
                    return told
        return {}

    def looks(self, candidate: str, champion: str | None) -> tuple[Look, ...]:
        """Every look so far at these two, the first first."""
        with self._sql.read() as conn:
            return _looks(conn, candidate, champion)

    def look(self, candidate: str, champion: str | None, held: Held, *, by: str) -> Look:
        """Records a look; at evidence that was looked at before it is the look of then."""
        with self._sql.write() as conn:
            before = _looks(conn, candidate, champion)
            for each in before:
                if each.evidence == held.id:
                    return each
            made = Look(look=len(before) + 1, evidence=held.id, rows=held.rows)
            conn.execute(
                insert(gate_looks).values(
                    candidate=candidate,
                    champion=champion or "",
                    look=made.look,
                    evidence=made.evidence,
                    rows=made.rows,
                    looked_at=self._clock.now(),
                    looked_by=by,
                )
            )
        return made


def _body(evidence: OutOfFold, about: Mapping[str, str]) -> bytes:
    """The predictions, and what they tell of the model, in one text."""
    return zlib.compress(msgspec.json.encode({**msgspec.to_builtins(evidence), "about": about} if about else evidence))


def _told(text: bytes) -> Mapping[str, str]:
    return msgspec.json.decode(text, type=_Told).about


_FIELDS = ("id", "model", "dataset", "digest", "rows", "given", "team", "created_at", "created_by")


def _looks(conn: Connection, candidate: str, champion: str | None) -> tuple[Look, ...]:
    here = (gate_looks.c.candidate == candidate) & (gate_looks.c.champion == (champion or ""))
    rows: Sequence[Row[Any]] = conn.execute(select(gate_looks).where(here).order_by(gate_looks.c.look)).all()
    return tuple(Look(look=row.look, evidence=row.evidence, rows=row.rows) for row in rows)


def _held(row: Row[Any]) -> Held:
    latency = None if row.latency is None else msgspec.json.decode(row.latency, type=Latency)
    return Held(**{name: getattr(row, name) for name in _FIELDS}, latency=latency)
