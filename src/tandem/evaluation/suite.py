"""Evaluate: a prompt version is asked the questions of a suite, in a Run that survives the death of its process.

pin → ask, batch after batch → price → done. Every batch is kept when it is answered, so that a resumed Run, or a later
one of the same prompt and suite, asks only what is missing. It knows no gate and moves nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.errors import Blocked, Conflict, Invalid, NotFound, Upstream
from tandem.core.policy import Gate
from tandem.core.principal import Principal
from tandem.data.versions import place
from tandem.evaluation.ask import Asking, Kept, Opponent, ask, columns, regrade, wait_unless
from tandem.evaluation.repo import Answered, Evaluation, Evaluations, Key
from tandem.evaluation.rows import Question, Wanted, read_apart
from tandem.evaluation.suitegate import Evidence, judge_suite
from tandem.evaluation.summary import Summary, summarise
from tandem.gateway.inside import Calls
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.jobs.job import Job, Work
from tandem.observability.content import Subjects
from tandem.observability.traces import Traces
from tandem.registry.kinds.suite import ROWS, Suite, read
from tandem.registry.registry import Registry

KIND = "evaluate"
AT_ONCE = 8
"""Questions that are under way at one time."""
BATCH = 16
"""Rows that are kept together."""
CHAMPION = "production"
"""The alias whose version is the champion."""
MARGIN = 0.05
"""The loss that is tolerated where no gate says otherwise."""
PRICED_SECONDS = 10.0
"""How long the books may take to know the last calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The inputs of an evaluating Run; keys it does not know are left alone."""

    prompt: str
    """`prompt/NAME@VERSION`."""
    suite: str
    """`suite/NAME@VERSION`."""
    repeats: int | None = None
    """None takes the suite's."""
    fresh: bool = False
    """Whether everything is asked again, whatever is known."""
    against: str | None = None
    """The version whose answers a judge compares with; None takes the champion's, if there is one."""
    by: Principal | None = None
    """Who asked, and who pays; without it, the Run's own team with an editor's rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where an evaluation reads and writes."""

    registry: Registry
    evaluations: Evaluations
    subjects: Subjects
    traces: Traces
    calls: Calls
    records: Callable[[str], bool]
    """Whether an endpoint's content is kept."""
    now: Callable[[], int]
    lake: Path


def make_evaluate(stores: Stores, *, rows: Callable[[Wanted], tuple[Question, ...]] = read_apart) -> Work:
    """The workflow `evaluate`.

    Its Run's outputs are `evaluation` (its id), `prompt`, `suite`, `metrics` with intervals, `asked` (what the Summary
    says beside them), `reused` (rows that had been answered before), and `comparison` (a gate's report against the
    champion, with the gate's own margin where one guards the prompt) where there is a champion with an evaluation.

    Args:
        rows: reads the dataset's rows; by default in a child process.
    """

    def evaluate(job: Job) -> Mapping[str, object]:
        order = _order(job.inputs)
        by = order.by or job.by
        job.progress(0.0, "finding the suite")
        evaluation = job.step("begin", lambda: _begin(stores, job, order, by), Evaluation)
        suite = read(stores.registry.find(Ref.parse(order.suite), scope_of(by)).meta)
        prompt = stores.registry.find(Ref.parse(order.prompt), scope_of(by))
        known = len(stores.evaluations.rows(evaluation.id))
        if evaluation.done_at is None:
            questions = _questions(stores, suite, prompt, by, rows)
            _ask_all(stores, job, evaluation, suite, prompt, questions, by)
            job.progress(0.97, "asking the books for the costs")
            job.step("price", lambda: _price(stores, job, evaluation, suite), int)
            job.step("done", lambda: stores.evaluations.done(evaluation.id), type(None))
        job.progress(1.0, "done")
        found = stores.evaluations.rows(evaluation.id)
        return _outputs(stores, suite, evaluation, found, known, by)

    return evaluate


def _order(inputs: Mapping[str, object]) -> Order:
    try:
        return msgspec.convert(dict(inputs), Order)
    except msgspec.ValidationError as error:
        what = f"The evaluation's inputs are wrong: {error}."
        raise Invalid(what, field="inputs", hint="Look at `tandem eval --help`.") from None


