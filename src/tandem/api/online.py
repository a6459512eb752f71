"""Learning online over HTTP: begin it at an endpoint, look at its steps, end it."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.monitoring.online.nouns import Plan
from tandem.monitoring.online.online import MOST, Online
from tandem.monitoring.online.step import Need, Rule


class OnlineIn(BaseModel):
    """How a model shall learn."""

    model_config = ConfigDict(extra="forbid")
    every: Annotated[int, Field(ge=10, le=MOST, description="Labelled rows of a step")] = 200
    seconds: Annotated[float | None, Field(gt=0, le=30 * 86_400, description="After which a step takes what there is")] = None
    need: Annotated[Need, Field(description="What a candidate must be, to be promoted")] = "improved"
    margin: Annotated[float, Field(ge=0, lt=1, description="A loss that is non-inferior, as a share of rows")] = 0.01
    confirm: Annotated[int, Field(ge=30, le=1_000_000, description="Rows that a candidate is judged on at least")] = 400
    rate: Annotated[float, Field(gt=0, le=1, description="How much one row moves the model")] = 0.3


def routes(online: Online) -> APIRouter:
    """The routes of learning online."""
    router = APIRouter(tags=["endpoints"])

    @router.get("/online")
    def rows(by: Caller) -> Response:
        """The endpoints whose model learns now."""
        return answer(msgspec.to_builtins(online.list(by=by)))

    @router.post("/endpoints/{name}/online", status_code=202)
    def start(name: str, body: OnlineIn, by: Caller) -> Response:
        """Has the model of an endpoint learn from labels as they come, behind a gate."""
        rule = Rule(need=body.need, margin=body.margin, confirm=body.confirm)
        plan = Plan(endpoint=name, every=body.every, seconds=body.seconds, rule=rule, rate=body.rate)
        return answer(msgspec.to_builtins(online.start(plan, by=by)), 202)

    @router.get("/endpoints/{name}/online")
    def show(name: str, by: Caller) -> Response:
        """How the model of an endpoint learns, and what came of the newest steps."""
        return answer(msgspec.to_builtins(online.show(name, by=by)))

    @router.delete("/endpoints/{name}/online", status_code=202)
    def stop(name: str, by: Caller) -> Response:
        """Ends learning; the champion goes on answering."""
        return answer(msgspec.to_builtins(online.stop(name, by=by)), 202)

    return router
