"""A dataset as columns to learn from, and what is to be told of each row. Knows no algorithm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.data.check import infer
from tandem.data.contract import Column, Contract
from tandem.evaluation.slices import text
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats, Truths
from tandem.serving.columns import Columns
from tandem.serving.encoding import Encoding
from tandem.serving.signature import Field, FieldType, Output, Signature
from tandem.training.algorithms.base import Examples
from tandem.training.task import Task

MINIMUM_ROWS = 20
MOST_CLASSES = 20
MOST_GRADES = 11
MOST_VALUES = 50
"""A text column with at most so many distinct texts, each in two rows on average, is a category; any other is free text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is to be told of each row."""

    task: TaskName
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where a number is told."""
    target: NDArray[Any]
    """True where the row is of the positive class; of more classes the class's number; else the number."""
    positive: str = ""
    """Of anomalies that are known: the target's value."""

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What a model answers."""
        match self.task:
            case "regression" | "forecasting":
                return (Output(name="prediction", dtype="float"),)
            case "ranking":
                return (Output(name="score", dtype="float"), Output(name="rank", dtype="int"))
            case "anomaly":
                return (Output(name="score", dtype="float"), Output(name="label", dtype="string"))
            case _:
                pass
        width = len(self.classes) if self.task == "multiclass" else 1
        return (Output(name="probability", dtype="float", width=width), Output(name="label", dtype="string"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What an algorithm is given."""

    columns: Columns
    aim: Aim
    target: str
    """The column that is told."""
    rows: tuple[str, ...]
    """Ids: the id column's values, or row numbers from 1."""
    signature: Signature
    naive: int = 0
    """As of `Examples`."""
    groups: tuple[str, ...] = ()
    """Of a ranking: the group of each row."""

    def examples(self, encoding: Encoding, rows: Truths | None = None, *, balance: bool = False) -> Examples:
        """These rows, encoded; all without `rows`. Balanced, the rows of each class weigh the same together."""
        columns = self.columns if rows is None else self.columns.at(rows)
        target = self.aim.target if rows is None else self.aim.target[rows]
        return Examples(
            features=columns.matrix(encoding),
            target=target,
            task="regression" if self.aim.task == "forecasting" else self.aim.task,
            naive=self.naive,
            classes=len(self.aim.classes),
            weights=_balanced(target.astype(np.int64)) if balance else None,
            groups=self._numbered(rows),
        )

    def _numbered(self, rows: Truths | None) -> NDArray[np.int64] | None:
        """The number of each row's group."""
        if not self.groups:
            return None
        numbers = np.unique(np.array(self.groups), return_inverse=True)[1]
        return np.asarray(numbers if rows is None else numbers[rows], dtype=np.int64)


def tabulate(task: Task, frame: pl.DataFrame) -> Table:
    """Splits a frame into features, labels and ids, as the task and its contract say.

    Raises:
        Invalid: no such target, gaps in it or values that make no task, no features, too few rows.
    """
    contract = task.contract or infer(frame)
    aim = aimed(task, frame)
    columns = _features(task, frame, contract)
    fields = tuple(field_of(column, frame[column.name]) for column in columns)
    if aim.task == "anomaly":  # a value out of range is what is looked for
        fields = tuple(replace(field, low=None, high=None) for field in fields)
    signature = Signature(fields=fields, outputs=aim.outputs)
    if any(frame[column.name].is_infinite().any() for column in columns if column.dtype == "float"):
        raise Invalid(f"{task.dataset} holds infinite numbers.", field="dataset", hint="Ingest it again; ingest refuses them.")
    ids = contract.id_column
    return Table(
        columns=Columns.of(frame, signature.fields),
        aim=aim,
        target=task.target,
        rows=tuple(map(str, frame[ids].to_list() if ids is not None else range(1, frame.height + 1))),
        signature=signature,
        groups=_groups(task, frame) if aim.task == "ranking" else (),
    )


def aimed(task: Task, frame: pl.DataFrame) -> Aim:
    """What is to be told of each row of a frame.

    Raises:
        Invalid: no such target, gaps in it or values that make no task, too few rows.
    """
    if task.target and task.target not in frame.columns:
        raise Invalid(
            f"There is no target column '{task.target}' in {task.dataset}.",
            field="target",
            hint=f"Columns are: {', '.join(frame.columns[:10])}.",
        )
    if frame.height < MINIMUM_ROWS:
        raise Invalid(
            f"{task.dataset} has {frame.height} rows; training needs {MINIMUM_ROWS}.", field="dataset", hint="Add more rows."
        )
    return _oddity(task, frame) if task.task == "anomaly" else _aim(task, frame[task.target])


def _aim(task: Task, target: pl.Series) -> Aim:
    """What the target asks, and what it is in each row."""
    gaps = target.is_null() | (target.is_nan() if target.dtype.is_float() else pl.Series([False]).new_from_index(0, len(target)))
    if gaps.any():
        first = int(gaps.arg_true()[0]) + 1
        raise Invalid(
            f"The target '{task.target}' is missing in {int(gaps.sum())} rows, first in row {first}.",
            field="target",
            hint="Remove the rows without a label, or label them.",
        )
    number = target.dtype.is_numeric()
    asked = task.task or _inferred(target)
    if asked in ("regression", "ranking"):
        if not number:
            raise Invalid(
                f"The target '{task.target}' is {target.dtype}; a {asked} needs numbers.",
                field="target",
                hint="Choose another target or another task.",
            )
        values = target.cast(pl.Float64).to_numpy()
        if len(np.unique(values)) < 2:
            raise Invalid(f"The target '{task.target}' has 1 value.", field="target", hint="Choose another target.")
        if asked == "ranking" and not (np.isin(values, np.arange(MOST_GRADES))).all():
            raise Invalid(
                f"The target '{task.target}' of a ranking holds other values than the grades 0 to {MOST_GRADES - 1}.",
                field="target",
                hint="Grade rows by whole numbers, 0 for those of no relevance.",
            )
        return Aim(task=asked, classes=(), target=values)
    return _classes(task, asked, [text(value) for value in target.to_list()])


