"""Monitors over HTTP: made, asked, removed; and their reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.monitor import Action, Against, Monitor, Promote, Question
from tandem.core.principal import Principal
from tandem.governance.authorise import authorise, scope_of
from tandem.monitoring.watch import Watch

DAYS = 86_400
Limit = Annotated[int, Query(ge=1, le=1000)]


class MonitorIn(BaseModel):
    """A standing question about one endpoint."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=64)
    endpoint: str = Field(max_length=64)
    question: Question = "drift"
    window: int = Field(1000, ge=30, le=100_000, description="The most calls that one check looks at")
    span: int | None = Field(None, ge=1, le=366 * DAYS, description="Seconds: older calls are not looked at")
    hours: int | None = Field(None, ge=1, le=31 * 24, description="Judge so many whole hours at a time, from counts")
    against: list[Against] = Field(["training"], min_length=1, max_length=3, description="What hours are compared with")
    maturity: float = Field(0.8, gt=0, le=1, description="Of performance: the share of labels that must have come")
    wait: int = Field(30 * DAYS, ge=0, le=366 * DAYS, description="Of performance: seconds that labels are waited for")
    days: int = Field(7, ge=1, le=366, description="Of the trailing reference")
    weeks: int = Field(4, ge=1, le=52, description="Of the seasonal reference")
    segment: str | None = Field(None, max_length=256, description="A column whose values are judged each by itself too")
    minimum: int = Field(100, ge=30, le=100_000, description="Rows or calls below which there is no verdict")
    threshold: float | None = Field(None, gt=0, le=10, description="The effect that matters; 0.1 (drift) or 0.05 (scores)")
    false_alarm_every: int = Field(1000, ge=10, le=10**9, description="Checks between two false alarms, on average")
    false_pages: float | None = Field(None, gt=0, le=10**6, description="False alarms a quarter over the team's monitors")
    every: int | None = Field(None, ge=10, le=366 * DAYS, description="Seconds between two checks")
    on_alarm: Action = "alarm"
    on_data: Literal["none", "retrain"] = "none"
    promote: Promote = "ask"
    canary_share: float = Field(0.1, gt=0, lt=1, description="Of the calls, that a canary answers")
    canary_seconds: int = Field(3600, ge=1, le=366 * DAYS, description="How long a canary is watched before it is promoted")
    retrainings: int | None = Field(None, ge=1, le=10_000, description="That it may begin within 30 days")
    await_labels: bool = Field(False, description="Of drift: a retraining waits until the labels of the alarm's calls have come")
    cooldown: int = Field(DAYS, ge=0, le=366 * DAYS, description="Seconds between two retrainings")
    review: int = Field(0, ge=0, le=1000, description="Calls of each judged window that are put before a person")


def routes(watch: Watch) -> APIRouter:
    """The routes of Monitor."""
    router = APIRouter(tags=["monitors"])
    monitors = watch.monitors

    @router.get("/monitors")
    def list_monitors(by: Caller) -> Response:
        """Every monitor of the caller's team, with its newest report."""
        authorise(by, "read")
        return answer([_body(watch, monitor, by) for monitor in monitors.list(scope_of(by))])

    @router.post("/monitors", status_code=201)
    def add(body: MonitorIn, by: Caller) -> Response:
        """Begins to watch an endpoint: calls from now on are judged."""
        authorise(by, "write")
        told = body.model_dump()
        told["threshold"] = body.threshold or (0.1 if body.question == "drift" else 0.05)
        told["against"] = tuple(body.against)
        return answer(asdict(watch.add(Monitor(team=by.team, **told), by=by)), 201)

    @router.get("/monitors/{name}")
    def show(name: str, by: Caller) -> Response:
        """One monitor with its newest report."""
        authorise(by, "read")
        return answer(_body(watch, monitors.find(name, scope_of(by)), by))

    @router.delete("/monitors/{name}")
    def remove(name: str, by: Caller) -> Response:
        """Ends a monitor and drops its reports; the audit keeps that it was there."""
        return answer(asdict(watch.remove(name, by=by)))

    @router.post("/monitors/{name}/check")
    def check(name: str, by: Caller) -> Response:
        """Judges what came since the last verdict, now; and does what the monitor does on an alarm."""
        authorise(by, "write", monitors.find(name, scope_of(by)).team)
        return answer(asdict(watch.check(name)))

    @router.get("/monitors/{name}/reports")
    def reports(name: str, by: Caller, limit: Limit = 50) -> Response:
        """What its checks concluded, newest first."""
        authorise(by, "read")
        return answer([asdict(report) for report in monitors.reports(name, scope_of(by), limit=limit)])

    return router


def _body(watch: Watch, monitor: Monitor, by: Principal) -> dict[str, Any]:
    newest = watch.monitors.reports(monitor.name, scope_of(by), limit=1)
    standing, _ = watch.monitors.standing(monitor.name)
    return {**asdict(monitor), "alarmed": standing.alarmed, "newest": asdict(newest[0]) if newest else None}
