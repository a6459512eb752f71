"""What an alarm does: train on the newest data as the champion was trained, ask the gate, promote or ask a person.

The training itself is a workflow by name; it is handed in, because training stands beside this package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import msgspec

from tandem.core.asset import Ref, Version
from tandem.core.clock import MICROS
from tandem.core.errors import Blocked, Conflict, Invalid, NotFound
from tandem.core.monitor import Monitor, Promote, Report
from tandem.core.principal import Principal
from tandem.data.versions import place
from tandem.evaluation.approved import Moves
from tandem.evaluation.evidence import OutOfFold
from tandem.evaluation.promote import EVIDENCE, Promotions
from tandem.governance.authorise import ALL, Scope
from tandem.jobs.job import Job, Work, Workflows
from tandem.jobs.repo import Runs
from tandem.monitoring.canary import Canaries, Plan
from tandem.registry.registry import Registry
from tandem.serving.signature import Signature

KIND = "retrain"
MONTH = 30 * 86_400 * MICROS
PRODUCTION = "production"
SIGNALS = "signals.json"
"""As `tandem.serving.signals.FILE`."""
TOLD = ("classification", "regression")
"""Tasks whose evidence is one number for each row, on the scale of the answers."""
RECIPE = (
    "target",
    "task",
    "algorithm",
    "params",
    "seed",
    "folds",
    "exclude",
    "threshold",
    "embed",
    "pixels",
    "signal",
    "time",
    "window",
    "stride",
)
"""What a model's meta tells of how it was trained, by the names of a training's inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """The model that an endpoint serves, and what it was trained on."""

    model: str
    """The version, as `model/NAME@N`."""
    name: str
    team: str
    signature: Signature
    dataset: str
    """The version that it was trained on."""
    table: str
    version: int
    """Of the Delta table that holds those rows."""
    newer: str | None
    """The newest version of that dataset, when it is not the one trained on."""
    importances: Mapping[str, float] = field(default_factory=dict)
    """Column → its share of what the model knows; empty where that is not known."""
    plan: str | None = None
    """Of a model of signals, its member `signals.json`: how rows became windows."""


