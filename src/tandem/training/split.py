"""Which rows judge and which are learned from: at random, by group, or forward in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tandem.core.errors import Invalid
from tandem.evaluation.evidence import CLASSED
from tandem.scorers.sample import Truths
from tandem.training.table import Aim, stratified
from tandem.training.task import Task

NEVER = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """The folds of a training."""

    fold: NDArray[np.int64]
    """The fold that judges each row, from 0; `NEVER` for rows that are only learned from."""
    count: int
    forward: bool
    """Whether a fold is learned from earlier rows alone."""
    rank: NDArray[np.float64] | None = None
    """The place of each row in time, where folds go forward."""
    since: NDArray[np.int64] | None = None
    """The first fold that may learn from each row, where folds go forward; None: the one after that which judges it."""

    def held(self, number: int) -> Truths:
        return np.asarray(self.fold == number)

    def seen(self, number: int) -> Truths:
        """The rows that the model of a fold learns from."""
        if self.since is not None:
            return np.asarray(self.since <= number)
        return np.asarray(self.fold < number if self.forward else self.fold != number)

    @property
    def judged(self) -> Truths:
        return np.asarray(self.fold != NEVER)


def divide(task: Task, aim: Aim, frame: pl.DataFrame) -> Splits:
    """The folds that the task asks for; the same for the same data, seed and way to split.

    Raises:
        Invalid: there is no such column, too few groups or times, or a fold without two classes to learn from.
    """
    match task.by:
        case "random":
            strata = aim.target if aim.task in CLASSED else np.zeros(len(aim.target))
            made = Splits(fold=stratified(strata, folds=task.folds, seed=task.seed), count=task.folds, forward=False)
        case "group":
            made = Splits(fold=_by_group(task, frame), count=task.folds, forward=False)
        case "time":
            rank = _ranked(task, frame)
            made = Splits(fold=_by_time(task, rank), count=task.folds, forward=True, rank=rank)
    if aim.task in CLASSED:
        for number in range(made.count):
            if len(np.unique(aim.target[made.seen(number)])) < 2:
                raise Invalid(
                    f"Fold {number + 1} would learn from one class alone.",
                    field="split",
                    hint="Use fewer folds, or another way to split.",
                )
    return made


def _by_group(task: Task, frame: pl.DataFrame) -> NDArray[np.int64]:
    """Whole groups go to one fold: the largest first, each to the fold that has fewest rows; equal ones in seeded order."""
    if task.group is None or task.group not in frame.columns:
        raise Invalid("A split by group needs the column of the group.", field="group", hint="Name it: --group COLUMN.")
    _, place, sizes = np.unique(
        np.array([str(value) for value in frame[task.group].to_list()]), return_inverse=True, return_counts=True
    )
    if len(sizes) < task.folds:
        raise Invalid(
            f"Column '{task.group}' has {len(sizes)} groups; {task.folds} folds need {task.folds}.",
            field="group",
            hint="Use fewer folds.",
        )
    tie = np.random.default_rng(task.seed).permutation(len(sizes))
    fold, filled = np.empty(len(sizes), dtype=np.int64), np.zeros(task.folds, dtype=np.int64)
    for group in np.lexsort((tie, -sizes)):
        fold[group] = filled.argmin()
        filled[fold[group]] += sizes[group]
    return np.asarray(fold[place])


def _ranked(task: Task, frame: pl.DataFrame) -> NDArray[np.float64]:
    """The place of each row in time, from 0; rows of one moment share the first of theirs."""
    name = task.moment
    if name is None or name not in frame.columns:
        raise Invalid(
            "A split by time needs the column of the time.", field="time", hint="Name it: --time COLUMN, or when data are added."
        )
    if frame[name].null_count():
        raise Invalid(f"Column '{name}' has gaps, so its rows have no order.", field="time", hint="Remove those rows.")
    return np.asarray(frame[name].rank("min").to_numpy() - 1, dtype=np.float64)


def _by_time(task: Task, rank: NDArray[np.float64]) -> NDArray[np.int64]:
    """Blocks of equal size in the order of time; rows of one moment stay together. The first block judges nothing."""
    block = np.minimum((rank * (task.folds + 1) / len(rank)).astype(np.int64), task.folds)
    missing = sorted(set(range(task.folds + 1)) - set(block.tolist()))
    if missing:
        raise Invalid(
            f"Column '{task.moment}' has too few different times for {task.folds} folds.", field="folds", hint="Use fewer folds."
        )
    return block - 1
