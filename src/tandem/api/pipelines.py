"""Pipelines over HTTP: publish, start, show with Runs and steps, and triggers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer, written
from tandem.pipelines.pipelines import Done, Pipelines
from tandem.pipelines.repo import Cause, Standing, Step, Trigger
from tandem.pipelines.triggers import LEAST_SECONDS, Triggering

Given = Annotated[
    dict[Annotated[str, Field(max_length=64)], Any],
    Field(max_length=64, description="Parameter → value; a text is read as what the parameter's type is"),
]


class GitIn(BaseModel):
    """Where the file stood in its repository."""

    model_config = ConfigDict(extra="forbid")
    commit: Annotated[str, Field(pattern="^[0-9a-f]{7,64}$")]
    dirty: Annotated[bool, Field(strict=True, description="Whether the file or others were changed since")] = False
    remote: Annotated[str, Field(max_length=500)] = ""


class PipelineIn(BaseModel):
    """A pipeline: its Python source."""

    model_config = ConfigDict(extra="forbid")
    source: Annotated[str, Field(max_length=1_000_000)]
    entry: Annotated[str, Field(pattern="^([A-Za-z_][A-Za-z0-9_]{0,63})?$", description="Empty: the only pipeline in it")] = ""
    git: GitIn | None = None


class StartIn(BaseModel):
    """A Run to be started."""

    model_config = ConfigDict(extra="forbid")
    version: Annotated[str, Field(pattern="^([0-9]{1,9}|[a-z][a-z0-9._-]{0,62})?$", description="Or alias; else the newest")] = ""
    given: Given = {}
    cache: Annotated[bool, Field(strict=True, description="Whether results of other Runs may be taken")] = True


class TriggerIn(BaseModel):
    """What shall begin a pipeline by itself."""

    model_config = ConfigDict(extra="forbid")
    on: Cause
    what: Annotated[
        str,
        Field(
            min_length=1,
            max_length=140,
            description=f"Seconds, {LEAST_SECONDS} or more; a cron line in UTC; dataset/NAME; model/NAME; or a Monitor's name",
        ),
    ]
    at_least: Annotated[int, Field(ge=1, le=10**9, description="Of labels: how many must have come")] = 1
    given: Given = {}
    cooldown: Annotated[float, Field(ge=0, le=365 * 86_400, description="Seconds after it began a Run")] = 0.0
    alias: Annotated[str, Field(pattern="^([a-z][a-z0-9._-]{0,62})?$", description="Whose version runs; else the newest")] = ""


class PauseIn(BaseModel):
    """Whether a trigger shall rest."""

    model_config = ConfigDict(extra="forbid")
    paused: Annotated[bool, Field(strict=True)]


def routes(pipelines: Pipelines, triggering: Triggering) -> APIRouter:
    """The routes of pipelines and their triggers."""
    router = APIRouter(tags=["assets"])

    @router.post("/pipelines/{name}", status_code=201)
    def add(name: str, body: PipelineIn, by: Caller) -> Response:
        """Publishes a pipeline's next version; its steps and parameters are read in a process of its own."""
        git = None if body.git is None else body.git.model_dump()
        return answer(version_body(pipelines.publish(name, body.source, entry=body.entry, git=git, by=by), {}), 201)

    @router.get("/pipelines/{name}")
    def show(name: str, by: Caller) -> Response:
        """The newest version, the newest Runs with their steps, and the triggers."""
        return answer(
            {
                "version": version_body(pipelines.version(name, by=by), {}),
                "runs": [_done(each) for each in pipelines.runs(name, by=by)],
                "triggers": [_trigger(*each) for each in triggering.list(name, by=by)],
            }
        )

    @router.post("/pipelines/{name}/runs", status_code=202)
    def start(name: str, body: StartIn, by: Caller) -> Response:
        """Starts a Run, with the caller's rights; it goes on when this process dies, behind the last step that ended."""
        written(body.given, "given")
        asked = f"{name}@{body.version}" if body.version else name
        return answer(asdict(pipelines.start(asked, given=body.given, cache=body.cache, by=by)), 202)

    @router.get("/runs/{identifier}/steps")
    def steps(
        identifier: str, by: Caller, log: Annotated[bool, Query(description="Also what each step printed")] = False
    ) -> Response:
        """The steps of a pipeline's Run: what each was given, whether it came from the cache, and why not."""
        return answer([_step(each, log=log) for each in pipelines.steps(identifier, by=by)])

    @router.post("/pipelines/{name}/triggers", status_code=201)
    def trigger(name: str, body: TriggerIn, by: Caller) -> Response:
        """Has a pipeline begun by times, new data, new labels or alarms, with the caller's rights."""
        written(body.given, "given")
        asked = f"{name}@{body.alias}" if body.alias else name
        options = body.model_dump(exclude={"alias"})
        made = triggering.add(asked, **options, by=by)
        return answer(_trigger(made, Standing()), 201)

    @router.get("/pipelines/{name}/triggers")
    def triggers(name: str, by: Caller) -> Response:
        """The triggers of a pipeline, and what waits."""
        return answer([_trigger(*each) for each in triggering.list(name, by=by)])

    @router.put("/triggers/{identifier}")
    def pause(identifier: str, body: PauseIn, by: Caller) -> Response:
        """Lets a trigger rest, or go on; what comes while it rests is one cause when it goes on."""
        return answer(_trigger(triggering.pause(identifier, body.paused, by=by), Standing()))

    @router.delete("/triggers/{identifier}")
    def remove(identifier: str, by: Caller) -> Response:
        """Removes a trigger; a Run that it has begun goes on."""
        return answer(_trigger(triggering.remove(identifier, by=by), Standing()))

    return router


def _done(done: Done) -> Mapping[str, object]:
    return {**asdict(done.run), "done": [_step(step, log=False) for step in done.steps]}


def _step(step: Step, *, log: bool) -> Mapping[str, object]:
    told: dict[str, object] = msgspec.to_builtins(step)
    value = str(told.pop("value"))
    told["value"] = msgspec.json.decode(value) if len(value) <= 2_000 else None
    if not log:
        del told["log"]
    return told


def _trigger(trigger: Trigger, standing: Standing) -> Mapping[str, object]:
    told: dict[str, object] = msgspec.to_builtins(trigger)
    waits = [*standing.causes, *([f"and {standing.more} more"] if standing.more else [])]
    return {
        **told,
        "by": trigger.by.name,
        "waits": waits,
        "fired": standing.fired,
        "run": standing.run or None,
        "fired_at": standing.fired_at or None,
        "note": standing.note,
    }
