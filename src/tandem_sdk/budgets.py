"""Budgets and limits: caps on what one scope may use in one window, in dollars or in tokens and calls; and what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tandem_sdk.errors import Invalid
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap, and how much of it is used. Money is in integer nano-dollars."""

    scope: str
    """`org`, `team/T`, `person/P`, `key/N`, `endpoint/E`, `tag/T`, or `run/TEAM/NAME`."""
    cap: int
    window: str = "day"
    """`minute`, `hour`, `day`, `week`, `month`, `quarter`, `year` or `total` in UTC; `day@Europe/Berlin`; `rolling-24h`."""
    mode: str = "hard"
    """`hard` refuses, `soft` only tells, `prepaid` is what was paid in."""
    fair: bool = False
    """Whether each key that spends from it is left its even share."""
    alerts: tuple[int, ...] = ()
    """Percent of the cap at which the audit notes it."""
    ends: int | None = None
    """Of a run: UTC microseconds after which nothing passes any more."""
    cap_usd: str = ""
    settled: int = 0
    """Spent for certain."""
    reserved: int = 0
    """Held by calls under way and by doors."""
    start: int | None = None
    end: int | None = None
    """The window's bounds in UTC microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A cap in tokens, calls or calls at once, and how much of it is used."""

    scope: str
    unit: str
    """`requests` (calls let in), `tokens` (in and out) or `calls` (at once)."""
    cap: int
    window: str = "minute"
    mode: str = "hard"
    fair: bool = False
    alerts: tuple[int, ...] = ()
    settled: int = 0
    """Used for certain."""
    reserved: int = 0
    """Held by calls under way and by doors."""
    start: int | None = None
    end: int | None = None
    """The window's bounds in UTC microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What a scope spent."""

    cost: int
    """Nano-dollars of everything with a known price."""
    cost_usd: str = ""
    attempts: int = 0
    unpriced: int = 0
    """Attempts without a known price; they are not in `cost`."""


class Budgets:
    """`client.budgets`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Budget, ...]:
        """Every budget the key may see."""
        return read_replies(Budget, self._wire.get(f"{API}/budgets"))

    def set(
        self,
        scope: str,
        cap: str | Decimal,
        window: str = "day",
        *,
        mode: str | None = None,
        fair: bool | None = None,
        alerts: Sequence[int] | None = None,
    ) -> Budget:
        """Caps what a scope may spend in a window; what is None takes the platform's default.

        Args:
            scope: `org`, `team/T`, `person/P`, `key/N`, `endpoint/E` or `tag/T`.
            cap: dollars, such as `"0.002"`.
            window: see `Budget.window`.

        Raises:
            Invalid: not an amount, a scope or a window.
        """
        told = {"cap": _amount(cap, "cap"), "window": window, "mode": mode, "fair": fair, "alerts": alerts and list(alerts)}
        return read_reply(Budget, self._wire.send("PUT", _path("budgets", scope), _said(told)))

    def credit(self, scope: str, amount: str | Decimal, *, reference: str) -> Budget:
        """Pays dollars into a prepaid budget, which the first payment opens.

        Args:
            reference: the payment's own name; the same one again changes nothing.

        Raises:
            Conflict: the reference is known with another amount, or the scope's total cap is not prepaid.
        """
        body = {"amount": _amount(amount, "amount"), "reference": reference}
        return read_reply(Budget, self._wire.send("POST", _path("budgets", scope) + "/credits", body))

    def drop(self, scope: str, window: str = "day") -> None:
        """Lifts the cap of one window; of `run/TEAM/NAME`, ends the run.

        Raises:
            NotFound: there is none.
        """
        self._wire.send("DELETE", _path("budgets", scope), query={"window": window})

    def spend(self, scope: str = "org", *, since: int | None = None, until: int | None = None) -> Spend:
        """What a scope spent between two times in UTC microseconds, in whole days."""
        return read_reply(Spend, self._wire.get(f"{API}/spend", {"scope": scope, "since": since, "until": until}))


class Limits:
    """`client.limits`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Limit, ...]:
        """Every limit the key may see."""
        return read_replies(Limit, self._wire.get(f"{API}/limits"))

    def set(
        self,
        scope: str,
        unit: str,
        cap: int,
        window: str = "minute",
        *,
        mode: str | None = None,
        fair: bool | None = None,
        alerts: Sequence[int] | None = None,
    ) -> Limit:
        """Limits what a scope may use in a window; what is None takes the platform's default.

        Args:
            unit: `requests`, `tokens` or `calls` (at once, whatever the window).

        Raises:
            Invalid: not a scope, a unit or a window.
        """
        told = {"unit": unit, "cap": cap, "window": window, "mode": mode, "fair": fair, "alerts": alerts and [*alerts]}
        return read_reply(Limit, self._wire.send("PUT", _path("limits", scope), _said(told)))

    def drop(self, scope: str, unit: str, window: str = "minute") -> None:
        """Lifts one limit.

        Raises:
            NotFound: there is none.
        """
        self._wire.send("DELETE", _path("limits", scope), query={"unit": unit, "window": window})


def _amount(dollars: str | Decimal, field: str) -> str:
    wrong = Invalid(f"'{dollars}' is not an amount of money.", hint="Write dollars, such as 0.002.", field=field)
    try:
        amount = Decimal(dollars)
    except InvalidOperation:
        raise wrong from None
    if not amount.is_finite():
        raise wrong
    return f"{amount:f}"


def _said(told: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in told.items() if value is not None}


def _path(kind: str, scope: str) -> str:
    return f"{API}/{kind}/" + "/".join(segment(part) for part in scope.split("/"))
