"""Shadows of predictions over HTTP: begin one, see what it says beside what was answered, stop it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.monitoring.shadowed import Shadowing


class ShadowIn(BaseModel):
    """A shadow to be begun."""

    model_config = ConfigDict(extra="forbid")
    target: Annotated[str, Field(max_length=140, description="model/NAME@VERSION or model/NAME@ALIAS")]
    share: Annotated[float, Field(gt=0, le=1, description="Of the calls")] = 1.0


def routes(shadowing: Shadowing) -> APIRouter:
    """The routes of shadows."""
    router = APIRouter(tags=["endpoints"])

    @router.put("/endpoints/{name}/shadow")
    def start(name: str, body: ShadowIn, by: Caller) -> Response:
        """Has a model hear a share of the calls of a predict endpoint."""
        return answer(asdict(shadowing.start(name, body.target, body.share, by=by)))

    @router.get("/endpoints/{name}/shadow")
    def show(name: str, by: Caller, seconds: Annotated[float, Query(gt=0, le=366 * 86_400)] = 86_400) -> Response:
        """What each shadow said within the last seconds, beside what was answered."""
        return answer([asdict(each) for each in shadowing.compare(name, seconds, by=by)])

    @router.delete("/endpoints/{name}/shadow")
    def stop(name: str, by: Caller, target: Annotated[str | None, Query(max_length=140)] = None) -> Response:
        """Has one shadow, or all, hear no more calls."""
        return answer(asdict(shadowing.stop(name, target, by=by)))

    return router
