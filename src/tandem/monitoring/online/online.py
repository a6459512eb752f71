"""Learning online: what an endpoint's model learns from labels as they come, step by step, and how it is begun and ended.

A step is a Run: it waits until labels have come, predicts their rows and then learns them, and asks `step.decide` what follows.
Its last deed begins the next step, so that one Run of each endpoint is open, until a person stops it. What it goes on from is
in its inputs, coefficients in a folder of its own. A call whose label was learned bears a Score that says so.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS
from tandem.core.errors import Conflict, Invalid, NotFound, TandemError
from tandem.core.ids import new_run
from tandem.core.principal import Principal
from tandem.core.run import Run
from tandem.core.score import Estimate, Score
from tandem.evaluation.approved import PRODUCTION, Moves
from tandem.evaluation.held.evidence import Holdouts
from tandem.evaluation.promote import Promotions
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.apart import ask
from tandem.jobs.job import Job, Work, Workflows
from tandem.monitoring.canary import NAP, Stores, changeable, seen, sleep
from tandem.monitoring.moved import Moved, promote_or_ask
from tandem.monitoring.online.learn import LEARNER, MODULE, SECONDS, Done, Learn
from tandem.monitoring.online.nouns import Asked, Batch, Learning, Plan, Span, State, Step, Told
from tandem.monitoring.online.publish import FILE, Evidence, publish
from tandem.monitoring.online.step import Standing, decide, discarded, level, promoted
from tandem.monitoring.outcomes import SCORER as LABEL
from tandem.monitoring.window import cells, opened
from tandem.observability.traces import Seen
from tandem.serving.signature import Cell, Signature

KIND = "online"
AT_ONCE = 64
LEARNED = "learned"
"""The scorer of the mark on a call whose label was learned: 1, or 0 where its row could not be read."""
ALGORITHMS, TASKS = ("logistic", "linear"), ("classification", "multiclass", "regression")
CANDIDATE, PAIRS = "candidate", "pairs.json"
"""In a step's folder, beside `LEARNER`: the coefficients that are judged, and what was said of the rows they were judged on."""
KEPT = 5
"""Steps whose coefficients are kept; of older ones the record is."""
LATE_MICROS = 7 * 86_400 * MICROS
"""A label that comes so long after its call is not learned."""
LOOK, SLOWER = 1.0, 20.0
"""Seconds between two looks for labels at least, and as a multiple of what the look took."""
STOP_SECONDS = 10.0
"""How long a stop waits until nothing is under way; what is, ends all the same."""
MOST = 5_000
"""Rows of one step."""
SHOWN = 200
"""The newest steps that are shown."""


class Online:
    """Begins, shows and ends learning, for the faces."""

    def __init__(self, stores: Stores, jobs: Workflows) -> None:
        self._s, self._jobs = stores, jobs

    def start(self, plan: Plan, *, by: Principal) -> Learning:
        """Has the model of an endpoint learn from the labels of calls from now on.

        Raises:
            Forbidden, NotFound: `by` may not change the endpoint, or not approve what is promoted, or there is none.
            Conflict: the file manages it, it learns already, or the model is another team's.
            Invalid: what it serves cannot learn online.
        """
        endpoint = changeable(self._s, plan.endpoint, by)
        authorise(by, "approve", endpoint.team)  # who may not promote may not have it done
        if endpoint.kind != "predict" or not endpoint.route:
            raise Invalid(f"'{plan.endpoint}' answers {endpoint.kind} calls.", field="endpoint", hint="Name one that predicts.")
        champion = self._s.registry.find(Ref.parse(endpoint.route[0].target), ALL)
        _check(self._s, champion)
        if champion.team != endpoint.team:
            raise Conflict("The model is another team's, so this endpoint cannot move it.", hint="Begin it in that team.")
        if self._open(plan.endpoint):
            raise Conflict(f"'{plan.endpoint}' learns already.", hint=f"`tandem endpoint online stop {plan.endpoint}` ends it.")
        plan = msgspec.structs.replace(plan, team=endpoint.team, model=champion.name, by=by.name)
        state = State(since=self._s.clock.now(), first=str(champion.ref), champion=str(champion.ref))
        _record(self._s, plan, by.name, "started", {"champion": state.champion, "every": plan.every, "need": plan.rule.need})
        begin(self._s, self._jobs, new_run(), plan, state, by=replace(by, team=plan.team))
        return self.show(plan.endpoint, by=by)

    def show(self, name: str, *, by: Principal) -> Learning:
        """How the model of an endpoint learns, with the newest steps.

        Raises:
            NotFound: it never did, for what `by` may see.
        """
        found = self.newest(name, by=by)
        if found is None:
            raise NotFound(
                f"The model of '{name}' does not learn online.", hint=f"`tandem endpoint online start {name}` begins it."
            )
        return found

    def newest(self, name: str, *, by: Principal) -> Learning | None:
        """As `show`; None where it never did."""
        authorise(by, "read")
        runs = self._s.runs.list(scope_of(by), kind=KIND, name=name, limit=SHOWN)
        return _learning(runs) if runs else None

    def list(self, *, by: Principal) -> tuple[Learning, ...]:
        """The endpoints whose model learns now, without their steps, by name."""
        authorise(by, "read")
        runs = [run for state in ("running", "queued") for run in self._s.runs.list(scope_of(by), kind=KIND, state=state)]
        return tuple(_learning([run]) for run in sorted(runs, key=lambda run: run.name))

    def stop(self, name: str, *, by: Principal) -> Learning:
        """Ends learning; the champion goes on answering as it is.

        Raises:
            Forbidden, NotFound: `by` may not change the endpoint, or its model does not learn now.
        """
        endpoint = seen(self._s, name, by)
        authorise(by, "write", endpoint.team)
        if not self._open(name):
            raise NotFound(f"The model of '{name}' does not learn now.", hint="Nothing is to be stopped.")
        until = time.monotonic() + STOP_SECONDS
        while (found := self._open(name)) and time.monotonic() < until:  # a step that was just ending has begun the next one
            for run in found:
                with suppress(Conflict):
                    self._jobs.cancel(run.id)
            time.sleep(NAP)
        learning = self.show(name, by=by)
        _record(self._s, learning.plan, by.name, "stopped", {"champion": learning.champion})
        return learning

    def _open(self, name: str) -> Sequence[Run]:
        runs = self._s.runs.list(ALL, kind=KIND, name=name, limit=3)
        return [run for run in runs if run.state in ("queued", "running")]


