"""What calls of watched endpoints were asked and answered, hour by hour, as counts over bins. No single value is kept.

Counts lie in the day of their trace, are added in the transaction that first stores the call, and leave with the day. It
knows neither models nor bins; whoever hands them over does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tandem.store.raw import Rows

SCHEMA = """
CREATE TABLE IF NOT EXISTS counts (
    team TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL, segment TEXT NOT NULL, hour INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (team, endpoint, model, segment, hour)
) STRICT, WITHOUT ROWID;
"""
HOUR = 3_600_000_000
"""Microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Whose counts, and of when."""

    team: str
    endpoint: str
    model: str
    """The version that was asked, as `model/NAME@N`."""
    segment: str
    """`COLUMN=LABEL`; empty for all calls."""
    hour: int
    """Hours since 1970, UTC, of the calls' ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Counts that add up, of one call or of many."""

    calls: int = 0
    """That were answered, or refused by the contract."""
    coverage: Mapping[str, int] = field(default_factory=dict)
    """Calls by what could be read of them: read, refused, unrecorded, cut, unread."""
    refused: Mapping[str, int] = field(default_factory=dict)
    """Column → calls that the contract refused because of it."""
    columns: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Column → rows in each bin, then those without a value, then those outside the reference's range."""

    def __add__(self, other: Counts) -> Counts:
        columns = dict(self.columns)
        for name, counts in other.columns.items():
            columns[name] = [a + b for a, b in zip(columns[name], counts, strict=True)] if name in columns else list(counts)
        return Counts(
            calls=self.calls + other.calls,
            coverage=_sum(self.coverage, other.coverage),
            refused=_sum(self.refused, other.refused),
            columns=columns,
        )


def total(parts: Iterable[Counts]) -> Counts:
    """All of them together."""
    found = Counts()
    for part in parts:
        found = found + part
    return found


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in (*one, *(name for name in other if name not in one))}


def write(rows: Rows, more: Iterable[tuple[Cell, Counts]]) -> None:
    """Adds counts to a day; inside its transaction."""
    together: dict[Cell, Counts] = {}
    for cell, counted in more:
        together[cell] = together[cell] + counted if cell in together else counted
    for cell, counted in together.items():
        key = (cell.team, cell.endpoint, cell.model, cell.segment, cell.hour)
        known = rows.one(
            "SELECT body FROM counts WHERE team = ? AND endpoint = ? AND model = ? AND segment = ? AND hour = ?", key
        )
        whole = counted if known is None else msgspec.json.decode(known[0], type=Counts) + counted
        rows.run(
            "INSERT INTO counts VALUES (?,?,?,?,?,?)"
            " ON CONFLICT (team, endpoint, model, segment, hour) DO UPDATE SET body = excluded.body",
            (*key, msgspec.json.encode(whole)),
        )
