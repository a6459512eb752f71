"""Train: a dataset version becomes a model version, in steps that survive the death of the process.

resolve → train the baseline → publish it → train (each in a child process) → publish. The baseline is an
asset of its own, `NAME-baseline`: a scaled linear model on the same folds, and the first champion that
a gate compares with. It knows no algorithm and no engine.
"""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.clock import Clock
from tandem.core.errors import Broken, Invalid
from tandem.core.principal import Principal
from tandem.data.contract import Contract
from tandem.data.features.view import STATE
from tandem.data.versions import find, place
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.governance.metering import Meter
from tandem.jobs import staging
from tandem.jobs.job import Job, Work
from tandem.jobs.pieces import HERE, Compute
from tandem.registry.registry import Registry
from tandem.scorers.base import TaskName
from tandem.serving.base import CARD, EMBEDS, IMAGES, Trust, untrusted
from tandem.training.manifest import Manifest, Searched, Spec
from tandem.training.run import run_child
from tandem.training.task import AlgorithmName, Calibrate, Leaks, Pixels, Split, Task

KIND = "train"
SIMPLE: frozenset[AlgorithmName] = frozenset({"logistic", "linear", "ecod", "popularity"})
"""Algorithms that need no baseline beside them; of forecasts that is another one."""
USUAL: Mapping[TaskName, AlgorithmName] = {"anomaly": "isolation-forest", "recommendation": "neighbours"}
"""Task → its algorithm where none is named; else `gradient-boosting`."""
GIT_SECONDS = 5.0
BASELINE, MODEL = 1, 2
"""Pieces of a training's bill."""
NETWORKS = "Import a network that takes images: tandem import FOLDER."


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The inputs of a training Run; keys it does not know are left alone."""

    data: str
    """The dataset, as `dataset/NAME[@VERSION-or-alias]`."""
    target: str = ""
    task: TaskName | None = None
    algorithm: AlgorithmName | None = None
    params: Mapping[str, float | int] = field(default_factory=dict)
    seed: int = 7
    folds: int = 5
    positive: str | None = None
    threshold: float = 0.5
    exclude: tuple[str, ...] = ()
    split: Split = "random"
    group: str | None = None
    time: str | None = None
    leaks: Leaks = "warn"
    balance: bool = False
    calibrate: Calibrate = "none"
    cost_false_positive: float | None = None
    cost_false_negative: float | None = None
    tune: int = 0
    horizon: int = 0
    season: tuple[int, ...] = ()
    series: str | None = None
    known: tuple[str, ...] = ()
    frequency: str = "auto"
    false_alarms: float = 0.01
    user: str | None = None
    weight: str | None = None
    signal: str | None = None
    window: int = 0
    stride: int = 0
    fairness: tuple[str, ...] = ()
    purpose: Annotated[str, msgspec.Meta(max_length=2_000)] = ""
    """What the model is for, in the words of whoever trains it."""
    embed: str | None = None
    """Of images: a model whose network makes numbers of them, as `model/NAME[@VERSION-or-alias]`."""
    pixels: Pixels = "imagenet"
    baseline: bool = True
    """Whether a baseline is trained beside any algorithm that is not as simple itself."""
    by: Principal | None = None
    """Who asked; without it, the Run's own team with an editor's rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """A dataset version and where its rows lie."""

    ref: str
    digest: str
    table: str
    version: int
    """The table's Delta version."""
    images: bool = False
    embed: str | None = None
    """Of images: the version whose network makes numbers of them."""
    executes: Trust | None = None
    """What of that network is executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished training whose files wait to be published."""

    manifest: Manifest
    seconds: float
    """How long the child process took, and what a cluster did for it meanwhile."""
    environment: Mapping[str, str]
    """Libraries, interpreter, platform, and the commit where there is a repository."""