def begin(stores: Stores, jobs: Workflows, run: str, plan: Plan, state: State, *, by: Principal) -> str:
    """Begins a step; the same one again is no error. Returns its Run's id."""
    inputs = json.loads(msgspec.json.encode({"plan": plan, "state": state}))
    stores.runs.create(KIND, plan.endpoint, inputs=inputs, by=by, id=run)
    jobs.start(KIND, run, inputs)
    return run


def make_online(
    stores: Stores, jobs: Workflows, promotions: Promotions, moves: Moves, holdouts: Holdouts, *, folder: Path
) -> Work:
    """The workflow `online`: one step. Its Run's outputs are a `Step`, but for the Run and the time.

    Args:
        holdouts: take what was said of rows that were not learned yet, where a gate guards production.
        folder: holds the coefficients of steps.
    """

    def online(job: Job) -> Mapping[str, object]:
        plan, before = msgspec.convert(job.inputs["plan"], Plan), msgspec.convert(job.inputs["state"], State)
        home = folder / plan.endpoint
        by = Principal(
            id=f"online/{plan.endpoint}", name=f"online/{plan.endpoint}", team=plan.team, kind="service", role="approver"
        )
        _wait(job, stores, plan, before)
        batch = job.step("learn", lambda: _learn(job, stores, plan, before, home, moves), Batch)
        state = batch.state
        outcome: Told
        if state.asked is not None:
            outcome, standing = "asked", state.standing
        else:
            outcome, standing = decide(plan.rule, state.standing, batch.losses)
        why, version, request = _why(outcome, standing), None, None
        after = msgspec.structs.replace(state, standing=standing, number=before.number + 1, folder=job.run_id)
        if outcome == "promote":
            version = job.step("publish", lambda: _published(job, stores, plan, state, home, holdouts, by), str)
            moved = job.step("promote", lambda: _promote(job, version or "", why, by, promotions, moves), Moved)
            why, request = " ".join((why, *moved.reasons)), moved.request
            outcome, after = _after(moved, version, after)
        elif outcome == "roll-back":
            why += " " + job.step("roll back", lambda: _roll_back(state, promotions, stores, by), str)
            back = msgspec.structs.replace(after, champion=state.former, former="", standing=discarded(standing))
            outcome, after = "rolled-back", _restarted(back)
        elif outcome == "thrown-away":
            after = _restarted(after)
        elif outcome in ("started", "renewed"):
            after = msgspec.structs.replace(after, frozen=state.learned)
        if not after.standing.windows:
            after = msgspec.structs.replace(after, former="")
        step = {
            "number": before.number,
            "outcome": outcome,
            "reason": why,
            "labels": len(batch.losses[LEARNER]),
            "losses": {name: math.fsum(found) / max(1, len(found)) for name, found in batch.losses.items()},
            "champion": after.champion,
            "version": version,
            "request": request,
            "span": msgspec.to_builtins(state.learned),
        }
        job.step("keep", lambda: _keep(job, stores, plan, state, batch, home, step, by), bool)
        following = job.step("name the next", new_run, str)
        job.step("go on", lambda: begin(stores, jobs, following, plan, after, by=by), str)
        return step

    def told(job: Job) -> Mapping[str, object]:
        """The same; nobody waits for a step, so one that fails is written down."""
        try:
            return online(job)
        except TandemError as error:
            plan = msgspec.convert(job.inputs["plan"], Plan)
            _record(stores, plan, f"online/{plan.endpoint}", "failed", {"run": job.run_id, "reason": str(error)})
            raise

    return told


