"""Projects over HTTP: what repositories declare, and how their applies begin and end."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer, written
from tandem.core.project import Step, StepState
from tandem.governance.projects.projects import Projects

MOST = 2000
"""Things of one project."""
Thing = Annotated[str, Field(pattern="^[a-z]{1,20}/[\\x21-\\x7e]{1,280}$")]
File = Annotated[str, Field(pattern="^[^\\x00-\\x1f]{1,500}$")]
Word = Annotated[str, Field(pattern="^[\\x21-\\x7e]{0,100}$")]
Action = Literal["create", "new version", "change", "replace", "promote", "adopt", "remove", "forget"]


class StepIn(BaseModel):
    """One thing of a plan, and what became of it."""

    model_config = ConfigDict(extra="forbid")
    thing: Thing
    action: Action
    state: StepState = "left"
    note: Annotated[str, Field(max_length=2000)] = ""


Steps = Annotated[list[StepIn], Field(max_length=MOST)]


class BeginIn(BaseModel):
    """What a project declares, and the plan that is about to be done."""

    model_config = ConfigDict(extra="forbid")
    things: Annotated[dict[Thing, File], Field(max_length=MOST)] = Field(description="Thing to where the repository declares it")
    steps: Steps = []
    plan: Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
    stage: Word = ""
    commit: Word = ""


class EndIn(BaseModel):
    """How an apply ended."""

    model_config = ConfigDict(extra="forbid")
    state: Literal["done", "waiting", "failed"]
    steps: Steps = []


def routes(projects: Projects) -> APIRouter:
    """The routes of projects, a part of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/projects")
    def list_projects(by: Caller) -> Response:
        """Every project of the caller's team with its newest apply."""
        return answer([asdict(each) for each in projects.list(by)])

    @router.get("/declared")
    def list_declared(by: Caller) -> Response:
        """Everything that projects declare: which project, where in its repository, at which commit."""
        return answer([asdict(each) for each in projects.declared(by)])

    @router.get("/projects/{name}")
    def show(name: str, by: Caller) -> Response:
        """A project, what it declares, and its applies, newest first."""
        project, things, applies = projects.find(name, by)
        return answer({**asdict(project), "things": things, "applies": applies})

    @router.post("/projects/{name}/applies", status_code=201)
    def begin(name: str, body: BeginIn, by: Caller) -> Response:
        """Begins an apply: nothing is done yet but that the platform remembers what the project declares.

        Requests that bear its id as `x-tandem-apply` are its deeds, and the audit says so. An older apply that is under way is
        broken off, and its deeds are refused from then on.
        """
        written(body.model_dump())
        begun = projects.begin(
            name, body.things, _steps(body.steps), plan=body.plan, stage=body.stage, commit=body.commit, by=by
        )  # fmt: skip
        return answer(asdict(begun), 201)

    @router.put("/projects/{name}/applies/{id}")
    def end(name: str, id: str, body: EndIn, by: Caller) -> Response:
        """Ends an apply with what became of each step; things that it removed are declared no longer."""
        written(body.model_dump())
        return answer(asdict(projects.end(name, id, body.state, _steps(body.steps), by=by)))

    return router


def _steps(steps: list[StepIn]) -> list[Step]:
    told: list[dict[str, Any]] = [each.model_dump() for each in steps]
    return [Step(**each) for each in told]
