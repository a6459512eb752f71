"""What a version says about itself, read leniently: meta is JSON that anybody may have written. Pure.

Whatever does not have the expected form is left out here, and the page shows the JSON itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tandem.console.profile import Seen
from tandem.console.scale import Line, heights, line
from tandem.console.words import number
from tandem.core.policy import Gate
from tandem.core.score import Condition, Estimate, Verdict
from tandem.observability.dialogue import Turn
from tandem.training.imports.tasks import Imported

Form = TypeVar("Form")
TOLD = ("rows", "quarantined", "checks", "appended", "evolved", "references")
"""Meta of a dataset that tells how its ingest went."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric of a model or a run."""

    name: str
    value: str
    estimate: Estimate | None = None
    """Where it came with an interval."""
    line: Line | None = None
    """On an axis from 0 to 1, for those that lie there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a dataset: what it must be, and what it is."""

    name: str
    role: str
    """`id`, `time`, or nothing."""
    dtype: str
    allowed: str
    """Range or categories, for people."""
    nulls: str = ""
    distinct: str = ""
    mean: str = ""
    deviation: str = ""
    seen: str = ""
    """Smallest to largest value, or the most frequent texts."""
    bars: tuple[int, ...] = ()
    """Its histogram, in percent of the tallest bin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How much one feature counts."""

    name: str
    value: float
    percent: float
    """Of the largest."""


class Check(msgspec.Struct, frozen=True):
    """A rule that was broken without refusing the file."""

    rule: str
    severity: str
    count: int
    example: str = ""


class Appended(msgspec.Struct, frozen=True):
    """What was added to which version."""

    to: str
    rows: int
    repeated: int = 0


class Rule(msgspec.Struct, frozen=True):
    """What must hold between the columns of a row."""

    name: str
    expression: str
    severity: str = "refuse"


class Ingest(msgspec.Struct, frozen=True):
    """What an ingest had to say beyond the rows."""

    rows: int = 0
    quarantined: int = 0
    checks: tuple[Check, ...] = ()
    appended: Appended | None = None
    evolved: tuple[str, ...] = ()
    references: dict[str, str] = {}
    rules: tuple[Rule, ...] = ()
    table: bool = False
    """Whether its rows lie in the lake and can be read."""


class Report(msgspec.Struct, frozen=True):
    """What a gate said about a candidate, as its move keeps it."""

    passed: bool
    gate: Gate
    candidate: Estimate | None = None
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    candidate_ref: str | None = None
    champion_ref: str | None = None

    @property
    def outcome(self) -> str:
        return (
            self.verdict.outcome if self.verdict is not None else "no champion" if self.champion_ref is None else "not compared"
        )

    @property
    def difference_line(self) -> Line | None:
        """The difference to the champion, against zero and the tolerated loss."""
        if self.verdict is None or self.verdict.difference is None:
            return None
        return line(self.verdict.difference, [(0.0, "no difference"), (-self.verdict.margin, "tolerated loss")])

    @property
    def candidate_line(self) -> Line | None:
        """The candidate's metric, against the minimum where there is one."""
        if self.candidate is None:
            return None
        return line(self.candidate, [] if self.gate.minimum is None else [(self.gate.minimum, "minimum")])


class Agreed(msgspec.Struct, frozen=True):
    """How alike repeats were, as shares of the rows."""

    texts: float
    grades: float


class Judging(msgspec.Struct, frozen=True):
    """How a judge behaved, as shares; None where there was nothing to share."""

    consistent: float
    first: float | None = None
    longer: float | None = None
    unreadable: int = 0


class Asked(msgspec.Struct, frozen=True):
    """How the asking of an evaluation went."""

    rows: int
    answers: int
    errors: dict[str, int] = {}
    labels: dict[str, int] = {}
    agreement: Agreed | None = None
    cost: int | None = None
    """Nano-dollars."""
    seconds: dict[str, float] = {}
    models: tuple[str, ...] = ()
    judge: Judging | None = None


class Calibrated(msgspec.Struct, frozen=True):
    """How the scores of a model became probabilities."""

    way: str
    before: Estimate
    after: Estimate


class Tuned(msgspec.Struct, frozen=True):
    """How the parameters of a model were searched."""

    trials: int
    pruned: int = 0


class Training(msgspec.Struct, frozen=True):
    """What a model's version says of its training, besides its metrics."""

    warnings: tuple[str, ...] = ()
    calibration: Calibrated | None = None
    tuning: Tuned | None = None

    @property
    def told(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.warnings or self.calibration or self.tuning)


class _Column(msgspec.Struct):
    name: str
    dtype: str = ""
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] | None = None
    unique: bool = False


class _Contract(msgspec.Struct):
    columns: tuple[_Column, ...]
    id_column: str | None = None
    time_column: str | None = None


