"""What a training finds out about its model beyond metrics: weak slices, fairness, and which columns count."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from tandem.core.errors import Invalid
from tandem.evaluation.about.fairness import fairness, grouped
from tandem.evaluation.about.importance import Contributions, importance, shuffled
from tandem.evaluation.about.loss import LOSS, row_losses
from tandem.evaluation.about.nouns import FAIRNESS, IMPORTANCE, SLICES, Importance
from tandem.evaluation.about.whole import ANSWERS, FEWEST, SHUFFLED, explained, members_of, unit, weak
from tandem.evaluation.evidence import OutOfFold
from tandem.scorers.sample import Floats, Truths
from tandem.serving import base
from tandem.serving.encoding import Encoding
from tandem.serving.host import by_field
from tandem.training.algorithms.base import Trained
from tandem.training.table import Table
from tandem.training.task import Task


def check_fairness(task: Task, frame: pl.DataFrame) -> None:
    """Looks at the columns by which fairness shall be judged, before anything is trained.

    Raises:
        Invalid: there is no such column, or it makes no groups.
    """
    for column in task.fairness:
        if column not in frame.columns:
            raise Invalid(
                f"There is no column '{column}' to judge fairness by.",
                field="fairness",
                hint=f"Columns are: {', '.join(frame.columns[:10])}.",
            )
        grouped(column, frame[column].to_list())


@dataclass(slots=True)
class Shuffles:
    """What columns are worth in rows that a model had not seen, fold by fold."""

    task: Task
    table: Table
    folds: int
    found: list[Floats] = field(default_factory=list)

    def look(self, model: Trained, encoding: Encoding, held: Truths) -> None:
        """Shuffles each column among some rows of the fold that `model` did not learn from."""
        width = len(self.table.signature.fields)
        most = min(SHUFFLED, ANSWERS // width) // self.folds
        places = np.flatnonzero(held)
        if min(len(places), most) < FEWEST:
            return
        draw = np.random.default_rng(self.task.seed)
        chosen = np.zeros(len(held), dtype=np.bool_)
        chosen[draw.choice(places, min(len(places), most), replace=False)] = True
        some = self.table.examples(encoding, chosen)
        owners = np.array(encoding.owners())
        lost = partial(row_losses, some.task, some.target)
        self.found.append(shuffled(model.predict, lost, some.features, owners, self.task.seed))


def about(
    task: Task, table: Table, frame: pl.DataFrame, oof: OutOfFold, encoding: Encoding, native: tuple[str, bytes], runtime: str,
    shuffles: Shuffles,
) -> dict[str, bytes]:  # fmt: skip
    """The members that tell of a model.

    Args:
        task, table, frame: what was trained on.
        oof: the predictions of rows that no model had seen.
        encoding, native, runtime: of the model that is kept: how rows are encoded, its file, and what reads it.
        shuffles: what was found in the folds.
    """
    seen = frame if not oof.places else frame[list(oof.places)]
    columns = seen.select(list(dict.fromkeys((*table.signature.names, *task.fairness))))
    groups = seen[task.group].to_list() if task.group is not None else None
    made: dict[str, object] = {
        SLICES: weak(columns, oof, seed=task.seed, groups=groups, group=task.group),
        IMPORTANCE: _importance(task, table, frame, encoding, native, runtime, shuffles),
    }
    if task.fairness:
        names = table.signature.names
        made[FAIRNESS] = [fairness(oof, each, seen[each].to_list(), learned=each in names) for each in task.fairness]
    return members_of(made)


def _importance(
    task: Task, table: Table, frame: pl.DataFrame, encoding: Encoding, native: tuple[str, bytes], runtime: str, shuffles: Shuffles
) -> Importance:
    names = table.signature.names
    told = None
    explainer = _explainer(native, runtime)
    if explainer is not None and (most := explained(explainer)):
        chosen = np.zeros(frame.height, dtype=np.bool_)
        chosen[np.random.default_rng(task.seed).permutation(frame.height)[:most]] = True
        added = by_field(explainer.explain(table.examples(encoding, chosen).features)[0], encoding)
        rows = frame.filter(pl.Series(chosen)).select(names)
        told = Contributions(frame=rows, added=added, unit=unit(table.aim.task, explainer))
    lost = np.concatenate(shuffles.found) if shuffles.found else None
    return importance(names, told, lost, loss=LOSS[table.aim.task])


def _explainer(native: tuple[str, bytes], runtime: str) -> base.Runtime | None:
    """The very runtime that will explain the model; None where that cannot."""
    kind = base.runtime(runtime)
    if not kind.explains:
        return None
    name, content = native
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        return kind.load(Path(folder))