def _able(version: Version) -> bool:
    """Whether a version's answers come straight from coefficients over the columns of a row."""
    meta = version.meta
    if version.kind != "model" or meta.get("algorithm") not in ALGORITHMS or FILE not in version.members:
        return False
    signature = msgspec.convert(meta.get("signature"), Signature)
    plain = meta.get("task") in TASKS and not signature.pictured and not signature.sampled
    return plain and meta.get("calibration") is None and meta.get("baseline") is not True


def _check(stores: Stores, version: Version) -> None:
    """Raises:
    Invalid: the version cannot learn online.
    """
    named = stores.registry.find(Ref(kind=version.kind, name=version.name, alias=PRODUCTION), ALL)
    if not _able(version):
        raise Invalid(
            f"{version.ref} cannot learn online.",
            field="endpoint",
            hint=f"Train it here with --algorithm {' or '.join(ALGORITHMS)}, not calibrated, and not of images or signals.",
        )
    if named.version != version.version:
        raise Invalid(
            f"The endpoint serves {version.ref}, and production names {named.ref}.",
            field="endpoint",
            hint="Learning moves production: let the endpoint follow it.",
        )


def _wait(job: Job, stores: Stores, plan: Plan, state: State) -> None:
    """Until enough labels have come, or the time is over and there are some.

    Raises:
        Halted: the job must not go on.
    """
    over = math.inf if plan.seconds is None else job.run.created_at + plan.seconds * MICROS
    while True:
        started = time.monotonic()
        rows = sum(_rows(each) for each in _waiting(stores, plan, state))
        if rows >= plan.every or (rows and stores.clock.now() >= over):
            return
        job.progress(rows / plan.every, f"{rows} of {plan.every} labels have come")
        sleep(job, max(LOOK, SLOWER * (time.monotonic() - started)))


def _waiting(stores: Stores, plan: Plan, state: State) -> list[Seen]:
    """The oldest calls with a label that was not learned yet, as many as make a step."""
    since = max(state.since, stores.clock.now() - LATE_MICROS)
    found = stores.traces.judged(
        team=plan.team, endpoint=plan.endpoint, since=since, scorer=LABEL, without=LEARNED, limit=plan.every
    )
    taken, rows = list[Seen](), 0
    for each in found:
        if rows >= plan.every or (taken and rows + _rows(each) > MOST):
            break
        taken.append(each)
        rows += _rows(each)
    return taken


def _rows(each: Seen) -> int:
    rows = each.trace.attributes.get("rows")
    return rows if isinstance(rows, int) else 1


