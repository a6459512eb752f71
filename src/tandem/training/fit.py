"""Trains one model: folds, out-of-fold predictions, the final fit, its ONNX form, its evidence. Writes nothing."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # ships no types

from tandem.core.errors import Broken, Invalid
from tandem.core.score import Estimate
from tandem.data.digest import content_digest
from tandem.evaluation.about.whole import TASKS as TOLD
from tandem.evaluation.evidence import CLASSED, OutOfFold
from tandem.jobs.pieces import HERE, Compute, crew
from tandem.scorers.base import METRICS, TaskName
from tandem.scorers.base import load as load_scorer
from tandem.scorers.sample import Floats, Oddities, Sample, Truths
from tandem.serving.calibration import FILE as CURVE
from tandem.serving.columns import Columns
from tandem.serving.encoding import FILE as ENCODING
from tandem.serving.encoding import Encoding
from tandem.serving.series import FILE as SERIES
from tandem.serving.signals import FILE as SIGNALS
from tandem.serving.signature import Signature
from tandem.training import plots
from tandem.training.about import Shuffles, about, check_fairness
from tandem.training.algorithms.base import TABULAR, Algorithm, Trained, learns, load, settings
from tandem.training.calibrate import Calibrated, calibrate, rarity
from tandem.training.forecast import Unfolded, unfold
from tandem.training.leaks import look
from tandem.training.manifest import Calibration, Parity, Searched
from tandem.training.parity import check
from tandem.training.pictures import Seen
from tandem.training.split import Splits, divide
from tandem.training.table import Table, tabulate
from tandem.training.task import Task
from tandem.training.tune import Search
from tandem.training.windows import Windowed

LIBRARIES = ("lightgbm", "numpy", "onnx", "onnxmltools", "onnxruntime", "polars", "scikit-learn", "xgboost-cpu")
TUNED = 0.6
"""The share of a training at which its searches are done."""
BASELINES: Mapping[TaskName, str] = {
    "classification": "logistic",
    "regression": "linear",
    "multiclass": "logistic",
    "forecasting": "seasonal-naive",
    "ranking": "linear",
    "recommendation": "popularity",
    "anomaly": "ecod",
}
"""The simplest algorithm of each task: the first champion that a gate compares with."""
_HOSTED = Parity(held=False, reason="A model host answers, which keeps the series.", rows=0, tolerance=0.0)
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
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where the answer is a number."""
    algorithm: str
    threshold: float
    warnings: tuple[str, ...]
    """Sentences for people about what may make the metrics too good to be true."""
    calibration: Calibration | None
    params: Mapping[str, float]
    """All of the algorithm's."""
    tuning: tuple[Searched, ...]
    """See `Manifest`."""
    beyond: float = 0.0
    """See `Manifest`."""
    runtime: str
    """`onnx`, or the native runtime where parity was not proven."""
    parity: Parity
    importances: Mapping[str, float]
    """Column → its share, largest first."""
    environment: Mapping[str, str]
    """Library → version."""


