"""Caps that are raised or dropped, when a rule asks for people. The ledger is a store of its own, so it is told afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec
from sqlalchemy import Connection

from tandem.core.approval import Request
from tandem.core.errors import Conflict
from tandem.core.money import dollars
from tandem.core.policy import Budget, Unit
from tandem.core.principal import Principal
from tandem.governance.approvals.act import told
from tandem.governance.approvals.requests import Requests, Wish
from tandem.governance.audit import Audit
from tandem.governance.caps import detail_of
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger

CREDIT = "budget.credit"
DEEDS = ("budget.set", "budget.drop", "limit.set", "limit.drop", CREDIT)


class Raising:
    """The deeds `budget.set`, `limit.drop` and so on of those that raise or drop a cap, and `budget.credit`."""

    elsewhere = True

    def __init__(self, ledger: Ledger, audit: Audit) -> None:
        self._ledger, self._audit = ledger, audit

    def stale(self, conn: Connection, request: Request) -> str | None:
        before = _before(request)
        now = _now(self._ledger, before)
        if request.does == CREDIT:
            return None if now is not None and now.mode == "prepaid" else f"{before.scope} has no prepaid budget any more."
        if _same(now, before):
            return None
        return f"The cap of {before.scope} by {before.meter} was changed meanwhile: it is {_told(now)}, not {_told(before)}."

    def prepare(self, request: Request, by: Principal) -> object:
        return None

    def perform(self, conn: Connection, request: Request, prepared: object, by: Principal) -> Mapping[str, object]:
        before, after = _before(request), _after(request)
        if request.does == CREDIT:
            detail: Mapping[str, object] = {"amount_nano_usd": request.deed["amount"], "reference": request.deed["reference"]}
        else:
            detail = {"unit": before.unit, "window": before.window} if after is None else detail_of(after)
        self._audit.append(
            conn,
            actor=by.name,
            action=request.does,
            subject=before.scope,
            team=request.team,
            detail={**detail, **told(request)},
        )
        return {"scope": before.scope, **detail}

    def finish(self, request: Request) -> str | None:
        before, after = _before(request), _after(request)
        if request.does == CREDIT:
            return self._credit(request, before)
        now = _now(self._ledger, before)
        if _same(now, after):
            return None  # told before, and then the process died
        if not _same(now, before):
            return f"The cap of {before.scope} was changed while this was approved: it is {_told(now)} now."
        if after is None:
            self._ledger.drop_budget(before.scope, before.meter)
        else:
            self._ledger.set_budget(after)
        return None

    def _credit(self, request: Request, before: Budget) -> str | None:
        amount, reference = msgspec.convert(request.deed["amount"], int), str(request.deed["reference"])
        try:
            self._ledger.credit(before.scope, amount, reference=reference, actor=request.decided_by or request.author)
        except Conflict as error:
            return error.message
        return None


class Raises:
    """Asks for people where a cap is raised or dropped."""

    def __init__(self, requests: Requests, ledger: Ledger, keys: Keys) -> None:
        self._requests, self._ledger, self._keys = requests, ledger, keys

    def ask(self, after: Budget, *, by: Principal) -> Request | None:
        """A request when this raises a cap and a rule asks for people; None when it may be set at once."""
        before = _now(self._ledger, after)
        if before is None or not raises(before, after):
            return None
        reason = f"The cap of {after.scope} by {after.meter} shall be {_told(after)} instead of {_told(before)}."
        return self._ask(f"{_noun(after.unit)}.set", before, {"after": msgspec.to_builtins(after)}, reason, by)

    def ask_drop(self, scope: str, meter: str, *, by: Principal) -> Request | None:
        """The same of a cap that shall be dropped."""
        before = next((each for each in self._ledger.budgets() if (each.scope, each.meter) == (scope, meter)), None)
        if before is None:
            return None  # the ledger says that there is none
        reason = f"The cap of {scope} by {meter}, {_told(before)}, shall be dropped."
        return self._ask(f"{_noun(before.unit)}.drop", before, {"after": None}, reason, by)

    def ask_credit(self, scope: str, amount: int, reference: str, *, by: Principal) -> Request | None:
        """The same of a payment into a prepaid budget that there is; the first one opens it, and caps."""
        before = _now(self._ledger, Budget(scope=scope, cap=0, window="total"))
        if before is None or before.mode != "prepaid":
            return None
        reason = f"{dollars(amount)} USD shall be paid into the budget of {scope}."
        return self._ask(CREDIT, before, {"after": None, "amount": amount, "reference": reference}, reason, by)

    def _ask(self, does: str, before: Budget, deed: Mapping[str, object], reason: str, by: Principal) -> Request | None:
        wish = Wish(
            action="budget.raise",
            does=does,
            subject=before.scope,
            team=self._team(before.scope, by),
            deed={"before": msgspec.to_builtins(before), **deed},
            reason=reason,
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


def raises(before: Budget, after: Budget) -> bool:
    """Whether a change lets more be used than before, or refuses no more what it refused."""
    if before.mode != after.mode and (after.mode == "soft" or before.mode == "prepaid"):
        return True
    return after.cap > before.cap and "prepaid" not in (before.mode, after.mode)


def _noun(unit: Unit) -> str:
    return "budget" if unit == "usd" else "limit"


def _now(ledger: Ledger, cap: Budget) -> Budget | None:
    return next((each for each in ledger.budgets() if (each.scope, each.meter) == (cap.scope, cap.meter)), None)


def _same(one: Budget | None, other: Budget | None) -> bool:
    """Whether two caps are the same; what is paid into a prepaid one is for the ledger to know."""
    if one is None or other is None or not one.mode == other.mode == "prepaid":
        return one == other
    return replace(one, cap=0) == replace(other, cap=0)


def _before(request: Request) -> Budget:
    return msgspec.convert(request.deed["before"], Budget)


def _after(request: Request) -> Budget | None:
    return msgspec.convert(request.deed["after"], Budget | None)


def _told(budget: Budget | None) -> str:
    if budget is None:
        return "none"
    amount = f"{dollars(budget.cap)} USD" if budget.unit == "usd" else f"{budget.cap} {budget.unit}"
    return amount if budget.mode == "hard" else f"{amount} ({budget.mode})"