def make_train(
    registry: Registry,
    clock: Clock,
    meter: Meter,
    *,
    lake: Path,
    work: Path,
    compute: Compute = HERE,
    python: str = sys.executable,
    trust: tuple[str, ...] = (),
) -> Work:
    """The workflow `train`.

    Its Run's outputs are `asset` (the model's ref), `task`, `metrics`, `warnings`, `environment`, `plots` (member
    names), `seconds`, of a search its `trials`, `baseline` (its `asset` and `metrics`) where one was trained, and `cost`
    where an hour has a price. While a cap has no room, it waits before it trains.

    Args:
        meter: prices the work.
        lake: the lake's directory.
        work: where Runs keep files while they work; the Run's folder is gone when the Run has ended.
        compute: who fits trials.
        python: the interpreter that has the `ml` extra.
        trust: what may be executed of networks that make numbers of images, as words of `serving.base.TRUST`.
    """

    def train(job: Job) -> Mapping[str, object]:
        order = _order(job.inputs)
        by = order.by or job.by
        folder = work / job.run_id
        try:
            job.progress(0.0, "finding the dataset")
            rows = job.step("resolve", lambda: _resolve(registry, order, by, trust), Rows)
            task = _task(registry, job.run.name, order, rows, by)
            network = None if rows.embed is None else str(_network(registry, rows.embed, folder, by))
            spec = Spec(
                lake=str(lake), table=rows.table, version=rows.version, task=task, digest=rows.digest, images=rows.images,
                network=network, trust=() if rows.executes is None else (rows.executes,), compute=compute,
            )  # fmt: skip
            bill = meter.bill(job, by, f"model/{task.name}")
            plain: Trained | None = None
            baseline: str | None = None
            bill.wait()
            if order.baseline and not _simple(task):
                simple = replace(
                    task,
                    name=check_name(f"{task.name}-baseline"),
                    algorithm="logistic",
                    params={},
                    baseline=True,
                    tune=0,
                    embed=None,
                )
                beside = folder / "baseline"
                made = plain = job.step(
                    "train-baseline",
                    lambda: _train(job, replace(spec, task=simple), beside, clock, python, 0.02, 0.3),
                    Trained,
                )
                bill.book(BASELINE, plain.seconds)
                baseline = job.step(
                    "publish-baseline", lambda: str(_publish(registry, job, simple, made, beside, by, None).ref), str
                )
                bill.wait()
            trained = job.step("train", lambda: _train(job, spec, folder / "model", clock, python, 0.32, 0.6), Trained)
            bill.book(MODEL, trained.seconds)
            job.progress(0.95, "publishing")
            ref = job.step(
                "publish",
                lambda: str(_publish(registry, job, task, trained, folder / "model", by, baseline, rows.executes).ref),
                str,
            )
            cost = bill.close()
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        beaten = None if plain is None else {"asset": baseline, "metrics": msgspec.to_builtins(plain.manifest.metrics)}
        return {
            "asset": ref,
            "baseline": beaten,
            "task": trained.manifest.task,
            "metrics": msgspec.to_builtins(trained.manifest.metrics),
            "warnings": trained.manifest.warnings,
            **({} if not trained.manifest.tuning else {"trials": msgspec.to_builtins(trained.manifest.tuning[0].trials)}),
            "environment": trained.environment,
            "plots": [name for name in trained.manifest.members if name.startswith("plots/")],
            "seconds": trained.seconds,
            **cost,
        }

    return train


def _order(inputs: Mapping[str, object]) -> Order:
    try:
        return msgspec.convert(dict(inputs), Order)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"The training's inputs are wrong: {error}.", field="inputs", hint="Look at `tandem train --help`."
        ) from None


