"""Policy as pages: budgets with what stands against them, and the audit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from tandem.console.desk import HEADERS, Desk
from tandem.console.words import money, number, percent
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.core.window import rolling
from tandem.governance.audit import Audit, AuditReport
from tandem.governance.authorise import scope_of
from tandem.governance.caps import may_see
from tandem.governance.erase import Erasure, Erasures
from tandem.governance.export import begin, stream
from tandem.governance.ledger import Account, Ledger
from tandem.governance.machines import Machines
from tandem.governance.repo import Entry
from tandem.governance.rotation import Rotation
from tandem.store.sql import Sql

PAGE = 100
SEQ_MAX = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A cap as a bar: what is settled, what is reserved on top, in percent of it."""

    account: Account
    settled: float
    reserved: float
    used: str
    held: str
    cap: str
    span: str
    """Over which span, in words."""
    until: int | None
    """When it begins anew, where it does at once; UTC microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one scope spent today (UTC)."""

    scope: str
    cost: int
    attempts: int
    unpriced: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A row of the audit with its detail read."""

    entry: Entry
    detail: object


def bars(ledger: Ledger, by: Principal, *, dollars: bool = True) -> list[Bar]:
    """The budgets, or else the limits, that the principal sees, with what stands against them now."""
    accounts = [each for each in ledger.accounts() if (each.unit == "usd") == dollars]
    return [_bar(account) for account in accounts if may_see(by, account.scope)]


def spent_today(ledger: Ledger, by: Principal, now: int) -> list[Spent]:
    """What the widest scope of the principal, and it itself, spent today."""
    scopes = [scope for scope in by.budget_scopes if may_see(by, scope)]
    return [_spent(scope, ledger.spend(scope, since=now, until=now)) for scope in scopes]


def _bar(account: Account) -> Bar:
    settled = percent(account.settled, account.cap)
    moves = account.window == "total" or rolling(account.window) is not None
    return Bar(
        account=account,
        settled=settled,
        reserved=min(100 - settled, percent(account.reserved, account.cap)),
        used=_amount(account, account.settled if account.unit != "calls" else account.reserved),
        held=_amount(account, account.reserved),
        cap=_amount(account, account.cap),
        span=_span(account),
        until=account.ends if account.ends is not None else None if moves else account.end,
    )


def _amount(account: Account, amount: int) -> str:
    if account.unit == "usd":
        return money(amount)
    return number(amount)


def _span(account: Account) -> str:
    """Over which span a cap counts, for people."""
    unit = "" if account.unit == "usd" else f"{account.unit} "
    if account.unit == "calls":
        return "calls at once"
    if account.window == "total":
        return f"{unit}in all"
    name, _, zone = account.window.partition("@")
    if rolling(account.window) is not None:
        return f"{unit}in any {name.removeprefix('rolling-')}"
    return f"{unit}a {name}" + (f" in {zone}" if zone else "")


def _spent(scope: str, spend: tuple[int, int, int]) -> Spent:
    return Spent(scope=scope, cost=spend[0], attempts=spend[1], unpriced=spend[2])


def routes(
    desk: Desk, ledger: Ledger, machines: Machines, audit: Audit, sql: Sql, erasures: Erasures, rotation: Rotation
) -> APIRouter:
    """The pages of Policy."""
    router = desk.router()

    @router.get("/budgets")
    def budgets(request: Request) -> Response:
        by = desk.enter(request)
        values = {
            "budgets": bars(ledger, by),
            "limits": bars(ledger, by, dollars=False),
            "spent": spent_today(ledger, by, desk.clock.now()),
            "machines": [(each, machines.away(each)) for each in machines.list()] if by.may("audit") else [],
        }
        return desk.page(request, "budgets.html", "Budgets", values, by=by)

    @router.get("/audit")
    def rows(request: Request, before: Annotated[int | None, Query(ge=1, le=SEQ_MAX)] = None) -> Response:
        return _page(request, before, report=None)

    @router.get("/audit/export")
    def export(request: Request) -> Response:
        """All rows as a file that anybody can verify who has the public key."""
        span = begin(audit, sql, since=None, until=None, by=desk.enter(request, "audit"))
        headers = {**HEADERS, "content-disposition": 'attachment; filename="audit.jsonl"'}
        return StreamingResponse(stream(audit, span, desk.clock), 200, headers, "application/x-ndjson")

    @router.post("/audit/verify")
    def verify(request: Request) -> Response:
        desk.enter(request, "audit")
        return _page(request, None, report=audit.verify())

    @router.get("/audit/verify")
    def verified(request: Request) -> Response:
        """Where a browser comes back to that reloads the answer."""
        desk.enter(request, "audit")
        return RedirectResponse("/audit", 303)

    @router.post("/audit/erase")
    def erase(
        request: Request, subject: Annotated[str, Form(max_length=1024)] = "", sure: Annotated[bool, Form()] = False
    ) -> Response:
        by = desk.enter(request, "admin")
        if not sure:
            raise Invalid("Nothing was erased: the box was not ticked.", hint="Go back and tick it; nothing brings it back.")
        return _page(request, None, report=None, erasure=erasures.erase(subject, by))

    @router.post("/audit/rotate")
    def rotate(request: Request, sure: Annotated[bool, Form()] = False) -> Response:
        by = desk.enter(request, "admin")
        if not sure:
            raise Invalid("Nothing was replaced: the box was not ticked.", hint="Go back and tick it.")
        rotation.begin(by)
        return RedirectResponse("/audit", 303)

    @router.get("/audit/erase")
    def erased(request: Request) -> Response:
        """Where a browser comes back to that reloads the answer."""
        desk.enter(request, "admin")
        return RedirectResponse("/audit", 303)

    def _page(request: Request, before: int | None, *, report: AuditReport | None, erasure: Erasure | None = None) -> Response:
        by = desk.enter(request, "audit", own=True)
        found = audit.list(scope_of(by), limit=PAGE + 1, before=before)
        values = {
            "deeds": [Deed(entry=entry, detail=json.loads(entry.detail)) for entry in found[:PAGE]],
            "older": found[PAGE - 1].seq if len(found) > PAGE else None,
            "before": before,
            "report": report,
            "key": audit.signer.public if by.may("audit") else None,
            "master": rotation.standing(by) if by.may("admin") else None,
            "erasure": erasure,
            "proof": None if erasure is None else json.dumps(asdict(erasure), indent=2, ensure_ascii=False),
            "may_erase": by.may("admin"),
        }
        return desk.page(request, "audit.html", "Audit", values, by=by)

    return router
