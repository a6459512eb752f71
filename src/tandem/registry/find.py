"""From a written name to a version, for those who may see it. It changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import Connection

from tandem.core.asset import Ref, Version
from tandem.core.clock import Clock
from tandem.core.errors import NotFound
from tandem.governance.audit import Audit
from tandem.governance.authorise import Scope
from tandem.registry.nouns import Alias
from tandem.registry.repo import AliasRows, GateRows, ScoreRows, VersionRows
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What every act of the registry works with."""

    sql: Sql
    blobs: Blobs
    audit: Audit
    clock: Clock
    versions: VersionRows = field(default_factory=VersionRows)
    aliases: AliasRows = field(default_factory=AliasRows)
    gates: GateRows = field(default_factory=GateRows)
    scores: ScoreRows = field(default_factory=ScoreRows)


def resolve(desk: Desk, conn: Connection, ref: Ref, scope: Scope) -> Version:
    """The version that a name means now: its number, what its alias names, or the newest.

    Raises:
        NotFound: there is none in the scope; what another team has is not there.
    """
    team = desk.versions.team_of(conn, ref.kind, ref.name)
    newest = desk.versions.newest(conn, ref.kind, ref.name) if team is not None and scope.admits(team) else None
    if newest is None:
        raise NotFound(
            f"There is no {ref.kind} '{ref.name}'.", hint=f"`tandem asset list --kind {ref.kind}` shows the ones you may see."
        )
    if ref.alias is not None:
        alias = desk.aliases.one(conn, ref.kind, ref.name, ref.alias)
        found = None if alias is None else desk.versions.one(conn, ref.kind, ref.name, alias.version)
        if found is None:
            named = ", ".join(each.alias for each in desk.aliases.of(conn, ref.kind, ref.name)) or "no aliases"
            raise NotFound(f"{ref.kind}/{ref.name} has no alias '{ref.alias}'.", hint=f"It has {named}.")
        return found
    if ref.version is None or ref.version == newest.version:
        return newest
    found = desk.versions.one(conn, ref.kind, ref.name, ref.version)
    if found is None:
        raise NotFound(f"There is no {ref}.", hint=f"Its newest version is {newest.version}.")
    return found


def current(desk: Desk, conn: Connection, version: Version, alias: str) -> Alias | None:
    """Where the alias of this version's asset stands now."""
    return desk.aliases.one(conn, version.kind, version.name, alias)
