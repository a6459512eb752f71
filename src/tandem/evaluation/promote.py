"""Promotion with evidence made on the spot: the gate is judged by the server, never by whoever asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from tandem.core.asset import Ref, Version
from tandem.core.clock import Clock
from tandem.core.errors import Blocked, NotFound
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.core.score import Estimate, Score
from tandem.evaluation.child import judge_apart
from tandem.evaluation.replay import Replay
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.suitegate import Evidence, judge_suite
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.gates import gate_score
from tandem.registry.kinds.release import pins
from tandem.registry.kinds.suite import read
from tandem.registry.nouns import Alias, Pin, Together
from tandem.registry.promote import Grant
from tandem.registry.registry import Registry
from tandem.registry.release import Proof

EVIDENCE = "oof.json"
"""The member of a model that holds its out-of-fold predictions."""
ENDPOINT_KINDS = {"model": "predict", "decision": "decide"}
MODEL = "Train a better candidate"
BETTER: dict[str, str] = {"prompt": "Write a better prompt"}
"""What to do about a refusal, where it is not `MODEL`."""


class GateRefused(Blocked):
    """The gate judged, and the version did not pass; `report` says why."""

    code = "gate_refused"

    def __init__(self, message: str, *, report: dict[str, Any], hint: str) -> None:
        super().__init__(message, hint=hint)
        self.report = report


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """A version that its gate lets pass, with the evidence; nothing has moved."""

    version: Version
    evidence: tuple[Score, ...]
    report: dict[str, Any] | None
    """None where no gate guards the alias."""
    pins: tuple[Proved, ...] = ()
    """Of a release: what it pins and the alias does not name yet, each proved as if it were promoted alone."""


class Promotions:
    """Promotes versions through their gates."""

    def __init__(self, registry: Registry, evaluations: Evaluations, clock: Clock, replay: Replay | None = None) -> None:
        """
        Args:
            replay: asks a champion about the rows of a candidate that was trained on other data; without it,
                models of different data cannot be compared.
        """
        self._registry, self._evaluations, self._clock, self._replay = registry, evaluations, clock, replay

    def judge(self, ref: Ref, alias: str, *, by: Principal) -> dict[str, Any] | None:
        """What the gate would say to this promotion; nothing moves. None where no gate guards the alias.

        Raises:
            Blocked: there is no evidence to judge.
            NotFound: there is no such version in the caller's scope.
        """
        version = self._registry.find(ref, scope_of(by))
        gate = self._registry.gate_for(version.ref, alias)
        if gate is None:
            return None
        return self._look(gate, version, self._champion(version, alias, by), by)

    def promote(self, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None = None) -> dict[str, Any]:
        """Judges the version against the current champion and moves the alias.

        Returns:
            The alias after the move, the gate's report, and the endpoint that now serves it; of a release also what became
            of each asset it pins.

        Raises:
            GateRefused: the verdict is not what the gate asks; `report` holds it.
            Blocked: there is no evidence to judge.
            Forbidden, NotFound, Conflict: as `Registry.promote`.
        """
        proved = self.prove(ref, alias, by=by)
        version = proved.version
        if version.kind == "release":
            together = self._registry.promote_release(
                version.ref, alias, proofs=_proofs(proved), by=by, expected_etag=expected_etag
            )
            return _told_together(together, proved)
        moved = self._registry.promote(
            version.ref, alias, evidence=proved.evidence, by=by, expected_etag=expected_etag, gate_report=proved.report
        )
        return _told(moved, proved)

    def prove(self, ref: Ref, alias: str, *, by: Principal) -> Proved:
        """Judges the version against the current champion; nothing moves.

        Raises:
            GateRefused, Blocked, Forbidden, NotFound: as `promote`.
        """
        authorise(by, "approve")
        version = self._registry.find(ref, scope_of(by))
        if version.kind == "release":
            return self._prove_release(version, alias, by)
        gate = self._registry.gate_for(version.ref, alias)
        if gate is None:
            return Proved(version=version, evidence=(), report=None)
        champion = self._champion(version, alias, by)
        report = self._look(gate, version, champion, by)
        if not report["passed"]:
            raise GateRefused(
                f"{version.ref} was not promoted to {alias}: {' '.join(report['reasons'])}",
                report=report,
                hint=f"{BETTER.get(version.kind, MODEL)}, or change what the gate asks with `tandem gate set`.",
            )
        return Proved(version=version, evidence=(self._score(gate, version, champion, report, by),), report=report)

    def promote_in(
        self, conn: Connection, proved: Proved, alias: str, *, by: Principal, expected_etag: int | None, grant: Grant
    ) -> dict[str, Any]:
        """Moves the alias in the transaction of the approval that allows it; returns what `promote` does.

        Raises:
            Blocked, Forbidden, NotFound, Conflict: as `Registry.promote`.
        """
        if proved.version.kind == "release":
            together = self._registry.promote_release_in(
                conn, proved.version.ref, alias, proofs=_proofs(proved), by=by, expected_etag=expected_etag, grant=grant
            )
            return _told_together(together, proved)
        moved = self._registry.promote_in(
            conn, proved.version.ref, alias, evidence=proved.evidence, by=by, expected_etag=expected_etag,
            gate_report=proved.report, grant=grant,
        )  # fmt: skip
        return _told(moved, proved)

    def rollback(self, ref: Ref, alias: str, *, by: Principal) -> dict[str, Any]:
        """Moves an alias back to where it was before its last promotion; of a release, what that promotion moved too.

        Returns:
            The alias after the move; of a release also what became of each asset it pins.

        Raises:
            Forbidden, NotFound, Conflict: as `Registry.rollback`.
        """
        if ref.kind == "release":
            return _returned(self._registry.rollback_release(ref, alias, by=by))
        return asdict(self._registry.rollback(ref, alias, by=by))

    def rollback_in(
        self, conn: Connection, ref: Ref, alias: str, *, by: Principal, expected_etag: int | None, grant: Grant
    ) -> dict[str, Any]:
        """`rollback` in the transaction of the approval that allows it; see there."""
        if ref.kind == "release":
            together = self._registry.rollback_release_in(conn, ref, alias, by=by, expected_etag=expected_etag, grant=grant)
            return _returned(together)
        return asdict(self._registry.rollback_in(conn, ref, alias, by=by, expected_etag=expected_etag, grant=grant))

    def _prove_release(self, release: Version, alias: str, by: Principal) -> Proved:
        """The release with every pin that would move; the first that its gate refuses refuses all."""
        found = []
        for pin in pins(release.meta):
            now = self._named(pin, alias, by)
            if now is not None and now.version == pin.version:
                continue
            try:
                found.append(self.prove(pin, alias, by=by))
            except Blocked as refused:
                refused.message = f"{release.ref} moved nothing to {alias}. {refused.message}"
                raise
        return Proved(version=release, evidence=(), report=None, pins=tuple(found))

    def _named(self, ref: Ref, alias: str, by: Principal) -> Version | None:
        """The version that an alias of this asset names now."""
        try:
            return self._registry.find(Ref(kind=ref.kind, name=ref.name, alias=alias), scope_of(by))
        except NotFound:
            return None

    def _look(self, gate: Gate, version: Version, champion: Version | None, by: Principal) -> dict[str, Any]:
        if gate.suite is not None:
            return self._by_suite(gate, version, champion, by)
        return self._judge(gate, version, self._opponent(version, champion, by))

    def _champion(self, version: Version, alias: str, by: Principal) -> Version | None:
        """The version the alias names now; None when it names none, or the candidate itself."""
        champion = self._named(version.ref, alias, by)
        return None if champion is None or champion.version == version.version else champion

    def _opponent(self, version: Version, champion: Version | None, by: Principal) -> Version | None:
        """Whom the candidate is compared with: the champion, else the baseline that was trained beside it."""
        baseline = version.meta.get("baseline")
        if champion is not None or not isinstance(baseline, str):
            return champion
        return self._registry.find(Ref.parse(baseline), scope_of(by))

    def _judge(self, gate: Gate, version: Version, champion: Version | None) -> dict[str, Any]:
        if EVIDENCE not in version.members:
            raise Blocked(
                f"{version.ref} has no out-of-fold predictions, so there is nothing its gate could judge.",
                hint=f"Train it here: tandem train {version.name} --data dataset/NAME --target COLUMN.",
                code="no_evidence",
            )
        own = self._registry.member(version, EVIDENCE)
        other = None if champion is None else self._registry.member(champion, EVIDENCE)
        if champion is not None and other is not None and self._replay is not None and _other_data(version, champion):
            other = self._replay.evidence(own, champion, other)
        report = judge_apart(gate, own, other)
        return {**report, "candidate_ref": str(version.ref), "champion_ref": None if champion is None else str(champion.ref)}

    def _by_suite(self, gate: Gate, version: Version, champion: Version | None, by: Principal) -> dict[str, Any]:
        """The report on a prompt: its evaluation and the champion's with the suite's version of now."""
        suite = self._registry.find(Ref.parse(str(gate.suite)), scope_of(by))
        candidate = self._evidence(version, suite, by)
        other = None if champion is None else self._evidence(champion, suite, by)
        report = judge_suite(gate, read(suite.meta), candidate, other)
        times = len([one for one in self._evaluations.of(str(version.ref), scope_of(by), suite=str(suite.ref)) if one.done_at])
        often = f"{version.ref} was evaluated {times} times with {suite.ref}; the newest counts." if times > 1 else ""
        return {
            **msgspec.to_builtins(report),
            "reasons": [*report.reasons, *([often] if often else [])],
            "candidate_ref": str(version.ref),
            "champion_ref": None if champion is None else str(champion.ref),
            "suite": str(suite.ref),
            "evaluations": [candidate.evaluation.id, *([] if other is None else [other.evaluation.id])],
        }

    def _evidence(self, version: Version, suite: Version, by: Principal) -> Evidence:
        found = self._evaluations.newest(str(version.ref), str(suite.ref), scope_of(by))
        if found is None:
            raise Blocked(
                f"{version.ref} has not been evaluated with {suite.ref}, so there is nothing its gate could judge.",
                hint=f"Run: tandem eval {version.ref} --suite {suite.ref}",
                code="no_evidence",
            )
        return Evidence(evaluation=found, rows=self._evaluations.rows(found.id))

    def _score(self, gate: Gate, version: Version, champion: Version | None, report: dict[str, Any], by: Principal) -> Score:
        verdict = report["verdict"]
        return gate_score(
            version.ref,
            None if champion is None else champion.ref,
            gate=gate,
            passed=report["passed"],
            estimate=None if report["candidate"] is None else msgspec.convert(report["candidate"], Estimate),
            outcome=None if verdict is None else verdict["outcome"],
            by=by.name,
            now=self._clock.now(),
        )


def _told(moved: Alias, proved: Proved) -> dict[str, Any]:
    version, report = proved.version, proved.report
    endpoint = version.name if moved.alias == "production" and version.kind in ENDPOINT_KINDS else None
    return {
        **asdict(moved),
        "ref": str(moved.ref),
        "passed": True,
        "verdict": None if report is None else report["verdict"],
        "report": report,
        "reasons": [] if report is None else report["reasons"],
        "endpoint": endpoint,
    }


def _told_together(together: Together, proved: Proved) -> dict[str, Any]:
    judged = {str(each.version.ref): each for each in proved.pins}
    found = []
    for pin in together.pins:
        own = judged.get(str(pin.alias.ref))
        told: dict[str, Any] = {} if own is None else _told(pin.alias, own)
        found.append({**_pin(pin), **told})
    reasons = [f"{pin['ref']}: {reason}" for pin in found for reason in pin.get("reasons", ())]
    return {**_told(together.alias, proved), "reasons": reasons, "pins": found}


def _returned(together: Together) -> dict[str, Any]:
    return {**asdict(together.alias), "pins": [_pin(pin) for pin in together.pins]}


def _pin(pin: Pin) -> dict[str, Any]:
    return {**asdict(pin.alias), "ref": str(pin.alias.ref), "moved": pin.moved, "why": pin.why}


def _proofs(proved: Proved) -> dict[str, Proof]:
    return {str(pin.version.ref): Proof(evidence=pin.evidence, report=pin.report) for pin in proved.pins}


def _other_data(version: Version, champion: Version) -> bool:
    """Whether two models were trained on different rows for the same question."""
    same = all(version.meta.get(what) == champion.meta.get(what) for what in ("target", "classes"))
    return same and version.meta.get("digest") != champion.meta.get("digest")