def _learn(job: Job, stores: Stores, plan: Plan, before: State, home: Path, moves: Moves) -> Batch:
    """Predicts and learns what has come; done again, it writes the same files anew."""
    state = as_left(stores, plan, before, moves)
    if state.folder and not (home / state.folder / LEARNER / FILE).exists():  # it can be lost, as in a restored home
        state = _restarted(msgspec.structs.replace(state, standing=discarded(state.standing)))
    champion = stores.registry.find(Ref.parse(state.champion), ALL)
    signature = msgspec.convert(champion.meta["signature"], Signature)
    classes = msgspec.convert(champion.meta.get("classes", ()), tuple[str, ...])
    rows, truths, names, calls = list[list[Cell]](), list[float](), list[str](), list[tuple[str, str, bool]]()
    digest, span = hashlib.sha256(state.learned.digest.encode()), state.learned
    for each in _waiting(stores, plan, state):
        labels = stores.outcomes.of(each.trace)
        cells = _cells(stores, each, signature)
        known = [_truth(label, classes) for label in labels]
        readable = bool(cells) and len(cells) == len(known) and not any(math.isnan(truth) for truth in known)
        calls.append((each.trace.id, each.trace.call, readable))
        if readable:
            rows += cells
            truths += known
            names += [_digest(f"{each.trace.call} {place}") for place in range(len(cells))]
            digest.update("\n".join((each.trace.call, *labels)).encode())
            first = span.since or each.trace.start
            span = Span(labels=span.labels + len(cells), since=first, until=each.trace.start)
    span = msgspec.structs.replace(span, digest=digest.hexdigest())
    out = home / job.run_id
    shutil.rmtree(out, ignore_errors=True)
    (out / LEARNER).mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="tandem-online-") as staged:
        models = _models(stores, state, Path(staged), home / state.folder)
        order = Learn(
            members=models["champion"], models=models, rows=rows, truths=truths, out=str(out / LEARNER), rate=plan.rate,
            threshold=msgspec.convert(champion.meta.get("threshold", 0.5), float),
        )  # fmt: skip
        done = ask(MODULE, order, Done, cancelled=job.cancelled, seconds=SECONDS)
    if CANDIDATE in models:
        fresh = Evidence(rows=names, truths=truths, candidate=done.told[CANDIDATE], champion=done.told["champion"])
        known_pairs = home / state.folder / PAIRS
        earlier = Evidence.read(known_pairs) if state.standing.tally.n and known_pairs.exists() else Evidence()
        (out / PAIRS).write_bytes(msgspec.json.encode(earlier.followed_by(fresh)))
    return Batch(state=msgspec.structs.replace(state, learned=span), losses=done.losses, calls=calls)


def as_left(stores: Stores, plan: Plan, state: State, moves: Moves) -> State:
    """The state as people have left it: production may have been moved, and a request decided.

    Raises:
        Invalid: production names a version that cannot learn online.
    """
    now = str(stores.registry.find(Ref(kind="model", name=plan.model, alias=PRODUCTION), ALL).ref)
    if state.asked is not None and now == state.asked.version:
        return _promoted(state, now)
    if now != state.champion:
        _check(stores, stores.registry.find(Ref.parse(now), ALL))
        return State(number=state.number, since=state.since, first=now, champion=now)
    if state.asked is not None and moves.requests.find(state.asked.request, ALL).state not in ("open", "performing"):
        return _restarted(msgspec.structs.replace(state, standing=discarded(state.standing), asked=None))
    return state


def _promoted(state: State, version: str) -> State:
    return msgspec.structs.replace(state, champion=version, former=state.champion, standing=promoted(), asked=None)


def _restarted(state: State) -> State:
    """Learning begins from the champion."""
    return msgspec.structs.replace(state, folder="", learned=Span(), frozen=Span())


def _after(moved: Moved, version: str, state: State) -> tuple[Told, State]:
    if moved.promoted:
        return "promoted", _promoted(state, version)
    return "asked", msgspec.structs.replace(state, asked=Asked(version=version, request=moved.request or ""))


def _models(stores: Stores, state: State, staged: Path, before: Path) -> dict[str, str]:
    """Name → directory with coefficients; that of the champion has the encoding, too."""
    found: dict[str, str] = {}
    for name, version in (("champion", state.champion), ("first", state.first), ("former", state.former)):
        if version:
            (staged / name).mkdir()
            kept = stores.registry.find(Ref.parse(version), ALL)
            for member in kept.members:
                if member in (FILE, "encoding.json"):
                    (staged / name / member).write_bytes(stores.registry.member(kept, member))
            found[name] = str(staged / name)
    found[LEARNER] = str(before / LEARNER) if state.folder else found["champion"]
    if state.standing.candidate:
        found[CANDIDATE] = str(before / CANDIDATE)
    return found


def _cells(stores: Stores, each: Seen, signature: Signature) -> list[list[Cell]]:
    """The rows of a call; none where they cannot be read any more, or were written for other columns."""
    kept, _ = opened(each, stores.subjects)
    try:
        return [] if kept is None else cells(kept, signature)
    except Invalid:
        return []


def _truth(label: str, classes: Sequence[str]) -> float:
    """The class's number, or the number; NaN where the label is none."""
    try:
        return float(classes.index(label) if classes else float(label))
    except ValueError:
        return math.nan


def _published(job: Job, stores: Stores, plan: Plan, state: State, home: Path, holdouts: Holdouts, by: Principal) -> str:
    champion = stores.registry.find(Ref.parse(state.champion), ALL)
    lineage = {"endpoint": plan.endpoint, "from": state.champion, **msgspec.to_builtins(state.frozen)}
    pairs = Evidence.read(home / job.run_id / PAIRS)
    version = publish(
        stores.registry, champion, home / state.folder / CANDIDATE, pairs, lineage=lineage, run=job.run_id, by=by,
        cancelled=job.cancelled,
    )  # fmt: skip
    if stores.registry.gate_for(version.ref, PRODUCTION) is not None:
        for each, told in ((version, pairs.candidate), (champion, pairs.champion)):
            held = pairs.held(champion, told, f"endpoint/{plan.endpoint}")
            holdouts.kept.add(str(each.ref), held, latency=None, given=False, team=version.team, by=by.name)
    return str(version.ref)


