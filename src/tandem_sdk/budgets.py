"""Budgets: hard caps on what one scope may spend in one window; and what was spent."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tandem_sdk.errors import Invalid
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A cap, and how much of it is used. Money is in integer nano-dollars."""

    scope: str
    """`org`, `team/T` or `key/N`."""
    cap: int
    window: str = "day"
    """`minute`, `hour`, `day`, `month` or `total`, by the UTC calendar."""
    cap_usd: str = ""
    settled: int = 0
    """Spent for certain."""
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

    def set(self, scope: str, cap: str | Decimal, window: str = "day") -> Budget:
        """Caps what a scope may spend in a window.

        Args:
            scope: `org`, `team/T` or `key/N`.
            cap: dollars, such as `"0.002"`.
            window: `minute`, `hour`, `day`, `month` or `total`.

        Raises:
            Invalid: not an amount, a scope or a window.
        """
        try:
            amount = Decimal(cap)
        except InvalidOperation:
            raise Invalid(f"'{cap}' is not an amount of money.", hint="Write dollars, such as 0.002.", field="cap") from None
        if not amount.is_finite():
            raise Invalid(f"'{cap}' is not an amount of money.", hint="Write dollars, such as 0.002.", field="cap")
        return read_reply(Budget, self._wire.send("PUT", _path(scope), {"cap": f"{amount:f}", "window": window}))

    def drop(self, scope: str, window: str = "day") -> None:
        """Lifts the cap of one window.

        Raises:
            NotFound: there is none.
        """
        self._wire.send("DELETE", _path(scope), query={"window": window})

    def spend(self, scope: str = "org", *, since: int | None = None, until: int | None = None) -> Spend:
        """What a scope spent between two times in UTC microseconds, in whole days."""
        return read_reply(Spend, self._wire.get(f"{API}/spend", {"scope": scope, "since": since, "until": until}))


def _path(scope: str) -> str:
    return f"{API}/budgets/" + "/".join(segment(part) for part in scope.split("/"))
