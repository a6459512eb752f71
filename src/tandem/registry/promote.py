"""Promotion: an alias moves when the evidence passes its gate. The server's own law, whoever asks.

The move, the Scores it rests on, its place in the history and its audit row are one transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from tandem.core.asset import ALIAS, Ref, Version
from tandem.core.errors import Blocked, Conflict, Invalid
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.core.score import Score
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.find import Desk, current, resolve
from tandem.registry.gates import NEED_GATE, candidates, default_for, passing
from tandem.registry.nouns import Alias, Move, Taken
from tandem.registry.repo import bump


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The approval of a move that needed people."""

    approvers: tuple[str, ...]
    told: Mapping[str, object]
    """What the audit row of the move says about it."""


def promote(
    desk: Desk,
    ref: Ref,
    alias: str,
    *,
    evidence: Sequence[Score],
    by: Principal,
    expected_etag: int | None,
    gate_report: Mapping[str, object] | None,
) -> Alias:
    """Moves the alias to the version; see `Registry.promote`."""
    with desk.sql.write() as conn:
        return promote_in(
            desk, conn, ref, alias, evidence=evidence, by=by, expected_etag=expected_etag, gate_report=gate_report, grant=None
        )


def promote_in(
    desk: Desk,
    conn: Connection,
    ref: Ref,
    alias: str,
    *,
    evidence: Sequence[Score],
    by: Principal,
    expected_etag: int | None,
    gate_report: Mapping[str, object] | None,
    grant: Grant | None,
    taken: Taken | None = None,
) -> Alias:
    """The same in a transaction that is under way; `taken` names the release that takes the asset along."""
    check_alias(alias)
    version = resolve(desk, conn, ref, scope_of(by))
    authorise(by, "approve", version.team)
    now = current(desk, conn, version, alias)
    _check_etag(now, expected_etag, version, alias)
    if now is not None and now.version == version.version:
        return now
    gate = gate_for(desk, conn, version.ref, alias)
    proof = _proof(desk, version, alias, gate, now, evidence)
    kept = [score for score in evidence if score.subject == str(version.ref)]
    for score in kept:
        _keep(desk, conn, score, version)
    move = Move(
        alias=_after(desk, version, alias, now, by, ungated=proof is None),
        action="promote",
        below=None if now is None else now.etag,
        evidence=tuple(score.id for score in kept),
        report=gate_report,
        approvers=() if grant is None else grant.approvers,
        taken=taken,
    )
    _commit(desk, conn, move, now, version.team, gate, _told(by, grant, None if taken is None else taken.release))
    return move.alias


def check_alias(alias: str) -> None:
    """Looks at the name of an alias.

    Raises:
        Invalid: it cannot be one.
    """
    if not ALIAS.fullmatch(alias):
        raise Invalid(f"'{alias}' cannot be an alias.", hint="Use lower case, such as production.", field="alias")


def rollback(desk: Desk, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None) -> Alias:
    """Moves the alias back to where it was before its last promotion; see `Registry.rollback`."""
    with desk.sql.write() as conn:
        return rollback_in(desk, conn, ref, alias, by=by, expected_etag=expected_etag, grant=None)


def rollback_in(
    desk: Desk,
    conn: Connection,
    ref: Ref,
    alias: str,
    *,
    by: Principal,
    expected_etag: int | None,
    grant: Grant | None,
    release: str | None = None,
) -> Alias:
    """The same in a transaction that is under way; `release` names the one that goes back and takes the asset along."""
    version = resolve(desk, conn, Ref(kind=ref.kind, name=ref.name, alias=alias), scope_of(by))
    authorise(by, "approve", version.team)
    now = current(desk, conn, version, alias)
    _check_etag(now, expected_etag, version, alias)
    target = below(desk, conn, ref, alias, now)
    if target is None:
        raise Conflict(f"{ref.kind}/{ref.name}@{alias} has named nothing else before.", hint="Promote another version instead.")
    back = resolve(desk, conn, target.alias.ref, scope_of(by))
    # What lies below the target stays below it, so that rolling back again goes further back.
    move = Move(
        alias=_after(desk, back, alias, now, by, ungated=target.alias.ungated),
        action="rollback",
        below=target.below,
        evidence=target.evidence,
        approvers=() if grant is None else grant.approvers,
        taken=target.taken,
    )
    _commit(desk, conn, move, now, back.team, None, _told(by, grant, release))
    return move.alias


