"""Policy over HTTP: budgets, gates and the audit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.approvals import WAITING, waits
from tandem.api.wire import Caller, answer, usd
from tandem.core.asset import NAME, Ref
from tandem.core.clock import Clock
from tandem.core.errors import Invalid
from tandem.core.money import nano
from tandem.core.policy import Budget, Gate, Window
from tandem.core.principal import Principal
from tandem.evaluation.look import gate_metric
from tandem.evaluation.suite import MARGIN
from tandem.governance.approvals.budgets import Raises
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.governance.ledger import Account, Ledger
from tandem.governance.repo import Entry
from tandem.registry.registry import Registry
from tandem.store.sql import Sql

Scoped = Annotated[str, Path(max_length=140)]
MICROS_MAX = 2**62


class BudgetIn(BaseModel):
    """A hard cap: dollars a window."""

    model_config = ConfigDict(extra="forbid")
    cap: str = Field(max_length=32, description="Dollars, such as 0.002")
    window: Window = "day"


class GateIn(BaseModel):
    """What a version must prove before an alias moves to it."""

    model_config = ConfigDict(extra="forbid")
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")
    metric: str | None = Field(None, max_length=64, description="roc_auc, or for a suite its own metric, unless named")
    minimum: float | None = Field(None, ge=0, le=1)
    margin: float | None = Field(None, ge=0, le=1, description="0.02, or 0.05 for a suite, unless named")
    require: Literal["improved", "non-inferior"] = "non-inferior"
    suite: str | None = Field(None, max_length=140, description="For prompts: the suite they are evaluated with")


def check_scope(scope: str) -> str:
    """`org`, `team/T` or `key/N`.

    Raises:
        Invalid: it is none of them.
    """
    kind, slash, name = scope.partition("/")
    if scope == "org" or (slash and kind in ("team", "key") and NAME.fullmatch(name)):
        return scope
    raise Invalid(f"'{scope}' has no budgets.", hint="Scopes are org, team/NAME and key/NAME.", field="scope")


def routes(ledger: Ledger, registry: Registry, audit: Audit, sql: Sql, clock: Clock, raises: Raises) -> APIRouter:
    """The routes of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/budgets")
    def budgets(by: Caller) -> Response:
        """Every cap with what stands against it now."""
        authorise(by, "read")
        return answer([_account(account) for account in ledger.accounts() if _sees(by, account.scope)])

    @router.put("/budgets/{scope:path}", responses=WAITING)
    def set_budget(scope: Scoped, body: BudgetIn, by: Caller) -> Response:
        """Sets or replaces a cap; it holds on every worker within a second."""
        authorise(by, "admin")
        budget = Budget(scope=check_scope(scope), cap=nano(body.cap), window=body.window)
        if (waiting := raises.ask(scope, budget.window, budget, by=by)) is not None:
            return waits(waiting)
        with sql.write() as conn:
            audit.append(
                conn,
                actor=by.name,
                action="budget.set",
                subject=scope,
                team=by.team,
                detail={"cap_nano_usd": budget.cap, "window": budget.window},
            )
        ledger.set_budget(budget)
        return answer(next(_account(a) for a in ledger.accounts() if (a.scope, a.window) == (scope, body.window)))

    @router.delete("/budgets/{scope:path}", responses=WAITING)
    def drop_budget(scope: Scoped, by: Caller, window: Window = "day") -> Response:
        """Removes a cap."""
        authorise(by, "admin")
        if (waiting := raises.ask(check_scope(scope), window, None, by=by)) is not None:
            return waits(waiting)
        ledger.drop_budget(check_scope(scope), window)
        with sql.write() as conn:
            audit.append(conn, actor=by.name, action="budget.drop", subject=scope, team=by.team, detail={"window": window})
        return answer({"scope": scope, "window": window})

    @router.get("/spend")
    def spend(
        by: Caller,
        scope: Annotated[str, Query(max_length=140)] = "org",
        since: Annotated[int, Query(ge=0, le=MICROS_MAX)] = 0,
        until: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
    ) -> Response:
        """What a scope spent between two UTC times (whole days)."""
        authorise(by, "read")
        if not _sees(by, scope):
            authorise(by, "audit")
        cost, attempts, unpriced = ledger.spend(scope, since=since, until=clock.now() if until is None else until)
        return answer({"scope": scope, "cost": cost, "cost_usd": usd(cost), "attempts": attempts, "unpriced": unpriced})

    @router.get("/gates")
    def list_gates(by: Caller) -> Response:
        """Every gate that applies somewhere."""
        authorise(by, "read")
        return answer([asdict(gate) for gate in registry.gates(scope_of(by))])

    @router.put("/gates/{kind}/{name}")
    def set_gate(kind: str, name: str, body: GateIn, by: Caller) -> Response:
        """Sets what a version of an asset must prove; `*` as the name is the default of its kind."""
        asset = f"{kind}/{name}" if name == "*" else str(Ref.parse(f"{kind}/{name}"))
        authorise(by, "admin")
        plain, metric = Gate(asset=asset), body.metric
        if body.suite is not None:
            metric = gate_metric(registry, body.suite, metric, scope_of(by))
        margin = body.margin if body.margin is not None else plain.margin if body.suite is None else MARGIN
        gate = Gate(
            asset=asset,
            alias=body.alias,
            metric=metric or plain.metric,
            minimum=body.minimum,
            margin=margin,
            require=body.require,
            suite=body.suite,
        )
        registry.set_gate(gate, by=by)
        return answer(asdict(gate))

    @router.get("/audit")
    def list_audit(
        by: Caller,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=MICROS_MAX)] = None,
    ) -> Response:
        """Who changed what, newest first."""
        authorise(by, "audit")
        return answer([_entry(entry) for entry in audit.list(ALL, limit=limit, before=before)])

    @router.post("/audit/verify")
    def verify(by: Caller) -> Response:
        """Proves that the audit was not edited, cut, reordered or rewritten."""
        authorise(by, "audit")
        return answer(asdict(audit.verify()))

    return router


def _sees(by: Principal, scope: str) -> bool:
    return by.may("audit") or scope in by.budget_scopes[1:]


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "actor": entry.actor,
        "team": entry.team,
        "action": entry.action,
        "subject": entry.subject,
        "detail": json.loads(entry.detail),
    }


def _account(account: Account) -> dict[str, object]:
    return {
        **asdict(account),
        "cap_usd": usd(account.cap),
        "settled_usd": usd(account.settled),
        "reserved_usd": usd(account.reserved),
    }
