"""Train: a dataset version becomes a model version, in steps that survive the death of the process.

resolve → train the baseline → publish it → train (each in a child process) → publish. The baseline is an
asset of its own, `NAME-baseline`: a scaled logistic regression on the same folds, and the first champion that
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

import msgspec

from tandem.core.asset import Ref, Version, check_name
from tandem.core.clock import Clock
from tandem.core.errors import Broken, Invalid
from tandem.core.principal import Principal
from tandem.data.contract import Contract
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs import staging
from tandem.jobs.job import Job, Work
from tandem.registry.registry import Registry
from tandem.training.manifest import Manifest, Spec
from tandem.training.run import run_child
from tandem.training.task import AlgorithmName, Task

KIND = "train"
BASELINE: AlgorithmName = "logistic"
GIT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The inputs of a training Run; keys it does not know are left alone."""

    data: str
    """The dataset, as `dataset/NAME[@VERSION-or-alias]`."""
    target: str
    algorithm: AlgorithmName = "gradient-boosting"
    params: Mapping[str, float | int] = field(default_factory=dict)
    seed: int = 7
    folds: int = 5
    positive: str | None = None
    threshold: float = 0.5
    exclude: tuple[str, ...] = ()
    baseline: bool = True
    """Whether a baseline is trained beside any other algorithm than the baseline's own."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished training whose files wait to be published."""

    manifest: Manifest
    seconds: float
    """How long the child process took."""
    environment: Mapping[str, str]
    """Libraries, interpreter, platform, and the commit where there is a repository."""


def make_train(registry: Registry, clock: Clock, *, lake: Path, work: Path, python: str = sys.executable) -> Work:
    """The workflow `train`.

    Its Run's outputs are `asset` (the model's ref), `metrics`, `environment`, `plots` (member names), `seconds`, and
    `baseline` (its `asset` and `metrics`) where one was trained.

    Args:
        lake: the lake's directory.
        work: where Runs keep files while they work; the Run's folder is gone when the Run has ended.
        python: the interpreter that has the `ml` extra.
    """

    def train(job: Job) -> Mapping[str, object]:
        order = _order(job.inputs)
        by = order.by or job.by
        folder = work / job.run_id
        try:
            job.progress(0.0, "finding the dataset")
            rows = job.step("resolve", lambda: _resolve(registry, order, by), Rows)
            task = _task(registry, job.run.name, order, rows, by)
            spec = Spec(lake=str(lake), table=rows.table, version=rows.version, task=task, digest=rows.digest)
            plain: Trained | None = None
            baseline: str | None = None
            if order.baseline and order.algorithm != BASELINE:
                simple = replace(task, name=check_name(f"{task.name}-baseline"), algorithm=BASELINE, params={})
                beside = folder / "baseline"
                made = plain = job.step(
                    "train-baseline", lambda: _train(job, replace(spec, task=simple), beside, clock, python, 0.02, 0.3), Trained
                )
                baseline = job.step(
                    "publish-baseline", lambda: str(_publish(registry, job, simple, made, beside, by, None).ref), str
                )
            trained = job.step("train", lambda: _train(job, spec, folder / "model", clock, python, 0.32, 0.6), Trained)
            job.progress(0.95, "publishing")
            ref = job.step(
                "publish", lambda: str(_publish(registry, job, task, trained, folder / "model", by, baseline).ref), str
            )
            job.progress(1.0, "done")
        finally:
            if job.halted() not in ("stopping", "lost"):
                staging.clear(folder)
        beaten = None if plain is None else {"asset": baseline, "metrics": msgspec.to_builtins(plain.manifest.metrics)}
        return {
            "asset": ref,
            "baseline": beaten,
            "metrics": msgspec.to_builtins(trained.manifest.metrics),
            "environment": trained.environment,
            "plots": [name for name in trained.manifest.members if name.startswith("plots/")],
            "seconds": trained.seconds,
        }

    return train


def _order(inputs: Mapping[str, object]) -> Order:
    try:
        return msgspec.convert(dict(inputs), Order)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"The training's inputs are wrong: {error}.", field="inputs", hint="Look at `tandem train --help`."
        ) from None


def _resolve(registry: Registry, order: Order, by: Principal) -> Rows:
    """Pins the dataset: whatever its name means later, this Run means this version."""
    authorise(by, "write")
    ref = Ref.parse(order.data)
    if ref.kind != "dataset":
        raise Invalid(f"{ref} is no dataset.", field="data", hint="Write dataset/NAME[@VERSION].")
    found = registry.find(ref, scope_of(by))
    match found.meta:
        case {"digest": str() as digest, "lake": {"table": str() as table, "version": int() as version}}:
            return Rows(ref=str(found.ref), digest=digest, table=table, version=version)
    raise Invalid(f"{found.ref} has no rows in the lake.", field="data", hint="Add it with `tandem data add`.")


def _task(registry: Registry, name: str, order: Order, rows: Rows, by: Principal) -> Task:
    version = registry.find(Ref.parse(rows.ref), scope_of(by))
    return Task(
        name=name,
        dataset=rows.ref,
        target=order.target,
        algorithm=order.algorithm,
        params=order.params,
        positive=order.positive,
        threshold=order.threshold,
        seed=order.seed,
        folds=order.folds,
        exclude=order.exclude,
        contract=Contract.from_json(registry.member(version, "contract.json")),
    )


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
    return Trained(manifest=manifest, seconds=round(clock.monotonic() - started, 3), environment=environment)


def _publish(
    registry: Registry, job: Job, task: Task, trained: Trained, folder: Path, by: Principal, baseline: str | None
) -> Version:
    """Publishes the files of the folder; a repeated step finds the version that it made before."""
    for version in registry.versions("model", task.name, scope_of(by)):
        if version.run == job.run_id:
            return version
    manifest = trained.manifest
    for name, digest in manifest.members.items():
        if _digest(folder / name) != digest:
            raise Broken(f"The file {name} of the training is missing or was changed.", hint="Train again.")
    return registry.publish(
        "model",
        task.name,
        members={name: folder / name for name in manifest.members},
        meta={
            "signature": msgspec.to_builtins(manifest.signature),
            "metrics": msgspec.to_builtins(manifest.metrics),
            "algorithm": task.algorithm,
            "params": task.params,
            "seed": task.seed,
            "folds": task.folds,
            "exclude": task.exclude,
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
            "seconds": trained.seconds,
        },
        parents=(manifest.dataset,),
        run=job.run_id,
        by=by,
    )


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
