"""Who used what over HTTP: a page at a time, or all of it as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from tandem.api.wire import Caller, answer, usd
from tandem.core.principal import Principal
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.observability.usage import Usages, Use, Wanted
from tandem.store.sql import Sql

MICROS_MAX = 2**62
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}
FILES: dict[int | str, dict[str, Any]] = {
    200: {"description": "A line for each call", "content": {"application/x-ndjson": {}, "text/csv": {}}}
}
STARTERS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the beginning of a cell."""
Moment = Annotated[int | None, Query(ge=0, le=MICROS_MAX, description="UTC microseconds")]
Name = Annotated[str | None, Query(max_length=140)]
Document = Annotated[str | None, Query(max_length=500)]
Call = Annotated[str | None, Query(max_length=64)]


def routes(usages: Usages, audit: Audit, sql: Sql) -> APIRouter:
    """The routes of usage, a part of Trace."""
    router = APIRouter(tags=["traces"])

    @router.get("/usage")
    def list_usage(
        by: Caller,
        principal: Name = None,
        endpoint: Name = None,
        asset: Name = None,
        document: Document = None,
        since: Moment = None,
        until: Moment = None,
        before: Moment = None,
        call: Call = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        """Calls by what they used, newest first; `before` and `call` of the last one continue behind it."""
        authorise(by, "read")
        wanted = _wanted(by, principal, endpoint, asset, document, since, until)
        last = None if before is None else (before, call or "")
        return answer([_row(use) for use in usages.page(wanted, before=last, limit=limit)])

    @router.get("/usage/export", response_class=StreamingResponse, responses=FILES)
    def export(
        by: Caller,
        principal: Name = None,
        endpoint: Name = None,
        asset: Name = None,
        document: Document = None,
        since: Moment = None,
        until: Moment = None,
        format: Literal["jsonl", "csv"] = "jsonl",
    ) -> Response:
        """The same as a file, whole; the audit says who took it."""
        authorise(by, "read")
        wanted = _wanted(by, principal, endpoint, asset, document, since, until)
        return exported(usages, audit, sql, wanted, format, by)

    return router


def exported(
    usages: Usages, audit: Audit, sql: Sql, wanted: Wanted, format: Literal["jsonl", "csv"], by: Principal
) -> StreamingResponse:
    """A file of usage, written while it is read; the audit says first who takes it."""
    with sql.write() as conn:
        detail = {"format": format, **asdict(wanted)}
        audit.append(conn, actor=by.name, action="usage.export", subject="usage", team=by.team, detail=detail)
    lines = _csv(usages.every(wanted)) if format == "csv" else _jsonl(usages.every(wanted))
    headers = {"content-disposition": f'attachment; filename="usage.{format}"'}
    return StreamingResponse(lines, media_type=TYPES[format], headers=headers)


def _wanted(
    by: Principal,
    principal: str | None,
    endpoint: str | None,
    asset: str | None,
    document: str | None,
    since: int | None,
    until: int | None,
) -> Wanted:
    return Wanted(
        team=scope_of(by).team,
        principal=principal,
        endpoint=endpoint,
        asset=asset,
        document=document,
        since=since,
        until=until,
    )


def _row(use: Use) -> dict[str, Any]:
    return {**asdict(use), "cost_usd": usd(use.cost)}


def _jsonl(uses: Iterator[Use]) -> Iterator[bytes]:
    for use in uses:
        yield msgspec.json.encode(_row(use)) + b"\n"


def _csv(uses: Iterator[Use]) -> Iterator[bytes]:
    names = [each.name for each in fields(Use)]
    yield _cells(names)
    for use in uses:
        yield _cells([_cell(getattr(use, name)) for name in names])


def _cells(cells: list[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue().encode()


def _cell(value: object) -> str:
    text = " ".join(value) if isinstance(value, tuple) else "" if value is None else str(value)
    return f"'{text}" if text.startswith(STARTERS) else text
