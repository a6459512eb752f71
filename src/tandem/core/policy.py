"""Policy: what may be spent, what a version must prove, what may not pass, who is told. Budgets, gates, guards, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from tandem.core.window import Window

Unit = Literal["usd", "tokens", "requests", "calls"]
"""What a cap counts: nano-dollars, tokens in and out, calls that were let in, or calls that run at once."""
Mode = Literal["hard", "soft", "prepaid"]
SCOPES = ("org", "team", "person", "key", "endpoint", "tag", "run")
"""Whose use a cap can bound; all but `org` are written `kind/NAME`."""
ALERTS = (80, 100)
"""Percent of a cap at which the audit notes it, unless told otherwise."""

COST = "cost"
"""The metric of a gate that weighs mistakes by what they cost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap on what one scope may use in one window. In dollars it is called a budget, in anything else a limit."""

    scope: str
    """`org`, `team/T`, `person/P`, `key/N`, `endpoint/E`, `tag/T`, or `run/TEAM/NAME` for what one run may spend."""
    cap: int
    """Nano-dollars, or however many of the unit."""
    window: Window = "day"
    """See `core.window`; calls that run at once are counted over `total`, which for them means now."""
    unit: Unit = "usd"
    mode: Mode = "hard"
    """A soft cap only tells; of a prepaid one the cap is what was paid in, and it grows with every credit."""
    fair: bool = False
    """Whether each key that uses it is left its even share, whatever the others ask for."""
    alerts: tuple[int, ...] = ALERTS
    """Percent of the cap at which the audit notes it, once a window each."""
    ends: int | None = None
    """UTC microseconds after which a run's budget lets nothing through any more."""

    @property
    def meter(self) -> str:
        """Unit and window in one word: under it accounts are kept."""
        return meter_of(self.unit, self.window)


def meter_of(unit: Unit, window: Window) -> str:
    """The word under which a unit is counted over a window; of dollars it is the window alone.

    >>> meter_of("usd", "day"), meter_of("requests", "minute")
    ('day', 'requests/minute')
    """
    return window if unit == "usd" else f"{unit}/{window}"


def unit_of(meter: str) -> Unit:
    """The unit that a meter counts.

    >>> unit_of("day@Europe/Berlin"), unit_of("tokens/day")
    ('usd', 'tokens')
    """
    unit, slash, _ = meter.partition("/")
    return unit if slash and unit in ("tokens", "requests", "calls") else "usd"  # type: ignore[return-value]  # checked


def window_in(meter: str) -> Window:
    """The window over which a meter counts.

    >>> window_in("day@Europe/Berlin"), window_in("requests/minute")
    ('day@Europe/Berlin', 'minute')
    """
    return meter if unit_of(meter) == "usd" else meter.partition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of the rows on which a version must prove itself too: one value of a column, or a range of it."""

    column: str
    value: str | None = None
    """As text: `true`, `3` also for 3.0."""
    low: float | None = None
    """At or above it; None: no lower end."""
    high: float | None = None
    """Below it; None: no upper end."""
    metric: str | None = None
    """None: the gate's."""
    minimum: float | None = None
    """What the worse bound of the interval must reach in the slice; a maximum where less is better."""
    margin: float | None = None
    """The loss against the champion that the slice tolerates; the gate's where neither this nor a minimum is named."""
    allow_small: bool = False
    """Whether too few rows for a verdict pass."""

    @property
    def name(self) -> str:
        """Such as `region = north` or `18 <= age < 30`."""
        if self.value is not None:
            return f"{self.column} = {self.value}"
        below = "" if self.low is None else f"{self.low:g} <= "
        above = "" if self.high is None else f" < {self.high:g}"
        return f"{below}{self.column}{above}"


Measure = Literal["demographic_parity", "demographic_parity_ratio", "equal_opportunity", "equalised_odds", "accuracy", "error"]
"""How groups may be apart: in the share answered positive (as a difference, or as the smaller over the larger), in the share
found of the positive rows, in that or the share of false alarms, in the share answered rightly, in the size of errors."""
RATIO: Measure = "demographic_parity_ratio"
"""The measure of which more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fair:
    """How far apart the groups of a column may be in one measure."""

    measure: Measure
    by: str
    """The column whose values are the groups; numbers are cut at their quartiles."""
    bound: float
    """The most that two groups may differ; of the ratio, the least that it may be."""
    allow_small: bool = False
    """Whether groups with too few rows are left out; else the gate does not pass while there are any."""

    @property
    def name(self) -> str:
        """Such as `equal_opportunity by sex`."""
        return f"{self.measure} by {self.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a version must prove before an alias moves to it."""

    asset: str
    """`model/tumor`, or `model/*` for the default of a kind."""
    alias: str = "production"
    metric: str = "roc_auc"
    minimum: float | None = None
    """The lower bound of the candidate's interval must reach this."""
    margin: float = 0.02
    """The loss against the champion that non-inferiority tolerates, in units of the metric."""
    require: Literal["improved", "non-inferior"] = "non-inferior"
    suite: str | None = None
    """For prompts: the suite they are evaluated with, `suite/NAME` for its newest version or `suite/NAME@VERSION`."""
    minimums: Mapping[str, float] = field(default_factory=dict)
    """Of models: metric → what the worse bound of its interval must reach; a maximum where less is better."""
    slices: tuple[Slice, ...] = ()
    """Of models: parts of the rows in which each must hold as well."""
    fairness: tuple[Fair, ...] = ()
    """Of models: how far apart groups of rows may be."""
    cost_false_positive: float | None = None
    """What the metric `cost` counts for a row that is wrongly taken for positive, in any unit."""
    cost_false_negative: float | None = None
    """The same for a positive row that is missed."""
    latency_ms: float | None = None
    """The most milliseconds that 95 of 100 predictions of one row may take."""
    size_bytes: int | None = None
    """The most bytes that the version's files may have together."""
    looks: int | None = None
    """How often a candidate may be compared with the champion on rows that grow, as planned; None: unplanned."""
    rows: int | None = None
    """The rows at the last planned look."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows whose values it is judged by."""
        return tuple(sorted({*(each.column for each in self.slices), *(each.by for each in self.fairness)}))


Action = Literal["allow", "observe", "mask", "block"]
Side = Literal["in", "out"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """What happens to what a detector finds on its way in or out."""

    detector: str
    """`card`, or one of its forms such as `credential/github`; the form's row wins over the detector's."""
    action: Action = "block"
    on: tuple[Side, ...] = ("in", "out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A destination outside, and which deeds of the audit it is told of."""

    name: str
    kind: str
    """How it is spoken to: `webhook`, `slack` or `email`."""
    url: str
    """A reference, never clear text once stored, because an address may be a secret: `env:NAME`, `file:PATH`, `sealed:…`."""
    on: tuple[str, ...]
    """Actions of the audit, such as `monitor.alarm`; `budget.*` is every one of a noun, `*` all of them."""
    team: str | None = None
    """Whose deeds it is told of; None: every team's."""
    secret: str = ""
    """A reference like `url`: what a webhook is signed with, or the password at a mail server."""
    user: str = ""
    """Who signs in at a mail server; empty: nobody does."""
    sender: str = ""
    """The address that mail comes from."""
    to: tuple[str, ...] = ()
    """The addresses that mail goes to."""
    managed: str | None = None
    """`file:NAME:LINE` when `tandem.toml` declares it; then it is read-only elsewhere."""
