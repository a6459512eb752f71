"""Calls of watched endpoints as counts over frozen bins, made while control moves their traces; no numpy, no SQL.

It is told which models are watched, and for each the bins, and knows neither monitors nor verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.core.clock import Clock
from tandem.core.errors import Invalid
from tandem.core.trace import Trace
from tandem.monitoring.window import column, rows_of
from tandem.observability.counts import HOUR, Cell, Counts
from tandem.observability.explain import Kept
from tandem.scorers.bins import Bins
from tandem.serving.signature import Signature

PREDICTION = "prediction"
"""The subject of what the model answered."""
LOOK_SECONDS = 1.0
"""After which the plans are looked at again."""
SEGMENTS = 64
"""The most values of a column that make segments; the rest is one segment more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What a model was trained on, as counts."""

    columns: tuple[Bins, ...]
    """In the order of `window.watched`."""
    prediction: Bins | None = None
    """Of the predictions on rows that the model had not seen; None where there are none."""
    segments: Mapping[str, Mapping[str, Sequence[int]]] = field(default_factory=dict)
    """Segment → column → counts as `Counts.columns` has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How the calls of one model at one endpoint are counted."""

    team: str
    endpoint: str
    model: str
    signature: Signature
    frozen: Frozen
    segment: str | None = None
    """The column whose values make segments."""


class Counting:
    """Counts calls as the mover carries them. Raises nothing: a call that cannot be read is counted as such."""

    def __init__(self, plans: Callable[[], Sequence[Plan]], clock: Clock) -> None:
        self._plans, self._clock = plans, clock
        self._known: dict[tuple[str, str, str], list[Plan]] = {}
        self._looked = float("-inf")

    def __call__(self, trace: Trace, content: bytes) -> Sequence[tuple[Cell, Counts]]:
        if trace.kind != "predict" or not trace.attempts:
            return ()
        now = self._clock.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._known.clear()
            for plan in self._plans():
                self._known.setdefault((plan.team, plan.endpoint, plan.model), []).append(plan)
        plans = self._known.get((trace.team, trace.endpoint, trace.attempts[-1].target), ())
        found: dict[Cell, Counts] = {}
        for plan in plans:  # plans of one model differ by segment only: what all share is counted once
            found |= dict(counted(plan, trace, content))
        return tuple(found.items())


def counted(plan: Plan, trace: Trace, content: bytes) -> Iterator[tuple[Cell, Counts]]:
    """What one call adds: to all calls, and to the segments that its rows belong to."""

    def cell(segment: str) -> Cell:
        return Cell(team=plan.team, endpoint=plan.endpoint, model=plan.model, segment=segment, hour=trace.end // HOUR)

    if trace.outcome == "invalid":
        refused = {column(trace, plan.signature): 1}
        yield cell(""), Counts(calls=1, coverage={"refused": 1}, refused=refused)
        return
    if trace.outcome != "ok" or "rows" not in trace.attributes:  # failed on our side, or asked for metadata
        return
    if not content:
        yield cell(""), Counts(calls=1, coverage={"unrecorded": 1})
        return
    kept = msgspec.msgpack.decode(content, type=Kept)
    cut = kept.cut and not plan.signature.pictured
    try:
        rows = [] if cut else rows_of(kept, plan.signature)
    except Invalid:  # written for a model with other columns
        yield cell(""), Counts(calls=1, coverage={"unread": 1})
        return
    if cut:
        yield cell(""), Counts(calls=1, coverage={"cut": 1})
        return
    told = () if plan.frozen.prediction is None else chances_of(kept.answer) or chances_of(kept.answer, "prediction")
    for segment, places in _split(plan, rows).items():
        some = [rows[place] for place in places]
        columns = {bins.name: tallied(bins, _column(plan, some, at)) for at, bins in enumerate(plan.frozen.columns)}
        if plan.frozen.prediction is not None and len(told) == len(rows):
            columns[PREDICTION] = tallied(plan.frozen.prediction, (told[place] for place in places))
        yield cell(segment), Counts(calls=1, coverage={"read": 1}, columns=columns)


def _column(plan: Plan, rows: Sequence[Sequence[float]], at: int) -> Iterator[float]:
    """The values of a column; what an image does not have by its nature is not missing."""
    return (row[at] for row in rows if row[at] == row[at] or not plan.signature.pictured)


def tallied(bins: Bins, values: Iterable[float]) -> list[int]:
    """Rows in each bin, then those without a value, then those outside the reference's range.

    >>> tallied(Bins(name="x", kind="quantiles", marks=(1.0,), counts=(), missing=0, low=0.0, high=2.0), [0.5, 3.0])
    [1, 1, 0, 1]
    """
    found = [0] * (len(bins.marks) + 3)
    for value in values:
        found[bins.place(value)] += 1
        found[-1] += bins.beyond(value)
    return found


def segment_of(bins: Bins, value: float) -> str:
    """The segment of a row by its value of one column: the value itself where there are few, else its third of the bins."""
    place = bins.place(value)
    if place > len(bins.marks):
        return f"{bins.name}=missing"
    if bins.kind == "values":
        return f"{bins.name}={bins.labels[place] if place < SEGMENTS else 'others'}"
    return f"{bins.name}={('low', 'middle', 'high')[min(2, 3 * place // len(bins.counts))]}"


def _split(plan: Plan, rows: Sequence[Sequence[float]]) -> Mapping[str, Sequence[int]]:
    """Segment → the places of its rows; the empty segment has all."""
    found: dict[str, list[int]] = {"": list(range(len(rows)))}
    if plan.segment is not None:
        at = next(at for at, bins in enumerate(plan.frozen.columns) if bins.name == plan.segment)
        for place, row in enumerate(rows):
            found.setdefault(segment_of(plan.frozen.columns[at], row[at]), []).append(place)
    return found


class _Output(msgspec.Struct, frozen=True):
    name: str = ""
    data: list[object] = []


class _Answer(msgspec.Struct, frozen=True):
    outputs: list[_Output] = []


def chances_of(answer: bytes, name: str = "probability") -> Sequence[float]:
    """The numbers of one output of an answer in the form of the Open Inference Protocol; none where it is another one."""
    return [float(value) for value in _output(answer, name) if isinstance(value, int | float)]


def labels_of(answer: bytes, name: str = "label") -> Sequence[str]:
    """The texts of one output of an answer in the form of the Open Inference Protocol; none where it is another one."""
    return [str(value) for value in _output(answer, name)]


def _output(answer: bytes, name: str) -> Sequence[object]:
    try:
        outputs = msgspec.json.decode(answer, type=_Answer).outputs
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    return next((output.data for output in outputs if output.name == name), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Counts of a window beside those of a reference, over the same bins: one comparison."""

    bins: Bins
    """With the reference's counts."""
    now: tuple[int, ...]
    """As `Counts.columns` has them."""
    against: str
    segment: str


