"""What is known about a model version beyond its metrics: where it does worse, for whom, what it answers by, and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.verdicts import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One condition on a column: a value, a range, or that there is none."""

    column: str
    value: str | None = None
    low: float | None = None
    """At or above it."""
    high: float | None = None
    """Below it."""
    missing: bool = False

    @property
    def name(self) -> str:
        """Such as `region = north`, `18 <= age < 30` or `age is missing`."""
        if self.missing:
            return f"{self.column} is missing"
        if self.value is not None:
            return f"{self.column} = {self.value}"
        below = "" if self.low is None else f"{self.low:g} <= "
        above = "" if self.high is None else f" < {self.high:g}"
        return f"{below}{self.column}{above}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakSlice:
    """A part of the rows in which the model does worse than in the rest."""

    where: tuple[Part, ...] = ()
    """One condition or two."""
    n: int = 0
    share: float = 0.0
    """Of all rows."""
    inside: float = 0.0
    outside: float = 0.0
    """Mean loss of a row, in the half that confirmed the slice."""
    difference: Estimate | None = None
    """Inside minus outside."""
    p: float = 1.0
    """One-sided, adjusted over all that went to confirmation."""

    @property
    def name(self) -> str:
        return " and ".join([part.name for part in self.where])


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """Which difference of mean loss four of five searches find in a slice of that share of the rows."""

    share: float
    difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The search for parts of the rows in which a model does worse."""

    loss: str = ""
    """`log_loss` or `mae`: what a row's loss is."""
    mean: float = 0.0
    rows: int = 0
    confirming: int = 0
    columns: tuple[str, ...] = ()
    candidates: int = 0
    tested: int = 0
    group: str | None = None
    found: tuple[WeakSlice, ...] = ()
    power: tuple[Power, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows of one value of a column, and how the model does on them."""

    name: str
    n: int = 0
    enough: bool = True
    measured: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far groups are apart in one measure."""

    measure: str
    widest: tuple[str, ...] = ()
    small: tuple[str, ...] = ()
    """Groups with too few rows, which do not count."""
    estimate: Estimate | None = None
    """The largest difference, or the smallest ratio; None where there are not enough data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """How a model treats the groups of one column."""

    column: str
    learned: bool = False
    """Whether the model reads the column."""
    groups: tuple[Group, ...] = ()
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a column's values in one range, or of one text, add to the answer."""

    where: Part
    n: int = 0
    mean: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """How much one column counts."""

    name: str
    added: Estimate | None = None
    """Mean size of its contribution; None where the algorithm does not explain itself."""
    direction: float | None = None
    """Rank correlation of value and contribution."""
    lost: Estimate | None = None
    """How much the loss of a row grows when the column is shuffled among held-out rows."""
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Which columns a version answers by."""

    explained: int = 0
    unit: str = ""
    shuffled: int = 0
    loss: str = ""
    features: tuple[Feature, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a training found out about its model; what it did not look for is None or empty."""

    slices: Slices | None = None
    fairness: tuple[Fairness, ...] = ()
    importance: Importance | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is recorded, and where."""

    name: str
    value: object = None
    """A text, a number, or an estimate as a mapping."""
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Facts about one thing."""

    title: str
    facts: tuple[Fact, ...] = ()
    picture: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that is recorded about a model version."""

    ref: str
    digest: str = ""
    """Of the card: the same facts have the same digest."""
    sections: tuple[Section, ...] = ()
    missing: tuple[str, ...] = ()
    """What was not evaluated or is not recorded."""
