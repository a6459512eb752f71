"""A canary that is watched: a new target gets a share of an endpoint's calls, and loses it by itself when it does harm.

The watch is a Run: it survives its process, says how it stands, and ends when the canary does harm (the route is as it was),
when the planned time is over without harm (a promotion is asked for, or made), or when a person stops it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
from sqlalchemy import Connection

from tandem.core.asset import Ref
from tandem.core.clock import MICROS, Clock
from tandem.core.endpoint import HOSTED, Endpoint, Target
from tandem.core.errors import Conflict, Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.evaluation.approved import Moves
from tandem.evaluation.promote import Promotions
from tandem.gateway.repo import Routes
from tandem.gateway.snapshot import Snapshot
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.job import Halted, Job, Work, Workflows
from tandem.jobs.repo import Runs
from tandem.monitoring.counts import labels_of
from tandem.monitoring.harm import Call, Finding, Margins, judge
from tandem.monitoring.moved import promote_or_ask
from tandem.monitoring.outcomes import Outcomes
from tandem.monitoring.window import opened
from tandem.observability.content import Subjects
from tandem.observability.traces import Seen, Traces
from tandem.registry.registry import Registry
from tandem.store.sql import Sql

KIND = "canary"
AT_ONCE = 64
PRODUCTION = "production"
LOOK, SLOWER = 1.0, 0.05
"""Seconds between two looks at least, and as a share of the time that the canary has run."""
CALLS = 50_000
"""The most calls that one look reads; the newest."""
NAP = 0.2
"""Seconds between two questions whether to go on."""
AtEnd = Literal["ask", "promote", "nothing"]
Outcome = Literal["rolled-back", "promoted", "asked", "no-harm"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a canary is, as its Run keeps it."""

    endpoint: str
    target: str
    share: float
    """Of the calls, above 0 and below 1."""
    seconds: float
    """The planned time."""
    at_end: AtEnd = "ask"
    scorer: str = ""
    """Whose scores of traces are compared; empty: how often labels that came say that the answer was right."""
    margins: Margins = Margins()
    team: str = "default"
    by: str = ""
    """Who began it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """When it began, and the endpoint as it was in the table; None where a promotion alone had made it."""

    at: int
    before: Endpoint | None
    champions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """What a canary reads and changes."""

    sql: Sql
    audit: Audit
    table: Routes
    traces: Traces
    registry: Registry
    runs: Runs
    clock: Clock
    current: Callable[[], Snapshot]
    subjects: Subjects
    outcomes: Outcomes
    """Labels that come late."""


class Canaries:
    """Begins, shows and ends canaries, for the faces."""

    def __init__(self, stores: Stores, jobs: Workflows) -> None:
        self._s, self._jobs = stores, jobs

    def start(self, plan: Plan, *, by: Principal) -> Run:
        """Gives the target its share, and begins to watch.

        Raises:
            Forbidden, NotFound: `by` may not change the endpoint, or approve what is tried, or there is none.
            Conflict: the file manages it, or it has a canary already.
            Invalid: the share, the time or the target makes no sense.
        """
        endpoint = changeable(self._s, plan.endpoint, by)
        if endpoint.kind not in HOSTED:
            authorise(by, "approve", endpoint.team)  # it answers before its gate has let it
            pinned = self._s.registry.find(Ref.parse(plan.target), scope_of(by)).ref
            plan = msgspec.structs.replace(plan, target=str(pinned))
        if not 0 < plan.share < 1 or plan.seconds <= 0:
            raise Invalid("A canary takes a share between 0 and 1, for a time above 0.", field="share")
        if any(target.target == plan.target or target.role == "canary" for target in endpoint.route):
            raise Conflict(f"'{plan.endpoint}' leads to {plan.target} already, or has a canary.", hint="Look at its route.")
        if self._open(plan.endpoint):
            raise Conflict(f"'{plan.endpoint}' has a canary already.", hint=f"`tandem endpoint canary show {plan.endpoint}`.")
        told = msgspec.to_builtins(msgspec.structs.replace(plan, team=endpoint.team, by=by.name))
        run = self._s.runs.create(KIND, plan.endpoint, inputs=told, by=replace(by, team=endpoint.team))
        self._jobs.start(KIND, run.id, told)
        return run

    def begin_once(self, plan: Plan, *, by: Principal) -> str:
        """As `start`; the canary of the same target that is under way is that one. Returns its Run's id.

        Raises:
            Forbidden, NotFound, Conflict, Invalid: as `start`.
        """
        for run in self._open(plan.endpoint):
            if run.inputs.get("target") == plan.target:
                return run.id
        return self.start(plan, by=by).id

    def show(self, name: str, *, by: Principal) -> Run:
        """The newest canary of an endpoint.

        Raises:
            NotFound: it never had one that `by` may see.
        """
        found = self.newest(name, by=by)
        if found is None:
            raise NotFound(f"The endpoint '{name}' has no canary.", hint=f"`tandem endpoint canary start {name}` begins one.")
        return found

    def newest(self, name: str, *, by: Principal) -> Run | None:
        """As `show`; None where it never had one."""
        authorise(by, "read")
        return next(iter(self._s.runs.list(scope_of(by), kind=KIND, name=name, limit=1)), None)

    def stop(self, name: str, *, by: Principal) -> Run:
        """Takes the share back; the route is as it was.

        Raises:
            Forbidden, NotFound: `by` may not change the endpoint, or no canary is under way.
        """
        changeable(self._s, name, by)
        found = self._open(name)
        if not found:
            raise NotFound(f"The endpoint '{name}' has no canary now.", hint="Nothing is to be stopped.")
        self._jobs.cancel(found[0].id)
        return self._s.runs.find(found[0].id, ALL)

    def _open(self, name: str) -> Sequence[Run]:
        runs = self._s.runs.list(ALL, kind=KIND, name=name, limit=20)
        return [run for run in runs if run.state in ("queued", "running")]


def seen(stores: Stores, name: str, by: Principal) -> Endpoint:
    """An endpoint as it is served now.

    Raises:
        NotFound: there is none that `by` may see.
    """
    endpoint = stores.current().endpoints.get(name)
    if endpoint is None or not (endpoint.team == "default" or scope_of(by).admits(endpoint.team)):
        raise NotFound(f"There is no endpoint '{name}'.", hint="`tandem endpoint list` shows what there is.")
    return endpoint


def changeable(stores: Stores, name: str, by: Principal) -> Endpoint:
    """An endpoint that `by` may change.

    Raises:
        Forbidden, NotFound: `by` may not, or there is none.
        Conflict: the file manages it.
    """
    endpoint = seen(stores, name, by)
    authorise(by, "write", endpoint.team)
    if endpoint.managed is not None:
        raise Conflict(f"The endpoint '{name}' is managed by {endpoint.managed}.", hint="Change the file.")
    return endpoint


def make_canary(stores: Stores, promotions: Promotions, moves: Moves) -> Work:
    """The workflow `canary`.

    Its Run's outputs are `outcome` (`rolled-back`, `promoted`, `asked` or `no-harm`), `findings` (sentences), `evidence`
    (the findings in numbers), `reasons` (what a gate said) and `request` (an id, where a promotion was asked for).
    """

    def canary(job: Job) -> Mapping[str, object]:
        plan = msgspec.convert({key: job.inputs[key] for key in Plan.__struct_fields__ if key in job.inputs}, Plan)
        by = Principal(id=f"canary/{plan.endpoint}", name=f"canary/{plan.endpoint}", team=plan.team, kind="service", role="admin")
        begun = job.step("begin", lambda: _begin(stores, plan, by), _Begun)
        try:
            findings = _watch(job, stores, plan, begun)
        except Halted as halted:
            if halted.why == "cancelled":
                _back(stores, plan, begun, by, "stopped", ())
            raise
        if any(finding.harm for finding in findings):
            job.step("roll back", lambda: _back(stores, plan, begun, by, "rolled-back", findings), bool)
            return _told("rolled-back", findings)
        decided = job.step("end", lambda: _end(job, stores, plan, begun, by, findings, promotions, moves), _Decided)
        return {**_told(decided.outcome, findings), "request": decided.request, "reasons": list(decided.reasons)}

    return canary


def _begin(stores: Stores, plan: Plan, by: Principal) -> _Begun:
    """Gives the target its share; done again, it finds what was before the first time."""
    now, serving = stores.clock.now(), stores.current().endpoints[plan.endpoint]
    champions = tuple(target.target for target in serving.route if target.target != plan.target)
    with stores.sql.write() as conn:
        standing = stores.table.standing(conn, plan.endpoint)
        before = None if standing is None else standing[0]
        base = before or by_alias(serving)
        if plan.target in [target.target for target in base.route]:  # a former attempt came this far
            base = before = _without(base, plan)
        changed = replace(base, route=_shared(base, plan))
        detail = {"target": plan.target, "share": plan.share, "seconds": plan.seconds, "by": plan.by}
        stores.table.put_endpoint_in(conn, changed, by=by, detail={"canary": detail}, watched=True)
        _record(stores, conn, plan, by, "started", detail)
    return _Begun(at=now, before=before, champions=champions)


def by_alias(endpoint: Endpoint) -> Endpoint:
    """An endpoint that a promotion made, as it has to be written down."""
    route = tuple(replace(target, target=f"{target.target.partition('@')[0]}@{PRODUCTION}") for target in endpoint.route)
    return replace(endpoint, route=route)


def _shared(endpoint: Endpoint, plan: Plan) -> tuple[Target, ...]:
    return (*endpoint.route, Target(target=plan.target, role="canary", share=plan.share))


def _without(endpoint: Endpoint, plan: Plan) -> Endpoint:
    return replace(endpoint, route=tuple(target for target in endpoint.route if target.target != plan.target))


def _watch(job: Job, stores: Stores, plan: Plan, begun: _Begun) -> tuple[Finding, ...]:
    """Looks until there is harm or the time is over; the looks grow rarer as the canary grows older."""
    until = begun.at + round(plan.seconds * MICROS)
    scored: dict[str, float] = {}
    while True:
        now = stores.clock.now()
        findings = judge(_calls(stores, plan, begun, now, scored), plan.margins)
        share = min(1.0, (now - begun.at) / (until - begun.at))
        job.progress(share, "; ".join(finding.words for finding in findings) or "too few calls so far")
        if now >= until or any(finding.harm for finding in findings):
            return findings
        rest = min(max(LOOK, SLOWER * (now - begun.at) / MICROS), (until - now) / MICROS)
        sleep(job, rest)


def sleep(job: Job, seconds: float) -> None:
    """Waits, unless the job must not go on.

    Raises:
        Halted: it must not.
    """
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        why = job.halted()
        if why is not None:
            raise Halted(why)
        time.sleep(min(NAP, left))


def _calls(stores: Stores, plan: Plan, begun: _Begun, now: int, scored: dict[str, float]) -> list[Call]:
    """The calls that the canary or a champion answered since it began, in the order in which they began.

    Args:
        scored: call → what was said of it at an earlier look, which is not looked up again; new ones are added.
    """
    seen = stores.traces.window(team=None, endpoint=plan.endpoint, since=begun.at, until=now, limit=CALLS)
    calls = [_call(stores, plan, begun, each, scored) for each in reversed(seen) if each.trace.start >= begun.at]
    return [call for call in calls if call is not None]


def _call(stores: Stores, plan: Plan, begun: _Begun, each: Seen, scored: dict[str, float]) -> Call | None:
    """A call by its first attempt; None where somebody else was asked."""
    trace = each.trace
    first = min(trace.attempts, key=lambda attempt: attempt.attempt, default=None)
    if first is None or first.target not in (plan.target, *begun.champions):
        return None
    spent = (first.end - first.start) / 1000
    if trace.call not in scored:
        score = _score(stores, plan, each)
        if score is not None:
            scored[trace.call] = score
    return Call(canary=first.target == plan.target, outcome=first.outcome, milliseconds=spent, score=scored.get(trace.call))


def _score(stores: Stores, plan: Plan, each: Seen) -> float | None:
    """What a scorer says of a call, or the share of its rows that their labels say were right; None where neither came."""
    if plan.scorer:
        scores = [score.value for score in stores.traces.scores(each.trace.id) if score.scorer == plan.scorer]
        return scores[-1] if scores else None
    if each.trace.kind != "predict":
        return None
    known = stores.outcomes.of(each.trace)
    kept, _ = opened(each, stores.subjects, whole=False) if known else (None, "")
    told = () if kept is None else labels_of(kept.answer)
    if not told or len(told) != len(known):
        return None
    return sum(a == b for a, b in zip(told, known, strict=True)) / len(told)


def _back(stores: Stores, plan: Plan, begun: _Begun, by: Principal, deed: str, findings: Sequence[Finding]) -> bool:
    """Puts the route back as it was, and records why, in one transaction."""
    with stores.sql.write() as conn:
        standing = stores.table.standing(conn, plan.endpoint)
        told: dict[str, object] = {"target": plan.target, "evidence": [finding.words for finding in findings]}
        if standing is not None and plan.target in [target.target for target in standing[0].route]:
            if begun.before is None:
                stores.table.delete_endpoint_in(conn, plan.endpoint, by=by, detail={"canary": told})
            else:
                stores.table.put_endpoint_in(conn, replace(standing[0], route=begun.before.route), by=by, detail={"canary": told})
        _record(stores, conn, plan, by, deed, told)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decided:
    outcome: Outcome
    request: str | None = None
    reasons: tuple[str, ...] = ()


def _end(
    job: Job,
    stores: Stores,
    plan: Plan,
    begun: _Begun,
    by: Principal,
    findings: Sequence[Finding],
    promotions: Promotions,
    moves: Moves,
) -> _Decided:
    """The time is over and no harm was shown: the promotion is made or asked for, and the share is taken back."""
    decided = _Decided(outcome="no-harm")
    kind = plan.target.partition("/")[0]
    if plan.at_end != "nothing" and kind in ("model", "decision"):
        decided = _promoted(job, plan, by, findings, promotions, moves)
    _back(stores, plan, begun, by, "ended", findings)
    return decided


def _promoted(job: Job, plan: Plan, by: Principal, findings: Sequence[Finding], promotions: Promotions, moves: Moves) -> _Decided:
    shown = "; ".join(finding.words for finding in findings) or "too few calls to tell"
    why = f"The canary of {plan.target} at '{plan.endpoint}' showed no harm: {shown}."
    ref, at_once = Ref.parse(plan.target), plan.at_end == "promote"
    moved = promote_or_ask(job, ref, why, by=by, at_once=at_once, promotions=promotions, moves=moves)
    return _Decided(outcome="promoted" if moved.promoted else "asked", request=moved.request, reasons=moved.reasons)


def _told(outcome: Outcome, findings: Sequence[Finding]) -> dict[str, object]:
    return {
        "outcome": outcome,
        "findings": [finding.words for finding in findings],
        "evidence": msgspec.to_builtins(list(findings)),
    }


def _record(stores: Stores, conn: Connection, plan: Plan, by: Principal, deed: str, told: Mapping[str, object]) -> None:
    stores.audit.append(
        conn, actor=by.name, action=f"canary.{deed}", subject=f"endpoint/{plan.endpoint}", team=plan.team, detail=told
    )
