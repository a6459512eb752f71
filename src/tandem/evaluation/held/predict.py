"""Predicts the rows of a dataset that a model was not trained on, or checks predictions that somebody brings.

No row counts that the model has seen: one whose inputs and target are those of a training row, or whose id is that of a
training row while at least half of its inputs are. It is the content that says so, never a name or a flag. One such row
refuses them all.

`python -m tandem.evaluation.held.predict` reads a `Case` on stdin and writes the `Outcome` on stdout.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem.core.errors import Invalid
from tandem.evaluation.evidence import Latency, OutOfFold
from tandem.evaluation.slices import text
from tandem.evaluation.table import Rows
from tandem.jobs.apart import Progress, serve, silent
from tandem.scorers.base import TaskName
from tandem.serving.signature import Signature

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 200_000
SAME = 1e-4
"""How far what is brought may be from what the model says here (of a number above 1, its share): machines sum in other orders."""
PLACE = "tandem:place"
"""The column that says where a pair stands; no dataset's column has a colon from us in it."""
ALIKE = 0.5
"""The share of equal inputs from which a row of the same id is the same row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is to be predicted or checked."""

    dataset: str
    digest: str
    target: str
    classes: tuple[str, ...]
    """Negative, positive; or all of more than two, by number; or none where the model tells a number."""
    threshold: float
    signature: Signature
    asked: Rows
    """All of whose rows are predicted."""
    seen: tuple[Rows, ...]
    """What the model was trained on."""
    members: str
    """The directory of the model's files, to predict with where a runtime here knows them."""
    probabilities: tuple[float, ...] | None = None
    """What somebody else predicted, in the dataset's order: as `OutOfFold.probabilities`."""
    does: TaskName | None = None
    """What the version says that it does."""
    group: str | None = None
    """Of a ranking: the column whose rows are ranked together."""
    anomaly: str = ""
    """Of anomalies that are known: the target's value."""
    trust: tuple[str, ...] = ()
    """What may be executed of the model's files, as words of `serving.base.TRUST`."""
    about: bool = False
    """Whether weak slices, groups and importance are told too, of models that do what `about.whole.TASKS` names."""
    fairness: tuple[str, ...] = ()
    """The columns whose groups are judged."""

    @property
    def task(self) -> TaskName:
        """As the version says, else by the number of its classes."""
        if self.does is not None:
            return self.does
        match len(self.classes):
            case 0:
                return "regression"
            case 2:
                return "classification"
            case _:
                return "multiclass"

    @property
    def width(self) -> int:
        """Numbers per row that somebody may bring."""
        return len(self.classes) if self.task == "multiclass" else 1

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that the model reads of a dataset, in its order; of a recommendation the user alone."""
        return self.signature.names[:1] if self.task == "recommendation" else self.signature.contents


class Outcome(msgspec.Struct, frozen=True):
    """Evidence, or how many rows the model had seen, or why there is none."""

    evidence: OutOfFold | None = None
    latency: Latency | None = None
    made: bool = False
    """Whether the model itself was asked here."""
    seen: int = 0
    about: dict[str, str] = {}
    """Name → what is told of the model, as the member of that name of a model that was trained here."""


def carry_out(case: Case, progress: Progress = silent) -> Outcome:
    """See the module.

    Raises:
        Invalid: a column is missing, the target has gaps, or the predictions do not fit the rows.
    """
    if case.fairness and (case.signature.pictured or case.signature.sampled):
        raise Invalid("Groups of images and of signals are not judged yet.", field="fairness", hint="Leave it out.")
    frame = case.asked.read()
    if case.signature.sampled:
        return _windowed(case, frame)
    _check(case, frame)
    seen = seen_rows(case, frame)
    if seen:
        return Outcome(seen=seen)
    if case.task == "forecasting":
        return _rolled(case, frame)
    if case.task == "recommendation":
        return _recommended(case, frame)
    chances, latency = _own(case, frame)
    if chances is None:
        chances = _brought(case)
    elif case.probabilities is not None:
        _check_same(case, chances)
    evidence = OutOfFold(
        dataset=case.dataset,
        digest=case.digest,
        target=case.target,
        positive=case.classes[1] if case.task == "classification" else case.anomaly,
        rows=tuple(case.asked.names(frame)),
        labels=_labels(case, frame[case.target]) if case.target else (0,) * frame.height,
        probabilities=tuple(chances),
        seed=0,
        folds=0,
        threshold=case.threshold,
        task=case.task,
        classes=case.classes if case.task == "multiclass" else (),
        contents=tuple(contents(frame, case.inputs, case.target)),
        groups=() if case.group is None else tuple(map(text, frame[case.group].to_list())),
    )
    return Outcome(evidence=evidence, latency=latency, made=latency is not None, about=_about(case, frame, evidence, latency))


def _about(case: Case, frame: pl.DataFrame, evidence: OutOfFold, latency: Latency | None) -> dict[str, str]:
    """What is told of the model by these rows.

    Raises:
        Invalid: a column makes no groups.
    """
    from tandem.evaluation.about.whole import TASKS, held_out

    if not case.about or case.task not in TASKS or case.signature.pictured:
        return {}
    found = held_out(
        evidence,
        frame,
        Path(case.members),
        case.signature,
        columns=case.fairness,
        latency=latency,
        trust=case.trust,
    )
    return {name: text.decode() for name, text in found.items()}


def _rolled(case: Case, frame: pl.DataFrame) -> Outcome:
    """Of a forecast: the rows after those that the model keeps, from rolling origins."""
    from tandem.evaluation.latency import measure
    from tandem.serving.columns import Answering
    from tandem.serving.rolled import roll

    if case.probabilities is not None:
        raise Invalid("The server makes the forecasts of a model itself.", field="probabilities", hint="Leave them out.")
    members = Path(case.members)
    told = roll(Answering.load(members, case.signature), frame)
    names, rows = case.asked.names(frame), list(told.places)
    evidence = OutOfFold(
        dataset=case.dataset,
        digest=case.digest,
        target=case.target,
        positive="",
        rows=tuple(names[row] for row in rows),
        places=told.places,
        labels=_labels(case, frame[case.target][rows]),
        probabilities=tuple(map(float, told.outputs.ravel())),
        seed=0,
        folds=0,
        threshold=case.threshold,
        task=case.task,
        contents=tuple(contents(frame[rows], case.inputs, case.target)),
        groups=told.groups,
        scales=told.scales,
    )
    return Outcome(evidence=evidence, latency=measure(members, frame, case.signature), made=True)


def _windowed(case: Case, frame: pl.DataFrame) -> Outcome:
    """Of signals: the windows of units that the model was not trained on, each with the target of its last row."""
    import numpy as np

    from tandem.evaluation.latency import measure
    from tandem.serving.columns import Answering
    from tandem.serving.signals import Signals
    from tandem.serving.windows import cut

    members = Path(case.members)
    signals = Signals.load(members)
    if signals is None or case.probabilities is not None:
        raise Invalid("The server asks a model of signals itself.", field="probabilities", hint="Leave them out.")
    if case.target not in frame.columns:
        raise Invalid(f"{case.dataset} has no column '{case.target}'.", field=case.target)
    found = cut(frame, signals.plan).labelled(frame[case.target])
    if not 0 < len(found) <= MOST_ROWS:
        raise Invalid(f"{case.dataset} has {len(found):,} windows; evidence has 1 to {MOST_ROWS:,}.", field="dataset")
    prints, seen = found.prints()[0], np.zeros(len(found), dtype=bool)
    for rows in case.seen:
        trained = cut(rows.read(), signals.plan)
        known = set(map(str, trained.samples[signals.plan.unit].unique().to_list()))
        seen |= np.isin(prints, trained.prints()[1]) | np.array([unit in known for unit in found.units])
    if seen.any():
        return Outcome(seen=int(seen.sum()))
    places, windows = found.rows[found.ends], found.frame(slice(None))
    labels = _labels(case, frame[case.target][places])
    names = case.asked.names(frame)
    evidence = OutOfFold(
        dataset=case.dataset,
        digest=case.digest,
        target=case.target,
        positive=case.classes[1] if case.task == "classification" else "",
        rows=tuple(names[place] for place in places),
        places=tuple(map(int, places)),
        labels=labels,
        probabilities=tuple(map(float, Answering.load(members, case.signature).predict(windows).ravel())),
        seed=0,
        folds=0,
        threshold=case.threshold,
        task=case.task,
        classes=case.classes if case.task == "multiclass" else (),
        contents=tuple(f"{content:016x}:{label}" for content, label in zip(prints.tolist(), labels, strict=True)),
        groups=tuple(found.units),
    )
    return Outcome(evidence=evidence, latency=measure(members, windows, case.signature), made=True)


def _recommended(case: Case, frame: pl.DataFrame) -> Outcome:
    """Of a recommendation: each pair of a user and an item once, with the item's place in what the user would be told."""
    import polars as pl

    from tandem.evaluation.latency import measure
    from tandem.serving.columns import Answering

    if case.probabilities is not None:
        raise Invalid("The server makes the recommendations of a model itself.", field="probabilities", hint="Leave them out.")
    (user,) = case.inputs
    if frame[user].null_count():
        raise Invalid(f"{case.dataset} has rows without the user '{user}'.", field=user)
    pairs = frame.with_columns(pl.int_range(pl.len()).alias(PLACE)).unique([user, case.target], keep="first", maintain_order=True)
    names, rows, members = case.asked.names(frame), pairs[PLACE].to_list(), Path(case.members)
    users, items = list(map(str, pairs[user].to_list())), list(map(str, pairs[case.target].to_list()))
    evidence = OutOfFold(
        dataset=case.dataset,
        digest=case.digest,
        target=case.target,
        positive="",
        rows=tuple(names[row] for row in rows),
        places=tuple(rows),
        labels=(1.0,) * len(rows),
        probabilities=tuple(map(float, Answering.load(members, case.signature).ranks(users, items))),
        seed=0,
        folds=0,
        threshold=case.threshold,
        task=case.task,
        contents=tuple(contents(frame[rows], case.inputs, case.target)),
        groups=tuple(str(number) for number in pairs[user].rank("dense").to_list()),
    )
    return Outcome(evidence=evidence, latency=measure(members, frame, case.signature), made=True)


