"""Policy over HTTP: budgets, limits and what was spent. A limit is a cap that counts something else than dollars."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.approvals import WAITING, waits
from tandem.api.wire import Caller, answer, usd
from tandem.core.clock import Clock
from tandem.core.money import nano
from tandem.core.policy import ALERTS, Mode, Unit, meter_of
from tandem.governance.approvals.budgets import Raises
from tandem.governance.authorise import authorise
from tandem.governance.caps import Caps, check_scope, may_see
from tandem.governance.ledger import Account, Ledger

MICROS_MAX = 2**62
Scoped = Annotated[str, Path(max_length=200)]
Window = Annotated[str, Field(max_length=64, description="day, month@Europe/Berlin, rolling-24h, total…")]
Alerts = Annotated[list[Annotated[int, Field(ge=1, le=1000)]], Field(max_length=16)]


class BudgetIn(BaseModel):
    """A cap in dollars a window."""

    model_config = ConfigDict(extra="forbid")
    cap: str = Field(max_length=32, description="Dollars, such as 0.002")
    window: Window = "day"
    mode: Mode = "hard"
    fair: bool = Field(False, description="Whether each key that spends from it is left its even share")
    alerts: Alerts = Field(list(ALERTS), description="Percent of the cap at which the audit notes it")


class LimitIn(BaseModel):
    """A cap in tokens, in calls, or in calls at once."""

    model_config = ConfigDict(extra="forbid")
    unit: Unit
    cap: Annotated[int, Field(ge=0, le=2**53)]
    window: Window = "minute"
    mode: Mode = "hard"
    fair: bool = False
    alerts: Alerts = []


class CreditIn(BaseModel):
    """A payment into a prepaid budget."""

    model_config = ConfigDict(extra="forbid")
    amount: str = Field(max_length=32, description="Dollars, such as 25")
    reference: Annotated[str, Field(min_length=1, max_length=140, description="The payment's own name: it counts once")]


def routes(caps: Caps, ledger: Ledger, clock: Clock, raised: Raises) -> APIRouter:
    """The routes of budgets and limits."""
    router = APIRouter(tags=["policy"])

    @router.get("/budgets")
    def budgets(by: Caller) -> Response:
        """Every cap in dollars with what stands against it now."""
        authorise(by, "read")
        return answer([shown(each) for each in ledger.accounts() if each.unit == "usd" and may_see(by, each.scope)])

    @router.put("/budgets/{scope:path}", responses=WAITING)
    def set_budget(scope: Scoped, body: BudgetIn, by: Caller) -> Response:
        """Sets or replaces a cap; it holds on every worker within a second."""
        authorise(by, "admin")
        alerts = tuple(body.alerts)
        budget = caps.made(scope, nano(body.cap), window=body.window, mode=body.mode, fair=body.fair, alerts=alerts)
        if (waiting := raised.ask(budget, by=by)) is not None:
            return waits(waiting)
        return answer(shown(caps.put(budget, by=by)))

    @router.post("/budgets/{scope:path}/credits", status_code=201, responses=WAITING)
    def credit(scope: Scoped, body: CreditIn, by: Caller) -> Response:
        """Pays into a prepaid budget, which the first payment opens. The same reference again changes nothing."""
        authorise(by, "admin")
        if (waiting := raised.ask_credit(check_scope(scope), nano(body.amount), body.reference, by=by)) is not None:
            return waits(waiting)
        return answer(shown(caps.credit(scope, nano(body.amount), reference=body.reference, by=by)), 201)

    @router.delete("/budgets/{scope:path}", responses=WAITING)
    def drop_budget(scope: Scoped, by: Caller, window: Annotated[str, Query(max_length=64)] = "day") -> Response:
        """Removes a cap; of a run (`run/TEAM/NAME`), ends it, which its own team may do."""
        if scope.startswith("run/"):
            authorise(by, "call", scope.split("/")[1])
            caps.end_run(scope, by=by)
        else:
            authorise(by, "admin")
            if (waiting := raised.ask_drop(check_scope(scope), meter_of("usd", window), by=by)) is not None:
                return waits(waiting)
            caps.drop(scope, "usd", window, by=by)
        return answer({"scope": scope, "window": window})

    @router.get("/limits")
    def limits(by: Caller) -> Response:
        """Every limit with what stands against it now."""
        authorise(by, "read")
        return answer([shown(each) for each in ledger.accounts() if each.unit != "usd" and may_see(by, each.scope)])

    @router.put("/limits/{scope:path}", responses=WAITING)
    def set_limit(scope: Scoped, body: LimitIn, by: Caller) -> Response:
        """Sets or replaces a limit; it holds on every worker within a second."""
        authorise(by, "admin")
        alerts = tuple(body.alerts)
        budget = caps.made(scope, body.cap, window=body.window, unit=body.unit, mode=body.mode, fair=body.fair, alerts=alerts)
        if (waiting := raised.ask(budget, by=by)) is not None:
            return waits(waiting)
        return answer(shown(caps.put(budget, by=by)))

    @router.delete("/limits/{scope:path}", responses=WAITING)
    def drop_limit(scope: Scoped, by: Caller, unit: Unit, window: Annotated[str, Query(max_length=64)] = "minute") -> Response:
        """Removes a limit."""
        authorise(by, "admin")
        meter = meter_of(unit, "total" if unit == "calls" else window)
        if (waiting := raised.ask_drop(check_scope(scope), meter, by=by)) is not None:
            return waits(waiting)
        caps.drop(scope, unit, window, by=by)
        return answer({"scope": scope, "unit": unit, "window": window})

    @router.get("/spend")
    def spend(
        by: Caller,
        scope: Annotated[str, Query(max_length=200)] = "org",
        since: Annotated[int, Query(ge=0, le=MICROS_MAX)] = 0,
        until: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
    ) -> Response:
        """What a scope spent between two UTC times (whole days)."""
        authorise(by, "read")
        if not may_see(by, scope):
            authorise(by, "audit")
        cost, attempts, unpriced = ledger.spend(scope, since=since, until=clock.now() if until is None else until)
        return answer({"scope": scope, "cost": cost, "cost_usd": usd(cost), "attempts": attempts, "unpriced": unpriced})

    return router


def shown(account: Account) -> dict[str, object]:
    """An account as it is answered."""
    plain = asdict(account)
    if account.unit != "usd":
        return plain
    return {
        **plain,
        "cap_usd": usd(account.cap),
        "settled_usd": usd(account.settled),
        "reserved_usd": usd(account.reserved),
    }
