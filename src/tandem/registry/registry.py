"""The registry as others see it: publish, find, promote, roll back, trace. Each act is in the file of its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection

from tandem.core.asset import Kind, Ref, Version
from tandem.core.clock import Clock
from tandem.core.errors import NotFound
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.core.score import Score
from tandem.governance.audit import Audit
from tandem.governance.authorise import Scope, authorise
from tandem.registry import lineage, promote, publish, release
from tandem.registry.find import Desk, resolve
from tandem.registry.gates import DEFAULTS, asked, check_gate
from tandem.registry.nouns import Alias, Asset, Lineage, Move, Pin, Together
from tandem.registry.promote import Grant
from tandem.registry.release import Proof, check_alone
from tandem.registry.repo import bump, snapshot_version
from tandem.store.blobs import GRACE_SECONDS, Blobs
from tandem.store.sql import Sql


class Registry:
    """Assets, their versions, aliases and gates."""

    def __init__(self, sql: Sql, blobs: Blobs, audit: Audit, clock: Clock) -> None:
        self._desk = Desk(sql=sql, blobs=blobs, audit=audit, clock=clock)

    def publish(
        self,
        kind: Kind,
        name: str,
        *,
        members: Mapping[str, bytes | Path],
        meta: Mapping[str, object],
        parents: tuple[str, ...] = (),
        run: str | None = None,
        by: Principal,
    ) -> Version:
        """Makes the next version; the same content as the newest one is the newest one.

        Args:
            kind: `dataset`, `model`, `prompt`, `decision`, `policy`, `suite`, `index`, `router` or `release`.
            name: the asset; the team that publishes first has it.
            members: file name → its bytes, or the path of a file to copy.
            meta: what the version says about itself (`kinds/` says what each kind must); JSON.
            parents: the versions it was made from, as `kind/name@version-or-alias`.
            run: the Run that made it.
            by: needs the right to write in the asset's team.

        Raises:
            Forbidden: the right is missing.
            Conflict: the name is another team's.
            NotFound: a parent does not exist.
            Invalid: a name, the meta, a file or the parents are wrong.
        """
        return publish.publish(self._desk, kind, name, members=members, meta=meta, parents=parents, run=run, by=by)

    def promote(
        self,
        ref: Ref,
        alias: str,
        *,
        evidence: Sequence[Score] = (),
        by: Principal,
        expected_etag: int | None = None,
        gate_report: Mapping[str, object] | None = None,
    ) -> Alias:
        """Moves an alias to a version, if its gate lets it; to the version it names already changes nothing.

        Args:
            ref: the version, by number, by another alias, or the newest.
            alias: what moves, such as `production`.
            evidence: Scores of exactly this version; `gates.passing` says which one a gate needs. All are kept.
            by: needs the right to approve in the asset's team.
            expected_etag: the alias' etag as the caller has seen it; 0 when there was none.
            gate_report: what the gate's evaluation said, kept with the move and in the audit; JSON.

        Raises:
            Forbidden: the right is missing.
            Blocked: the evidence does not pass the gate, or a model's alias has no gate.
            Conflict: the alias was moved meanwhile.
            NotFound: there is no such version.
            Invalid: the alias cannot be one, or this is a release.
        """
        check_alone(ref.kind)
        return promote.promote(
            self._desk, ref, alias, evidence=evidence, by=by, expected_etag=expected_etag, gate_report=gate_report
        )

    def rollback(self, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None = None) -> Alias:
        """Moves an alias back to the version it named before; again, to the one before that.

        Raises:
            Forbidden: `by` has no right to approve in the asset's team.
            Conflict: it has named nothing else before, or was moved meanwhile.
            NotFound: there is no such asset or alias.
            Invalid: this is a release.
        """
        check_alone(ref.kind)
        return promote.rollback(self._desk, ref, alias, by=by, expected_etag=expected_etag)

    def promote_in(
        self,
        conn: Connection,
        ref: Ref,
        alias: str,
        *,
        evidence: Sequence[Score],
        by: Principal,
        expected_etag: int | None,
        gate_report: Mapping[str, object] | None,
        grant: Grant,
    ) -> Alias:
        """`promote` in the transaction of the approval that allows it; see there."""
        check_alone(ref.kind)
        return promote.promote_in(
            self._desk, conn, ref, alias, evidence=evidence, by=by, expected_etag=expected_etag, gate_report=gate_report,
            grant=grant,
        )  # fmt: skip

    def rollback_in(
        self, conn: Connection, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None, grant: Grant
    ) -> Alias:
        """`rollback` in the transaction of the approval that allows it; see there."""
        check_alone(ref.kind)
        return promote.rollback_in(self._desk, conn, ref, alias, by=by, expected_etag=expected_etag, grant=grant)

    def promote_release(
        self, ref: Ref, alias: str, *, proofs: Mapping[str, Proof], by: Principal, expected_etag: int | None = None
    ) -> Together:
        """Moves the alias of a release, and the same alias of every asset it pins to the pinned version: all, or none.

        Args:
            ref: the version of the release.
            alias: what moves, of the release and of the pins; a pin that is there already is left alone.
            proofs: what lets a pin pass its gate, by its name (`model/fraud@3`).
            by: needs the right to approve in the team of the release and of every pin.
            expected_etag: the etag of the release's own alias as the caller has seen it; 0 when there was none.

        Raises:
            Blocked: the evidence of a pin does not pass its gate; the message names the pin.
            Forbidden, Conflict, NotFound, Invalid: as `promote`.
        """
        with self._desk.sql.write() as conn:
            return release.promote_release_in(
                self._desk, conn, ref, alias, proofs=proofs, by=by, expected_etag=expected_etag, grant=None
            )

    def promote_release_in(
        self,
        conn: Connection,
        ref: Ref,
        alias: str,
        *,
        proofs: Mapping[str, Proof],
        by: Principal,
        expected_etag: int | None,
        grant: Grant,
    ) -> Together:
        """`promote_release` in the transaction of the approval that allows it; see there."""
        return release.promote_release_in(
            self._desk, conn, ref, alias, proofs=proofs, by=by, expected_etag=expected_etag, grant=grant
        )

    def rollback_release(self, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None = None) -> Together:
        """Moves the alias of a release back, and that of every asset which its promotion moved: all, or none.

        A pin that somebody moved since, that was not moved by the promotion, or that named nothing before it is left alone.

        Raises:
            Conflict: the release's alias has named nothing else before, or was moved meanwhile.
            Forbidden, NotFound: as `rollback`.
        """
        with self._desk.sql.write() as conn:
            return release.rollback_release_in(self._desk, conn, ref, alias, by=by, expected_etag=expected_etag, grant=None)

    def rollback_release_in(
        self, conn: Connection, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None, grant: Grant
    ) -> Together:
        """`rollback_release` in the transaction of the approval that allows it; see there."""
        return release.rollback_release_in(self._desk, conn, ref, alias, by=by, expected_etag=expected_etag, grant=grant)

    def would_return(self, ref: Ref, alias: str, scope: Scope) -> tuple[Pin, ...]:
        """The pins of a release, where they stand, and which of them a rollback of it would move.

        Raises:
            NotFound: the release has no such alias in the scope.
        """
        with self._desk.sql.read() as conn:
            return release.plan(self._desk, conn, ref, alias, scope)

    def stands(self, conn: Connection, ref: Ref, alias: str) -> Alias | None:
        """Where an alias stands, as a transaction that is under way sees it; None when it names nothing."""
        return self._desk.aliases.one(conn, ref.kind, ref.name, alias)

    def find(self, ref: Ref, scope: Scope) -> Version:
        """The version a name means now.

        Raises:
            NotFound: there is none in the scope.
        """
        with self._desk.sql.read() as conn:
            return resolve(self._desk, conn, ref, scope)

    def versions(self, kind: Kind, name: str, scope: Scope) -> tuple[Version, ...]:
        """All versions of one asset, newest first; empty when there is none in the scope."""
        with self._desk.sql.read() as conn:
            return self._desk.versions.of(conn, kind, name, scope)

    def assets(self, kind: Kind | None, scope: Scope) -> tuple[Asset, ...]:
        """Assets with their newest version and aliases, by kind and name; None means every kind."""
        with self._desk.sql.read() as conn:
            return self._desk.versions.assets(conn, kind, scope)

    def aliases(self, kind: Kind, name: str, scope: Scope) -> tuple[Alias, ...]:
        """The aliases of one asset.

        Raises:
            NotFound: there is no such asset in the scope.
        """
        with self._desk.sql.read() as conn:
            resolve(self._desk, conn, Ref(kind=kind, name=name), scope)
            return self._desk.aliases.of(conn, kind, name)

    def moves(self, kind: Kind, name: str, alias: str, scope: Scope) -> tuple[Move, ...]:
        """The history of an alias, newest first.

        Raises:
            NotFound: there is no such asset in the scope.
        """
        with self._desk.sql.read() as conn:
            resolve(self._desk, conn, Ref(kind=kind, name=name), scope)
            return self._desk.aliases.moves(conn, kind, name, alias)

    def scores(self, ref: Ref, scope: Scope) -> tuple[Score, ...]:
        """The Scores a version was promoted on, newest first.

        Raises:
            NotFound: there is no such version in the scope.
        """
        with self._desk.sql.read() as conn:
            version = resolve(self._desk, conn, ref, scope)
            return self._desk.scores.of(conn, str(version.ref), scope)

    def member(self, version: Version, name: str) -> bytes:
        """One file of a version, its digest compared.

        Raises:
            NotFound: the version has no such file.
            Broken: the file is gone or damaged.
        """
        if name not in version.members:
            raise NotFound(f"{version.ref} has no file '{name}'.", hint=f"It has: {', '.join(version.members) or 'none'}.")
        return self._desk.blobs.read(version.members[name])

    def size(self, version: Version, name: str) -> int:
        """The bytes of one file of a version.

        Raises:
            NotFound: the version has no such file.
            Broken: the file is gone or damaged.
        """
        return len(self.member(version, name))

    def lineage(self, ref: Ref, depth: int, scope: Scope) -> Lineage:
        """What a version was made from and what was made from it, up to `depth` steps each way.

        Raises:
            NotFound: there is no such version in the scope; versions of other teams are left out.
            Invalid: the depth is out of bounds.
        """
        return lineage.lineage(self._desk, ref, depth, scope)

    def set_gate(self, gate: Gate, by: Principal) -> None:
        """Sets what a version must prove before this alias moves to it.

        Raises:
            Forbidden: `by` is no admin.
            Invalid: the gate names nothing, or its numbers make no sense.
        """
        authorise(by, "admin")
        check_gate(gate)
        with self._desk.sql.write() as conn:
            self._desk.gates.put(conn, gate, self._desk.clock.now(), by.name)
            self._desk.audit.append(
                conn,
                actor=by.name,
                action="gate.set",
                subject=f"{gate.asset}@{gate.alias}",
                team=by.team,
                detail={
                    "metric": gate.metric,
                    "minimum": gate.minimum,
                    "margin": gate.margin,
                    "require": gate.require,
                    "suite": gate.suite,
                    **asked(gate),
                },
            )
            bump(conn)

    def drop_gate(self, asset: str, alias: str, by: Principal) -> None:
        """Drops a gate; the gate of the whole kind then guards the alias, or none.

        Raises:
            Forbidden: `by` is no admin.
            NotFound: none was set.
        """
        authorise(by, "admin")
        with self._desk.sql.write() as conn:
            if not self._desk.gates.drop(conn, asset, alias):
                raise NotFound(f"No gate is set on {asset}@{alias}.", hint="`tandem gate list` shows them.")
            self._desk.audit.append(
                conn, actor=by.name, action="gate.drop", subject=f"{asset}@{alias}", team=by.team, detail={}
            )  # fmt: skip
            bump(conn)

    def gate_for(self, ref: Ref, alias: str) -> Gate | None:
        """The gate that guards this alias of this asset; None when none does."""
        with self._desk.sql.read() as conn:
            return promote.gate_for(self._desk, conn, ref, alias)

    def gates(self, scope: Scope) -> tuple[Gate, ...]:
        """The gates that hold: those that were set, and the defaults that none replaces."""
        with self._desk.sql.read() as conn:
            found = self._desk.gates.list(conn, scope)
        named = {(gate.asset, gate.alias) for gate in found}
        return found + tuple(gate for gate in DEFAULTS if (gate.asset, gate.alias) not in named)

    def snapshot_version(self) -> int:
        """How many changes the compiled snapshot has to reflect; 0 before the first."""
        with self._desk.sql.read() as conn:
            return snapshot_version(conn)

    def sweep(self, *, grace: float = GRACE_SECONDS) -> tuple[str, ...]:
        """Deletes the blobs of no version that are older than `grace` seconds; returns their digests."""
        with self._desk.sql.read() as conn:
            live = self._desk.versions.live_blobs(conn)
        return self._desk.blobs.sweep(live, grace=grace)
