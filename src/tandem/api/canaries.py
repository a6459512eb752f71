"""Canaries over HTTP: begin one at an endpoint, look at its evidence, stop it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.monitoring.canary import AtEnd, Canaries, Plan
from tandem.monitoring.harm import Margins

Share = Annotated[float, Field(ge=0, le=1)]


class CanaryIn(BaseModel):
    """A canary to be begun."""

    model_config = ConfigDict(extra="forbid")
    target: Annotated[str, Field(max_length=140)]
    share: Annotated[float, Field(gt=0, lt=1, description="Of the calls")] = 0.05
    seconds: Annotated[float, Field(gt=0, le=90 * 86_400, description="How long it is watched")] = 86_400
    at_end: Annotated[AtEnd, Field(description="What is done about a promotion when no harm was shown")] = "ask"
    scorer: Annotated[str, Field(max_length=140, description="Whose scores of traces are compared")] = ""
    errors: Annotated[Share, Field(description="By how much its rate of errors may be higher")] = 0.01
    slow: Annotated[Share, Field(description="The same of slow answers")] = 0.05
    bad: Annotated[Share, Field(description="The same of bad scores")] = 0.05


def routes(canaries: Canaries) -> APIRouter:
    """The routes of canaries."""
    router = APIRouter(tags=["endpoints"])

    @router.post("/endpoints/{name}/canary", status_code=202)
    def start(name: str, body: CanaryIn, by: Caller) -> Response:
        """Gives a target a share of the calls, and starts the Run that takes it back when it does harm."""
        plan = Plan(
            endpoint=name,
            target=body.target,
            share=body.share,
            seconds=body.seconds,
            at_end=body.at_end,
            scorer=body.scorer,
            margins=Margins(errors=body.errors, slow=body.slow, bad=body.bad),
        )
        return answer(asdict(canaries.start(plan, by=by)), 202)

    @router.get("/endpoints/{name}/canary")
    def show(name: str, by: Caller) -> Response:
        """The newest canary of an endpoint: its Run, with how it stands or what came of it."""
        return answer(asdict(canaries.show(name, by=by)))

    @router.delete("/endpoints/{name}/canary", status_code=202)
    def stop(name: str, by: Caller) -> Response:
        """Takes the share back; the route is as it was."""
        return answer(asdict(canaries.stop(name, by=by)), 202)

    return router
