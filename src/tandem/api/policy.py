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
from tandem.core.policy import Fair, Gate, Measure, Slice
from tandem.evaluation.look import gate_metric
from tandem.evaluation.measures import check_metrics
from tandem.evaluation.suite import MARGIN
from tandem.governance.audit import Audit
from tandem.governance.authorise import authorise, scope_of
from tandem.governance.repo import Entry
from tandem.registry.registry import Registry

MICROS_MAX = 2**62


MOST = 1e12
"""Bounds of metrics that have units, such as a cost."""
Bound = Annotated[float, Field(ge=-MOST, le=MOST)]
Metric = Annotated[str, Field(max_length=64)]


class SliceIn(BaseModel):
    """A part of the rows: one value of a column, or a range of it."""

    model_config = ConfigDict(extra="forbid")
    column: str = Field(min_length=1, max_length=200)
    value: str | None = Field(None, max_length=200)
    low: Bound | None = Field(None, description="At or above it")
    high: Bound | None = Field(None, description="Below it")
    metric: Metric | None = Field(None, description="The gate's, unless named")
    minimum: Bound | None = None
    margin: float | None = Field(None, ge=0, le=MOST, description="The gate's, unless this or a minimum is named")
    allow_small: bool = Field(False, description="Whether too few rows for a verdict pass")


class FairIn(BaseModel):
    """How far apart the groups of a column may be in one measure."""

    model_config = ConfigDict(extra="forbid")
    measure: Measure
    by: str = Field(min_length=1, max_length=200, description="The column whose values are the groups")
    bound: float = Field(ge=0, le=MOST, description="The most that two groups may differ; of a ratio, the least that it may be")
    allow_small: bool = Field(False, description="Whether groups with too few rows are left out")


class GateIn(BaseModel):
    """What a version must prove before an alias moves to it."""

    model_config = ConfigDict(extra="forbid")
    alias: str = Field("production", pattern="^[a-z][a-z0-9._-]{0,62}$")
    metric: str | None = Field(None, max_length=64, description="roc_auc, or for a suite its own metric, unless named")
    minimum: float | None = Field(None, ge=0, le=MOST)
    margin: float | None = Field(None, ge=0, le=MOST, description="0.02, or 0.05 for a suite, unless named")
    require: Literal["improved", "non-inferior"] = "non-inferior"
    suite: str | None = Field(None, max_length=140, description="For prompts: the suite they are evaluated with")
    minimums: dict[Metric, Bound] = Field(
        default_factory=dict, max_length=16, description="Metric to what the worse bound of its interval must reach"
    )
    slices: list[SliceIn] = Field(default_factory=list, max_length=32, description="Parts in which each must hold as well")
    fairness: list[FairIn] = Field(default_factory=list, max_length=32, description="How far apart groups of rows may be")
    cost_false_positive: float | None = Field(None, ge=0, le=MOST)
    cost_false_negative: float | None = Field(None, ge=0, le=MOST)
    latency_ms: float | None = Field(None, gt=0, le=MOST, description="The most that 95 of 100 predictions of one row may take")
    size_bytes: int | None = Field(None, gt=0, le=2**62, strict=True)
    looks: int | None = Field(None, ge=1, le=20, strict=True, description="How many looks at growing evidence are planned")
    rows: int | None = Field(None, ge=1, le=10**9, strict=True, description="The rows at the last planned look")


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
            minimums=body.minimums,
            slices=tuple(Slice(**each.model_dump()) for each in body.slices),
            fairness=tuple(Fair(**each.model_dump()) for each in body.fairness),
            cost_false_positive=body.cost_false_positive,
            cost_false_negative=body.cost_false_negative,
            latency_ms=body.latency_ms,
            size_bytes=body.size_bytes,
            looks=body.looks,
            rows=body.rows,
        )
        if gate.suite is None:
            check_metrics(gate)
        registry.set_gate(gate, by=by)
        return answer(asdict(gate))

    @router.delete("/gates/{kind}/{name}")
    def drop_gate(
        kind: str, name: str, by: Caller, alias: Annotated[str, Query(pattern="^[a-z][a-z0-9._-]{0,62}$")] = "production"
    ) -> Response:
        """Drops a gate; that of the whole kind then guards the alias, or none."""
        registry.drop_gate(f"{kind}/{name}", alias, by=by)
        return answer({"asset": f"{kind}/{name}", "alias": alias})

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
