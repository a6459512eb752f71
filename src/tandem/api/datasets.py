"""Datasets over HTTP: a file comes in piece by piece, and is a version when all of it is right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref, check_name
from tandem.core.errors import Invalid
from tandem.core.ids import new_run
from tandem.data.reader import PAGE, Reader
from tandem.data.rows import Format
from tandem.data.rows import Query as RowQuery
from tandem.data.tasks import Datasets, How
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.registry import Registry

UPLOAD_BYTES = 8 * 1024**3
SUFFIXES = {
    "text/csv": "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-ndjson": "jsonl",
    "application/jsonl": "jsonl",
    "application/zip": "zip",
    "application/x-tar": "tar",
}
FILE = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in SUFFIXES},
    }
}
TYPES: dict[Format, str] = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "jsonl": "application/x-ndjson"}
"""Media types of files of rows."""
FILES: dict[int | str, dict[str, Any]] = {200: {"description": "The file", "content": {media: {} for media in TYPES.values()}}}
PIECE = 1 << 20
"""Bytes of a file that are sent at a time."""
Column = Annotated[str | None, Query(max_length=256)]
Columns = Annotated[list[str], Query(max_length=2000, description="Only these, in this order; all without")]
Where = Annotated[
    str | None, Query(max_length=2000, description="Only rows of which this is true, in SQL or Polars' notation: amount > 3")
]
Limit = Annotated[int, Query(ge=1, le=PAGE)]
Offset = Annotated[int, Query(ge=0, le=10**12)]
Parents = Annotated[
    list[Annotated[str, Field(max_length=140)]] | None, Query(max_length=20, description="Versions that the rows were made from")
]


class LinkIn(BaseModel):
    """Rows that lie elsewhere."""

    model_config = ConfigDict(extra="forbid")
    address: Annotated[str, Field(min_length=1, max_length=1000)]
    version: Annotated[int, Field(ge=0, le=2**53)] | None = Field(None, description="Of a Delta table; else its newest")
    id: Annotated[str, Field(max_length=256)] | None = None
    time: Annotated[str, Field(max_length=256)] | None = None
    evolve: bool = False


class QueryIn(BaseModel):
    """A question to a database."""

    model_config = ConfigDict(extra="forbid")
    sql: str = Field(min_length=1, max_length=100_000, description="One statement that reads")
    database: str = Field(min_length=1, max_length=1_000, description="env:NAME or file:PATH, as the settings list it")
    id: str | None = Field(None, max_length=256)
    time: str | None = Field(None, max_length=256)
    append: bool = Field(False, strict=True)
    evolve: bool = Field(False, strict=True)


def routes(registry: Registry, datasets: Datasets, reader: Reader, staging: Path) -> APIRouter:
    """The routes that ingest and read."""
    router = APIRouter(tags=["assets"])

    @router.post("/datasets/{name}", status_code=201, openapi_extra=FILE)
    async def add(
        request: Request,
        name: str,
        by: Caller,
        id: Column = None,
        time: Column = None,
        format: Annotated[str | None, Query(max_length=16)] = None,
        append: bool = False,
        evolve: bool = False,
        signals: bool = False,
        parent: Parents = None,
    ) -> Response:
        """Ingests the body as the next version of a dataset; a fault that the contract refuses is told with row and column.

        `append` adds the rows to those of the newest version; rows that stand there word for word under the same id are left
        out. `evolve` takes in new columns that may be empty, and wider types. `signals` takes an archive in which each file holds
        the samples of one unit.
        """
        authorise(by, "write")
        check_name(name)
        kind = format or SUFFIXES.get(request.headers.get("content-type", "").partition(";")[0].strip(), "csv")
        if kind not in SUFFIXES.values():
            raise Invalid(
                f"'{kind}' is no format.", hint="Send csv, parquet or jsonl; of images and signals zip or tar.", field="format"
            )
        if signals and kind not in ("zip", "tar"):
            raise Invalid(
                "Signals come one file for each unit, packed.", field="format", hint="Send zip or tar, or leave signals out."
            )
        parents = tuple(str(registry.find(Ref.parse(each), scope_of(by)).ref) for each in dict.fromkeys(parent or ()))
        how = How(id_column=id, time_column=time, append=append, evolve=evolve, signals=signals, parents=parents)
        request.state.body_bytes = UPLOAD_BYTES
        path = await received(request, staging, kind)
        try:
            version = await run_in_threadpool(datasets.ingest, path, name, how, by=by)
        finally:
            path.unlink(missing_ok=True)
        return answer(version_body(version, {}), 201)

    @router.post("/datasets/{name}/query", status_code=201)
    def ask(name: str, body: QueryIn, by: Caller) -> Response:
        """Ingests what a database answers; it is asked from where the platform runs, in a transaction that can only read.

        `database` is a reference that the settings list (`[data] databases`); its address is never stored.
        """
        how = How(id_column=body.id, time_column=body.time, append=body.append, evolve=body.evolve)
        return answer(version_body(datasets.query(body.sql, body.database, check_name(name), how, by=by), {}), 201)

    @router.post("/datasets/{name}/link", status_code=201)
    def link(name: str, body: LinkIn, by: Caller) -> Response:
        """Makes a Delta table or Parquet files that lie elsewhere a version; the rows are checked, and stay where they are."""
        how = How(id_column=body.id, time_column=body.time, evolve=body.evolve)
        made = datasets.link(body.address, check_name(name), how, version=body.version, by=by)
        return answer(version_body(made, {}), 201)

    @router.get("/datasets/{name}/{version}/contract")
    def contract(name: str, version: str, by: Caller) -> Response:
        """The contract a version was read under."""
        authorise(by, "read")
        found = registry.find(Ref.parse(f"dataset/{name}@{version}"), scope_of(by))
        return Response(registry.member(found, "contract.json"), media_type="application/json")

    @router.get("/datasets/{name}/{version}/rows")
    def rows(
        name: str,
        version: str,
        by: Caller,
        limit: Limit = 100,
        offset: Offset = 0,
        column: Columns = [],  # noqa: B006  # FastAPI copies it
        where: Where = None,
        lineage: bool = False,
    ) -> Response:
        """Rows of any version, in the order in which they were written; with `lineage`, the Run and row each came from."""
        query = RowQuery(columns=tuple(column) or None, where=where, lineage=lineage, limit=limit, offset=offset)
        return answer(reader.page(Ref.parse(f"dataset/{name}@{version}"), query, by=by))

    @router.get("/datasets/{name}/{version}/rows/file", response_class=StreamingResponse, responses=FILES)
    def rows_file(
        name: str,
        version: str,
        by: Caller,
        format: Format = "csv",
        column: Columns = [],  # noqa: B006  # FastAPI copies it
        where: Where = None,
        lineage: bool = False,
    ) -> Response:
        """The same as a file, whole; the audit says who took it."""
        query = RowQuery(columns=tuple(column) or None, where=where, lineage=lineage)
        ref = Ref.parse(f"dataset/{name}@{version}")
        return _sent(staging, f"{name}-{version}", format, lambda out: reader.file(ref, query, format, out, by=by))

    @router.get("/datasets/{name}/{version}/quarantine")
    def quarantine(name: str, version: str, by: Caller, limit: Limit = 100, offset: Offset = 0) -> Response:
        """Rows that were kept apart when a version was made, as text, with `_row`, `_line` and `_reasons`."""
        return answer(reader.apart(Ref.parse(f"dataset/{name}@{version}"), RowQuery(limit=limit, offset=offset), by=by))

    @router.get("/datasets/{name}/{version}/quarantine/file", response_class=StreamingResponse, responses=FILES)
    def quarantine_file(name: str, version: str, by: Caller, format: Format = "csv") -> Response:
        """The same as a file, whole; the audit says who took it."""
        ref = Ref.parse(f"dataset/{name}@{version}")
        return _sent(
            staging, f"{name}-{version}-quarantine", format, lambda out: reader.apart_file(ref, RowQuery(), format, out, by=by)
        )

    @router.get("/datasets/{name}/{version}/diff/{other}")
    def diff(name: str, version: str, other: str, by: Caller) -> Response:
        """What is different in `other`: columns, contract, rows by their id, and how each column's values have moved."""
        old, new = (Ref.parse(f"dataset/{name}@{each}") for each in (version, other))
        return answer(reader.diff(old, new, by=by))

    @router.get("/datasets/{name}/contract")
    def kept(name: str, by: Caller) -> Response:
        """The edited contract, which the next ingest is read under."""
        return answer(datasets.kept_contract(check_name(name), by=by).to_builtins())

    @router.put("/datasets/{name}/contract")
    def edit(name: str, body: Annotated[dict[str, Any], Body()], by: Caller) -> Response:
        """Keeps an edited contract; the next ingest is read under it."""
        authorise(by, "write")
        datasets.set_contract(check_name(name), json.dumps(body).encode(), by=by)
        return answer(body)

    @router.post("/datasets/{name}/contract/pandera")
    def pandera(name: str, body: Annotated[dict[str, Any], Body()], by: Caller) -> Response:
        """Keeps the contract that a Pandera schema asks for, as `to_json` wrote it; `notes` says what has no effect here."""
        found = datasets.import_contract(check_name(name), json.dumps(body).encode(), by=by)
        return answer({"contract": found.contract.to_builtins(), "notes": found.notes})

    return router


def _sent(staging: Path, name: str, format: Format, write: Callable[[Path], object]) -> StreamingResponse:
    """A file that is written and sent, and gone when it was sent or the reader went away."""
    staging.mkdir(parents=True, exist_ok=True)
    handle, path = mkstemp(dir=staging, suffix=f".{format}")
    os.close(handle)
    out = Path(path)
    try:
        write(out)
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    headers = {"content-disposition": f'attachment; filename="{name}.{format}"'}
    return StreamingResponse(_pieces(out), media_type=TYPES[format], headers=headers)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        path.unlink()
        while piece := file.read(PIECE):
            yield piece


@asynccontextmanager
async def handed_in(request: Request, work: Path, suffix: str) -> AsyncIterator[tuple[str, Path]]:
    """The id of a Run to be made, and the request's body in that Run's folder, which goes if the Run is not made."""
    run_id = new_run()
    folder = work / run_id
    folder.mkdir(parents=True)
    try:
        yield run_id, await received(request, folder, suffix)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


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
