"""The registry's tables, and every statement that touches them. It decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    ForeignKeyConstraint,
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
    tuple_,
    update,
)

from tandem.core.asset import Kind, Ref, Version
from tandem.core.policy import Gate
from tandem.core.score import Score
from tandem.governance.authorise import Scope
from tandem.registry.gates import asked
from tandem.registry.nouns import Alias, Asset, Edge, Move, Taken
from tandem.store.canonical import canonical
from tandem.store.sql import metadata

assets = Table(
    "assets",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("team", Text, nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, nullable=False, index=True),
    Column("team", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("meta", Text, nullable=False),
    Column("members", Text, nullable=False),
    Column("run", Text, index=True),
    ForeignKeyConstraint(["kind", "name"], ["assets.kind", "assets.name"]),
)

parents = Table(
    "parents",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("parent_kind", Text, nullable=False),
    Column("parent_name", Text, nullable=False),
    Column("parent_version", Integer, nullable=False),
    ForeignKeyConstraint(["kind", "name", "version"], ["versions.kind", "versions.name", "versions.version"]),
    ForeignKeyConstraint(
        ["parent_kind", "parent_name", "parent_version"], ["versions.kind", "versions.name", "versions.version"]
    ),
    Index("ix_parents_parent", "parent_kind", "parent_name", "parent_version"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("etag", Integer, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Column("moved_by", Text, nullable=False),
    Column("ungated", Boolean, nullable=False),
    ForeignKeyConstraint(["kind", "name", "version"], ["versions.kind", "versions.name", "versions.version"]),
)

alias_moves = Table(
    "alias_moves",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("etag", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Column("moved_by", Text, nullable=False),
    Column("ungated", Boolean, nullable=False),
    Column("action", Text, nullable=False),
    Column("below", Integer),
    Column("evidence", Text, nullable=False),
    Column("report", Text),
    Column("approvers", Text),
    Column("release", Text),
    Column("release_etag", Integer),
    ForeignKeyConstraint(["kind", "name", "version"], ["versions.kind", "versions.name", "versions.version"]),
)

gates = Table(
    "gates",
    metadata,
    Column("asset", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("metric", Text, nullable=False),
    Column("minimum", Float),
    Column("margin", Float, nullable=False),
    Column("require", Text, nullable=False),
    Column("set_at", BigInteger, nullable=False),
    Column("set_by", Text, nullable=False),
    Column("suite", Text),
    Column("conditions", Text),
)

scores = Table(
    "scores",
    metadata,
    Column("id", Text, primary_key=True),
    Column("subject", Text, nullable=False, index=True),
    Column("team", Text, nullable=False),
    Column("scorer", Text, nullable=False),
    Column("value", Float, nullable=False),
    Column("low", Float),
    Column("high", Float),
    Column("n", BigInteger),
    Column("label", Text),
    Column("detail", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)

snapshot = Table(
    "snapshot_version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("version", BigInteger, nullable=False),
)


def bump(conn: Connection) -> int:
    """Raises the version that the snapshot's compiler watches, in the transaction of the change; returns it."""
    if conn.execute(update(snapshot).values(version=snapshot.c.version + 1)).rowcount == 0:
        conn.execute(insert(snapshot).values(id=1, version=1))
    return snapshot_version(conn)


def snapshot_version(conn: Connection) -> int:
    """How many changes the snapshot has to reflect; 0 before the first."""
    version: int | None = conn.execute(select(snapshot.c.version)).scalar_one_or_none()
    return version or 0