def _check(case: Case, frame: pl.DataFrame) -> None:
    wanted = (*case.inputs, *(each for each in (case.target, case.group) if each), *case.fairness)
    missing = [name for name in wanted if name not in frame.columns]
    if missing:
        raise Invalid(f"{case.dataset} has no column '{missing[0]}'.", field=missing[0])
    if case.target and frame[case.target].is_null().any():
        raise Invalid(f"{case.dataset} has rows without the target '{case.target}'.", field=case.target)
    if frame.height > MOST_ROWS:
        raise Invalid(f"{case.dataset} has {frame.height} rows; evidence has at most {MOST_ROWS}.", field="dataset")
    if case.probabilities is not None and len(case.probabilities) != frame.height * case.width:
        each = f" and {case.width} classes" if case.width > 1 else ""
        raise Invalid(
            f"There are {len(case.probabilities)} probabilities for the {frame.height} rows{each} of {case.dataset}.",
            field="probabilities",
        )


def _labels(case: Case, target: pl.Series) -> tuple[float, ...]:
    """What is true of each row, as `OutOfFold.labels`.

    Raises:
        Invalid: a class that the model does not know, or no number where it tells one.
    """
    if case.task in ("regression", "forecasting", "ranking"):
        if not target.dtype.is_numeric() or target.is_nan().any() or target.is_infinite().any():
            raise Invalid(
                f"The target '{case.target}' of {case.dataset} is no number in some rows; the model tells one.", field=case.target
            )
        return tuple(map(float, target.to_list()))
    told = list(map(text, target.to_list()))
    if case.task in ("classification", "anomaly"):
        positive = case.anomaly if case.task == "anomaly" else case.classes[1]
        return tuple(int(one == positive) for one in told)
    place = {name: number for number, name in enumerate(case.classes)}
    unknown = sorted(set(told) - set(place))
    if unknown:
        raise Invalid(f"{case.dataset} has rows of the class '{unknown[0]}', which the model does not know.", field=case.target)
    return tuple(place[one] for one in told)


