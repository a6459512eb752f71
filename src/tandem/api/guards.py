"""Policies with guards over HTTP: publish one, try one on a text, list what can be looked for."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.assets import version_body
from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref
from tandem.core.policy import Action, Side
from tandem.gateway.guard import Guarding, watch
from tandem.governance.authorise import authorise, scope_of
from tandem.registry.registry import Registry
from tandem.scorers.guards.rules import DETECTORS, RULES

Detector = Annotated[str, Field(max_length=64)]


class GuardIn(BaseModel):
    """What happens to what a detector finds."""

    model_config = ConfigDict(extra="forbid")
    detector: Detector
    action: Action = "block"
    on: Annotated[list[Side], Field(min_length=1, max_length=2)] = ["in", "out"]


class PolicyIn(BaseModel):
    """A policy: its guards."""

    model_config = ConfigDict(extra="forbid")
    guards: Annotated[list[GuardIn], Field(max_length=200)]


class TrialIn(BaseModel):
    """A text that a policy is tried on."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=200_000)]
    on: Literal["in", "out"] = "in"
    version: Annotated[str, Field(max_length=64)] | None = None
    """A version or an alias; None: the newest version."""


def routes(registry: Registry) -> APIRouter:
    """The routes of guards."""
    router = APIRouter(tags=["policy"])

    @router.get("/detectors")
    def list_detectors(by: Caller) -> Response:
        """What can be looked for, and its forms."""
        authorise(by, "read")
        forms = {name: [rule.name for rule in RULES if rule.detector == name] for name in DETECTORS}
        return answer([{"name": name, "finds": finds, "forms": forms[name]} for name, finds in DETECTORS.items()])

    @router.post("/policies/{name}", status_code=201)
    def add_policy(name: str, body: PolicyIn, by: Caller) -> Response:
        """Publishes a policy's next version; endpoints use it once an alias they name points at it."""
        meta = {"guards": [guard.model_dump() for guard in body.guards]}
        return answer(version_body(registry.publish("policy", name, members={}, meta=meta, by=by), {}), 201)

    @router.post("/policies/{name}/try")
    def try_policy(name: str, body: TrialIn, by: Caller) -> Response:
        """What a policy makes of a text; nothing is sent or kept."""
        authorise(by, "read")
        found = registry.find(Ref.parse(f"policy/{name}" + (f"@{body.version}" if body.version else "")), scope_of(by))
        guards = Guarding(str(found.ref), watch(msgspec.json.encode(found.meta)))
        text = guards.incoming(body.text) if body.on == "in" else guards.once(body.text)[0]
        blocked = any(each["action"] == "block" for each in guards.report)
        return answer({"policy": str(found.ref), "passes": not blocked, "text": text, "found": guards.report})

    return router