def _begin(stores: Stores, job: Job, order: Order, by: Principal) -> Evaluation:
    prompt = stores.registry.find(Ref.parse(order.prompt), scope_of(by))
    suite = stores.registry.find(Ref.parse(order.suite), scope_of(by))
    asked = read(suite.meta)
    check_addresses(asked, by)
    rival = _rival(stores, order, prompt, suite, by) if asked.judging is not None else None
    repeats = asked.repeats if order.repeats is None else order.repeats
    key = Key(
        prompt=str(prompt.ref),
        prompt_digest=prompt.digest,
        suite=str(suite.ref),
        suite_digest=suite.digest,
        repeats=repeats,
        against=None if rival is None else rival.id,
        against_prompt=None if rival is None else rival.key.prompt,
    )
    subject = f"principal:{by.name}"
    return stores.evaluations.begin(key, run=job.run_id, team=prompt.team, subject=subject, by=by.name, fresh=order.fresh)


def check_addresses(suite: Suite, by: Principal) -> None:
    """Refuses to ask a model by its own name for somebody who could not do so: our own calls may name any.

    Raises:
        Forbidden: the right is missing.
    """
    judge = suite.judging
    for address in (suite.endpoint, *([] if judge is None else [str(judge.options.get("endpoint"))])):
        if "/" in address or "@" in address:
            authorise(by, "any-version")


def _rival(stores: Stores, order: Order, prompt: Version, suite: Version, by: Principal) -> Evaluation | None:
    """The evaluation that a judge compares with: that of the version which was named, else the champion's."""
    if order.against is not None:
        other = stores.registry.find(Ref.parse(order.against), scope_of(by))
    else:
        champion = champion_of(stores.registry, prompt)
        if champion is None:
            return None
        other = champion
    if other.version == prompt.version and other.name == prompt.name:
        return None
    found = stores.evaluations.newest(str(other.ref), str(suite.ref), scope_of(by))
    if found is None:
        raise Blocked(
            f"The judge of {suite.ref} compares with {other.ref}, which has not been asked these questions.",
            hint=f"Run first: tandem eval {other.ref} --suite {suite.ref}",
            code="no_evidence",
        )
    return found


def champion_of(registry: Registry, version: Version) -> Version | None:
    """The version in production now; None when there is none, or it is this one."""
    try:
        champion = registry.find(Ref(kind=version.kind, name=version.name, alias=CHAMPION), ALL)
    except NotFound:
        return None
    return None if champion.version == version.version else champion


def _questions(
    stores: Stores, suite: Suite, prompt: Version, by: Principal, rows: Callable[[Wanted], tuple[Question, ...]]
) -> tuple[Question, ...]:
    data = stores.registry.find(Ref.parse(suite.data), scope_of(by))
    found = place(data)
    return rows(
        Wanted(
            lake=str(stores.lake),
            table=found.table,
            version=found.version,
            columns=columns(suite, prompt.meta),
            id=found.id,
            most=ROWS,
            limit=suite.rows,
            seed=suite.seed,
        )
    )


def _ask_all(
    stores: Stores,
    job: Job,
    evaluation: Evaluation,
    suite: Suite,
    prompt: Version,
    questions: Sequence[Question],
    by: Principal,
) -> None:
    """Asks what has not been answered; every batch is kept as a whole."""
    there = {row.place for row in stores.evaluations.rows(evaluation.id)}
    asking = Asking(
        suite=suite,
        template=prompt.meta,
        repeats=evaluation.key.repeats,
        by=by,
        calls=stores.calls,
        opponent=_opponent(stores, evaluation),
        wait=wait_unless(job.cancelled, Conflict("The evaluation was told to end.", code="cancelled")),
    )
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="evaluate") as desk:
        for start in range(0, len(questions), BATCH):
            places = [place for place in range(start, min(start + BATCH, len(questions))) if place not in there]
            job.progress(0.02 + 0.94 * start / len(questions), f"{start} of {len(questions)} rows asked")
            job.step(f"rows {start}", lambda places=places: _batch(stores, job, evaluation, asking, questions, places, desk), int)  # type: ignore[misc]


def _batch(
    stores: Stores,
    job: Job,
    evaluation: Evaluation,
    asking: Asking,
    questions: Sequence[Question],
    places: Sequence[int],
    desk: ThreadPoolExecutor,
) -> int:
    """Asks these rows; keeps those that were answered, also when another one ends the Run."""
    under_way = [(place, desk.submit(_one, job, asking, place, questions[place])) for place in places]
    answered, fault = list[Answered](), None
    for _, future in under_way:
        error = future.exception()
        if error is None:
            answered.append(future.result())
        else:
            fault = fault or error
    silent = [answer for row in answered for answer in row.answers]
    if fault is None and silent and all(answer.error for answer in silent):
        fault = Upstream(
            f"None of {len(silent)} questions was answered: {silent[0].error}; trace {silent[0].trace}.",
            hint="The trace tells why. Nothing was graded; run it again when the endpoint answers.",
            code=silent[0].error,
        )
        answered = []
    keeping = stores.records(asking.suite.endpoint) and asking.by.content
    stores.evaluations.add(evaluation.id, [_sealed(stores, evaluation, row, keeping=keeping) for row in answered])
    if fault is not None:
        raise fault
    return len(answered)


