"""The bill: one row per request that reached the model, with what was really produced. It prices nothing itself."""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Iterable
from typing import Literal

import msgspec

from tandem.core.clock import iso

Outcome = Literal["ok", "client_gone", "cut", "stopped"]


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request used. A struct of msgspec, because the bill grows by ten thousand rows a second."""

    id: str
    """The reply's `x-request-id`, or Anthropic's `request-id`."""
    micros: int
    """UTC microseconds when the request had arrived."""
    model: str
    key: str
    """Fingerprint of the key: 12 hexadecimal digits of its SHA-256."""
    call: str | None
    """The caller's idempotency id, from the header `x-tandem-call`."""
    attempt: str | None
    """From the header `x-tandem-attempt`."""
    stream: bool
    prompt_tokens: int
    cached_tokens: int
    """The part of `prompt_tokens` that was read from the cache."""
    written_tokens: int = 0
    """The part of `prompt_tokens` that was written to the cache."""
    completion_tokens: int
    """Tokens really produced, also where the client did not take them all."""
    price: str
    """The price row, such as `gpt-4o@2024-10-01`."""
    cost_nano: int | None
    """Nano-dollars; None for a model without price."""
    outcome: Outcome
    fault: str
    """The faults that were at work, as written."""


class Totals(msgspec.Struct, kw_only=True):
    """Sums over rows."""

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_nano: int = 0
    """Nano-dollars of the priced rows."""
    unpriced: int = 0
    """Rows without a price."""

    def add(self, row: Row) -> None:
        self.requests += 1
        self.prompt_tokens += row.prompt_tokens
        self.cached_tokens += row.cached_tokens
        self.completion_tokens += row.completion_tokens
        if row.cost_nano is None:
            self.unpriced += 1
        else:
            self.cost_nano += row.cost_nano


COLUMNS = tuple("time" if name == "micros" else name for name in Row.__struct_fields__)
"""Columns of the CSV, and keys of a row in JSON."""


def plain(row: Row) -> dict[str, object]:
    """A row as it is shown: the time as RFC 3339 text."""
    return dict(zip(COLUMNS, _values(row), strict=True))


def _values(row: Row) -> list[object]:
    return [iso(row.micros) if name == "micros" else getattr(row, name) for name in Row.__struct_fields__]


def summed(rows: Iterable[Row]) -> Totals:
    """Sums of some rows."""
    totals = Totals()
    for row in rows:
        totals.add(row)
    return totals


class Bill:
    """All rows in the order they were closed, and their sums."""

    def __init__(self, max_rows: int) -> None:
        self.rows: deque[Row] = deque(maxlen=max_rows)
        self.totals = Totals()
        self.open = 0
        """Requests that have reached the model and are not closed yet."""

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.totals.add(row)

    def clear(self) -> None:
        """Forgets all rows; requests that are still open will make theirs."""
        self.rows.clear()
        self.totals = Totals()

    def of(self, call: str | None) -> list[Row]:
        """All rows, or those of one call."""
        return [row for row in self.rows if call is None or row.call == call]

    def json(self, call: str | None) -> bytes:
        """The body of `GET /bill`; `dropped` counts rows that no longer fit."""
        rows = self.of(call)
        totals = self.totals if call is None else summed(rows)
        return msgspec.json.encode(
            {
                "object": "bill",
                "totals": totals,
                "open": self.open,
                "dropped": self.totals.requests - len(self.rows),
                "rows": [plain(row) for row in rows],
            }
        )

    def csv(self, call: str | None) -> bytes:
        """The body of `GET /bill.csv`: a header line and one line per row."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_values(row) for row in self.of(call))
        return text.getvalue().encode()
