"""Releases: the alias of a release and the same alias of all it pins move in one transaction, forwards and back.

It judges nothing: every pin passes its own gate by the evidence that is handed in, as if it were promoted alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tandem.core.asset import Kind, Ref, Version
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.core.score import Score
from tandem.governance.authorise import Scope, scope_of
from tandem.registry.find import Desk, resolve
from tandem.registry.kinds.release import pins
from tandem.registry.nouns import Move, Pin, Taken, Together
from tandem.registry.promote import Grant, promote_in, rollback_in

SHARED = "default"
"""The team whose assets any release may pin, where its maker sees them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What lets one pin pass its gate."""

    evidence: tuple[Score, ...] = ()
    report: Mapping[str, object] | None = None


def check_teams(team: str, pinned: Sequence[Version]) -> None:
    """Looks at whose assets a release of this team pins.

    Raises:
        Invalid: one is of a third team.
    """
    for version in pinned:
        if version.team not in (team, SHARED):
            raise Invalid(
                f"The release is of the team {team}, and {version.ref} is of the team {version.team}.",
                hint=f"Pin what is of {team} or of {SHARED}.",
                field="pins",
            )


def check_alone(kind: Kind) -> None:
    """Looks at whether an asset of this kind may move alone.

    Raises:
        Invalid: it is a release.
    """
    if kind == "release":
        raise Invalid("A release moves together with what it pins.", hint="Promote it, or roll it back, as a release.")


def promote_release_in(
    desk: Desk,
    conn: Connection,
    ref: Ref,
    alias: str,
    *,
    proofs: Mapping[str, Proof],
    by: Principal,
    expected_etag: int | None,
    grant: Grant | None,
) -> Together:
    """Moves the release's alias and that of every pin; see `Registry.promote_release`."""
    release = resolve(desk, conn, ref, scope_of(by))
    moved = promote_in(
        desk, conn, release.ref, alias, evidence=(), by=by, expected_etag=expected_etag, gate_report=None, grant=grant
    )
    taken = _taken(desk, conn, release, alias)
    found = []
    for pin in pins(release.meta):
        before = desk.aliases.one(conn, pin.kind, pin.name, alias)
        proof = proofs.get(str(pin), Proof())
        after = promote_in(
            desk, conn, pin, alias, evidence=proof.evidence, by=by, expected_etag=None, gate_report=proof.report, grant=grant,
            taken=taken,
        )  # fmt: skip
        stays = before == after
        found.append(Pin(alias=after, moved=not stays, why=f"{after.ref} was {alias} already." if stays else ""))
    return Together(alias=moved, pins=tuple(found))


def rollback_release_in(
    desk: Desk, conn: Connection, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None, grant: Grant | None
) -> Together:
    """Moves the release's alias back, and what its promotion moved; see `Registry.rollback_release`."""
    planned = plan(desk, conn, ref, alias, scope_of(by))
    left = resolve(desk, conn, Ref(kind=ref.kind, name=ref.name, alias=alias), scope_of(by))
    back = rollback_in(desk, conn, ref, alias, by=by, expected_etag=expected_etag, grant=grant)
    found = []
    for pin in planned:
        now = pin.alias
        if pin.moved:
            own = Ref(kind=now.kind, name=now.name)
            now = rollback_in(
                desk, conn, own, alias, by=by, expected_etag=now.etag, grant=grant, release=str(left.ref)
            )  # fmt: skip
        found.append(Pin(alias=now, moved=pin.moved, why=pin.why))
    return Together(alias=back, pins=tuple(found))


def plan(desk: Desk, conn: Connection, ref: Ref, alias: str, scope: Scope) -> tuple[Pin, ...]:
    """What a rollback of the release would move (`moved`) and what it would leave alone, where each stands now.

    Raises:
        NotFound: the release has no such alias in the scope.
    """
    release = resolve(desk, conn, Ref(kind=ref.kind, name=ref.name, alias=alias), scope)
    taken = _taken(desk, conn, release, alias)
    return tuple(
        _would(desk.aliases.moves(conn, pin.kind, pin.name, alias), taken, f"{pin.kind}/{pin.name}") for pin in pins(release.meta)
    )


def _would(moves: Sequence[Move], taken: Taken, name: str) -> Pin:
    """Whether the newest of an alias's moves is the one that a promotion made, and so can be undone with it."""
    last = moves[0]
    if last.taken != taken:
        moved = any(move.taken == taken for move in moves)
        why = f"{name} was moved since, by {last.alias.moved_by}." if moved else f"{name} was not moved by this release."
        return Pin(alias=last.alias, moved=False, why=why)
    if last.below is None:
        return Pin(alias=last.alias, moved=False, why=f"{name} has named nothing else before.")
    return Pin(alias=last.alias, moved=True)


def _taken(desk: Desk, conn: Connection, release: Version, alias: str) -> Taken:
    """The promotion that a release's alias stands on: after a rollback, the older one that it returned to.

    Every promotion has another state below it, and a rollback has the one below its target.
    """
    moves = desk.aliases.moves(conn, release.kind, release.name, alias)
    made = next(move for move in moves if move.action == "promote" and move.below == moves[0].below)
    return Taken(release=str(release.ref), etag=made.alias.etag)