class Retraining:
    """Begins retrainings: one for each version of the data."""

    def __init__(self, registry: Registry, runs: Runs, jobs: Workflows) -> None:
        self._registry, self._runs, self._jobs = registry, runs, jobs

    def lineage(self, target: str) -> Lineage:
        """What is known of a served model version; the platform's own look, across teams.

        Raises:
            Invalid: it is no model, or was not trained here.
        """
        version = self._registry.find(Ref.parse(target), ALL)
        dataset = next((parent for parent in version.parents if parent.startswith("dataset/")), None)
        if version.kind != "model" or dataset is None:
            raise Invalid(
                "What this endpoint serves was not trained on a dataset, so there is nothing to compare with.",
                field="endpoint",
                hint="Drift is watched where a model of `tandem train` answers.",
            )
        trained = self._registry.find(Ref.parse(dataset), ALL)
        newest = self._registry.find(Ref(kind="dataset", name=trained.name), ALL)
        rows = place(trained, "endpoint")
        return Lineage(
            model=str(version.ref),
            name=version.name,
            team=version.team,
            signature=msgspec.convert(version.meta["signature"], Signature),
            dataset=dataset,
            table=rows.table,
            version=rows.version,
            newer=None if newest.version == trained.version else str(newest.ref),
            importances=msgspec.convert(version.meta.get("importances", {}), dict[str, float]),
            plan=self._registry.member(version, SIGNALS).decode() if SIGNALS in version.members else None,
        )

    def chances(self, model: str) -> Sequence[float]:
        """What a model says of rows that it had not seen in training: a probability or a number; nothing of other tasks."""
        try:
            found = self.evidence(model)
        except Invalid:
            return ()
        return found.probabilities if found.task in TOLD else ()

    def evidence(self, model: str) -> OutOfFold:
        """Predictions and labels of rows that a model version had not seen in training.

        Raises:
            Invalid: it carries none.
        """
        try:
            return OutOfFold.from_json(self.member(model, EVIDENCE))
        except NotFound:
            raise Invalid(f"{model} carries no out-of-fold predictions.", field="endpoint", hint="Train it again.") from None

    def member(self, model: str, name: str) -> bytes:
        """A file of a model version.

        Raises:
            NotFound: it has none of that name.
        """
        return self._registry.member(self._registry.find(Ref.parse(model), ALL), name)

    def does(self, model: str) -> str:
        """The task of a model version; empty where there is none such."""
        try:
            return str(self._registry.find(Ref.parse(model), ALL).meta.get("task", ""))
        except (Invalid, NotFound):
            return ""

    def begin(self, monitor: Monitor, report: Report, lineage: Lineage) -> tuple[str | None, str]:
        """Makes the Run of a retraining, which `start` then lets begin; one for each version of the data.

        Returns:
            the Run's id, or None; and why, in a sentence.
        """
        data = lineage.newer
        if data is None:
            return None, f"There is no newer version of {lineage.dataset} to train on; the next one will be."
        scope = Scope(monitor.team)
        known = self._runs.list(scope, kind=KIND, name=lineage.name)
        if any(run.inputs.get("data") == data and run.state not in ("failed", "cancelled") for run in known):
            return None, f"A retraining on {data} was begun already."
        begun = [run for run in known if run.inputs.get("monitor") == monitor.name and run.created_at > report.at - MONTH]
        if monitor.retrainings is not None and len(begun) >= monitor.retrainings:
            return None, f"The {monitor.retrainings} retrainings that it may begin within 30 days were begun."
        champion = self._registry.find(Ref.parse(lineage.model), ALL)
        by = _principal(monitor.name, monitor.team, "editor")
        inputs = {
            **self._recipe(champion, scope),
            "data": data,
            "baseline": False,
            "monitor": monitor.name,
            "report": report.id,
            "champion": lineage.model,
            "promote": monitor.promote,
            "endpoint": monitor.endpoint,
            "canary_share": monitor.canary_share,
            "canary_seconds": monitor.canary_seconds,
            "why": _why(report, lineage),
            "by": asdict(by),
        }
        run = self._runs.create(KIND, lineage.name, inputs=json.loads(msgspec.json.encode(inputs)), by=by)
        return run.id, f"Retraining on {data}."

    def roll_back(self, monitor: Monitor, lineage: Lineage) -> str:
        """Lets production name the version before again, in the name of the monitor; returns what was done, in a sentence."""
        ref, by = Ref(kind="model", name=lineage.name, alias=PRODUCTION), _principal(monitor.name, monitor.team, "approver")
        try:
            if str(self._registry.find(ref, ALL).ref) != lineage.model:
                return f"Production names another version than {lineage.model}, so nothing was rolled back."
            moved = self._registry.rollback(ref, PRODUCTION, by=by)
        except (Conflict, NotFound) as refused:
            return f"Nothing was rolled back: {refused.message}"
        return f"Production was rolled back from {lineage.model} to version {moved.version}."

    def start(self, run: str) -> None:
        """Lets a Run begin; should the process die before, the engine finds the Run at its next start.

        Raises:
            Unavailable: the engine takes no work now.
        """
        self._jobs.start(KIND, run, self._runs.find(run, ALL).inputs)

    def _recipe(self, champion: Version, scope: Scope) -> Mapping[str, object]:
        """How the champion was trained: its Run's inputs, else what the version says of itself."""
        meta = champion.meta
        told = {name: meta[name] for name in RECIPE if name in meta}
        classes = meta.get("classes")
        if isinstance(classes, list | tuple) and len(classes) == 2 and meta.get("task") != "anomaly":
            told["positive"] = classes[1]
        if champion.run is None:
            return told
        inputs = self._runs.find(champion.run, scope).inputs
        return {**told, **{name: value for name, value in inputs.items() if value is not None}}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    monitor: str
    report: str
    promote: Promote
    why: str
    endpoint: str = ""
    canary_share: float = 0.1
    canary_seconds: float = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a retrained version."""

    promoted: bool
    request: str | None
    reasons: tuple[str, ...]
    canary: str | None = None
    """The Run that watches it."""


def make_retrain(train: Work, promotions: Promotions, moves: Moves, canaries: Canaries) -> Work:
    """The workflow `retrain`: the workflow `train`, then the gate, then the promotion, a canary or a request.

    Its Run's outputs are those of `train`, and `promoted`, `request` and `canary` (ids) and `reasons` (the gate's sentences).

    Args:
        train: makes a model version of the Run's inputs; its outputs name it as `asset`.
        canaries: watch a version that its gate lets pass, where the Monitor wants that before it is promoted.
    """

    def retrain(job: Job) -> Mapping[str, object]:
        outputs = train(job)
        job.progress(0.98, "asking the gate")
        decided = job.step("decide", lambda: _decide(job, str(outputs["asset"]), promotions, moves, canaries), Decided)
        job.progress(1.0, "done")
        return {**outputs, **asdict(decided)}

    return retrain


def _decide(job: Job, asset: str, promotions: Promotions, moves: Moves, canaries: Canaries) -> Decided:
    try:
        order = msgspec.convert(dict(job.inputs), _Order)
    except msgspec.ValidationError as error:
        raise Invalid(f"The retraining's inputs are wrong: {error}.", field="inputs") from None
    by = _principal(order.monitor, job.run.team, "approver")
    ref = Ref.parse(asset)
    rule = moves.requests.rule("promote", job.run.team)
    if order.promote == "if-gate-passes" and rule is None:
        try:
            done = promotions.promote(ref, PRODUCTION, by=by)
            return Decided(promoted=True, request=None, reasons=tuple(done["reasons"]))
        except Blocked as refused:
            report = getattr(refused, "report", None)
            reasons = tuple(report["reasons"]) if report else (refused.message,)
            passed = False
    else:
        report = promotions.judge(ref, PRODUCTION, by=by)
        reasons = () if report is None else tuple(report["reasons"])
        passed = report is None or bool(report["passed"])
        if order.promote == "canary" and passed and rule is None:
            return Decided(promoted=False, request=None, reasons=reasons, canary=_tried(order, asset, canaries, by))
    verdict = "Its gate lets it pass." if passed else "Its gate does not let it pass."
    asked = moves.wish(ref, PRODUCTION, " ".join((order.why, verdict, *reasons)), by=by, passed=passed)
    request = replace(
        moves.requests.made(asked, rule, by=by),
        id=f"req_{job.run_id.partition('_')[2]}",  # the same Run opens the same request
        monitor=order.monitor,
        report=order.report,
        run=job.run_id,
    )
    return Decided(promoted=False, request=moves.requests.open(request).id, reasons=reasons)


def _tried(order: _Order, asset: str, canaries: Canaries, by: Principal) -> str:
    """The Run of a canary that is promoted when its time is over without harm."""
    plan = Plan(endpoint=order.endpoint, target=asset, share=order.canary_share, seconds=order.canary_seconds, at_end="promote")
    return canaries.begin_once(plan, by=by)


def _principal(monitor: str, team: str, role: str) -> Principal:
    return Principal(id=f"monitor/{monitor}", name=f"monitor/{monitor}", team=team, kind="service", role=role)  # type: ignore[arg-type]  # one of ours


def _why(report: Report, lineage: Lineage) -> str:
    moved = sorted({finding.subject for finding in report.findings if finding.verdict == "drifted"})
    if moved:
        more = f" and {len(moved) - 5} more" if len(moved) > 5 else ""
        return f"What {lineage.model} is asked has drifted: {', '.join(moved[:5])}{more}."
    return f"{lineage.newer} is newer than {lineage.dataset}, which {lineage.model} was trained on."