def seen_rows(case: Case, frame: pl.DataFrame) -> int:
    """How many of the rows the model was trained on."""
    found = set[int]()
    ours = contents(frame, case.inputs, case.target)
    for rows in case.seen:
        trained = rows.read()
        inputs = [name for name in case.inputs if name in trained.columns]
        if len(inputs) == len(case.inputs) and (not case.target or case.target in trained.columns):
            known = set(contents(trained, case.inputs, case.target))
            found.update(place for place, content in enumerate(ours) if content in known)
        if rows.id is not None and rows.id == case.asked.id:
            found.update(_alike(frame, trained, rows.id, inputs))
    return len(found)


def _alike(frame: pl.DataFrame, trained: pl.DataFrame, name: str, inputs: Sequence[str]) -> list[int]:
    """The places of rows that have the id of a training row and at least half of its inputs."""
    theirs = dict(zip(map(str, trained[name].to_list()), _cells(trained, inputs), strict=True))
    found = []
    for place, (identifier, cells) in enumerate(zip(map(str, frame[name].to_list()), _cells(frame, inputs), strict=True)):
        other = theirs.get(identifier)
        if other is not None and sum(a == b for a, b in zip(cells, other, strict=True)) >= ALIKE * len(cells):
            found.append(place)
    return found


def contents(frame: pl.DataFrame, inputs: Sequence[str], target: str) -> list[str]:
    """A digest of each row's inputs and target; the same number in another type is the same."""
    labels = map(text, frame[target].to_list()) if target else [""] * frame.height
    return [
        hashlib.blake2b(repr((cells, label)).encode(), digest_size=12).hexdigest()
        for cells, label in zip(_cells(frame, inputs), labels, strict=True)
    ]


