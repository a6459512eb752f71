"""Datasets over HTTP: a file comes in piece by piece, and is a version when all of it is right."""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref, check_name
from tandem.core.errors import Invalid
from tandem.data.tasks import Datasets
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.registry import Registry

UPLOAD_BYTES = 8 * 1024**3
SUFFIXES = {
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
}
FILE = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in SUFFIXES},
    }
}
Column = Annotated[str | None, Query(max_length=256)]


def routes(registry: Registry, datasets: Datasets, staging: Path) -> APIRouter:
    """The routes that ingest."""
    router = APIRouter(tags=["assets"])

    @router.post("/datasets/{name}", status_code=201, openapi_extra=FILE)
    async def add(
        request: Request,
        name: str,
        by: Caller,
        id: Column = None,
        time: Column = None,
        format: Annotated[str | None, Query(max_length=16)] = None,
    ) -> Response:
        """Ingests the body as the next version of a dataset; a file with a fault is refused whole, with row and column."""
        authorise(by, "write")
        check_name(name)
        kind = format or SUFFIXES.get(request.headers.get("content-type", "").partition(";")[0].strip(), "csv")
        if kind not in ("csv", "parquet", "jsonl"):
            raise Invalid(f"'{kind}' is no format.", hint="Send csv, parquet or jsonl.", field="format")
        request.state.body_bytes = UPLOAD_BYTES
        path = await received(request, staging, kind)
        try:
            version = await run_in_threadpool(datasets.ingest, path, name, id_column=id, time_column=time, by=by)
        finally:
            path.unlink(missing_ok=True)
        return answer(version_body(version, {}), 201)

    @router.get("/datasets/{name}/{version}/contract")
    def contract(name: str, version: str, by: Caller) -> Response:
        """The contract a version was read under."""
        authorise(by, "read")
        found = registry.find(Ref.parse(f"dataset/{name}@{version}"), scope_of(by))
        return Response(registry.member(found, "contract.json"), media_type="application/json")

    @router.put("/datasets/{name}/contract")
    def edit(name: str, body: Annotated[dict[str, Any], Body()], by: Caller) -> Response:
        """Keeps an edited contract; the next ingest is read under it."""
        authorise(by, "write")
        datasets.set_contract(check_name(name), json.dumps(body).encode(), by=by)
        return answer(body)

    return router


async def received(request: Request, staging: Path, suffix: str) -> Path:
    """The whole body as a file of its own; nothing is left behind when the sender goes away."""
    staging.mkdir(parents=True, exist_ok=True)
    handle, name = mkstemp(dir=staging, suffix=f".{suffix}")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            async for piece in request.stream():
                file.write(piece)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path
