"""Files as OpenAI's clients send and read them: requests for batches, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse

from tandem.api.multipart import Form
from tandem.api.wire import Caller, answer
from tandem.batches.files import FILE_BYTES, KEPT_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS, Files
from tandem.batches.repo import File, Page
from tandem.core.clock import MICROS
from tandem.core.errors import Invalid

FORM_BYTES = 64 * 1024
"""Of a form beside its file."""
TOGETHER_BYTES = 256 * 1024
"""Of a file that are sent at once."""
EXPIRES = "expires_after"
KNOWN = frozenset({"purpose", f"{EXPIRES}[anchor]", f"{EXPIRES}[seconds]"})
JSONL = "application/jsonl"
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {"file": {"type": "string", "format": "binary"}, "purpose": {"const": "batch"}},
                    "additionalProperties": False,
                }
            }
        },
    }
}
CONTENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The lines", "content": {JSONL: {"schema": {"type": "string", "format": "binary"}}}}
}
After = Annotated[str | None, Query(max_length=64, description="The last id of the page before.")]


def routes(files: Files) -> APIRouter:
    """The routes of files."""
    router = APIRouter(tags=["runs"])

    @router.post("/files", openapi_extra=FORM)
    async def create(request: Request, by: Caller) -> Response:
        """Keeps a file of requests for a batch: JSONL of at most 200 MB, for 30 days or as `expires_after` says."""
        request.state.body_bytes = FILE_BYTES + FORM_BYTES
        with await run_in_threadpool(files.receive, by) as upload:
            form = Form(request.headers.get("content-type", ""), upload.feed)
            async for piece in request.stream():
                await run_in_threadpool(form.feed, piece)
            form.close()
            seconds = _checked(form)
            file = await run_in_threadpool(upload.keep, form.filename or "", seconds)
        return answer(_told(file))

    @router.get("/files")
    def list_files(
        by: Caller,
        after: After = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
        order: Literal["asc", "desc"] = "desc",
        purpose: Annotated[str | None, Query(max_length=64)] = None,
    ) -> Response:
        """The files of the caller's team."""
        page = Page(after=after, limit=limit, newest_first=order == "desc")
        found = files.list(page, by, purpose)
        return answer(listed([_told(file) for file in found], limit))

    @router.get("/files/{identifier}")
    def show(identifier: str, by: Caller) -> Response:
        """What is known of one file."""
        return answer(_told(files.find(identifier, by)))

    @router.get("/files/{identifier}/content", responses=CONTENT, response_class=StreamingResponse)
    def content(identifier: str, by: Caller) -> Response:
        """The lines of a file, without those whose subject was erased."""
        file = files.find(identifier, by)
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}"}
        return StreamingResponse(_pieces(files, file.id), media_type=JSONL, headers=headers)

    @router.delete("/files/{identifier}")
    def delete(identifier: str, by: Caller) -> Response:
        """Removes a file for good."""
        file = files.delete(identifier, by)
        return answer({"id": file.id, "object": "file", "deleted": True})

    return router


def listed(rows: list[dict[str, object]], limit: int) -> dict[str, object]:
    """A page as OpenAI's clients turn it; `rows` holds one more than the page if there are more."""
    shown = rows[:limit]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {"first_id": None, "last_id": None}
    return {"object": "list", "data": shown, **ends, "has_more": len(rows) > limit}


def _pieces(files: Files, identifier: str) -> Iterator[bytes]:
    waiting = bytearray()
    for _, line in files.lines(identifier):
        waiting += line or b""
        if len(waiting) >= TOGETHER_BYTES:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _checked(form: Form) -> int:
    """How many seconds the file is to be kept.

    Raises:
        Invalid: a field is missing, unknown or out of bounds.
    """
    if form.filename is None:
        raise Invalid("The form has no file.", field="file", hint="Send the fields file and purpose.")
    unknown = sorted(set(form.fields) - KNOWN)
    if unknown:
        raise Invalid(
            "The form has a field that is not known here.", field=unknown[0][:64], hint="Known are file, purpose, expires_after."
        )
    if form.fields.get("purpose") != "batch":
        raise Invalid("The purpose must be batch.", field="purpose", hint="Files are kept here for batches alone.")
    anchor, seconds = form.fields.get(f"{EXPIRES}[anchor]"), form.fields.get(f"{EXPIRES}[seconds]")
    if anchor is None and seconds is None:
        return KEPT_SECONDS
    if anchor != "created_at":
        raise Invalid("The anchor must be created_at.", field=f"{EXPIRES}.anchor")
    return check_seconds(int(seconds) if seconds is not None and seconds.isdecimal() and len(seconds) < 10 else 0, EXPIRES)


def check_seconds(seconds: int, field: str) -> int:
    """How long something may be kept.

    Raises:
        Invalid: the bounds are OpenAI's.
    """
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise Invalid(f"seconds must be between {SHORTEST_SECONDS} and {LONGEST_SECONDS}.", field=f"{field}.seconds")
    return seconds


def _told(file: File) -> dict[str, object]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_at // MICROS,
        "expires_at": file.expires_at // MICROS,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
