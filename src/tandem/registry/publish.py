"""Publishing: files and meta become the next version of an Asset. It runs nothing and moves no alias."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import Connection

from tandem.core.asset import Kind, Ref, Version, check_name
from tandem.core.errors import Conflict, Invalid
from tandem.core.principal import Principal
from tandem.governance.authorise import authorise, scope_of
from tandem.registry import manifest
from tandem.registry.find import Desk, resolve
from tandem.registry.kinds.base import rules_of
from tandem.registry.release import check_teams
from tandem.registry.repo import bump
from tandem.store.blobs import check_members
from tandem.store.canonical import canonical


def publish(
    desk: Desk,
    kind: Kind,
    name: str,
    *,
    members: Mapping[str, bytes | Path],
    meta: Mapping[str, object],
    parents: tuple[str, ...],
    run: str | None,
    by: Principal,
) -> Version:
    """Stores the files, then the row, its edges and its audit row in one transaction; see `Registry.publish`."""
    authorise(by, "write")
    run = run or by.run or None
    check_name(name)
    check_members(members)
    rules = rules_of(kind)
    plain: dict[str, object] = json.loads(canonical(meta))
    named = [Ref.parse(parent) for parent in parents]
    rules.check_parents(plain, named)
    # Before the transaction: whoever dies in between leaves files that nobody refers to, and `sweep` finds those.
    digests = {member: desk.blobs.put(data) for member, data in members.items()}
    rules.check(plain, digests)
    digest = manifest.digest(kind, digests, plain)
    with desk.sql.write() as conn:
        team = _claim(desk, conn, kind, name, by)
        made_from = _resolved(desk, conn, named, by)
        if kind == "release":
            check_teams(team, made_from)
        newest = desk.versions.newest(conn, kind, name)
        if newest is not None and newest.digest == digest:
            return newest
        version = Version(
            kind=kind,
            name=name,
            version=1 if newest is None else newest.version + 1,
            digest=digest,
            created_at=desk.clock.now(),
            created_by=by.name,
            team=team,
            meta=plain,
            members=digests,
            parents=tuple(str(parent.ref) for parent in made_from),
            run=run,
        )
        desk.versions.add(conn, version, made_from)
        desk.audit.append(
            conn,
            actor=by.name,
            action="asset.publish",
            subject=str(version.ref),
            team=team,
            detail={"digest": digest, "parents": version.parents, "run": run},
        )
        bump(conn)
    return version


def _claim(desk: Desk, conn: Connection, kind: Kind, name: str, by: Principal) -> str:
    """The team whose asset this is; the first to publish under a name has it."""
    team = desk.versions.team_of(conn, kind, name)
    if team is None:
        desk.versions.add_asset(conn, kind, name, by.team, desk.clock.now())
        return by.team
    if not scope_of(by).admits(team):
        raise Conflict(f"The name {kind}/{name} is taken by another team.", hint="Choose another name.")
    authorise(by, "write", team)
    return team


def _resolved(desk: Desk, conn: Connection, named: list[Ref], by: Principal) -> list[Version]:
    made_from = [resolve(desk, conn, parent, scope_of(by)) for parent in named]
    refs = [parent.ref for parent in made_from]
    for place, ref in enumerate(refs):
        if ref in refs[:place]:
            raise Invalid(f"The parent {ref} is named twice.", field="parents")
    return made_from