def _promote(job: Job, version: str, why: str, by: Principal, promotions: Promotions, moves: Moves) -> Moved:
    return promote_or_ask(job, Ref.parse(version), why, by=by, at_once=True, promotions=promotions, moves=moves)


def _roll_back(state: State, promotions: Promotions, stores: Stores, by: Principal) -> str:
    """Lets production name the former champion again; done again, it finds that done."""
    ref = Ref(kind="model", name=Ref.parse(state.champion).name, alias=PRODUCTION)
    if str(stores.registry.find(ref, ALL).ref) != state.champion:
        return "Production was moved meanwhile."
    moved = promotions.rollback(ref, PRODUCTION, by=by)
    return f"Production names version {moved['version']} again."


def _keep(
    job: Job, stores: Stores, plan: Plan, state: State, batch: Batch, home: Path, step: Mapping[str, object], by: Principal
) -> bool:
    """Keeps the candidate that goes on, marks the calls, records what matters, and drops the coefficients of old steps."""
    out = home / job.run_id
    if step["outcome"] in ("started", "renewed", "waits", "asked"):
        fresh = step["outcome"] in ("started", "renewed")
        source = out / LEARNER if fresh else home / state.folder / CANDIDATE
        if source.exists():
            shutil.copytree(source, out / CANDIDATE, dirs_exist_ok=True)
    for old in sorted(home.iterdir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    now = stores.clock.now()
    for trace, call, readable in batch.calls:
        detail = {"call": call, "endpoint": plan.endpoint, "run": job.run_id}
        score = Score(
            id=f"sco_{_digest(f'{LEARNED} {call}')}",
            subject=trace,
            scorer=LEARNED,
            value=float(readable),
            detail=detail,
            created_at=now,
            created_by=by.name,
        )
        stores.traces.score(call, score)
    if step["outcome"] in ("promoted", "asked", "thrown-away", "rolled-back") and state.asked is None:
        told = {name: step[name] for name in ("reason", "champion", "version", "request") if step[name] is not None}
        _record(stores, plan, by.name, str(step["outcome"]), {**told, "run": job.run_id})
    return True


def _why(outcome: Told, standing: Standing) -> str:
    """What was decided, and by which numbers."""
    tally, guard = standing.tally.interval(level(standing.tried)), standing.guard.interval()
    match outcome:
        case "started":
            return "A copy of what has been learned is judged from now on."
        case "waits":
            return f"Not certain yet: the candidate is better by {_net(tally)}."
        case "renewed":
            return "There was no verdict, so the candidate gave way to what has been learned since."
        case "thrown-away":
            return "The candidate was worse than the champion; learning begins again from the champion."
        case "promote":
            return f"The candidate is better by {_net(tally)}."
        case "roll-back":
            return f"The champion is better than the former one by {_net(guard)}."
        case _:
            return "A person is asked whether to promote the candidate."


def _net(difference: Estimate) -> str:
    """How many more of the rows went well, as a share."""
    return (
        f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}] of {difference.n} rows that neither had learned"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:26]


def _learning(runs: Sequence[Run]) -> Learning:
    """Of an endpoint's Runs, the newest first."""
    newest = runs[0]
    plan, state = msgspec.convert(newest.inputs["plan"], Plan), msgspec.convert(newest.inputs["state"], State)
    ended = {"failed": "failed", "cancelled": "stopped"}
    return Learning(
        endpoint=newest.name,
        state=ended.get(newest.state, "learning"),  # type: ignore[arg-type]  # one of ours
        reason=newest.reason,
        plan=plan,
        run=newest.id,
        stage="" if newest.ended_at else newest.stage,
        champion=str(newest.outputs.get("champion") or state.champion),
        steps=tuple(
            msgspec.convert({**run.outputs, "run": run.id, "at": run.ended_at}, Step) for run in runs if run.state == "succeeded"
        ),
    )


def _record(stores: Stores, plan: Plan, actor: str, deed: str, told: Mapping[str, object]) -> None:
    with stores.sql.write() as conn:
        stores.audit.append(
            conn, actor=actor, action=f"online.{deed}", subject=f"endpoint/{plan.endpoint}", team=plan.team, detail=told
        )