def _resolve(registry: Registry, order: Order, by: Principal, trust: tuple[str, ...]) -> Rows:
    """Pins the dataset: whatever its name means later, this Run means this version."""
    authorise(by, "write")
    found = place(find(registry, order.data, by))
    embed = executes = None
    if order.embed is not None:
        if not found.images:
            raise Invalid(f"{found.ref} holds no images.", field="embed", hint="Leave it out.")
        version = registry.find(Ref.parse(order.embed), scope_of(by))
        name = next((name for name in EMBEDS if name in version.members and IMAGES in version.members), None)
        if name is None:
            raise Invalid(f"{version.ref} has no network that takes images.", field="embed", hint=NETWORKS)
        embed, executes = str(version.ref), EMBEDS[name]
        if executes is not None and executes not in trust:
            raise untrusted(executes)
    return Rows(
        ref=found.ref, digest=found.digest, table=found.table, version=found.version, images=found.images, embed=embed,
        executes=executes,
    )  # fmt: skip


def _network(registry: Registry, ref: str, folder: Path, by: Principal) -> Path:
    """The files of the network, in the Run's folder."""
    path, version = folder / "network", registry.find(Ref.parse(ref), scope_of(by))
    path.mkdir(parents=True, exist_ok=True)
    for name in (CARD, IMAGES, *EMBEDS):
        if name in version.members:
            (path / name).write_bytes(registry.member(version, name))
    return path


def _task(registry: Registry, name: str, order: Order, rows: Rows, by: Principal) -> Task:
    version = registry.find(Ref.parse(rows.ref), scope_of(by))
    return Task(
        name=name,
        dataset=rows.ref,
        target=order.target,
        task=order.task,
        algorithm=order.algorithm or _usual(order.task, rows),
        params=order.params,
        positive=order.positive,
        threshold=order.threshold,
        seed=order.seed,
        folds=order.folds,
        split=order.split,
        group=order.group,
        time=order.time,
        leaks=order.leaks,
        balance=order.balance,
        calibrate=order.calibrate,
        cost_false_positive=order.cost_false_positive,
        cost_false_negative=order.cost_false_negative,
        tune=order.tune,
        horizon=order.horizon,
        season=order.season,
        series=order.series,
        known=order.known,
        frequency=order.frequency,
        false_alarms=order.false_alarms,
        user=order.user,
        weight=order.weight,
        embed=rows.embed,
        pixels=order.pixels,
        signal=order.signal,
        window=order.window,
        stride=order.stride,
        fairness=tuple(dict.fromkeys(order.fairness)),
        exclude=tuple(dict.fromkeys((*order.exclude, *_no_features(registry, version, order.target)))),
        contract=Contract.from_json(registry.member(version, "contract.json")),
    )


def _simple(task: Task) -> bool:
    """Whether there is nothing simpler to be trained beside it."""
    if task.embed is not None:
        return False
    return task.algorithm == "seasonal-naive" if task.task == "forecasting" else task.algorithm in SIMPLE


def _usual(task: TaskName | None, rows: Rows) -> AlgorithmName:
    if rows.images:
        return "cnn" if rows.embed is None else "logistic"
    return "gradient-boosting" if task is None else USUAL.get(task, "gradient-boosting")


def _no_features(registry: Registry, dataset: Version, target: str) -> tuple[str, ...]:
    """Of a dataset that was joined to a service, what names rows and tells of features, but is none."""
    service = dataset.meta.get("service")
    columns = Contract.from_json(registry.member(dataset, "contract.json"))
    if not isinstance(service, str):
        return ()
    entity = registry.find(Ref.parse(service), ALL).meta.get("entity")
    asking = {columns.id_column, columns.time_column, *(entity if isinstance(entity, list) else ())} - {target}
    return tuple(name for name in columns.names if name in asking or name.endswith(STATE))


def _train(job: Job, spec: Spec, folder: Path, clock: Clock, python: str, start: float, width: float) -> Trained:
    """Trains from the beginning, whatever an interrupted attempt left in the folder; progress goes from `start` by `width`."""
    started = clock.monotonic()
    manifest = run_child(
        spec,
        folder,
        lambda share, stage: job.progress(start + width * share, f"{spec.task.algorithm}: {stage}"),
        job.cancelled,
        python=python,
    )
    environment = {**manifest.environment, "platform": platform.platform(), **_commit()}
    return Trained(manifest=manifest, seconds=round(clock.monotonic() - started + manifest.beyond, 3), environment=environment)


