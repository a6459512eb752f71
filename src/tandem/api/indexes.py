"""Indexes over HTTP: documents come in piece by piece and are a version when all of them are right; search; deletion."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.datasets import handed_in
from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref, check_name
from tandem.core.errors import Invalid
from tandem.data.corpus.child import check_document
from tandem.data.corpus.indexes import Indexes
from tandem.data.corpus.read import READERS
from tandem.data.corpus.rights import check_readers
from tandem.data.corpus.shelf import LIMIT, QUERY_CHARACTERS
from tandem.data.corpus.tasks import HASHED, KIND, claim
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.registry import Registry
from tandem.store.search import document_id

UPLOAD_BYTES = 4 * 1024**3
TAR = "application/x-tar"
MEDIA = {
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/html": ".html",
    "application/pdf": ".pdf",
}
BODY = {
    "requestBody": {
        "required": True,
        "content": {media: {"schema": {"type": "string", "format": "binary"}} for media in (TAR, *MEDIA)},
    }
}
Words = Annotated[list[Annotated[str, Field(max_length=140)]] | None, Query()]
Tail = Annotated[str | None, Query(max_length=64, description="A version or an alias; else the newest version.")]
Document = Annotated[str, Query(min_length=1, max_length=500)]


class SearchIn(BaseModel):
    """What is looked for."""

    model_config = ConfigDict(extra="forbid")
    query: Annotated[str, Field(min_length=1, max_length=QUERY_CHARACTERS)]
    limit: Annotated[int, Field(ge=1, le=LIMIT)] = 8
    version: Annotated[str, Field(max_length=64)] | None = None


def routes(registry: Registry, runs: Runs, jobs: Jobs, indexes: Indexes, work: Path) -> APIRouter:
    """The routes of indexes; `work` is where Runs keep files while they work."""
    router = APIRouter(tags=["assets"])

    @router.post("/indexes/{name}/documents", status_code=202, openapi_extra=BODY)
    async def add(
        request: Request,
        name: str,
        by: Caller,
        document: Annotated[str | None, Query(max_length=500)] = None,
        reader: Words = None,
        embed: Annotated[str | None, Query(max_length=140)] = None,
        replace: bool = False,
    ) -> Response:
        """Starts the Run that makes the next version: a tar of documents, or one document whose name is `document`.

        What is not sent stays in the index, unless `replace` says that what is sent is all there is. Without `reader`
        a new document is its adding team's, a known one keeps its readers; an empty `reader` means nobody.
        """
        claim(registry, check_name(name), by)
        tar = request.headers.get("content-type", "").partition(";")[0].strip() == TAR
        if tar == (document is not None):
            raise Invalid(
                "Say which document this is, or send a tar of several.",
                hint=f"?document=NAME for one; content-type: {TAR} for several.",
                field="document",
            )
        if document is not None and Path(check_document(document)).suffix.lower() not in READERS:
            raise Invalid("The document is of no format that is read.", hint=f"Known are {', '.join(READERS)}.", field="document")
        readers = None if reader is None else check_readers(word for word in reader if word)
        if embed is not None and embed != HASHED and "/" not in embed:
            check_name(embed)
        request.state.body_bytes = UPLOAD_BYTES
        async with handed_in(request, work, "upload") as (run_id, path):
            inputs = {"upload": path.name, "document": document, "readers": readers, "embed": embed, "replace": replace}
            run = runs.create(KIND, name, inputs=inputs, by=by, id=run_id)
        jobs.start(KIND, run.id, {"by": asdict(by), **inputs})
        return answer(asdict(run), 202)

    @router.get("/indexes/{name}/documents")
    def documents(name: str, by: Caller, version: Tail = None) -> Response:
        """The documents that the caller may read."""
        found, entries = indexes.documents(_ref(name, version), by=by)
        rows = [
            {"id": document_id(entry.name), **{key: value for key, value in asdict(entry).items() if key != "edition"}}
            for entry in entries
        ]
        return answer({"index": str(found.ref), "documents": rows})

    @router.get("/indexes/{name}/chunks")
    def chunks(name: str, document: Document, by: Caller, version: Tail = None) -> Response:
        """The chunks of one document, in their order."""
        return answer([asdict(hit) for hit in indexes.chunks(_ref(name, version), document, by=by)])

    @router.delete("/indexes/{name}/documents")
    def delete(name: str, document: Document, by: Caller) -> Response:
        """Removes a document from every version, at once and for good."""
        removed = indexes.delete(check_name(name), document, by=by)
        return answer({"document": document, "deleted": True, "contents": removed})

    @router.post("/indexes/{name}/search")
    def search(name: str, body: SearchIn, by: Caller) -> Response:
        """The chunks that fit best, of those that the caller may read, with their ranks by words and by direction."""
        found = indexes.search(_ref(name, body.version), body.query, body.limit, by=by)
        return answer(asdict(found))

    return router


def _ref(name: str, tail: str | None) -> Ref:
    return Ref.parse(f"index/{check_name(name)}" + ("" if tail is None else f"@{tail}"))