def below(desk: Desk, conn: Connection, ref: Ref, alias: str, now: Alias | None) -> Move | None:
    """The move that a rollback returns to; None at the bottom."""
    moves = {move.alias.etag: move for move in desk.aliases.moves(conn, ref.kind, ref.name, alias)}
    last = None if now is None else moves.get(now.etag)
    return None if last is None or last.below is None else moves.get(last.below)


def gate_for(desk: Desk, conn: Connection, ref: Ref, alias: str) -> Gate | None:
    """The gate that guards this alias: the asset's own, else its kind's; set gates go before defaults."""
    for asset in candidates(ref):
        gate = desk.gates.one(conn, asset, alias) or default_for(asset, alias)
        if gate is not None:
            return gate
    return None


def _proof(
    desk: Desk, version: Version, alias: str, gate: Gate | None, now: Alias | None, evidence: Sequence[Score]
) -> Score | None:
    if gate is not None:
        champion = None if now is None else now.ref
        return passing(gate, alias, version.ref, champion, evidence, desk.clock.now())
    if version.kind in NEED_GATE:
        raise Blocked(
            f"{version.ref} cannot become {alias}: a {version.kind} needs a gate, and none guards this alias.",
            hint=f"Ask an admin to set one on {version.kind}/{version.name} or {version.kind}/* for {alias}.",
        )
    return None


def _check_etag(now: Alias | None, expected: int | None, version: Version, alias: str) -> None:
    etag = 0 if now is None else now.etag
    if expected is not None and expected != etag:
        names = "nothing" if now is None else f"version {now.version}"
        raise Conflict(
            f"{version.kind}/{version.name}@{alias} was moved meanwhile: its etag is {etag}, not {expected}; it names {names}.",
            hint="Look at it again, then decide.",
        )


def _keep(desk: Desk, conn: Connection, score: Score, version: Version) -> None:
    known = desk.scores.one(conn, score.id)
    if known is None:
        desk.scores.add(conn, score, version.team)
    elif (known.subject, known.scorer, known.value, known.label) != (score.subject, score.scorer, score.value, score.label):
        raise Conflict(f"The score {score.id} is on record with another content.", hint="Evaluate again.")


def _after(desk: Desk, version: Version, alias: str, now: Alias | None, by: Principal, *, ungated: bool) -> Alias:
    return Alias(
        kind=version.kind,
        name=version.name,
        alias=alias,
        version=version.version,
        etag=1 if now is None else now.etag + 1,
        moved_at=desk.clock.now(),
        moved_by=by.name,
        ungated=ungated,
    )


def _told(by: Principal, grant: Grant | None, release: str | None) -> dict[str, object]:
    """What an audit row says on top: who allowed the move, and which release it belongs to."""
    return {
        **({} if grant is None else grant.told),
        **({} if release is None else {"release": release}),
        **({"run": by.run} if by.run else {}),
    }


def _commit(
    desk: Desk,
    conn: Connection,
    move: Move,
    now: Alias | None,
    team: str,
    gate: Gate | None,
    told: Mapping[str, object],
) -> None:
    alias = move.alias
    desk.aliases.move(conn, move)
    desk.audit.append(
        conn,
        actor=alias.moved_by,
        action=f"alias.{move.action}",
        subject=str(alias.ref),
        team=team,
        detail={
            "alias": alias.alias,
            "from": None if now is None else now.version,
            "etag": alias.etag,
            "ungated": alias.ungated,
            "gate": None if gate is None else {"asset": gate.asset, "metric": gate.metric, "require": gate.require},
            "evidence": move.evidence,
            "report": move.report,
            **told,
        },
    )
    bump(conn)