def _one(job: Job, asking: Asking, place: int, question: Question) -> Answered:
    if job.cancelled():
        raise Conflict("The evaluation was told to end.", code="cancelled")
    return ask(asking, place, question)


def _sealed(stores: Stores, evaluation: Evaluation, row: Answered, *, keeping: bool) -> Answered:
    return replace(row, sealed=stores.subjects.seal(evaluation.subject, row.sealed, stores.now()) if keeping else b"")


def content(subjects: Subjects, row: Answered) -> Kept | None:
    """What was answered in a row; None when it is not kept, or its subject was erased."""
    opened = subjects.unseal(row.sealed) if row.sealed else None
    return None if opened is None else msgspec.json.decode(opened, type=Kept)


def _opponent(stores: Stores, evaluation: Evaluation) -> Opponent | None:
    """The champion's answers by place."""
    if evaluation.key.against is None:
        return None
    other = stores.evaluations.find(evaluation.key.against, ALL)
    kept = {row.place: content(stores.subjects, row) for row in stores.evaluations.rows(other.id)}
    if any(found is None for found in kept.values()):
        raise Blocked(
            f"The answers of {other.key.prompt} are not kept, so a judge has nothing to compare with.",
            hint="Let the endpoint record content, then evaluate it again with --fresh.",
            code="no_evidence",
        )
    texts = {place: found.texts for place, found in kept.items() if found is not None}
    return lambda place: texts[place]


def _price(stores: Stores, job: Job, evaluation: Evaluation, suite: Suite) -> int:
    """Writes down what each answer cost, by its trace; waits a little for the last ones."""
    rows = stores.evaluations.rows(evaluation.id)
    open_ = {answer.trace for row in rows for answer in row.answers if answer.trace and answer.cost is None}
    costs: dict[str, int | None] = {answer.trace: answer.cost for row in rows for answer in row.answers}
    pause, tried = threading.Event(), 0
    while open_ and tried < PRICED_SECONDS / 0.2 and not job.cancelled():
        for trace in sorted(open_):
            cost = _cost(stores.traces, trace)
            if cost is not None:
                costs[trace] = cost[0]
                open_.discard(trace)
        tried += 1
        if open_:
            pause.wait(0.2)
    stores.evaluations.change(evaluation.id, [regrade(suite, row, costs) for row in rows])
    return len(rows)


def _cost(traces: Traces, trace: str) -> tuple[int | None] | None:
    """The cost of a trace in a tuple, None inside where it has no price; None while the trace is not there."""
    try:
        found = traces.find(trace, team=None)
    except NotFound:
        return None
    attempts = [attempt for call in found.calls for attempt in call.attempts]
    costs = [attempt.cost for attempt in attempts]
    return (None,) if None in costs else (sum(cost for cost in costs if cost is not None),)


def _outputs(
    stores: Stores, suite: Suite, evaluation: Evaluation, rows: Sequence[Answered], known: int, by: Principal
) -> dict[str, object]:
    summary: Summary = summarise(suite, rows)
    told = msgspec.to_builtins(summary)
    told.pop("metrics")
    return {
        "evaluation": evaluation.id,
        "prompt": evaluation.key.prompt,
        "suite": evaluation.key.suite,
        "metric": suite.judged_by,
        "metrics": msgspec.to_builtins(summary.metrics),
        "asked": told,
        "reused": known,
        "comparison": _comparison(stores, suite, Evidence(evaluation=evaluation, rows=rows), by),
    }


def _comparison(stores: Stores, suite: Suite, candidate: Evidence, by: Principal) -> object:
    """How the candidate stands against the champion, where both were asked the same; None where nothing can be said."""
    key = candidate.evaluation.key
    version = stores.registry.find(Ref.parse(key.prompt), scope_of(by))
    champion = champion_of(stores.registry, version)
    other = None if champion is None else stores.evaluations.newest(str(champion.ref), key.suite, scope_of(by))
    if champion is None or other is None:
        return None
    plain = Gate(asset=str(version.ref).partition("@")[0], metric=suite.judged_by, margin=MARGIN, suite=key.suite)
    gate = stores.registry.gate_for(version.ref, CHAMPION) or plain
    try:
        report = judge_suite(gate, suite, candidate, Evidence(evaluation=other, rows=stores.evaluations.rows(other.id)))
    except (Blocked, Invalid):  # what cannot be compared is told when somebody wants to promote it
        return None
    return {**msgspec.to_builtins(report), "candidate_ref": key.prompt, "champion_ref": str(champion.ref)}
