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
from tandem.evaluation.child import Case, case_of, judge_apart
from tandem.evaluation.evidence import Facts, Latency, OutOfFold
from tandem.evaluation.gate import NOBODY, data
from tandem.evaluation.gate import report as report_of
from tandem.evaluation.held.evidence import Holdouts, lost, trained_here
from tandem.evaluation.held.repo import Held
from tandem.evaluation.replay import Replay
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.suitegate import Evidence, judge_suite
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.gates import DEFAULTS, gate_score
from tandem.registry.kinds.model import IMPORTED
from tandem.registry.kinds.release import pins
from tandem.registry.kinds.suite import read
from tandem.registry.nouns import Alias, Pin, Together
from tandem.registry.promote import Grant
from tandem.registry.registry import Registry
from tandem.registry.release import Proof

EVIDENCE = "oof.json"
"""The member of a model that holds its out-of-fold predictions."""
BROUGHT = "The predictions were brought from outside, and nobody here could make them again."
ENDPOINT_KINDS = {"model": "predict", "decision": "decide"}
MODEL = "Train a better candidate"
BETTER: dict[str, str] = {"prompt": "Write a better prompt"}
"""What to do about a refusal, where it is not `MODEL`."""


class Same(msgspec.Struct, frozen=True):
    """The part of a model's parity that is read here."""

    held: bool
    reason: str
    rows: int


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

    def __init__(
        self,
        registry: Registry,
        evaluations: Evaluations,
        clock: Clock,
        replay: Replay | None = None,
        holdouts: Holdouts | None = None,
    ) -> None:
        """
        Args:
            replay: asks a champion about the rows of a candidate that was trained on other data; without it,
                models of different data cannot be compared.
            holdouts: evidence on held-out rows, and where rows lie; without it, slices and fairness cannot be judged.
        """
        self._registry, self._evaluations, self._clock = registry, evaluations, clock
        self._replay, self._holdouts = replay, holdouts

    def judge(self, ref: Ref, alias: str, *, by: Principal) -> dict[str, Any] | None:
        """What the gate would say to this promotion; nothing moves. None where no gate guards the alias.

        At evidence that may grow it is a look, and is recorded as one: whoever asks again spends error.

        Raises:
            Blocked: there is no evidence to judge.
            Forbidden: `by` has no right to write in the version's team.
            NotFound: there is no such version in the caller's scope.
        """
        version = self._registry.find(ref, scope_of(by))
        authorise(by, "write", version.team)
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
        return self._judge(gate, version, self._opponent(version, champion, by), by)

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

    def _judge(self, gate: Gate, version: Version, champion: Version | None, by: Principal) -> dict[str, Any]:
        """The report on a model: by its newest evidence on held-out rows, else by its out-of-fold predictions."""
        held = None if self._holdouts is None else self._holdouts.kept.newest(str(version.ref))
        if held is None and champion is None and (told := _first_import(gate, version)) is not None:
            return told
        case = self._folds(gate, version, champion) if held is None else self._held(gate, version, champion, held, by)
        latency = _latency(version) if held is None or held.latency is None else held.latency
        size = sum(self._registry.size(version, name) for name in version.members) if gate.size_bytes is not None else None
        rows = None
        if gate.columns and self._holdouts is not None:
            rows = self._holdouts.rows(OutOfFold.from_json(bytes(case.candidate)).dataset)
        report = judge_apart(msgspec.structs.replace(case, facts=Facts(latency=latency, size=size), rows=rows))
        brought = [BROUGHT] if held is not None and held.given else []
        return {
            **report,
            "reasons": [*msgspec.convert(report["reasons"], list[str]), *brought],
            "candidate_ref": str(version.ref),
            "champion_ref": None if champion is None else str(champion.ref),
            "evidence": None if held is None else {"id": held.id, "dataset": held.dataset, "given": held.given},
            "latency": msgspec.to_builtins(latency),
        }

    def _folds(self, gate: Gate, version: Version, champion: Version | None) -> Case:
        own = self._out_of_fold(version)
        other = None if champion is None else self._out_of_fold(champion)
        if champion is not None and other is not None and self._replay is not None and _other_data(version, champion):
            other = self._replay.evidence(own, champion, other)
        return case_of(gate, own, other)

    def _out_of_fold(self, version: Version) -> bytes:
        """The predictions that the version's own training made; nobody else's word counts for them."""
        if EVIDENCE not in version.members or not trained_here(version):
            brought = EVIDENCE in version.members
            told = "brought its out-of-fold predictions along" if brought else "has no out-of-fold predictions"
            raise Blocked(
                f"{version.ref} {told}, so there is nothing its gate could judge.",
                hint=f"Train it here: tandem train {version.name} --data dataset/NAME --target COLUMN; or evaluate it on rows "
                f"that it has not seen: tandem gate evidence {version.ref} --data dataset/NAME.",
                code="no_evidence",
            )
        return self._registry.member(version, EVIDENCE)

    def _held(self, gate: Gate, version: Version, champion: Version | None, held: Held, by: Principal) -> Case:
        """The evidence on held-out rows, and the looks at it so far; this one is recorded."""
        assert self._holdouts is not None
        kept = self._holdouts.kept
        own = kept.body(held.id)
        other = None if champion is None else self._on_rows(champion, held, own)
        opponent = None if champion is None else str(champion.ref)
        before = [each for each in kept.looks(str(version.ref), opponent) if each.evidence != held.id]
        gone = lost(OutOfFold.from_json(kept.body(before[-1].evidence)), OutOfFold.from_json(own)) if before else 0
        if not gone:  # what was exchanged tells nothing, so it is no look either
            look = kept.look(str(version.ref), opponent, held, by=by.name)
            before = before[: look.look - 1]
        return msgspec.structs.replace(case_of(gate, own, other), before=tuple(each.rows for each in before), lost=gone)

    def _on_rows(self, champion: Version, held: Held, own: bytes) -> bytes:
        """What the champion says about the candidate's held-out rows: its own evidence on them, else it is asked."""
        assert self._holdouts is not None
        theirs = self._holdouts.kept.newest(str(champion.ref), held.dataset)
        if theirs is not None:
            return self._holdouts.kept.body(theirs.id)
        if self._replay is None:
            raise Blocked(
                f"{champion.ref} has no evidence on {held.dataset}.",
                hint=f"Run: tandem gate evidence {champion.ref} --data {held.dataset}",
                code="no_evidence",
            )
        return self._replay.evidence(own, champion, self._out_of_fold(champion))

    def _by_suite(self, gate: Gate, version: Version, champion: Version | None, by: Principal) -> dict[str, Any]:
        """The report on a prompt: its evaluation and the champion's with the suite's version of now."""
        suite = self._registry.find(Ref.parse(str(gate.suite)), scope_of(by))
        candidate = self._evidence(version, suite, by)
        other = None if champion is None else self._evidence(champion, suite, by)
        report = judge_suite(gate, read(suite.meta), candidate, other)
        times = len([one for one in self._evaluations.of(str(version.ref), scope_of(by), suite=str(suite.ref)) if one.done_at])
        often = f"{version.ref} was evaluated {times} times with {suite.ref}; the newest counts." if times > 1 else ""
        return {
            **msgspec.json.decode(report.to_json()),
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


def _first_import(gate: Gate, version: Version) -> dict[str, Any] | None:
    """The report on an imported model where nobody set a gate and no champion could be harmed: it serves as it was.

    The default gate asks nothing of a first version but that there is evidence of it. Of an imported one this is what the
    import compared: what serves answers as its own framework does. Of how good that is, the report says that nobody knows.
    """
    if gate not in DEFAULTS or version.meta.get("origin") != IMPORTED or version.run is None:
        return None
    try:
        parity = msgspec.convert(version.meta.get("parity"), Same)
    except msgspec.ValidationError:
        return None
    if not parity.held:
        return None
    told = f"It was imported, and answers as its own framework does ({parity.reason}). How good it is, nobody has shown here."
    found = [data("import", told, "kept", n=parity.rows), data("champion", NOBODY, "kept")]
    return {
        **msgspec.json.decode(report_of(gate, found, candidate=None, verdict=None).to_json()),
        "candidate_ref": str(version.ref),
        "champion_ref": None,
        "evidence": None,
        "latency": None,
    }


def _latency(version: Version) -> Latency | None:
    """What its training measured; None where it did not, or where the meta says something else under that name."""
    try:
        return msgspec.convert(version.meta.get("latency"), Latency | None)
    except msgspec.ValidationError:
        return None


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
