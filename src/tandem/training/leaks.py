"""What makes a score too good to be true: columns that tell the target, columns that name rows, rows that occur twice."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.scorers.auc import midranks
from tandem.scorers.sample import Floats, Truths
from tandem.serving.signature import Field
from tandem.training.split import Splits
from tandem.training.table import Table
from tandem.training.task import Task

ALONE = 0.995
"""The area, or the share of variance, from which a single column tells the target almost alone."""
FEW_ROWS = 100
"""With fewer rows whole numbers that are all distinct say nothing."""
ROWS_PER_VALUE = 5
FOLD = "tandem:fold"
"""A column of ours among those of a dataset."""


def look(task: Task, table: Table, frame: pl.DataFrame, splits: Splits) -> tuple[str, ...]:
    """Sentences for people, one for each suspicion.

    Raises:
        Invalid: there is one, and the task says that it must not be; `field` names the column where there is one.
    """
    found = [(field.name, why) for field in table.signature.fields if (why := _column(field, table, frame)) is not None]
    again = _repeated(table, frame, splits)
    if again:
        found.append(("data", f"{again} rows stand, with all their values, in more than one fold."))
    if task.leaks == "refuse" and found:
        field, why = found[0]
        hint = "Remove the repeated rows." if field == "data" else f"Leave the column out: --exclude {field}."
        raise Invalid(why, field=field, hint=f"{hint} --leaks warn trains all the same.")
    return tuple(why for _, why in found)


def _column(field: Field, table: Table, frame: pl.DataFrame) -> str | None:
    cells = frame[field.name]
    if frame.height >= FEW_ROWS and cells.n_unique() == frame.height and _names(field, cells):
        return f"Column '{field.name}' is another in every row: it names rows, and says nothing about new ones."
    values = None if table.aim.task == "anomaly" else _values(field, table, cells)
    if values is None:
        return None
    share = _told(values, table)
    if share >= 1 - 1e-9:
        return f"Column '{field.name}' tells the target '{table.target}' exactly: it may be a copy, or known only afterwards."
    if share >= ALONE:
        return f"Column '{field.name}' tells the target '{table.target}' almost alone ({share:.4f}): is it known beforehand?"
    return None


def _names(field: Field, cells: pl.Series) -> bool:
    """Whether distinct values look like names of rows: texts without words, or a sequence of whole numbers."""
    if field.dtype == "text":
        return not bool(cells.str.contains(r"\s").any())
    if field.dtype != "int":
        return False
    low, high = float(cells.min()), float(cells.max())  # type: ignore[arg-type]  # numbers
    return high - low < 2 * len(cells)


def _values(field: Field, table: Table, cells: pl.Series) -> Floats | None:
    """The column as numbers; a category as the mean of the target in its value, where enough rows have it."""
    match field.dtype:
        case "text":
            return None
        case "category":
            if len(field.values) * ROWS_PER_VALUE > len(cells):
                return None
            codes = np.unique(np.array([str(value) for value in cells.to_list()]), return_inverse=True)[1]
            return np.asarray(_mean(codes, table.aim.target))
        case "datetime":
            return np.asarray(cells.dt.epoch("s").cast(pl.Float64).fill_null(float("nan")).to_numpy())
        case _:
            return np.asarray(cells.cast(pl.Float64).fill_null(float("nan")).to_numpy())


def _mean(codes: NDArray[np.int64], target: NDArray[np.generic]) -> Floats:
    numbers = target.astype(np.float64)
    return np.asarray((np.bincount(codes, weights=numbers) / np.bincount(codes))[codes])


def _told(values: Floats, table: Table) -> float:
    """How well the column alone orders the target: an area, or a share of variance; 0 where it is constant."""
    known = ~np.isnan(values)
    values, target = values[known], table.aim.target[known]
    if len(values) < FEW_ROWS / 2 or values.min() == values.max():
        return 0.0
    if table.aim.task in ("regression", "ranking"):
        return 0.0 if target.min() == target.max() else float(np.corrcoef(values, target)[0, 1] ** 2)
    if table.aim.task == "classification":
        return _area(values, target.astype(np.bool_))
    areas = [_area(values, target == number) for number in np.unique(target)]
    return float(np.mean(areas))


def _area(values: Floats, truth: Truths) -> float:
    """The ROC area of the column in its better direction."""
    positives = int(truth.sum())
    if not 0 < positives < len(truth):
        return 0.0
    area = (midranks(values)[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives))
    return float(max(area, 1 - area))


def _repeated(table: Table, frame: pl.DataFrame, splits: Splits) -> int:
    """Rows whose inputs and target stand in another fold too; of anomalies none, for repeated rows are ordinary."""
    if table.aim.task == "anomaly":
        return 0
    columns = [*table.signature.names, table.target]
    inputs = frame.select(columns).with_columns(pl.Series(FOLD, splits.fold))
    return inputs.filter(pl.col(FOLD).n_unique().over(columns) > 1).height
