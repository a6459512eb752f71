"""Trains one model: folds, out-of-fold predictions, the final fit, its ONNX form, its evidence. Writes nothing."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version

import msgspec
import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tandem.core.score import Estimate
from tandem.data.digest import content_digest
from tandem.evaluation.evidence import OutOfFold
from tandem.scorers.base import SCORERS
from tandem.scorers.base import load as load_scorer
from tandem.scorers.sample import Floats, Sample
from tandem.serving.signature import Signature
from tandem.training import plots
from tandem.training.algorithms.base import Algorithm, load, settings
from tandem.training.manifest import Parity
from tandem.training.parity import check
from tandem.training.table import Table, stratified, tabulate
from tandem.training.task import Task

LIBRARIES = ("numpy", "onnx", "onnxmltools", "onnxruntime", "polars", "scikit-learn", "xgboost-cpu")
Progress = Callable[[float, str], None]
"""Called with a share between 0 and 1 and a stage for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A trained model with all that is known about it."""

    members: Mapping[str, bytes]
    """File name → bytes; the model asset's content. Nothing in it executes when it is loaded."""
    metrics: Mapping[str, Estimate]
    """Every scorer on the out-of-fold predictions."""
    oof: OutOfFold
    signature: Signature
    classes: tuple[str, str]
    """Negative, positive."""
    runtime: str
    """`onnx`, or the native runtime where parity was not proven."""
    parity: Parity
    importances: Mapping[str, float]
    """Column → its share, largest first."""
    environment: Mapping[str, str]
    """Library → version."""


def fit(task: Task, frame: pl.DataFrame, progress: Progress) -> Fitted:
    """Trains the task's algorithm and judges it by cross-validation.

    Every row is predicted by a model that did not see it (stratified, seeded folds); the metrics are of these
    predictions. The model that is kept is fitted to all rows. The same task and frame give the same bytes.

    Raises:
        Invalid: the data or the parameters do not make a training; see `tandem.training.table.tabulate`.
    """
    progress(0.0, "reading the table")
    algorithm = load(task.algorithm)
    params = settings(task.algorithm, algorithm.params, task.params)
    table = tabulate(task, frame)
    with threadpool_limits(1):  # one thread sums in one order
        chances = _out_of_fold(task, table, algorithm, params, progress)
        progress(0.7, "fitting on all rows")
        model = algorithm.fit(table.features, table.labels, params=params, seed=task.seed)
    progress(0.8, "converting")
    parity, onnx = check(model, table.features, task.threshold)
    progress(0.85, "scoring")
    oof = OutOfFold(
        dataset=task.dataset,
        digest=content_digest(frame),
        target=task.target,
        positive=table.classes[1],
        rows=table.rows,
        labels=tuple(map(int, table.labels)),
        probabilities=tuple(map(float, chances)),
        seed=task.seed,
        folds=task.folds,
        threshold=task.threshold,
    )
    sample = Sample.of(table.labels, chances, threshold=task.threshold)
    metrics = {name: load_scorer(name).score(sample) for name in SCORERS}
    progress(0.95, "drawing")
    shares = sorted(
        zip(table.signature.names, map(float, model.importances()), strict=True), key=lambda pair: (-pair[1], pair[0])
    )
    native_name, native = model.native()
    fitted = Fitted(
        members={},
        metrics=metrics,
        oof=oof,
        signature=table.signature,
        classes=table.classes,
        runtime="onnx" if onnx is not None else algorithm.runtime,
        parity=parity,
        importances=dict(shares),
        environment={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    members = {
        native_name: native,
        "model.json": _card(task, fitted, algorithm.runtime, params),
        "signature.json": table.signature.to_json(),
        "oof.json": oof.to_json(),
        "metrics.json": msgspec.json.encode(metrics, order="sorted"),
        **({} if onnx is None else {"model.onnx": onnx}),
        **plots.draw(sample, table.classes, metrics["roc_auc"]),
    }
    progress(1.0, "done")
    return replace(fitted, members=members)


def _out_of_fold(task: Task, table: Table, algorithm: Algorithm, params: Mapping[str, float], progress: Progress) -> Floats:
    fold = stratified(table.labels, folds=task.folds, seed=task.seed)
    chances = np.empty(len(fold))
    for number in range(task.folds):
        progress(0.05 + 0.65 * number / task.folds, f"fold {number + 1} of {task.folds}")
        held = fold == number
        model = algorithm.fit(table.features[~held], table.labels[~held], params=params, seed=task.seed)
        chances[held] = model.predict(table.features[held])
    return chances


def _card(task: Task, fitted: Fitted, native: str, params: Mapping[str, float]) -> bytes:
    """`model.json`: what serving needs (`tandem.serving.base.Card`), and what people ask about a model."""
    card = {
        "runtime": fitted.runtime,
        "native": native,
        "threshold": task.threshold,
        "classes": fitted.classes,
        "name": task.name,
        "algorithm": task.algorithm,
        "params": params,
        "dataset": task.dataset,
        "digest": fitted.oof.digest,
        "target": task.target,
        "seed": task.seed,
        "folds": task.folds,
        "rows": len(fitted.oof.rows),
        "parity": fitted.parity,
        "importances": fitted.importances,
        "environment": fitted.environment,
    }
    return msgspec.json.format(msgspec.json.encode(card), indent=2)
