"""What is found when a bill is laid beside the books. All amounts are nano-dollars."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.governance.bills.causes import Cause

MOST_LINES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What one key of the provider's is billed."""

    key: str
    billed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One day of one model under one key of the provider's."""

    day: str
    model: str
    key: str
    """As the bill calls it; empty where it does not, or where only sums of several can be compared."""
    billed: int
    """Nano-dollars, as all amounts here."""
    booked: int
    difference: int
    """Billed minus booked."""
    requests: int
    """That are billed; 0 where the bill does not count them."""
    attempts: int
    """That are booked."""
    causes: tuple[Cause, ...] = ()
    """They add up to the difference."""
    keys: tuple[Keyed, ...] = ()
    """What each key is billed, where several are compared together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A bill beside the books."""

    id: str
    provider: str
    form: str
    """Of the export."""
    since: int
    until: int
    """UTC microseconds; what lies between was compared."""
    rows: int
    """Of the bill."""
    priced: bool
    """Whether the bill has no amounts, so that its tokens were priced by our rows: then no price can differ."""
    billed: int
    booked: int
    difference: int
    lines: tuple[Line, ...]
    """Those that differ, the largest difference first, at most a thousand."""
    differing: int
    """How many differ."""
    same: int
    """Lines that agree."""
    causes: tuple[Cause, ...]
    """Over all lines."""
    estimated: int
    """Attempts booked as estimated that the bill knows better."""
    missing: int
    """Attempts whose count came from the provider, and which the bill lacks: with any, it is not whole."""
    corrected: int
    """Attempts that this changed in the ledger."""
    applied: bool
    at: int
    by: str