def _oddity(task: Task, frame: pl.DataFrame) -> Aim:
    """Which rows are known to be anomalies: none without a target, else those of its positive value."""
    classes = ("normal", "anomaly")
    if not task.target:
        return Aim(task="anomaly", classes=classes, target=np.zeros(frame.height, dtype=np.bool_))
    known = _classes(task, "classification", [text(value) for value in frame[task.target].to_list()])
    return Aim(task="anomaly", classes=classes, target=known.target, positive=known.classes[1])


def _groups(task: Task, frame: pl.DataFrame) -> tuple[str, ...]:
    if task.group not in frame.columns or frame[task.group].null_count():
        raise Invalid(f"Column '{task.group}' of groups is missing or has gaps.", field="group", hint="Name it: --group COLUMN.")
    return tuple(map(text, frame[task.group].to_list()))


def _inferred(target: pl.Series) -> TaskName:
    """Two values are a classification, up to twenty that are no fractions multiclass, other numbers a regression."""
    distinct = target.n_unique()
    if distinct <= 2:
        return "classification"
    whole = not target.dtype.is_float()
    return "multiclass" if whole and (distinct <= MOST_CLASSES or not target.dtype.is_numeric()) else "regression"


def _classes(task: Task, asked: TaskName, texts: list[str]) -> Aim:
    values = sorted(set(texts))
    wanted = (2, 2) if asked == "classification" else (3, MOST_CLASSES)
    if not wanted[0] <= len(values) <= wanted[1]:
        shown = ", ".join(values[:5]) + (", …" if len(values) > 5 else "")
        needs = "a classifier of two classes needs two" if asked == "classification" else f"multiclass takes 3 to {MOST_CLASSES}"
        raise Invalid(
            f"The target '{task.target}' has {len(values)} values ({shown}); {needs}.",
            field="target",
            hint="Choose another target or another task.",
        )
    positive = task.positive if task.positive is not None else values[-1]
    if positive not in values or (asked == "multiclass" and task.positive is not None):
        raise Invalid(
            f"'{positive}' is no value of the target '{task.target}'."
            if positive not in values
            else f"The target '{task.target}' has {len(values)} classes, and none is the positive one.",
            field="positive",
            hint=f"Its values are {', '.join(values[:-1])} and {values[-1]}.",
        )
    if asked == "classification":
        values = [value for value in values if value != positive] + [positive]
    place = {value: number for number, value in enumerate(values)}
    numbers = np.array([place[text] for text in texts], dtype=np.int64)
    counts = np.bincount(numbers)
    rarer = int(counts.min())
    if rarer < task.folds:
        which = "the rarer class" if asked == "classification" else f"the class '{values[int(counts.argmin())]}'"
        raise Invalid(
            f"Only {rarer} rows are of {which} of '{task.target}'; {task.folds} folds need {task.folds}.",
            field="target",
            hint="Add rows of that class, or use fewer folds.",
        )
    return Aim(task=asked, classes=tuple(values), target=numbers.astype(np.bool_) if asked == "classification" else numbers)


def _balanced(numbers: NDArray[np.int64]) -> Floats:
    """A weight per row: rows / (classes x rows of its class)."""
    counts = np.bincount(numbers)
    return np.asarray(len(numbers) / ((counts > 0).sum() * counts[numbers]))


def _features(task: Task, frame: pl.DataFrame, contract: Contract) -> list[Column]:
    aside = {task.target, contract.id_column, contract.time_column, task.group, task.time, *task.exclude}
    found = [contract.column(name) for name in frame.columns if name not in aside]
    for column in found:
        if not frame[column.name].count():
            raise Invalid(f"Column '{column.name}' has no values.", field=column.name, hint="Exclude it.")
    if not found:
        raise Invalid(f"{task.dataset} has no columns left to learn from.", field="dataset", hint="Add columns.")
    return found


def field_of(column: Column, cells: pl.Series) -> Field:
    """A column of a dataset as an input of a model."""
    kinds: dict[str, FieldType] = {"float": "float", "int": "int", "bool": "bool", "datetime": "datetime"}
    if column.dtype != "string":
        return Field(name=column.name, dtype=kinds[column.dtype], low=column.low, high=column.high, nullable=column.nullable)
    values = sorted(map(str, cells.drop_nulls().unique().to_list()))
    if len(values) <= min(MOST_VALUES, cells.count() // 2):
        return Field(name=column.name, dtype="category", nullable=column.nullable, values=tuple(values))
    return Field(name=column.name, dtype="text", nullable=column.nullable)


def stratified(labels: NDArray[Any], *, folds: int, seed: int) -> np.ndarray:
    """The fold of each row, from 0: classes spread evenly, the same for the same labels and seed.

    Two models trained on one dataset version with one seed are therefore compared on the same folds.
    """
    draw = np.random.default_rng(seed)
    fold = np.empty(len(labels), dtype=np.int64)
    dealt = 0
    for label in np.unique(labels)[::-1]:
        places = draw.permutation(np.flatnonzero(labels == label))
        fold[places] = (np.arange(len(places)) + dealt) % folds
        dealt += len(places)  # the next class goes on dealing where this one stopped, so that folds have equal sizes
    return fold