class _Profile(msgspec.Struct):
    columns: tuple[Seen, ...] = ()


def metrics(found: object) -> tuple[Metric, ...]:
    """Metrics by name; each a plain number or an estimate."""
    return tuple(_metric(str(name), value) for name, value in found.items()) if isinstance(found, Mapping) else ()


def columns(meta: Mapping[str, object]) -> tuple[Column, ...]:
    """The columns of a dataset's contract, each with its profile."""
    contract = _read(meta.get("contract"), _Contract)
    profile = _read(meta.get("profile"), _Profile)
    profiled = {column.name: column for column in profile.columns} if profile is not None else {}
    if contract is None:
        return ()
    roles = {contract.time_column: "time", contract.id_column: "id"}
    return tuple(_column(column, roles.get(column.name, ""), profiled.get(column.name)) for column in contract.columns)


def ingest(meta: Mapping[str, object]) -> Ingest:
    """What the ingest of a dataset had to say."""
    contract = meta.get("contract")
    rules = _read(contract.get("rows"), tuple[Rule, ...]) if isinstance(contract, Mapping) else None
    found = _read({key: value for key, value in meta.items() if key in TOLD}, Ingest) or Ingest()
    return msgspec.structs.replace(found, rules=rules or (), table=isinstance(meta.get("lake"), Mapping))


def turns(meta: Mapping[str, object]) -> tuple[Turn, ...]:
    """The messages of a prompt's template."""
    template = meta.get("template", meta.get("messages"))
    if isinstance(template, str):
        return (Turn(role="user", text=template),)
    messages = [message for message in template if isinstance(message, Mapping)] if isinstance(template, list) else []
    return tuple(Turn(role=str(message.get("role")), text=str(message.get("content"))) for message in messages)


def shares(found: object) -> tuple[Share, ...]:
    """Feature importances, the largest first."""
    if not isinstance(found, Mapping):
        return ()
    sizes = {str(name): float(value) for name, value in found.items() if _is_number(value) and value >= 0}
    top = max(sizes.values(), default=0.0) or 1.0
    ordered = sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(Share(name=name, value=value, percent=round(100 * value / top, 2)) for name, value in ordered)


def training(meta: Mapping[str, object]) -> Training | None:
    """What is known of a training; None where it has not the expected form."""
    return _read(dict(meta), Training)


def report(found: object) -> Report | None:
    """A gate's report."""
    return _read(found, Report)


def asked(found: object) -> Asked | None:
    """How the asking of an evaluation went."""
    return _read(found, Asked)


def imported(found: object) -> tuple[Imported, ...]:
    """The models of an import; none where they have not the expected form."""
    return _read(found, tuple[Imported, ...]) or ()


def outcome(version: Mapping[str, object]) -> str | None:
    """What the gate said of a version in production, from what the snapshot or a trace knows of it.

    `ungated`, the verdict's outcome, `first` where there was no champion yet; None where nothing is known.
    """
    gate = version.get("gate")
    if version.get("ungated") is True:
        return "ungated"
    if isinstance(gate, Mapping):
        return str(gate.get("outcome"))
    return "first" if version.get("approved_by") else None


def _metric(name: str, value: object) -> Metric:
    estimate = _read(value, Estimate)
    if estimate is None:
        return Metric(name=name, value=number(value) if _is_number(value) else str(value))
    drawn = line(estimate, bounds=(0.0, 1.0)) if estimate.low >= 0 and estimate.high <= 1 else None
    return Metric(name=name, value=f"{estimate.value:.4f}", estimate=estimate, line=drawn)


def _column(column: _Column, role: str, seen: Seen | None) -> Column:
    if column.categories is not None:
        allowed = ", ".join(column.categories)
    else:
        low, high = ("" if bound is None else number(bound) for bound in (column.low, column.high))
        allowed = f"{low} … {high}" if low or high else "any"
    dtype = column.dtype + (" or empty" if column.nullable else "") + (", unique" if column.unique else "")
    if seen is None:
        return Column(name=column.name, role=role, dtype=dtype, allowed=allowed)
    counts = seen.histogram.counts if seen.histogram is not None else tuple(top.count for top in seen.top)
    span = "" if seen.min is None else f"{number(seen.min)} … {number(seen.max)}"
    return Column(
        name=column.name,
        role=role,
        dtype=dtype,
        allowed=allowed,
        nulls=number(seen.nulls),
        distinct=number(seen.distinct),
        mean="" if seen.mean is None else number(seen.mean),
        deviation="" if seen.std is None else number(seen.std),
        seen=span or ", ".join(f"{top.value} ({top.count})" for top in seen.top[:3]),
        bars=heights(counts) if max(counts, default=0) > 1 else (),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(value: object, form: type[Form]) -> Form | None:
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError:
        return None
