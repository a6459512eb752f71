"""Alerts over HTTP: who is told outside, of what, and how that goes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.wire import Caller, answer
from tandem.core.policy import Alert
from tandem.governance.alerts.alerts import Alerts, Shown
from tandem.governance.alerts.deeds import DEFAULT

Name = Annotated[str, Field(max_length=140)]
Long = Annotated[str, Field(max_length=8192)]
Mailbox = Annotated[str, Field(max_length=320)]


class AlertIn(BaseModel):
    """An alert as it shall be; a literal address and a literal secret are sealed before they are stored."""

    model_config = ConfigDict(extra="forbid")
    url: Long = Field(description="env:NAME, file:PATH, or https://… (webhook, slack), smtp://… or smtps://… (email)")
    kind: Name = Field("webhook", description="webhook, slack or email")
    on: Annotated[list[Name], Field(min_length=1, max_length=32)] = Field(
        list(DEFAULT), description="Actions of the audit, such as monitor.alarm; budget.* and * are patterns"
    )
    team: Name | None = Field(None, description="Whose deeds; null: every team's")
    secret: Long = Field("", description="What a webhook is signed with (one is made if none is given), or a mail password")
    user: Name = ""
    sender: Mailbox = ""
    to: Annotated[list[Mailbox], Field(max_length=50)] = []


def routes(alerts: Alerts) -> APIRouter:
    """The routes of alerts, a part of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/alerts")
    def list_alerts(by: Caller) -> Response:
        """Every alert, and how its delivery goes; addresses up to the host only."""
        return answer([_body(shown) for shown in alerts.list(by=by)])

    @router.get("/alerts/{name}")
    def show_alert(name: str, by: Caller) -> Response:
        """One alert, and how its delivery goes."""
        return answer(_body(alerts.find(name, by=by)))

    @router.put("/alerts/{name}")
    def put_alert(name: str, body: AlertIn, by: Caller) -> Response:
        """Adds or replaces an alert. A signing secret that was made for it is in this answer alone."""
        told = body.model_dump()
        made = alerts.put(Alert(name=name, **{**told, "on": tuple(body.on), "to": tuple(body.to)}), by=by)
        extra = {} if made is None else {"signing_secret": made.reveal()}
        return answer({**_body(alerts.find(name, by=by)), **extra})

    @router.delete("/alerts/{name}")
    def remove_alert(name: str, by: Caller) -> Response:
        """Removes an alert: it is told of nothing any more."""
        alerts.remove(name, by=by)
        return answer({"name": name})

    @router.post("/alerts/{name}/test")
    def test_alert(name: str, by: Caller) -> Response:
        """Sends a test to an alert, and tells whether it arrived."""
        return answer(asdict(alerts.test(name, by=by)))

    return router


def _body(shown: Shown) -> dict[str, Any]:
    return {**asdict(shown.alert), "pending": shown.pending, "delivery": asdict(shown.standing)}