class VersionRows:
    """Assets, their versions and the edges between them."""

    def team_of(self, conn: Connection, kind: Kind, name: str) -> str | None:
        return conn.execute(select(assets.c.team).where(assets.c.kind == kind, assets.c.name == name)).scalar_one_or_none()

    def add_asset(self, conn: Connection, kind: Kind, name: str, team: str, now: int) -> None:
        conn.execute(insert(assets).values(kind=kind, name=name, team=team, created_at=now))

    def add(self, conn: Connection, version: Version, made_from: Sequence[Version]) -> None:
        """Writes the version and its edges."""
        conn.execute(
            insert(versions).values(
                kind=version.kind,
                name=version.name,
                version=version.version,
                digest=version.digest,
                team=version.team,
                created_at=version.created_at,
                created_by=version.created_by,
                meta=canonical(version.meta),
                members=canonical(version.members),
                run=version.run,
            )
        )
        for place, parent in enumerate(made_from):
            conn.execute(
                insert(parents).values(
                    kind=version.kind,
                    name=version.name,
                    version=version.version,
                    place=place,
                    parent_kind=parent.kind,
                    parent_name=parent.name,
                    parent_version=parent.version,
                )
            )

    def one(self, conn: Connection, kind: Kind, name: str, version: int) -> Version | None:
        query = select(versions).where(versions.c.kind == kind, versions.c.name == name, versions.c.version == version)
        found = self._versions(conn, query)
        return found[0] if found else None

    def newest(self, conn: Connection, kind: Kind, name: str) -> Version | None:
        found = self._versions(conn, _of(kind, name).limit(1))
        return found[0] if found else None

    def of(self, conn: Connection, kind: Kind, name: str, scope: Scope) -> tuple[Version, ...]:
        """All versions of one asset, newest first."""
        return self._versions(conn, _scoped(_of(kind, name), versions.c.team, scope))

    def assets(self, conn: Connection, kind: Kind | None, scope: Scope) -> tuple[Asset, ...]:
        newest = select(versions.c.kind, versions.c.name, func.max(versions.c.version).label("newest"))
        newest = newest.group_by(versions.c.kind, versions.c.name)
        counted = newest.subquery()
        query = _scoped(select(assets, counted.c.newest), assets.c.team, scope)
        query = query.join(counted, (counted.c.kind == assets.c.kind) & (counted.c.name == assets.c.name))
        query = query.order_by(assets.c.kind, assets.c.name)
        if kind is not None:
            query = query.where(assets.c.kind == kind)
        named: dict[tuple[str, str], dict[str, int]] = {}
        for row in conn.execute(select(aliases).order_by(aliases.c.alias)):
            named.setdefault((row.kind, row.name), {})[row.alias] = row.version
        return tuple(
            Asset(
                kind=row.kind,
                name=row.name,
                team=row.team,
                created_at=row.created_at,
                newest=row.newest,
                aliases=named.get((row.kind, row.name), {}),
            )
            for row in conn.execute(query)
        )

    def edges(self, conn: Connection, refs: Iterable[Ref], *, up: bool) -> list[Edge]:
        """The edges from these versions to their parents (up) or to their children (down)."""
        here = [(ref.kind, ref.name, ref.version) for ref in refs]
        child = tuple_(parents.c.kind, parents.c.name, parents.c.version)
        parent = tuple_(parents.c.parent_kind, parents.c.parent_name, parents.c.parent_version)
        found: list[Edge] = []
        for start in range(0, len(here), 200):
            query = select(parents).where((child if up else parent).in_(here[start : start + 200]))
            for row in conn.execute(query.order_by(parents.c.kind, parents.c.name, parents.c.version, parents.c.place)):
                found.append(_edge(row))
        return found

    def live_blobs(self, conn: Connection) -> set[str]:
        """Every blob digest that some version refers to."""
        return {digest for row in conn.execute(select(versions.c.members)) for digest in json.loads(row.members).values()}

    def _versions(self, conn: Connection, query: Select[Any]) -> tuple[Version, ...]:
        rows = conn.execute(query).all()
        made_from: dict[str, list[str]] = {}
        for edge in self.edges(conn, (Ref(kind=row.kind, name=row.name, version=row.version) for row in rows), up=True):
            made_from.setdefault(edge.child, []).append(edge.parent)
        return tuple(_version(row, made_from) for row in rows)


class AliasRows:
    """Aliases and the history of their moves."""

    def one(self, conn: Connection, kind: Kind, name: str, alias: str) -> Alias | None:
        query = select(aliases).where(aliases.c.kind == kind, aliases.c.name == name, aliases.c.alias == alias)
        row = conn.execute(query).first()
        return None if row is None else _alias(row)

    def of(self, conn: Connection, kind: Kind, name: str) -> tuple[Alias, ...]:
        query = select(aliases).where(aliases.c.kind == kind, aliases.c.name == name).order_by(aliases.c.alias)
        return tuple(_alias(row) for row in conn.execute(query))

    def move(self, conn: Connection, move: Move) -> None:
        """Writes the alias as it is after the move, and the move into the history."""
        alias = move.alias
        state = {
            "version": alias.version,
            "etag": alias.etag,
            "moved_at": alias.moved_at,
            "moved_by": alias.moved_by,
            "ungated": alias.ungated,
        }
        where = {"kind": alias.kind, "name": alias.name, "alias": alias.alias}
        here = (aliases.c.kind == alias.kind) & (aliases.c.name == alias.name) & (aliases.c.alias == alias.alias)
        if conn.execute(update(aliases).where(here).values(state)).rowcount == 0:
            conn.execute(insert(aliases).values(where | state))
        told = {
            "action": move.action,
            "below": move.below,
            "evidence": canonical(move.evidence),
            "report": None if move.report is None else canonical(move.report),
            "approvers": canonical(move.approvers) if move.approvers else None,
            "release": None if move.taken is None else move.taken.release,
            "release_etag": None if move.taken is None else move.taken.etag,
        }
        conn.execute(insert(alias_moves).values(where | state | told))

    def moves(self, conn: Connection, kind: Kind, name: str, alias: str) -> tuple[Move, ...]:
        """The history of an alias, newest first."""
        moved = (alias_moves.c.kind == kind) & (alias_moves.c.name == name) & (alias_moves.c.alias == alias)
        rows = conn.execute(select(alias_moves).where(moved).order_by(alias_moves.c.etag.desc()))
        return tuple(_move(row) for row in rows)