def _publish(
    registry: Registry,
    job: Job,
    task: Task,
    trained: Trained,
    folder: Path,
    by: Principal,
    baseline: str | None,
    executes: Trust | None = None,
) -> Version:
    """Publishes the files of the folder; a repeated step finds the version that it made before."""
    for version in registry.versions("model", task.name, scope_of(by)):
        if version.run == job.run_id:
            return version
    manifest = trained.manifest
    for name, digest in manifest.members.items():
        if _digest(folder / name) != digest:
            raise Broken(f"The file {name} of the training is missing or was changed.", hint="Train again.")
    service = registry.find(Ref.parse(task.dataset), scope_of(by)).meta.get("service")
    return registry.publish(
        "model",
        task.name,
        members={name: folder / name for name in manifest.members},
        meta={
            "signature": msgspec.to_builtins(manifest.signature),
            "metrics": msgspec.to_builtins(manifest.metrics),
            "task": manifest.task,
            "algorithm": manifest.algorithm or task.algorithm,
            "params": manifest.params or task.params,
            **({} if not manifest.tuning else {"tuning": _tuning(manifest.tuning)}),
            "seed": task.seed,
            "folds": task.folds,
            "split": {"by": task.by, "group": task.signal or task.group, "time": task.moment if task.by == "time" else None},
            "warnings": manifest.warnings,
            "calibration": None if manifest.calibration is None else msgspec.to_builtins(manifest.calibration),
            "balance": task.balance,
            "exclude": task.exclude,
            **_forecast(task),
            **_signal(task),
            **({"user": task.user, "weight": task.weight} if task.user else {}),
            **({"fairness": task.fairness} if task.fairness else {}),
            **({} if task.embed is None else {"embed": task.embed, "pixels": task.pixels}),
            **({} if executes is None else {"executes": executes, "card": manifest.members[CARD]}),
            **({"purpose": job.inputs["purpose"]} if job.inputs.get("purpose") else {}),
            "target": task.target,
            "classes": manifest.classes,
            "threshold": manifest.threshold,
            "runtime": manifest.runtime,
            "parity": msgspec.to_builtins(manifest.parity),
            "importances": manifest.importances,
            "dataset": manifest.dataset,
            "baseline": baseline,
            "digest": manifest.digest,
            "rows": manifest.rows,
            "environment": trained.environment,
            "latency": msgspec.to_builtins(manifest.latency),
            "seconds": trained.seconds,
            **({} if service is None else {"service": service}),
        },
        parents=(manifest.dataset, *(() if task.embed is None else (task.embed,))),
        run=job.run_id,
        by=by,
    )


def _forecast(task: Task) -> dict[str, object]:
    """What a version says of how far and of what it tells."""
    if task.task != "forecasting":
        return {}
    return {
        "horizon": task.horizon,
        "season": task.season,
        "series": task.series,
        "known": task.known,
        "frequency": task.frequency,
        "time": task.moment,
    }


def _signal(task: Task) -> dict[str, object]:
    """What a version says of its windows."""
    if task.signal is None:
        return {}
    return {"signal": task.signal, "time": task.moment, "window": task.window, "stride": task.stride or task.window}


def _tuning(found: tuple[Searched, ...]) -> dict[str, object]:
    """What a version says of its searches; every trial is in its member `tuning.json`."""
    over_all, *outer = found
    return {
        "trials": len(over_all.trials),
        "pruned": sum(trial.pruned for trial in over_all.trials),
        "folds": [each.params for each in outer],
    }


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except OSError:
        return None


def _commit() -> dict[str, str]:
    """The commit of the repository that the platform runs in, as `git`; empty outside of one."""
    try:
        said = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return {"git": said.stdout.strip()} if said.returncode == 0 else {}
