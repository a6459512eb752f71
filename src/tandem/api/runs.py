"""Runs over HTTP: start one, watch it, cancel it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref, check_name
from tandem.core.errors import Invalid
from tandem.core.run import ENDED
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.registry import Registry

Param = float | int | str | bool


class TrainIn(BaseModel):
    """What a training run is made from."""

    model_config = ConfigDict(extra="forbid")
    data: Annotated[str, Field(max_length=140)]
    target: Annotated[str, Field(min_length=1, max_length=256)]
    algorithm: Literal["gradient-boosting", "logistic"] = "gradient-boosting"
    params: Annotated[dict[Annotated[str, Field(max_length=64)], Param], Field(max_length=64)] = {}
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 7
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    positive: Annotated[str, Field(max_length=256)] | None = None
    baseline: bool = True


class RunIn(BaseModel):
    """A run to be started."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["train"]
    name: Annotated[str, Field(max_length=64)]
    inputs: TrainIn


def routes(runs: Runs, jobs: Jobs, registry: Registry) -> APIRouter:
    """The routes of Run."""
    router = APIRouter(tags=["runs"])

    @router.post("/runs", status_code=202)
    def start(body: RunIn, by: Caller) -> Response:
        """Starts a run; it goes on when this process dies, and says how far it is."""
        authorise(by, "write")
        check_name(body.name)
        data = Ref.parse(body.inputs.data)
        if data.kind != "dataset":
            raise Invalid(f"{data} is no dataset.", field="inputs.data", hint="Write dataset/NAME[@VERSION].")
        pinned = registry.find(data, scope_of(by)).ref
        inputs = {**body.inputs.model_dump(), "data": str(pinned)}
        run = runs.create("train", body.name, inputs=inputs, by=by)
        jobs.start("train", run.id, {"name": body.name, "by": asdict(by), **inputs})
        return answer(asdict(run), 202)

    @router.get("/runs")
    def list_runs(by: Caller, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Response:
        """The newest runs of the caller's team."""
        authorise(by, "read")
        return answer([asdict(run) for run in runs.list(scope_of(by), limit=limit)])

    @router.get("/runs/{identifier}")
    def show(identifier: str, by: Caller) -> Response:
        """One run."""
        authorise(by, "read")
        return answer(asdict(runs.find(identifier, scope_of(by))))

    @router.post("/runs/{identifier}/cancel", status_code=202)
    def cancel(identifier: str, by: Caller) -> Response:
        """Stops a run; what it made so far is thrown away."""
        authorise(by, "write")
        run = runs.find(identifier, scope_of(by))
        if run.state not in ENDED:
            jobs.cancel(run.id)
        return answer(asdict(runs.find(identifier, scope_of(by))), 202)

    return router
