"""A dataset as features and labels: numbers in rows, a truth per row. Knows no algorithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.data.check import infer
from tandem.data.contract import Column, Contract
from tandem.scorers.sample import Floats, Truths
from tandem.serving.signature import Field, FieldType, Signature
from tandem.training.task import Task

MINIMUM_ROWS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What an algorithm is given."""

    features: Floats
    """Rows x columns, float64, NaN where a value is missing."""
    labels: Truths
    """True where the row is of the positive class."""
    rows: tuple[str, ...]
    """Ids: the id column's values, or row numbers from 1."""
    signature: Signature
    classes: tuple[str, str]
    """Negative, positive."""


def tabulate(task: Task, frame: pl.DataFrame) -> Table:
    """Splits a frame into features, labels and ids, as the task and its contract say.

    Raises:
        Invalid: no such target, gaps or more or fewer than two values in it, no features or textual ones, too few rows.
    """
    contract = task.contract or infer(frame)
    if task.target not in frame.columns:
        raise Invalid(
            f"There is no target column '{task.target}' in {task.dataset}.",
            field="target",
            hint=f"Columns are: {', '.join(frame.columns[:10])}.",
        )
    if frame.height < MINIMUM_ROWS:
        raise Invalid(
            f"{task.dataset} has {frame.height} rows; training needs {MINIMUM_ROWS}.", field="dataset", hint="Add more rows."
        )
    classes, labels = _labels(task, frame[task.target])
    columns = _features(task, frame, contract)
    cells = [frame[column.name].cast(pl.Float64).to_numpy() for column in columns]
    features = np.column_stack(
        [np.where(frame[c.name].is_null().to_numpy(), np.nan, v) for c, v in zip(columns, cells, strict=True)]
    )
    if np.isinf(features).any():
        raise Invalid(f"{task.dataset} holds infinite numbers.", field="dataset", hint="Ingest it again; ingest refuses them.")
    ids = contract.id_column
    return Table(
        features=np.ascontiguousarray(features, dtype=np.float64),
        labels=labels,
        rows=tuple(map(str, frame[ids].to_list() if ids is not None else range(1, frame.height + 1))),
        signature=Signature(fields=tuple(_field(column) for column in columns)),
        classes=classes,
    )


def _labels(task: Task, target: pl.Series) -> tuple[tuple[str, str], Truths]:
    gaps = target.is_null() | (target.is_nan() if target.dtype.is_float() else pl.Series([False]).new_from_index(0, len(target)))
    if gaps.any():
        first = int(gaps.arg_true()[0]) + 1
        raise Invalid(
            f"The target '{task.target}' is missing in {int(gaps.sum())} rows, first in row {first}.",
            field="target",
            hint="Remove the rows without a label, or label them.",
        )
    texts = [_text(value) for value in target.to_list()]
    values = sorted(set(texts))
    if len(values) != 2:
        shown = ", ".join(values[:5]) + (", …" if len(values) > 5 else "")
        raise Invalid(
            f"The target '{task.target}' has {len(values)} values ({shown}); a classifier of two classes needs two.",
            field="target",
            hint="Choose a target with two values.",
        )
    positive = task.positive if task.positive is not None else values[1]
    if positive not in values:
        raise Invalid(
            f"'{positive}' is no value of the target '{task.target}'.",
            field="positive",
            hint=f"Its values are {' and '.join(values)}.",
        )
    negative = values[0] if positive == values[1] else values[1]
    labels = np.array([text == positive for text in texts], dtype=np.bool_)
    rarer = int(min(labels.sum(), (~labels).sum()))
    if rarer < task.folds:
        raise Invalid(
            f"Only {rarer} rows are of the rarer class of '{task.target}'; {task.folds} folds need {task.folds}.",
            field="target",
            hint="Add rows of that class, or use fewer folds.",
        )
    return (negative, positive), labels


def _text(value: object) -> str:
    """A class as people write it: `true`, `1` also for 1.0, or the text itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _features(task: Task, frame: pl.DataFrame, contract: Contract) -> list[Column]:
    aside = {task.target, contract.id_column, contract.time_column, *task.exclude}
    found = [contract.column(name) for name in frame.columns if name not in aside]
    for column in found:
        if column.dtype not in ("float", "int", "bool"):
            raise Invalid(
                f"Column '{column.name}' is {column.dtype}; features are numbers or truth values.",
                field=column.name,
                hint="Encode it as numbers before ingest, or exclude it.",
            )
        if not frame[column.name].count():
            raise Invalid(f"Column '{column.name}' has no values.", field=column.name, hint="Exclude it.")
    if not found:
        raise Invalid(f"{task.dataset} has no columns left to learn from.", field="dataset", hint="Add numeric columns.")
    return found


def _field(column: Column) -> Field:
    kinds: dict[str, FieldType] = {"float": "float", "int": "int", "bool": "bool"}
    return Field(name=column.name, dtype=kinds[column.dtype], low=column.low, high=column.high, nullable=column.nullable)


def stratified(labels: Truths, *, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, from 0: classes spread evenly, the same for the same labels and seed.

    Two models trained on one dataset version with one seed are therefore compared on the same folds.
    """
    draw = np.random.default_rng(seed)
    fold = np.empty(len(labels), dtype=np.int64)
    dealt = 0
    for label in (True, False):
        places = draw.permutation(np.flatnonzero(labels == label))
        fold[places] = (np.arange(len(places)) + dealt) % folds
        dealt += len(places)  # the next class goes on dealing where this one stopped, so that folds have equal sizes
    return fold
