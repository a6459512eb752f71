"""The audit as a file over HTTP: exported in a form that anybody can verify, and the key it is verified with."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse

from tandem.api.wire import Caller, answer
from tandem.core.clock import Clock
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise
from tandem.governance.export import begin, stream
from tandem.store.sql import Sql

MICROS_MAX = 2**62
JSONL = "application/x-ndjson"
LINES: dict[int | str, dict[str, Any]] = {200: {"description": "JSON lines", "content": {JSONL: {}}}}
Moment = Annotated[int | None, Query(ge=0, le=MICROS_MAX, description="UTC microseconds")]


def routes(audit: Audit, sql: Sql, clock: Clock) -> APIRouter:
    """The routes of the audit as a file, a part of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/audit/export", response_class=StreamingResponse, responses=LINES)
    def export(by: Caller, since: Moment = None, until: Moment = None) -> Response:
        """Every row, with the hashes and the signature that prove them; `tandem audit check` verifies it without a platform."""
        span = begin(audit, sql, since=since, until=until, by=by)
        headers = {"content-disposition": 'attachment; filename="audit.jsonl"'}
        return StreamingResponse(stream(audit, span, clock), media_type=JSONL, headers=headers)

    @router.get("/audit/key")
    def key(by: Caller) -> Response:
        """The public key that exports of this home are verified with."""
        authorise(by, "read")
        return answer({"key": audit.signer.public, "fingerprint": audit.signer.fingerprint})

    return router
