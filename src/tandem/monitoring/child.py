"""One check's arithmetic in a process of its own, so that the control process never loads the numeric libraries.

`python -m tandem.monitoring.child` reads a task and says what came of it; see `tandem.jobs.apart`. A task is an
`Order` (judge rows), a `Freeze` (count what a model was trained on), a `Count` (judge counts), or, of what was answered and what
turned out, a `Perform` (classes), a `Measure` (numbers), a `Foretold` (forecasts), a `Flagged` (oddities) or an `Ordered` (orders
and recommendations).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec

from tandem.core.errors import Invalid
from tandem.core.monitor import Finding
from tandem.evaluation.evidence import OutOfFold
from tandem.jobs.apart import Progress, ask, serve, silent
from tandem.monitoring.counts import PREDICTION, Frozen, Pair, segment_of, tallied
from tandem.scorers.bins import Bins
from tandem.serving.signature import Cell

if TYPE_CHECKING:
    from tandem.scorers.sample import Floats
    from tandem.serving.signals import Signals

MODULE = "tandem.monitoring.child"
SECONDS = 300.0


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A window of rows, and what it is compared with."""

    lake: str
    """The lake's directory."""
    table: str
    version: int
    """The Delta version of the rows that the model was trained on."""
    columns: tuple[str, ...]
    """The model's watched inputs, in the order of the rows' values."""
    categories: Mapping[str, tuple[str, ...]] = {}
    """Column of texts → the values the model knows; a row has the place of its own, or their number for any other."""
    reference: str | None
    """Frozen bins as an earlier reply gave them; None makes them."""
    rows: list[list[float]] = []
    plan: str | None = None
    """Of a model of signals: how its windows were cut, as JSON; the columns are then the features of a window."""
    windows: list[list[float | str]] = []
    """Of such a model, in place of rows: each channel's samples as JSON."""
    calls: int = 0
    refused: Mapping[str, int] = {}
    sparse: bool = False
    """As of `judge.judge`."""
    weights: Mapping[str, float] = {}
    """Column → its importance to the model."""
    minimum: int = 100
    threshold: float = 0.1
    level: float = 0.001
    seed: int = 1