class GateRows:
    """Gates, by asset and alias."""

    def put(self, conn: Connection, gate: Gate, now: int, by: str) -> None:
        state = {
            "metric": gate.metric,
            "minimum": gate.minimum,
            "margin": gate.margin,
            "require": gate.require,
            "suite": gate.suite,
            "conditions": json.dumps(asked(gate)),
            "set_at": now,
            "set_by": by,
        }
        here = (gates.c.asset == gate.asset) & (gates.c.alias == gate.alias)
        if conn.execute(update(gates).where(here).values(state)).rowcount == 0:
            conn.execute(insert(gates).values(asset=gate.asset, alias=gate.alias, **state))

    def drop(self, conn: Connection, asset: str, alias: str) -> bool:
        """Whether there was one."""
        return conn.execute(delete(gates).where(gates.c.asset == asset, gates.c.alias == alias)).rowcount > 0

    def one(self, conn: Connection, asset: str, alias: str) -> Gate | None:
        row = conn.execute(select(gates).where(gates.c.asset == asset, gates.c.alias == alias)).first()
        return None if row is None else _gate(row)

    def list(self, conn: Connection, scope: Scope) -> tuple[Gate, ...]:
        """Gates of the scope's assets and of whole kinds."""
        found = tuple(_gate(row) for row in conn.execute(select(gates).order_by(gates.c.asset, gates.c.alias)))
        if scope.team is None:
            return found
        mine = select(assets.c.kind, assets.c.name).where(assets.c.team == scope.team)
        names = {f"{row.kind}/{row.name}" for row in conn.execute(mine)}
        return tuple(gate for gate in found if gate.asset.endswith("/*") or gate.asset in names)


class ScoreRows:
    """Scores of asset versions."""

    def add(self, conn: Connection, score: Score, team: str) -> None:
        conn.execute(
            insert(scores).values(
                id=score.id,
                subject=score.subject,
                team=team,
                scorer=score.scorer,
                value=score.value,
                low=score.low,
                high=score.high,
                n=score.n,
                label=score.label,
                detail=canonical(score.detail),
                created_at=score.created_at,
                created_by=score.created_by,
            )
        )

    def one(self, conn: Connection, id: str) -> Score | None:
        row = conn.execute(select(scores).where(scores.c.id == id)).first()
        return None if row is None else _score(row)

    def of(self, conn: Connection, subject: str, scope: Scope) -> tuple[Score, ...]:
        """Scores of one subject, newest first."""
        query = _scoped(select(scores).where(scores.c.subject == subject), scores.c.team, scope)
        return tuple(_score(row) for row in conn.execute(query.order_by(scores.c.created_at.desc(), scores.c.id)))


def _of(kind: Kind, name: str) -> Select[Any]:
    query = select(versions).where(versions.c.kind == kind, versions.c.name == name)
    return query.order_by(versions.c.version.desc())


def _scoped(query: Select[Any], team: Column[Any], scope: Scope) -> Select[Any]:
    return query if scope.team is None else query.where(team == scope.team)


def _edge(row: Row[Any]) -> Edge:
    return Edge(child=f"{row.kind}/{row.name}@{row.version}", parent=f"{row.parent_kind}/{row.parent_name}@{row.parent_version}")


def _version(row: Row[Any], made_from: Mapping[str, Sequence[str]]) -> Version:
    return Version(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        created_at=row.created_at,
        created_by=row.created_by,
        team=row.team,
        meta=json.loads(row.meta),
        members=json.loads(row.members),
        parents=tuple(made_from.get(f"{row.kind}/{row.name}@{row.version}", ())),
        run=row.run,
    )


def _alias(row: Row[Any]) -> Alias:
    return Alias(
        kind=row.kind,
        name=row.name,
        alias=row.alias,
        version=row.version,
        etag=row.etag,
        moved_at=row.moved_at,
        moved_by=row.moved_by,
        ungated=row.ungated,
    )


def _move(row: Row[Any]) -> Move:
    return Move(
        alias=_alias(row),
        action=row.action,
        below=row.below,
        evidence=tuple(json.loads(row.evidence)),
        report=None if row.report is None else json.loads(row.report),
        approvers=() if row.approvers is None else tuple(json.loads(row.approvers)),
        taken=None if row.release is None else Taken(release=row.release, etag=row.release_etag),
    )


def _gate(row: Row[Any]) -> Gate:
    told = {name: getattr(row, name) for name in ("asset", "alias", "metric", "minimum", "margin", "require", "suite")}
    return msgspec.convert({**told, **json.loads(row.conditions or "{}")}, Gate)


def _score(row: Row[Any]) -> Score:
    return Score(
        id=row.id,
        subject=row.subject,
        scorer=row.scorer,
        value=row.value,
        low=row.low,
        high=row.high,
        n=row.n,
        label=row.label,
        detail=json.loads(row.detail),
        created_at=row.created_at,
        created_by=row.created_by,
    )
