"""Runs over HTTP: start one, watch it, cancel it, look at the rows an evaluation asked about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.asset import Kind, Ref, check_name
from tandem.core.errors import Invalid
from tandem.core.principal import Principal
from tandem.core.run import ENDED
from tandem.evaluation.look import Looked
from tandem.evaluation.suite import check_addresses
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.kinds.suite import REPEATS, read
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
    exclude: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=1000)] = []


class EvaluateIn(BaseModel):
    """What an evaluating run asks."""

    model_config = ConfigDict(extra="forbid")
    prompt: Annotated[str, Field(max_length=140)]
    suite: Annotated[str, Field(max_length=140)]
    repeats: Annotated[int, Field(ge=1, le=REPEATS)] | None = Field(None, description="Instead of the suite's own number")
    fresh: bool = Field(False, description="Ask everything again, whatever was answered before")
    against: Annotated[str, Field(max_length=140)] | None = Field(None, description="Whom a judge compares with")


class TrainRunIn(BaseModel):
    """A training to be started."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["train"]
    name: Annotated[str, Field(max_length=64)]
    inputs: TrainIn


class EvaluateRunIn(BaseModel):
    """An evaluation to be started."""

    model_config = ConfigDict(extra="forbid")
    kind: Literal["evaluate"]
    name: Annotated[str, Field(max_length=64)]
    inputs: EvaluateIn


RunIn = Annotated[TrainRunIn | EvaluateRunIn, Field(discriminator="kind")]


def routes(runs: Runs, jobs: Jobs, registry: Registry, looked: Looked) -> APIRouter:
    """The routes of Run."""
    router = APIRouter(tags=["runs"])

    @router.post("/runs", status_code=202)
    def start(body: RunIn, by: Caller) -> Response:
        """Starts a run; it goes on when this process dies, and says how far it is."""
        authorise(by, "write")
        check_name(body.name)
        if isinstance(body, TrainRunIn):
            pinned = {"data": _pinned(registry, body.inputs.data, "dataset", by)}
        else:
            given = body.inputs
            pinned = {
                "prompt": _pinned(registry, given.prompt, "prompt", by),
                "suite": _pinned(registry, given.suite, "suite", by),
            }
            if given.against is not None:
                pinned["against"] = _pinned(registry, given.against, "prompt", by)
            check_addresses(read(registry.find(Ref.parse(pinned["suite"]), scope_of(by)).meta), by)
        inputs = {**body.inputs.model_dump(), **pinned}
        run = runs.create(body.kind, body.name, inputs=inputs, by=by)
        jobs.start(body.kind, run.id, {"name": body.name, "by": asdict(by), **inputs})
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

    @router.get("/runs/{identifier}/rows")
    def rows(
        identifier: str,
        by: Caller,
        metric: Annotated[str | None, Query(max_length=64)] = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 20,
        content: bool = False,
    ) -> Response:
        """The rows an evaluation asked about, the worst first, with their grades; what was answered when asked for."""
        authorise(by, "read")
        run = runs.find(identifier, scope_of(by))
        return answer(looked(run, by, metric=metric, limit=limit, content=content))

    @router.post("/runs/{identifier}/cancel", status_code=202)
    def cancel(identifier: str, by: Caller) -> Response:
        """Stops a run; what it made so far is thrown away."""
        authorise(by, "write")
        run = runs.find(identifier, scope_of(by))
        if run.state not in ENDED:
            jobs.cancel(run.id)
        return answer(asdict(runs.find(identifier, scope_of(by))), 202)

    return router


def _pinned(registry: Registry, name: str, kind: Kind, by: Principal) -> str:
    """The exact version that a name means now.

    Raises:
        Invalid: it is of another kind.
        NotFound: there is none.
    """
    ref = Ref.parse(name)
    if ref.kind != kind:
        raise Invalid(
            f"{ref} is no {kind}.", field=f"inputs.{'data' if kind == 'dataset' else kind}", hint=f"Write {kind}/NAME[@VERSION]."
        )
    return str(registry.find(ref, scope_of(by)).ref)
