"""Batches as OpenAI's clients make and look at them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.files import After, listed
from tandem.api.wire import Caller, answer
from tandem.batches.batches import Batches, Wanted
from tandem.batches.files import KEPT_SECONDS, LONGEST_SECONDS, SHORTEST_SECONDS
from tandem.batches.lines import ENDPOINTS
from tandem.batches.repo import Batch, Page
from tandem.core.clock import MICROS
from tandem.core.errors import Invalid


class ExpiresIn(BaseModel):
    """When the files of answers expire."""

    model_config = ConfigDict(extra="forbid")
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=SHORTEST_SECONDS, le=LONGEST_SECONDS)]


class BatchIn(BaseModel):
    """What is asked of a batch."""

    model_config = ConfigDict(extra="forbid")
    input_file_id: Annotated[str, Field(max_length=64)]
    endpoint: Annotated[str, Field(max_length=140, description=f"One of {', '.join(ENDPOINTS)}")]
    completion_window: Literal["24h"]
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    output_expires_after: ExpiresIn | None = None


def routes(batches: Batches) -> APIRouter:
    """The routes of batches."""
    router = APIRouter(tags=["runs"])

    @router.post("/batches")
    def create(body: BatchIn, by: Caller) -> Response:
        """Starts a batch: every line of the file is a call of the caller's own, admitted, booked and traced as such."""
        if body.endpoint not in ENDPOINTS:
            raise Invalid("No batch can ask this endpoint.", field="endpoint", hint=f"Known are {', '.join(ENDPOINTS)}.")
        kept = KEPT_SECONDS if body.output_expires_after is None else body.output_expires_after.seconds
        wanted = Wanted(input_file=body.input_file_id, endpoint=body.endpoint, metadata=body.metadata, kept_seconds=kept)
        return answer(_told(batches.create(wanted, by)))

    @router.get("/batches")
    def list_batches(by: Caller, after: After = None, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> Response:
        """The batches of the caller's team, newest first."""
        found = batches.list(Page(after=after, limit=limit), by)
        return answer(listed([_told(batch) for batch in found], limit))

    @router.get("/batches/{identifier}")
    def show(identifier: str, by: Caller) -> Response:
        """One batch: how far it is, and where its answers are."""
        return answer(_told(batches.find(identifier, by)))

    @router.post("/batches/{identifier}/cancel")
    def cancel(identifier: str, by: Caller) -> Response:
        """Ends a batch; what was answered by then is kept."""
        return answer(_told(batches.cancel(identifier, by)))

    return router


def _told(batch: Batch) -> dict[str, object]:
    """A batch in OpenAI's words; `run` is ours."""
    ended = _seconds(batch.ended_at)
    errors = None if not batch.problems else {"object": "list", "data": msgspec.to_builtins(batch.problems)}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.input_file,
        "completion_window": "24h",
        "status": batch.status,
        "output_file_id": batch.output_file if ended and batch.completed else None,
        "error_file_id": batch.error_file if ended and batch.failed else None,
        "created_at": _seconds(batch.created_at),
        "in_progress_at": _seconds(batch.in_progress_at),
        "expires_at": _seconds(batch.expires_at),
        "finalizing_at": _seconds(batch.finalizing_at),
        "completed_at": ended if batch.end == "completed" else None,
        "failed_at": ended if batch.end == "failed" else None,
        "expired_at": ended if batch.end == "expired" else None,
        "cancelling_at": _seconds(batch.cancelling_at),
        "cancelled_at": ended if batch.end == "cancelled" else None,
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
        "run": batch.run,
    }


def _seconds(micros: int | None) -> int | None:
    return None if micros is None else micros // MICROS