def _cells(frame: pl.DataFrame, columns: Sequence[str]) -> list[tuple[object, ...]]:
    """The values of each row, numbers and truth values as floats without a minus zero."""
    import polars as pl

    if not columns:
        return [()] * frame.height
    plain = []
    for name in columns:
        cells = frame[name]
        if cells.dtype.is_numeric() or cells.dtype == pl.Boolean:
            plain.append([None if value is None else value + 0.0 for value in cells.cast(pl.Float64).to_list()])
        else:
            plain.append([None if value is None else str(value) for value in cells.to_list()])
    return list(zip(*plain, strict=True))


def _own(case: Case, frame: pl.DataFrame) -> tuple[Sequence[float] | None, Latency | None]:
    """What the model says, and how fast; nothing where no runtime here knows its files."""
    from tandem.evaluation.latency import measure
    from tandem.serving.base import CARD
    from tandem.serving.columns import predict
    from tandem.store.lake import IMAGES

    members = Path(case.members)
    if not (members / CARD).exists():
        return None, None
    files = Path(case.asked.lake, IMAGES)
    told = predict(members, frame, case.signature, case.trust, files)
    return list(map(float, told.ravel())), measure(members, frame, case.signature, case.trust, files)


def _brought(case: Case) -> Sequence[float]:
    if case.probabilities is None:
        raise Invalid("No runtime here knows the model's files.", field="probabilities", hint="Bring its predictions.")
    if case.task in ("classification", "multiclass", "anomaly") and not all(0 <= chance <= 1 for chance in case.probabilities):
        raise Invalid("A probability is not between 0 and 1.", field="probabilities")
    return case.probabilities


def _check_same(case: Case, own: Sequence[float]) -> None:
    """What is brought of a model that can be asked here is what the model says."""
    assert case.probabilities is not None
    pairs = enumerate(zip(own, case.probabilities, strict=True))
    other = len({place // case.width for place, (said, told) in pairs if not abs(said - told) <= SAME * max(1.0, abs(said))})
    if other:
        raise Invalid(
            f"The model itself says otherwise on {other} of the {len(own) // case.width} rows.",
            field="probabilities",
            hint="Leave the predictions out; the server makes them.",
        )


if __name__ == "__main__":
    raise SystemExit(serve(Case, carry_out))
