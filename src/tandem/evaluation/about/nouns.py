"""What a training says about its model, as the members `slices.json`, `fairness.json` and `importance.json` hold it.

Plain values, so that whoever shows them loads no numeric library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from tandem.core.policy import Measure, Slice
from tandem.core.score import Estimate

SLICES, FAIRNESS, IMPORTANCE = "slices.json", "fairness.json", "importance.json"


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
        return Slice(column=self.column, value=self.value, low=self.low, high=self.high).name


@dataclass(frozen=True, slots=True, kw_only=True)
class WeakSlice:
    """A part of the rows in which the model does worse than in the rest, found on one half of them and held on the other."""

    where: tuple[Part, ...]
    """One condition or two."""
    n: int
    """Rows in both halves together."""
    share: float
    """Of all rows."""
    inside: float
    outside: float
    """Mean loss of a row, in the half that confirms."""
    difference: Estimate
    """Inside minus outside, with an interval that holds for all confirmed slices at once; n = rows of the slice in that half."""
    p: float
    """One-sided, adjusted over all that went to confirmation (Holm)."""

    @property
    def name(self) -> str:
        return " and ".join(part.name for part in self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What could have been confirmed."""

    share: float
    """Of the rows."""
    difference: float
    """Of mean loss, that four of five searches find in a slice of that share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slices:
    """The search for parts of the rows in which a model does worse."""

    loss: str
    """`log_loss` or `mae`: what a row's loss is."""
    mean: float
    """Over all rows."""
    rows: int
    confirming: int
    """Rows of the half that confirms."""
    columns: tuple[str, ...]
    """Those that conditions were made of."""
    candidates: int
    """Parts of the rows that the search looked at."""
    tested: int
    """Those that went to confirmation."""
    group: str | None
    """The column whose rows of one value stay in one half; None: every row by itself."""
    found: tuple[WeakSlice, ...]
    power: tuple[Power, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The rows of one value of a column, and how the model does on them."""

    name: str
    n: int
    enough: bool
    """Whether there are rows enough to say anything; what cannot be said is left out of `measured`."""
    measured: dict[str, Estimate]
    """By name, such as `base_rate`, `selection_rate`, `true_positive_rate`, `roc_auc`; each with its 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far groups are apart in one measure."""

    measure: Measure
    widest: tuple[str, ...]
    """The two groups that are furthest apart; none where fewer than two have enough rows."""
    small: tuple[str, ...]
    """Groups that had too few rows for this measure, and do not count in it."""
    estimate: Estimate | None
    """The largest difference between two groups, or the smallest ratio, with its simultaneous 95 % interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fairness:
    """How a model treats the groups of one column."""

    column: str
    learned: bool
    """Whether the model reads the column."""
    groups: tuple[Group, ...]
    gaps: tuple[Gap, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a column's values in one range, or of one text, add to the answer."""

    where: Part
    n: int
    mean: float
    """Contribution, in the unit of the explanation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """How much one column counts."""

    name: str
    added: Estimate | None
    """Mean size of its contribution over rows (SHAP); None where the algorithm does not explain itself."""
    direction: float | None
    """Rank correlation of value and contribution, from -1 to 1; None where values have no order."""
    lost: Estimate | None
    """How much the loss of a row grows when the column is shuffled among held-out rows; None where that was not measured."""
    points: tuple[Point, ...] = ()
    """Contribution by value; of the columns that count most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Which columns a version answers by."""

    explained: int
    """Rows whose contributions were computed; 0 where the algorithm does not explain itself."""
    unit: str
    """Of contributions: `log-odds`, `score` or the target's own."""
    shuffled: int
    """Held-out rows among which columns were shuffled."""
    loss: str
    """What `lost` is measured in."""
    features: tuple[Feature, ...]
    """Those that count most first."""


Kind = TypeVar("Kind")


def read(member: bytes, kind: type[Kind]) -> Kind | None:
    """What a member says; None where it is something else: anybody may publish a model with such a file."""
    try:
        return msgspec.json.decode(member, type=kind)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
