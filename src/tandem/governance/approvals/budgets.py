"""Caps that are raised or dropped, when a rule asks for people. The ledger is a store of its own, so it is told afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection

from tandem.core.approval import Request
from tandem.core.money import dollars
from tandem.core.policy import Budget, Window
from tandem.core.principal import Principal
from tandem.governance.approvals.act import told
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.audit import Audit
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger

SET, DROP = "budget.set", "budget.drop"


class Caps:
    """The deeds `budget.set` and `budget.drop` of those that raise or drop a cap."""

    elsewhere = True

    def __init__(self, ledger: Ledger, audit: Audit) -> None:
        self._ledger, self._audit = ledger, audit

    def stale(self, conn: Connection, request: Request) -> str | None:
        before = _before(request)
        now = _cap(self._ledger, before.scope, before.window)
        if now == before:
            return None
        return f"The cap of {before.scope} by {before.window} was changed meanwhile: it is {_usd(now)}, not {_usd(before)}."

    def prepare(self, request: Request, by: Principal) -> object:
        return None

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        before, after = _before(request), _after(request)
        detail: dict[str, object] = {"window": before.window, **told(request)}
        if after is not None:
            detail |= {"cap_nano_usd": after.cap}
        self._audit.append(conn, actor=by.name, action=request.does, subject=before.scope, team=request.team, detail=detail)
        return {"scope": before.scope, "window": before.window, "cap": None if after is None else after.cap}

    def finish(self, request: Request) -> str | None:
        before, after = _before(request), _after(request)
        now = _cap(self._ledger, before.scope, before.window)
        if now == after:
            return None  # told before, and then the process died
        if now != before:
            return f"The cap of {before.scope} was changed while this was approved: it is {_usd(now)} now."
        if after is None:
            self._ledger.drop_budget(before.scope, before.window)
        else:
            self._ledger.set_budget(after)
        return None


class Raises:
    """Asks for people where a cap is raised or dropped."""

    def __init__(self, requests: Requests, ledger: Ledger, keys: Keys) -> None:
        self._requests, self._ledger, self._keys = requests, ledger, keys

    def ask(self, scope: str, window: Window, after: Budget | None, *, by: Principal) -> Request | None:
        """A request when this raises a cap (None: drops it) and a rule asks for people; None when it may be done at once.

        Args:
            scope: whose cap, as `Budget.scope`.
            after: the cap as it shall be.
        """
        before = _cap(self._ledger, scope, window)
        if before is None or not raises(before, after):
            return None
        wish = Wish(
            action="budget.raise",
            does=DROP if after is None else SET,
            subject=scope,
            team=self._team(scope, by),
            deed={"before": msgspec.to_builtins(before), "after": msgspec.to_builtins(after)},
            reason=f"The cap of {scope} by {window} shall be {_usd(after)} instead of {_usd(before)}.",
        )
        return self._requests.ask(wish, by=by)

    def _team(self, scope: str, by: Principal) -> str:
        """The team whose money it is; what belongs to the whole organisation is the author's to ask for."""
        kind, _, name = scope.partition("/")
        if kind == "team":
            return name
        if kind == "key":
            found = next((key for key in self._keys.list(by) if key.principal.name == name and key.revoked_at is None), None)
            return by.team if found is None else found.principal.team
        return by.team


def raises(before: Budget, after: Budget | None) -> bool:
    """Whether a change lets more be spent than before."""
    return after is None or after.cap > before.cap


def _cap(ledger: Ledger, scope: str, window: str) -> Budget | None:
    return next((each for each in ledger.budgets() if (each.scope, each.window) == (scope, window)), None)


def _before(request: Request) -> Budget:
    return msgspec.convert(request.deed["before"], Budget)


def _after(request: Request) -> Budget | None:
    return msgspec.convert(request.deed["after"], Budget | None)


def _usd(budget: Budget | None) -> str:
    return "none" if budget is None else f"{dollars(budget.cap)} USD"
