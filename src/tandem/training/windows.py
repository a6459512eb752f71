"""Signals as a table to learn from: a row per window, a column per feature. What is learned from it is a table like any other."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from tandem.core.errors import Invalid
from tandem.data.check import infer
from tandem.data.digest import content_digest
from tandem.evaluation.evidence import OutOfFold
from tandem.serving.signals import Plan, Signals, names
from tandem.serving.signature import Field, Signature
from tandem.serving.windows import Cut, cut
from tandem.training.table import Table
from tandem.training.task import Task

MOST_WINDOWS = 200_000
MOST_CHANNELS = 100
TIMED = 100
"""Windows with which the model's speed is measured."""
ROW = "tandem:row"
"""The column that names each window by its last row; no dataset's column has a colon from us in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windowed:
    """What is trained in place of a dataset of signals."""

    task: Task
    """The training, as one of a table whose rows of a unit lie in one fold."""
    frame: pl.DataFrame
    """Features, target, unit and time of each window's last row, and its name."""
    plan: Plan
    fields: tuple[Field, ...]
    """The channels, as a call sends them."""
    units: tuple[str, ...]
    """Of each window: rows of one are judged together."""
    digest: str
    """Of the dataset's content."""
    places: tuple[int, ...]
    """Where the last row of each window stands in the dataset."""
    sample: pl.DataFrame
    """Some windows, as a call sends them."""
    warnings: tuple[str, ...]

    def levels(self, table: Table) -> tuple[Table, pl.DataFrame]:
        """The mean of each channel in each window, by the channel's name: where a copy of the target would be seen."""
        means = {name: f"{name}[mean]" for name in self.plan.channels if f"{name}[mean]" in table.signature.names}
        signature = replace(table.signature, fields=tuple(Field(name=name) for name in means))
        return replace(table, signature=signature), self.frame.select(table.target, **means)

    def signature(self, inner: Signature) -> Signature:
        """What a call sends and is answered."""
        return replace(inner, fields=self.fields)

    def placed(self, evidence: OutOfFold) -> OutOfFold:
        """Evidence of windows as that of the dataset's rows at which they end."""
        return replace(evidence, digest=self.digest, places=self.places)


def windowed(task: Task, frame: pl.DataFrame) -> Windowed:
    """Cuts the signals of a dataset into windows; each has the target of its last row, and is left out where that has none.

    Raises:
        Invalid: as `tandem.serving.windows.cut`; no target, no channel, or too many windows.
    """
    unit, at = task.signal or "", task.moment or ""
    if task.target not in frame.columns:
        raise Invalid(f"There is no target column '{task.target}' in {task.dataset}.", field="target")
    contract = task.contract or infer(frame)
    aside = {unit, at, task.target, contract.id_column, *task.exclude}
    others = [name for name in frame.columns if name not in aside]
    channels = [name for name in others if frame.schema[name].is_numeric()]
    if not 0 < len(channels) <= MOST_CHANNELS:
        raise Invalid(
            f"{task.dataset} has {len(channels)} channels, columns of numbers; 1 to {MOST_CHANNELS} are taken.", field="data"
        )
    columns, stride = names(channels), task.stride or task.window
    kept = tuple(place for place, name in enumerate(columns) if name not in task.exclude)
    plan = Plan(unit=unit, at=at, channels=tuple(channels), window=task.window, stride=stride, kept=kept)
    found = cut(frame, plan)
    whole = len(found)
    found = found.labelled(frame[task.target])
    last = frame[found.rows[found.ends]]
    if len(found) > MOST_WINDOWS:
        raise Invalid(
            f"{task.dataset} makes {len(found):,} windows; {MOST_WINDOWS:,} are taken.",
            field="stride",
            hint="Use a longer stride.",
        )
    table = pl.DataFrame(found.features(), schema=Signals(plan).names).fill_nan(None)
    ids = last[contract.id_column] if contract.id_column is not None else pl.Series(found.rows[found.ends] + 1)
    table = table.with_columns(*last.select(unit, at, task.target), ids.cast(pl.String).alias(ROW))
    return Windowed(
        task=replace(
            task,
            signal=None,
            window=0,
            stride=0,
            split="group",
            group=unit,
            time=at,
            exclude=task.exclude,
            contract=infer(table, id_column=ROW),
        ),
        frame=table,
        plan=plan,
        fields=tuple(
            Field(name=each.name, dtype="signal", low=each.low, high=each.high, nullable=each.nullable, size=task.window)
            for each in map(contract.column, channels)
        ),
        units=tuple(found.units),
        digest=content_digest(frame),
        places=tuple(map(int, found.rows[found.ends])),
        sample=found.frame(slice(TIMED)),
        warnings=_warnings(found, others, whole - len(found)),
    )


def _warnings(found: Cut, others: list[str], unlabelled: int) -> tuple[str, ...]:
    told = list(found.told())
    words = [name for name in others if name not in found.plan.channels]
    if words:
        told.append(f"Columns that hold no numbers are not learned from: {', '.join(words[:10])}.")
    if unlabelled:
        told.append(f"{unlabelled:,} windows end in a row without the target and were left out.")
    return tuple(told)
