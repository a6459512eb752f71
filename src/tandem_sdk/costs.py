"""Costs: a provider's bill beside the books."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tandem_sdk.wire import API, Wire, read_replies, read_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A part of a difference, in nano-dollars."""

    why: str
    """`price`, `cached`, `tokens`, `estimated`, `failed`, `retries`, `unrecorded`, `unbilled`, `rounding`, `unpriced` or
    `unexplained`.
    """
    amount: int
    """That the bill is higher because of it."""
    count: int = 0
    """Attempts or billed requests."""
    tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyed:
    """What one key of the provider's is billed, in nano-dollars."""

    key: str
    billed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """One day of one model under one key of the provider's. Money is in integer nano-dollars."""

    day: str
    model: str
    key: str = ""
    billed: int = 0
    booked: int = 0
    difference: int = 0
    """Billed minus booked."""
    requests: int = 0
    attempts: int = 0
    causes: tuple[Cause, ...] = ()
    """They add up to the difference."""
    keys: tuple[Keyed, ...] = ()
    """What each key is billed, where several are compared together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """A provider's bill beside the books."""

    id: str
    provider: str
    form: str = ""
    """Of the export, such as `openai usage`."""
    since: int = 0
    until: int = 0
    rows: int = 0
    priced: bool = False
    """Whether the export has no amounts, so that its tokens were priced by the platform's rows."""
    billed: int = 0
    booked: int = 0
    difference: int = 0
    lines: tuple[BillLine, ...] = ()
    """Those that differ, the largest difference first."""
    differing: int = 0
    same: int = 0
    """Lines that agree."""
    causes: tuple[Cause, ...] = ()
    estimated: int = 0
    """Attempts booked as estimated that the bill knows better."""
    missing: int = 0
    """Attempts counted by the provider that the bill lacks."""
    corrected: int = 0
    applied: bool = False
    at: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """One model priced anew, in nano-dollars."""

    target: str
    attempts: int = 0
    changed: int = 0
    booked: int = 0
    cost: int = 0
    """By the rows that are known now."""
    difference: int = 0
    estimated: int = 0
    """Attempts without counters; they stay as they are."""
    unpriced: int = 0
    """Attempts that nobody has a price for; they stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repriced:
    """A past period priced anew, in nano-dollars."""

    id: str
    since: int = 0
    until: int = 0
    models: tuple[Anew, ...] = ()
    """The largest difference first."""
    booked: int = 0
    cost: int = 0
    difference: int = 0
    changed: int = 0
    corrected: int = 0
    applied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What becomes of a budget. Amounts are nano-dollars, days are UTC."""

    scope: str
    window: str
    cap: int = 0
    settled: int = 0
    end: int | None = None
    verdict: str = ""
    """`runs out`, `will last` or `not enough data`."""
    day: str | None = None
    """On which half of the futures have run out."""
    low: str | None = None
    high: str | None = None
    """The interval of 80 %; None: not within the window."""
    chance: float | None = None
    """Of running out within the window."""
    days: int = 0
    """That it was learned from."""
    mean: int = 0
    steep: float | None = None
    """Modified z-score of today's change against last week."""
    abnormal: bool = False
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one measure would have saved, in nano-dollars, with an interval of 95 %."""

    measure: str
    """`exact cache`, `cheapest target`, `prompt cache` or `output cap`."""
    enough: bool = False
    """Whether there is enough data; otherwise the figures are nothing."""
    n: int = 0
    touched: int = 0
    amount: int = 0
    low: int = 0
    high: int = 0
    share: float = 0.0
    """Of what these calls cost."""
    share_low: float = 0.0
    share_high: float = 0.0
    assumed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What recorded traffic would have saved; the measures overlap and are not to be added up."""

    since: int = 0
    until: int = 0
    calls: int = 0
    cost: int = 0
    hours: int = 0
    unread: int = 0
    """Calls whose content is not kept, or erased."""
    measures: tuple[Saving, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What was spent on one UTC day, in nano-dollars."""

    day: str
    cost: int = 0
    attempts: int = 0
    unpriced: int = 0
    """Attempts without a known price; they are not in `cost`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentOn:
    """What one team spent at one endpoint on one target, in nano-dollars."""

    team: str
    endpoint: str
    target: str
    cost: int = 0
    attempts: int = 0
    unpriced: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was spent, as far as the key may see it."""

    scope: str
    """Whose spending the days show."""
    days: tuple[Day, ...] = ()
    """Oldest first."""
    traced: int = 0
    """How many of the newest days `spent` sums."""
    spent: tuple[SpentOn, ...] = ()
    """The dearest first."""


class Costs:
    """`client.costs`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def reconcile(
        self,
        file: str | Path,
        *,
        provider: str | None = None,
        since: int | None = None,
        until: int | None = None,
        columns: Mapping[str, str] | None = None,
        apply: bool = False,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Reconciliation:
        """Lays a provider's usage export beside the books.

        Args:
            file: CSV: the bill of `tandem mock`, OpenAI's or Anthropic's exports, or any other with `columns`.
            provider: whose bill; None where there is one provider.
            since: UTC microseconds, as `until`; None compares the time of the file's rows.
            columns: what columns say: `date`, `model`, `key`, `requests`, `input`, `uncached`, `cached`, `output`, `cost`.
            apply: corrects attempts that were booked as estimated, once; the export must name calls and attempts.
            on_progress: called with (bytes sent, bytes in all).

        Raises:
            Invalid: the file has a fault, and its line is named; nothing was changed.
        """
        path = Path(file)
        said = None if columns is None else ",".join(f"{name}={column}" for name, column in columns.items())
        query = {
            "name": path.name,
            "provider": provider,
            "since": since,
            "until": until,
            "columns": said,
            "apply": "true" if apply else None,
        }
        reply = self._wire.upload(f"{API}/cost/reconcile", path, "text/csv", query=query, on_progress=on_progress)
        return read_reply(Reconciliation, reply)

    def reprice(self, since: int, until: int | None = None, *, apply: bool = False) -> Repriced:
        """Prices a past period (UTC microseconds) by the rows that are known now; `apply` books that, once.

        Raises:
            Invalid: the period ends before it begins.
        """
        body = {"since": since, "until": until, "apply": apply}
        return read_reply(Repriced, self._wire.send("POST", f"{API}/cost/reprice", body, patient=True))

    def forecast(self) -> tuple[Forecast, ...]:
        """When each budget that the key sees runs out."""
        return read_replies(Forecast, self._wire.get(f"{API}/cost/forecast"))

    def audit(self, days: int = 30) -> Savings:
        """What the chats of the last days would have saved by four measures, and what each assumes."""
        return read_reply(Savings, self._wire.get(f"{API}/cost/audit", {"days": days}))

    def show(self, days: int = 30) -> Spending:
        """What was spent day by day, and of late by team, endpoint and target."""
        return read_reply(Spending, self._wire.get(f"{API}/cost/spend", {"days": days}))

    def reconciliations(self, limit: int = 20) -> tuple[Reconciliation, ...]:
        """What comparing bills with the books found, newest first."""
        return read_replies(Reconciliation, self._wire.get(f"{API}/cost/reconciliations", {"limit": limit}))
