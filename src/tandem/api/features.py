"""Feature views and services over HTTP: define them, push facts, load, read vectors, join them to a dataset."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer, written
from tandem.core.asset import Ref, check_name
from tandem.core.principal import Principal
from tandem.data.features.features import ROWS, Features, Vectors
from tandem.data.features.tasks import JOIN, LOAD
from tandem.data.versions import newest_of
from tandem.governance.authorise import authorise, scope_of
from tandem.jobs.repo import Runs
from tandem.jobs.workflow import Jobs
from tandem.registry.registry import Registry

Name = Annotated[str, Field(max_length=140)]
Definition = Annotated[dict[str, Any], Body()]


class FactsIn(BaseModel):
    """Facts that are pushed into a view."""

    model_config = ConfigDict(extra="forbid")
    rows: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=ROWS)]
    batch: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="Names these rows: sent again under the same name they change nothing"
    )


class VectorsIn(BaseModel):
    """Whose vectors are wanted."""

    model_config = ConfigDict(extra="forbid")
    entities: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=ROWS)]
    version: Annotated[str, Field(max_length=64)] | None = None


class JoinIn(BaseModel):
    """A dataset whose rows ask."""

    model_config = ConfigDict(extra="forbid")
    data: Name
    name: Annotated[str, Field(max_length=64, description="Of the dataset that is made")]
    time: Annotated[str, Field(max_length=256)] | None = Field(None, description="The column that says when each row asks")
    version: Annotated[str, Field(max_length=64)] | None = None
    states: bool = Field(False, description="A column NAME__state beside each feature: ok, null, expired or not-found")


def routes(registry: Registry, runs: Runs, jobs: Jobs, features: Features) -> APIRouter:
    """The routes of features."""
    router = APIRouter(tags=["assets"])

    @router.put("/views/{name}", status_code=201)
    def define_view(name: str, body: Definition, by: Caller) -> Response:
        """Publishes a feature view: its entity, time, source and features."""
        written(body)
        return answer(version_body(features.define_view(name, body, by=by), {}), 201)

    @router.get("/views/{name}")
    def show(name: str, by: Caller) -> Response:
        """The newest version of a view, what was pushed into it, and what is kept online."""
        found = features.standing(name, by=by)
        online = [asdict(each) for each in found.generations]
        return answer({**version_body(found.version, {}), "pushed": found.pushed, "online": online})

    @router.post("/views/{name}/facts")
    async def push(name: str, body: FactsIn, by: Caller) -> Response:
        """Adds facts to a view, all or none; they answer at once."""
        written(body.rows, "rows")
        return answer(asdict(await run_in_threadpool(features.push, name, body.rows, body.batch, by=by)))

    @router.post("/views/{name}/load", status_code=202)
    def load(name: str, by: Caller) -> Response:
        """Starts the Run that computes a view from all its facts and has it answer."""
        authorise(by, "write")
        found = registry.find(Ref(kind="view", name=check_name(name)), scope_of(by))
        authorise(by, "write", found.team)
        return _started(LOAD, name, {"view": str(found.ref)}, by)

    @router.put("/services/{name}", status_code=201)
    def define_service(name: str, body: Definition, by: Caller) -> Response:
        """Publishes a feature service: which features of which views, inputs of a request, and what is computed of both."""
        written(body)
        return answer(version_body(features.define_service(name, body, by=by), {}), 201)

    @router.post("/services/{name}/vectors")
    async def vectors(name: str, body: VectorsIn, by: Caller) -> Response:
        """The vectors of some entities as of now, with the state and age of each value."""
        ref = Ref.parse(f"service/{check_name(name)}" + ("" if body.version is None else f"@{body.version}"))
        written(body.entities, "entities")
        return answer(vectors_body(await run_in_threadpool(features.vectors, ref, body.entities, by=by)))

    @router.post("/services/{name}/join", status_code=202)
    def join(name: str, body: JoinIn, by: Caller) -> Response:
        """Starts the Run that puts beside each row of a dataset its vector as it was at that row's moment."""
        authorise(by, "write")
        ref = Ref.parse(f"service/{check_name(name)}" + ("" if body.version is None else f"@{body.version}"))
        newest_of(registry, body.name, by)
        inputs = {
            "service": str(registry.find(ref, scope_of(by)).ref),
            "data": str(registry.find(Ref.parse(body.data), scope_of(by)).ref),
            "name": body.name,
            "time": body.time,
            "states": body.states,
        }
        return _started(JOIN, body.name, inputs, by)

    def _started(kind: str, name: str, inputs: dict[str, Any], by: Principal) -> Response:
        run = runs.create(kind, name, inputs=inputs, by=by)
        jobs.start(kind, run.id, {**inputs, "by": asdict(by)})
        return answer(asdict(run), 202)

    return router


def vectors_body(found: Vectors) -> dict[str, Any]:
    """Vectors as they are written: by name, with when the newest fact behind each became true."""
    return {
        "service": found.service,
        "at": found.at,
        "vectors": [
            {
                name: {"value": cell.value, "state": cell.state, "event": cell.event}
                for name, cell in zip(found.names, row, strict=True)
            }
            for row in found.rows
        ],
    }