def fit(
    task: Task,
    frame: pl.DataFrame,
    progress: Progress,
    *,
    trials: Path | None = None,
    seen: Seen | None = None,
    windows: Windowed | None = None,
    compute: Compute = HERE,
) -> Fitted:
    """Trains the task's algorithm and judges it by cross-validation.

    Every row is predicted by a model, and encoded by an encoding, that did not see it (folds as `split.divide` makes them); the
    metrics are of these predictions. The model that is kept is fitted to all rows. The same task and frame give the
    same bytes.

    Args:
        trials: a file that keeps the finished trials of a search; what an interrupted training left is taken up.
        seen: the images of the rows, where they are learned from instead of the columns.
        windows: what the rows were made of, where each is a window of signals.
        compute: who fits the trials.

    Raises:
        Unavailable: the cluster cannot be joined.
        Invalid: the data or the parameters do not make a training; see `tandem.training.table.tabulate`.
    """
    progress(0.0, "reading the table")
    ahead = unfold(task, frame) if task.task == "forecasting" else None
    table = seen.table if seen is not None else tabulate(task, frame) if ahead is None else ahead.table
    check_fairness(task, frame)
    aim = table.aim
    name = _chosen(task, aim.task)
    algorithm = load(name)
    params = settings(name, algorithm.params, task.params)
    splits = divide(task, aim, frame) if ahead is None else ahead.splits
    check_options(task, aim.task)
    special = seen or ahead
    if windows is not None:
        warnings = (*windows.warnings, *_warnings(task, *windows.levels(table), splits))
    else:
        warnings = _warnings(task, table, frame, splits) if special is None else special.warnings
    judged = splits.judged
    with threadpool_limits(1):  # one thread sums in one order
        search = Search.of(task, table, algorithm, params, content_digest(frame), splits, trials) if task.tune else None
        tuning, beyond = ((), 0.0) if search is None else _searched(search, progress, compute)
        outer = [found.params for found in tuning[1:]] or [params] * splits.count
        params = dict(tuning[0].params) if tuning else params
        shuffles = Shuffles(task, table, splits.count) if aim.task in TOLD and seen is None else None
        outputs = _out_of_fold(task, table, splits, algorithm, outer, progress, shuffles)[judged]
        curve, before = _calibrated(task, aim.task, outputs, aim.target[judged], splits)
        progress(0.7, "fitting on all rows")
        encoding = _learned(table.columns)
        examples = table.examples(encoding, balance=task.balance)
        model = algorithm.fit(examples, params=params, seed=task.seed)
    progress(0.8, "converting")
    parity, onnx = check(model, examples.features, _score(curve, task.cut), aim.task) if ahead is None else (_HOSTED, None)
    progress(0.85, "scoring")
    rows, series = np.flatnonzero(judged), None
    if ahead is not None:
        rows, outputs, series = ahead.banded(outputs[:, 0])
    groups = windows.units if windows is not None else table.groups if ahead is None else ahead.windows
    oof = _evidence(task, frame, table, rows, outputs, ahead, groups)
    sample = oof.sample()
    told = ["false_alarm_rate"] if isinstance(sample, Oddities) and not sample.labelled else METRICS[aim.task]
    metrics = {name: load_scorer(name, aim.task).score(sample) for name in told}
    native, evidence = model.native(), dict[str, bytes]()
    if shuffles is not None:
        progress(0.9, "finding out where it fails, and why it answers so")
        evidence = about(task, table, frame, oof, encoding, native, algorithm.runtime, shuffles)
    progress(0.95, "drawing")
    if onnx is None and algorithm.runtime == "onnx":
        raise Broken(f"{name} cannot be served: {parity.reason}", hint="Report this fault.")
    signature = table.signature if special is None else special.signature
    if windows is not None:
        signature, oof = windows.signature(signature), windows.placed(oof)
    weights = _shares(model, encoding, table.signature) if seen is None else {"image": 1.0}
    shares = sorted(weights.items(), key=lambda pair: (-pair[1], pair[0]))
    fitted = Fitted(
        members={},
        metrics=metrics,
        oof=oof,
        signature=signature,
        classes=aim.classes,
        algorithm=name,
        threshold=task.cut,
        warnings=warnings,
        params=params,
        tuning=tuning,
        beyond=beyond,
        calibration=None
        if curve is None or curve.calibration is None or before is None
        else Calibration(
            way=msgspec.to_builtins(curve.calibration)["curve"]["is"], before=before, after=metrics["calibration_error"]
        ),
        runtime="onnx" if onnx is not None else algorithm.runtime,
        parity=parity,
        importances=dict(shares),
        environment={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    members = {
        native[0]: native[1],
        "model.json": card(task, fitted, algorithm.runtime, params, {} if seen is None else seen.pins),
        "signature.json": signature.to_json(),
        "oof.json": oof.to_json(),
        "metrics.json": msgspec.json.encode(metrics, order="sorted"),
        **({} if onnx is None else {"model.onnx": onnx}),
        **({} if encoding.plain and series is None else {ENCODING: encoding.to_json()}),
        **({} if series is None else {SERIES: series.to_json()}),
        **({} if seen is None else seen.members),
        **({} if windows is None else {SIGNALS: msgspec.json.encode(windows.plan)}),
        **({"tuning.json": msgspec.json.format(msgspec.json.encode(tuning), indent=1)} if tuning else {}),
        **({} if curve is None or curve.calibration is None else {CURVE: curve.calibration.to_json()}),
        **evidence,
        **plots.draw(sample, aim.classes, metrics, told=None if ahead is None else (ahead.owners[rows], ahead.steps[rows])),
    }
    progress(1.0, "done")
    return replace(fitted, members=members)


def _evidence(
    task: Task, frame: pl.DataFrame, table: Table, rows: NDArray[np.int64], outputs: Floats, ahead: Unfolded | None,
    groups: Sequence[str],
) -> OutOfFold:  # fmt: skip
    """What was said of the judged rows; `groups` as of `OutOfFold`, of all rows."""
    aim = table.aim
    return OutOfFold(
        dataset=task.dataset,
        digest=content_digest(frame),
        target=task.target,
        positive=aim.classes[1] if aim.task == "classification" else aim.positive,
        rows=tuple(table.rows[row] for row in rows),
        places=() if len(rows) == frame.height else tuple(map(int, rows if ahead is None else ahead.places[rows])),
        labels=tuple(map(int if aim.task in CLASSED else float, aim.target[rows])),
        probabilities=tuple(map(float, outputs.ravel())),
        seed=task.seed,
        folds=task.folds,
        threshold=task.cut,
        task=aim.task,
        classes=aim.classes if aim.task == "multiclass" else (),
        groups=tuple(groups[row] for row in rows) if groups else (),
        scales=() if ahead is None else tuple(map(float, np.nan_to_num(ahead.scales[rows]))),
    )


def _out_of_fold(
    task: Task, table: Table, splits: Splits, algorithm: Algorithm, params: Sequence[Mapping[str, float]], progress: Progress,
    shuffles: Shuffles | None,
) -> Floats:  # fmt: skip
    outputs = np.empty((len(splits.fold), table.signature.outputs[0].width))
    start = TUNED if task.tune else 0.05
    for number in range(splits.count):
        progress(start + (0.7 - start) * number / splits.count, f"fold {number + 1} of {splits.count}")
        seen, held = splits.seen(number), splits.held(number)
        encoding = table.columns.at(seen).learn()
        model = algorithm.fit(table.examples(encoding, seen, balance=task.balance), params=params[number], seed=task.seed)
        outputs[held] = model.predict(table.examples(encoding, held).features)
        if shuffles is not None:
            shuffles.look(model, encoding, held)
    return outputs


def _searched(search: Search, progress: Progress, compute: Compute) -> tuple[tuple[Searched, ...], float]:
    """The search over all rows, and one for each outer fold among the rows that it learns from; with `Manifest.beyond`."""
    splits = search.splits
    studies = {"all": np.ones(len(splits.fold), dtype=np.bool_)}
    studies |= {f"fold {number + 1}": splits.seen(number) for number in range(splits.count)}
    with crew(compute, search.trying) as doing:
        found = search.best(doing, studies, lambda share, stage: progress(0.05 + (TUNED - 0.05) * share, f"tuning {stage}"))
        return found, doing.tally.beyond


def check_options(task: Task, asked: TaskName) -> None:
    """Raises:
    Invalid: an option makes no sense for this task.
    """
    for used, option, fits in (
        (task.balance, "balance", asked in CLASSED),
        (task.calibrate != "none", "calibrate", asked == "classification"),
        (task.cost_false_positive is not None, "cost_false_positive", asked == "classification"),
        (bool(task.fairness), "fairness", asked in TOLD),
        (task.tune > 0, "tune", asked != "recommendation"),
    ):
        if used and not fits and not task.baseline:
            raise Invalid(f"The option {option} makes no sense for a {asked}.", field=option, hint="Leave it out.")


def _warnings(task: Task, table: Table, frame: pl.DataFrame, splits: Splits) -> tuple[str, ...]:
    """What looks too good to be true.

    Raises:
        Invalid: there is a leak and the task refuses those.
    """
    costs = task.cost_false_positive is not None
    found = look(task, table, frame, splits)
    if task.balance and costs and task.calibrate == "none":
        found = (*found, "The threshold of costs supposes right probabilities, and balanced classes make them wrong: calibrate.")
    return found


def _calibrated(
    task: Task, asked: TaskName, outputs: Floats, truths: Truths, splits: Splits
) -> tuple[Calibrated | None, Estimate | None]:
    """Puts calibrated probabilities, or how rare they are, in place of scores; with the calibration error before."""
    if asked == "anomaly":
        rare = rarity(outputs[:, 0], splits, false_alarms=task.false_alarms, seed=task.seed)
        outputs[:, 0] = rare.chances
        return rare, None
    if task.calibrate == "none" or asked != "classification":
        return None, None
    before = load_scorer("calibration_error").score(Sample.of(truths, outputs[:, 0]))
    found = calibrate(task.calibrate, outputs[:, 0].copy(), truths, splits)
    outputs[:, 0] = found.chances
    return found, before


def _score(found: Calibrated | None, chance: float) -> float:
    """The score whose probability is that: the threshold as the model itself knows it."""
    if found is None or found.calibration is None:
        return chance
    scores = np.linspace(0, 1, 10_001)
    reached = [score for score in scores if found.calibration.curve.of(float(score)) >= chance]
    return float(reached[0]) if reached else 1.0


def _chosen(task: Task, asked: TaskName) -> str:
    """The algorithm's name.

    Raises:
        Invalid: it cannot learn what is asked.
    """
    if task.baseline:
        return BASELINES[asked]
    algorithm = load(task.algorithm)
    if not learns(algorithm, asked):
        able = [name for name in TABULAR if learns(load(name), asked)]
        raise Invalid(
            f"The algorithm '{task.algorithm}' learns no {asked}; the target '{task.target}' asks for one.",
            field="algorithm",
            hint=f"Use one of: {', '.join(able)}.",
        )
    return task.algorithm


def _learned(columns: Columns) -> Encoding:
    """The encoding of the model that is kept.

    Raises:
        Invalid: a column of texts has nothing that could be learned from.
    """
    encoding = columns.learn()
    for part, field in zip(encoding.parts, columns.fields, strict=True):
        if not part.names(field.name):
            raise Invalid(
                f"Column '{field.name}' is text in which no word occurs in two rows; it seems to name rows.",
                field=field.name,
                hint=f"Leave it out: --exclude {field.name}.",
            )
    return encoding


def _shares(model: Trained, encoding: Encoding, signature: Signature) -> dict[str, float]:
    """The importance of each column that is learned from: the sum over its encoded ones."""
    found = dict.fromkeys(signature.names, 0.0)
    for owner, share in zip(encoding.owners(), model.importances(), strict=True):
        found[signature.names[owner]] += float(share)
    return found


def card(
    task: Task, fitted: Fitted, native: str, params: Mapping[str, float], pins: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """`model.json`: what serving needs (`tandem.serving.base.Card`), and what people ask about a model.

    Args:
        pins: members that are executed → `sha256:…`.
    """
    known = {
        "runtime": fitted.runtime,
        "native": native,
        "threshold": fitted.threshold,
        "classes": fitted.classes,
        "name": task.name,
        "task": fitted.oof.task,
        "algorithm": fitted.algorithm,
        "params": params,
        "dataset": task.dataset,
        "digest": fitted.oof.digest,
        "target": task.target,
        "seed": task.seed,
        "folds": task.folds,
        "split": task.by,
        "warnings": fitted.warnings,
        "calibration": fitted.calibration,
        "rows": len(fitted.oof.rows),
        "parity": fitted.parity,
        "importances": fitted.importances,
        "environment": fitted.environment,
        **({"file": next(iter(pins)), "pins": pins} if pins else {}),
    }
    return msgspec.json.format(msgspec.json.encode(known), indent=2)
