"""Costs over HTTP: bills beside the books."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.datasets import received
from tandem.api.wire import Caller, answer
from tandem.core.clock import Clock
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.gateway.repo import Routes
from tandem.governance.authorise import ALL, authorise, scope_of
from tandem.governance.bills.export import by_hand, opened
from tandem.governance.bills.forecast import Forecasts
from tandem.governance.bills.found import Reconciliation
from tandem.governance.bills.overview import overview
from tandem.governance.bills.reconcile import Asked, Bills
from tandem.governance.bills.reprice import Repricing
from tandem.governance.bills.savings import Audits
from tandem.governance.ledger import Ledger
from tandem.observability.traces import Traces

BILL_BYTES = 8 * 1024**3
MICROS_MAX = 2**62
Moment = Annotated[int | None, Query(ge=0, le=MICROS_MAX, description="UTC microseconds")]
CSV = {
    "requestBody": {"required": True, "content": {"text/csv": {"schema": {"type": "string", "format": "binary"}}}},
}


class PeriodIn(BaseModel):
    """A past period, in UTC microseconds."""

    model_config = ConfigDict(extra="forbid")
    since: Annotated[int, Field(ge=0, le=MICROS_MAX)]
    until: Annotated[int | None, Field(ge=0, le=MICROS_MAX, description="null: now")] = None
    apply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the routes ask."""

    bills: Bills
    repricing: Repricing
    forecasts: Forecasts
    audits: Audits
    ledger: Ledger
    traces: Traces
    table: Routes
    """Providers."""
    clock: Clock
    staging: Path


def routes(sources: Sources) -> APIRouter:
    """The routes of costs, a part of Trace."""
    s = sources
    router = APIRouter(tags=["traces"])

    @router.get("/cost/spend")
    def spend(by: Caller, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
        """What was spent, as far as the caller sees it: day by day, and of late by team, endpoint and target."""
        authorise(by, "read")
        return answer(overview(s.ledger, s.traces, by=by, days=days, now=s.clock.now()))

    @router.post("/cost/reconcile", openapi_extra=CSV)
    async def reconcile(
        request: Request,
        by: Caller,
        name: Annotated[str, Query(max_length=200, description="What errors call the file")] = "the file",
        provider: Annotated[str | None, Query(max_length=140)] = None,
        since: Moment = None,
        until: Moment = None,
        columns: Annotated[str | None, Query(max_length=2000, description="date=…,model=…,cost=…")] = None,
        apply: bool = False,
    ) -> Response:
        """Lays a provider's usage export, the body, beside the books; `apply` corrects what was booked as estimated."""
        authorise(by, "admin" if apply else "audit")
        asked = Asked(
            provider=await run_in_threadpool(_provider, s.table, provider),
            since=since,
            until=until,
            columns=None if columns is None else by_hand(columns.split(",")),
            apply=apply,
        )
        request.state.body_bytes = BILL_BYTES
        path = await received(request, s.staging, "csv")
        try:
            found = await run_in_threadpool(_read, s.bills, path, name, asked, by)
        finally:
            path.unlink(missing_ok=True)
        return answer(found)

    @router.post("/cost/reprice")
    def reprice(body: PeriodIn, by: Caller) -> Response:
        """Prices a past period by the rows that are known now; `apply` books that."""
        return answer(s.repricing.reprice(body.since, body.until, apply=body.apply, by=by))

    @router.get("/cost/audit")
    def audit(by: Caller, days: Annotated[int, Query(ge=1, le=366)] = 30) -> Response:
        """What recorded traffic, as far as the caller sees it, would have saved by four measures, and what each assumes."""
        return answer(s.audits.audit(days, by=by))

    @router.get("/cost/forecast")
    def forecast(by: Caller) -> Response:
        """When each budget that the caller sees runs out, from what was spent day by day."""
        authorise(by, "read")
        return answer(s.forecasts.every(by))

    @router.get("/cost/reconciliations")
    def reconciliations(by: Caller, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
        """What comparing bills with the books found, newest first."""
        authorise(by, "audit")
        return answer(s.bills.kept.list(scope_of(by), limit))

    return router


def _read(bills: Bills, path: Path, name: str, asked: Asked, by: Principal) -> Reconciliation:
    with opened(path) as file:
        return bills.reconcile(file, name, asked, by=by)


def _provider(table: Routes, named: str | None) -> str:
    """Whose bill it is.

    Raises:
        Invalid: there is no such provider, or several and none was named.
    """
    known = [provider.name for provider in table.providers(ALL)]
    if named is None and len(known) == 1:
        return known[0]
    if named is None:
        raise Invalid(
            "Whose bill this is was not said.",
            hint=f"Name the provider: --provider {' or '.join(known)}." if known else "There is no provider yet.",
            field="provider",
        )
    return named  # also one that is gone by now: its calls are recorded still