def pairs(
    frozen: Frozen,
    window: Mapping[str, Counts],
    references: Mapping[str, Mapping[str, Counts]],
) -> tuple[Pair, ...]:
    """The comparisons of a window: column by column, segment by segment, with each reference.

    Args:
        window: segment → counts.
        references: name → segment → counts. The name `training` stands for what the model was trained on.
    """
    found: list[Pair] = []
    subjects = (*frozen.columns, *(() if frozen.prediction is None else (frozen.prediction,)))
    for segment, counts in sorted(window.items()):
        for against, reference in references.items():
            for bins in subjects:
                if bins.name in counts.columns:
                    then = _then(frozen, reference.get(segment, Counts()), bins, segment, against)
                    whole = bins.with_counts(then[:-2], then[-2])
                    found.append(Pair(bins=whole, now=tuple(counts.columns[bins.name]), against=against, segment=segment))
    return tuple(found)


def _then(frozen: Frozen, reference: Counts, bins: Bins, segment: str, against: str) -> Sequence[int]:
    """What a reference counted; zeros where it has nothing, so that the finding says so."""
    if against != "training":
        known = reference.columns
    elif not segment:
        return (*bins.counts, bins.missing, 0)
    else:
        known = frozen.segments.get(segment, {})
    return known.get(bins.name, (0,) * (len(bins.marks) + 3))
