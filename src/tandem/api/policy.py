"""Policy over HTTP: gates and the audit."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.asset import Ref
from tandem.core.policy import Gate
from tandem.evaluation.look import gate_metric
from tandem.evaluation.suite import MARGIN
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.repo import Entry
from tandem.registry.registry import Registry

MICROS_MAX = 2**62


class GateIn(BaseModel):
    """What a version must prove before an alias moves to it."""

    model_config = ConfigDict(extra="forbid")
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")
    metric: str | None = Field(None, max_length=64, description="roc_auc, or for a suite its own metric, unless named")
    minimum: float | None = Field(None, ge=0, le=1)
    margin: float | None = Field(None, ge=0, le=1, description="0.02, or 0.05 for a suite, unless named")
    require: Literal["improved", "non-inferior"] = "non-inferior"
    suite: str | None = Field(None, max_length=140, description="For prompts: the suite they are evaluated with")


def routes(registry: Registry, audit: Audit) -> APIRouter:
    """The routes of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/gates")
    def list_gates(by: Caller) -> Response:
        """Every gate that applies somewhere."""
        authorise(by, "read")
        return answer([asdict(gate) for gate in registry.gates(scope_of(by))])

    @router.put("/gates/{kind}/{name}")
    def set_gate(kind: str, name: str, body: GateIn, by: Caller) -> Response:
        """Sets what a version of an asset must prove; `*` as the name is the default of its kind."""
        asset = f"{kind}/{name}" if name == "*" else str(Ref.parse(f"{kind}/{name}"))
        authorise(by, "admin")
        plain, metric = Gate(asset=asset), body.metric
        if body.suite is not None:
            metric = gate_metric(registry, body.suite, metric, scope_of(by))
        margin = body.margin if body.margin is not None else plain.margin if body.suite is None else MARGIN
        gate = Gate(
            asset=asset,
            alias=body.alias,
            metric=metric or plain.metric,
            minimum=body.minimum,
            margin=margin,
            require=body.require,
            suite=body.suite,
        )
        registry.set_gate(gate, by=by)
        return answer(asdict(gate))

    @router.get("/audit")
    def list_audit(
        by: Caller,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int | None, Query(ge=1, le=MICROS_MAX)] = None,
    ) -> Response:
        """Who changed what, newest first."""
        authorise(by, "audit", by.team)
        return answer([_entry(entry) for entry in audit.list(scope_of(by), limit=limit, before=before)])

    @router.post("/audit/verify")
    def verify(by: Caller) -> Response:
        """Proves that the audit was not edited, cut, reordered or rewritten."""
        authorise(by, "audit")
        return answer(asdict(audit.verify()))

    return router


def _entry(entry: Entry) -> dict[str, object]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "actor": entry.actor,
        "team": entry.team,
        "action": entry.action,
        "subject": entry.subject,
        "detail": json.loads(entry.detail),
    }
