"""Imports over HTTP: a folder of models of other frameworks comes in as a tar, and a Run makes assets of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from tandem.api.datasets import handed_in
from tandem.api.wire import Caller, answer
from tandem.core.asset import check_name
from tandem.core.errors import Invalid
from tandem.governance.authorise import authorise
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.promote import check_alias
from tandem.serving.base import Trust, untrusted
from tandem.training.imports.tasks import KIND, UPLOAD
from tandem.training.imports.unpack import BYTES

TAR = "application/x-tar"
BODY = {"requestBody": {"required": True, "content": {TAR: {"schema": {"type": "string", "format": "binary"}}}}}
UPLOAD_BYTES = BYTES + (BYTES >> 4)
"""Of a tar, with its headers."""
Word = Annotated[str, Query(max_length=64)]


def routes(runs: Runs, jobs: Jobs, work: Path, trust: Collection[Trust]) -> APIRouter:
    """The routes of imports.

    Args:
        work: where Runs keep files while they work.
        trust: what the settings let be executed.
    """
    router = APIRouter(tags=["runs"])

    @router.post("/imports/{name}", status_code=202, openapi_extra=BODY)
    async def add(
        request: Request,
        name: str,
        by: Caller,
        prefix: Word = "",
        trusted: Annotated[list[Trust], Query(max_length=8, description="What may be executed of the models' files.")] = [],  # noqa: B006  # FastAPI copies it
        promote: Word = "",
        decision: Word = "",
        commit: Word = "",
        remote: Annotated[str, Query(max_length=500)] = "",
    ) -> Response:
        """Starts the Run that imports a tar of models: each is examined, compared with its own framework, and published.

        `promote` is an alias that each moves to, if its gate lets it; `decision` names one that asks all of them. What is
        `trusted` must be trusted by the settings too. `commit` and `remote` tell which repository the folder is in.
        """
        authorise(by, "write")
        if promote or decision:
            authorise(by, "approve")
        check_name(name)
        check_name(f"{prefix}x")
        if decision:
            check_name(decision)
        if promote:
            check_alias(promote)
        for word in trusted:
            if word not in trust:
                raise untrusted(word)
        if request.headers.get("content-type", "").partition(";")[0].strip() != TAR:
            raise Invalid("The body is no tar.", hint=f"Send an uncompressed tar as {TAR}.", field="content-type")
        request.state.body_bytes = UPLOAD_BYTES
        async with handed_in(request, work, "tar") as (run_id, path):
            path.rename(path.with_name(UPLOAD))
            inputs = {
                "prefix": prefix,
                "trust": trusted,
                "promote": promote,
                "decision": decision,
                "commit": commit,
                "remote": remote,
            }
            run = runs.create(KIND, name, inputs=inputs, by=by, id=run_id)
        jobs.start(KIND, run.id, {"by": asdict(by), **inputs})
        return answer(asdict(run), 202)

    return router