class Freeze(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a model was trained on, to be counted."""

    lake: str
    table: str
    version: int
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = {}
    """As of `Order`."""
    chances: list[float] = []
    """Predictions on rows that the model had not seen."""
    segment: str | None = None


class Count(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Counts of a window, beside those of its references."""

    pairs: tuple[Pair, ...]
    calls: int
    refused: Mapping[str, int]
    weights: Mapping[str, float] = {}
    minimum: int = 100
    threshold: float = 0.1
    level: float = 0.001
    seed: int = 1


class Perform(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a model said in a window and what turned out, beside its evidence; arguments as `perform.judge_performance`."""

    chances: list[float]
    labels: list[int]
    reference_chances: list[float]
    reference_labels: list[int]
    cut: float
    mature: bool
    state: str
    """As the last reply's reference."""
    minimum: int = 100
    threshold: float = 0.05
    level: float = 0.001
    right: bool = False
    """Whether labels say that the answer was right, so that accuracy alone means something: of more than two classes."""


class Measure(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Which numbers a model told in a window and what turned out, beside its evidence; as `numbers.judge_numbers`."""

    lake: str
    table: str
    version: int
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]] = {}
    """As of `Order`."""
    rows: list[list[float]]
    told: list[float]
    truth: list[float]
    """NaN where it has not come."""
    reference_told: list[float]
    reference_truth: list[float]
    places: list[int]
    """Where the reference's rows stand in the table; empty where they are all of its rows."""
    mature: bool
    state: str
    minimum: int = 100
    threshold: float = 0.05
    level: float = 0.001


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a model of forecasts."""

    rows: list[list[Cell]]
    """As the model takes them."""
    told: list[list[float]]
    """Row by row the forecast and the ends of its 80 % interval."""
    truth: list[float]
    """NaN where it has not come."""


class Foretold(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a model of forecasts told in a window and what came, beside its evidence; as `forecasts.judge_forecasts`."""

    lake: str
    table: str
    version: int
    moment: str
    """The column of the time."""
    evidence: OutOfFold
    series: bytes
    """The model's `series.json`."""
    calls: list[Told]
    mature: bool
    state: str
    minimum: int = 100
    threshold: float = 0.05
    level: float = 0.001


class Flagged(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How odd rows of a window seemed and what they were, beside the evidence; as `oddities.judge_oddities`."""

    evidence: OutOfFold
    scores: list[float]
    truth: list[float]
    drawn: list[bool]
    mature: bool
    over: bool
    state: str
    minimum: int = 100
    threshold: float = 0.05
    level: float = 0.001


class Ordered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """In which order rows of a window were told and what was chosen, beside the evidence; as `orders.judge_orders`."""

    evidence: OutOfFold
    outputs: list[float]
    labels: list[float]
    groups: list[str]
    mature: bool
    state: str
    minimum: int = 100
    threshold: float = 0.05
    level: float = 0.001


Task = Order | Freeze | Count | Perform | Measure | Foretold | Flagged | Ordered


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was found, or frozen."""

    findings: tuple[Finding, ...] = ()
    reference: str = ""


def judge_apart(task: Task, *, python: str = sys.executable) -> Done:
    """Has a child process do a task.

    Raises:
        NotFound, Invalid: the reference is gone, or lacks a column.
        TimedOut: it took longer than five minutes.
        Broken: the child died.
    """
    return ask(MODULE, task, Done, python=python, seconds=SECONDS)


def carry_out(task: Task, progress: Progress = silent) -> Done:
    """Does a task in this process.

    Raises:
        NotFound, Invalid: as `judge_apart`.
    """
    match task:
        case Order():
            return _judge(task)
        case Freeze():
            return Done(reference=msgspec.json.encode(_frozen(task)).decode())
        case Count():
            return Done(findings=_judge_counts(task))
        case Perform():
            return _perform(task)
        case Measure():
            return _measure(task)
        case Foretold():
            return _foretold(task)
        case Flagged():
            return _flagged(task)
        case Ordered():
            return _ordered(task)
        case _:
            assert_never(task)


def _judge(order: Order) -> Done:
    """Freezes the reference where there is none, and judges the window."""
    from tandem.monitoring.judge import judge

    text = order.reference or _freeze(order)
    rows = order.rows if order.plan is None else _signals(order.plan).rows(order.windows)
    findings = judge(
        msgspec.json.decode(text, type=tuple[Bins, ...]),
        rows,
        calls=order.calls,
        refused=order.refused,
        minimum=order.minimum,
        threshold=order.threshold,
        level=order.level,
        weights=order.weights,
        seed=order.seed,
        sparse=order.sparse,
    )
    return Done(findings=findings, reference=text)


def _judge_counts(count: Count) -> tuple[Finding, ...]:
    from tandem.monitoring.judge import judge_counts

    return judge_counts(
        count.pairs,
        calls=count.calls,
        refused=count.refused,
        minimum=count.minimum,
        threshold=count.threshold,
        level=count.level,
        weights=count.weights,
        seed=count.seed,
    )


def _perform(task: Perform) -> Done:
    from tandem.monitoring.perform import Rows, State, judge_performance
    from tandem.scorers.unlabelled import METRICS

    findings, after = judge_performance(
        Rows(chances=task.chances, labels=task.labels),
        Rows(chances=task.reference_chances, labels=task.reference_labels),
        msgspec.json.decode(task.state, type=State),
        cut=task.cut,
        mature=task.mature,
        minimum=task.minimum,
        threshold=task.threshold,
        level=task.level,
        metrics=METRICS[:1] if task.right else METRICS,
    )
    return Done(findings=findings, reference=msgspec.json.encode(after).decode())


def _measure(task: Measure) -> Done:
    import numpy as np

    from tandem.monitoring.numbers import Numbers, judge_numbers
    from tandem.monitoring.perform import State

    columns = np.column_stack(list(_values(task).values())) if task.columns else np.empty((len(task.reference_told), 0))
    before = Numbers(
        inputs=columns[task.places] if task.places else columns,
        told=np.asarray(task.reference_told),
        truth=np.asarray(task.reference_truth),
    )
    rows = np.asarray(task.rows, dtype=np.float64).reshape(len(task.told), len(task.columns))
    findings, after = judge_numbers(
        Numbers(inputs=rows, told=np.asarray(task.told), truth=np.asarray(task.truth)),
        before,
        msgspec.json.decode(task.state, type=State),
        categories=[place for place, name in enumerate(task.columns) if name in task.categories],
        mature=task.mature,
        minimum=task.minimum,
        threshold=task.threshold,
        level=task.level,
    )
    return Done(findings=findings, reference=msgspec.json.encode(after).decode())


def _foretold(task: Foretold) -> Done:
    from tandem.monitoring.forecasts import called, judge_forecasts, judged
    from tandem.serving.series import Series
    from tandem.store.lake import Lake

    series = msgspec.json.decode(task.series, type=Series)
    frame = Lake(Path(task.lake)).read(task.table, task.version)
    findings = judge_forecasts(
        called(series, [(call.rows, call.told, call.truth) for call in task.calls]),
        judged(series, task.evidence, frame[task.moment].dt.epoch("s").to_numpy()),
        horizon=series.horizon,
        mature=task.mature,
        minimum=task.minimum,
        threshold=task.threshold,
        level=task.level,
    )
    return Done(findings=findings, reference=task.state)


def _flagged(task: Flagged) -> Done:
    import numpy as np

    from tandem.monitoring.oddities import Odd, judge_oddities
    from tandem.monitoring.perform import State

    findings, after = judge_oddities(
        Odd(scores=np.asarray(task.scores), truth=np.asarray(task.truth), drawn=np.asarray(task.drawn, dtype=np.bool_)),
        task.evidence,
        msgspec.json.decode(task.state, type=State),
        mature=task.mature,
        over=task.over,
        minimum=task.minimum,
        threshold=task.threshold,
        level=task.level,
    )
    return Done(findings=findings, reference=msgspec.json.encode(after).decode())


def _ordered(task: Ordered) -> Done:
    from tandem.monitoring.orders import judge_orders

    findings = judge_orders(
        task.outputs,
        task.labels,
        task.groups,
        task.evidence,
        mature=task.mature,
        minimum=task.minimum,
        threshold=task.threshold,
        level=task.level,
    )
    return Done(findings=findings, reference=task.state)


def _freeze(order: Order) -> str:
    from tandem.scorers.drift import freeze

    values = _values(order) if order.plan is None else _features(order, order.plan)
    return msgspec.json.encode([freeze(name, column) for name, column in values.items()]).decode()


def _signals(plan: str) -> Signals:
    from tandem.serving.signals import Plan, Signals

    return Signals(msgspec.json.decode(plan, type=Plan))


def _features(order: Order, plan: str) -> dict[str, Floats]:
    """The features of the windows that the model was trained on."""
    from tandem.serving.windows import cut
    from tandem.store.lake import Lake

    signals = _signals(plan)
    found = cut(Lake(Path(order.lake)).read(order.table, order.version), signals.plan)
    return dict(zip(signals.names, found.features().T, strict=True))


def _frozen(task: Freeze) -> Frozen:
    import numpy as np

    from tandem.scorers.drift import freeze

    values = _values(task)
    columns = tuple(freeze(name, column) for name, column in values.items())
    prediction = freeze(PREDICTION, np.asarray(task.chances)) if task.chances else None
    segments: dict[str, dict[str, list[int]]] = {}
    if task.segment is not None:
        by = next(bins for bins in columns if bins.name == task.segment)
        names = np.array([segment_of(by, float(value)) for value in values[task.segment]])
        for name in np.unique(names):
            segments[str(name)] = {
                bins.name: tallied(bins, (float(value) for value in values[bins.name][names == name])) for bins in columns
            }
    return Frozen(columns=columns, prediction=prediction, segments=segments)


def _values(task: Order | Freeze | Measure) -> dict[str, Floats]:
    """The columns of a table, NaN where a value is missing; categories by their places among the known values."""
    import polars as pl

    from tandem.store.lake import Lake

    columns, categories = task.columns, task.categories
    frame = Lake(Path(task.lake)).read(task.table, task.version)
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise Invalid(f"The reference has no column '{missing[0]}'.", field=missing[0], hint="Train the model again.")
    codes = {name: {value: place for place, value in enumerate(values)} for name, values in categories.items()}
    for name, known in codes.items():
        code = pl.col(name).replace_strict(known, default=len(known), return_dtype=pl.Float64)
        frame = frame.with_columns(pl.when(pl.col(name).is_not_null()).then(code).alias(name))
    return {name: frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in columns}


if __name__ == "__main__":
    raise SystemExit(serve(Task, carry_out))  # type: ignore[arg-type]  # a union is read as a type is
