"""What is told of a model beyond metrics: weak slices, groups, and which columns count. It needs rows the model had not seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from tandem.core.errors import Invalid, TandemError
from tandem.evaluation.about.fairness import fairness
from tandem.evaluation.about.importance import Contributions, importance, shuffled
from tandem.evaluation.about.loss import LOSS, row_losses
from tandem.evaluation.about.nouns import FAIRNESS, IMPORTANCE, SLICES, Importance, Slices
from tandem.evaluation.about.slices import find
from tandem.evaluation.evidence import Latency, OutOfFold
from tandem.scorers.base import TaskName
from tandem.scorers.sample import Floats
from tandem.serving.base import Card, Runtime, load, runtime
from tandem.serving.columns import Answering, Columns
from tandem.serving.forest import Forest
from tandem.serving.host import by_field
from tandem.serving.signature import Signature

TASKS: tuple[TaskName, ...] = ("classification", "multiclass", "regression")
"""About whose models it is told."""
UNITS: Mapping[TaskName, str] = {
    "classification": "log-odds",
    "multiclass": "score of the class answered",
    "regression": "target",
}
MOST_ROWS = 200_000
"""Rows among which slices are searched."""
EXPLAINED = 500
"""Rows whose answers are explained."""
SHUFFLED = 1_000
"""Rows among which columns are shuffled …"""
ANSWERS = 15_000
"""… and answers that this may take: with more columns, fewer rows."""
FEWEST = 20
"""Rows below which nothing is shuffled."""
FAULTS = (TandemError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError)
"""What code of users may raise at rows that never were: then nothing is told of shuffled columns."""
SECONDS = 60.0
"""That the answers may take: of a slow model there are fewer."""


def members_of(told: Mapping[str, object]) -> dict[str, bytes]:
    """The members that tell of a model, by name."""
    return {name: msgspec.json.format(msgspec.json.encode(each), indent=1) for name, each in told.items()}


def explained(model: Runtime) -> int:
    """Rows whose answers are explained: of a large forest fewer, and none where it is too large."""
    if not isinstance(model, Forest):
        return EXPLAINED
    try:
        return min(EXPLAINED, model.paths.at_once)
    except Invalid:
        return 0


def unit(task: TaskName, model: Runtime) -> str:
    """What contributions of a model are measured in."""
    return "probability" if isinstance(model, Forest) and model.link == "share" else UNITS[task]


def weak(
    frame: pl.DataFrame, evidence: OutOfFold, *, seed: int, groups: Sequence[object] | None = None, group: str | None = None
) -> Slices:
    """The parts of the rows in which a model does worse.

    Args:
        frame: the columns that conditions may be made of, of the rows of the evidence.
        seed, groups, group: as of `slices.find`.
    """
    said = np.array(evidence.probabilities).reshape(len(evidence.rows), -1)
    losses = row_losses(evidence.task, np.array(evidence.labels), said)
    if len(losses) > MOST_ROWS:
        some = np.sort(np.random.default_rng(seed).choice(len(losses), MOST_ROWS, replace=False))
        frame, losses = frame[some], losses[some]
        groups = None if groups is None else [groups[place] for place in some]
    return find(frame, losses, loss=LOSS[evidence.task], seed=seed, groups=groups, group=group)


def held_out(
    evidence: OutOfFold,
    frame: pl.DataFrame,
    members: Path,
    signature: Signature,
    *,
    columns: Sequence[str],
    latency: Latency | None,
    trust: Collection[str] = (),
) -> dict[str, bytes]:
    """The members that tell of a model by rows that were held out from its training.

    Args:
        evidence: what the model said of all rows of the frame.
        members: its files.
        columns: whose groups are judged.
        latency: how long an answer takes; None where the model cannot be asked here.
        trust: as of `serving.base.load`.

    Raises:
        Invalid: a column makes no groups.
    """
    names = signature.names
    told: dict[str, object] = {
        SLICES: weak(frame.select(list(dict.fromkeys((*names, *columns)))), evidence, seed=evidence.seed),
        IMPORTANCE: importance(names, None, None, loss=LOSS[evidence.task])
        if latency is None
        else _importance(evidence, frame, members, signature, latency, trust),
    }
    if columns:
        told[FAIRNESS] = [fairness(evidence, each, frame[each].to_list(), learned=each in names) for each in columns]
    return members_of(told)


def _importance(
    evidence: OutOfFold, frame: pl.DataFrame, members: Path, signature: Signature, latency: Latency, trust: Collection[str]
) -> Importance:
    names = signature.names
    order = np.random.default_rng(evidence.seed).permutation(frame.height)
    model = Answering.load(members, signature, trust)
    told, native = None, Card.read(members).native
    explainer = load(native, members, trust) if runtime(native).explains else None
    if explainer is not None and (most := explained(explainer)):
        rows = frame[order[:most]].select(names)
        added = by_field(explainer.explain(Columns.of(rows, signature.fields).matrix(model.encoding))[0], model.encoding)
        told = Contributions(frame=rows, added=added, unit=unit(evidence.task, explainer))
    answers = min(ANSWERS, int(SECONDS * 1_000 / max(latency.p50_ms, 1e-3)))
    some = order[: min(SHUFFLED, answers // (len(names) + 1))]
    lost = None
    with suppress(*FAULTS):
        lost = None if len(some) < FEWEST else _lost(evidence, frame, model, some.tolist())
    return importance(names, told, lost, loss=LOSS[evidence.task])


def _lost(evidence: OutOfFold, frame: pl.DataFrame, model: Answering, some: Sequence[int]) -> Floats:
    """How much the loss of some rows grows where a column is shuffled: rows are told by the places that each cell is from."""
    rows = frame[list(some)].select(model.signature.names)

    def predict(places: Floats) -> Floats:
        cells = places.astype(np.int64)
        return model.predict(pl.DataFrame([rows[name].gather(cells[:, at]) for at, name in enumerate(rows.columns)]))

    truth = np.array(evidence.labels)[list(some)]
    places = np.tile(np.arange(rows.height, dtype=np.float64)[:, None], (1, rows.width))
    return shuffled(predict, partial(row_losses, evidence.task, truth), places, np.arange(rows.width), evidence.seed)
