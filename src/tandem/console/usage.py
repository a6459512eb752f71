"""Who used what, as a page: calls by endpoint, asset and document, and the file of them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.governance.authorise import scope_of
from tandem.observability.usage import Usages, Wanted

PAGE = 100
MICROS_MAX = 2**62
Name = Annotated[str, Query(max_length=140)]


def routes(desk: Desk, usages: Usages) -> APIRouter:
    """The page of usage."""
    router = desk.router()

    @router.get("/audit/usage")
    def rows(
        request: Request,
        principal: Name = "",
        endpoint: Name = "",
        asset: Name = "",
        document: Annotated[str, Query(max_length=500)] = "",
        before: Annotated[int | None, Query(ge=0, le=MICROS_MAX)] = None,
        call: Annotated[str, Query(max_length=64)] = "",
    ) -> Response:
        by = desk.enter(request)
        given = {"principal": principal, "endpoint": endpoint, "asset": asset, "document": document}
        asked = {name: value.strip() for name, value in given.items() if value.strip()}
        wanted = Wanted(
            team=scope_of(by).team,
            principal=asked.get("principal"),
            endpoint=asked.get("endpoint"),
            asset=asked.get("asset"),
            document=asked.get("document"),
        )
        found = usages.page(wanted, before=None if before is None else (before, call), limit=PAGE + 1)
        last = found[PAGE - 1] if len(found) > PAGE else None
        older = None if last is None else urlencode({**asked, "before": last.at, "call": last.call})
        values = {"uses": found[:PAGE], "older": older, "asked": given, "filter": urlencode(asked)}
        return desk.page(request, "usage.html", "Usage", values, by=by)

    return router
