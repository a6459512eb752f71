"""Principals over HTTP: keys and teams."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from tandem.api.approvals import WAITING, waits
from tandem.api.wire import Caller, answer
from tandem.core.endpoint import EndpointKind
from tandem.core.principal import Reach, Right, Role, Terms
from tandem.governance.approvals.keys import ask_key
from tandem.governance.approvals.requests import Requests
from tandem.governance.keys import OVERLAP_SECONDS, Keys

YEAR_9999 = 253_402_300_799_000_000
"""The last UTC second that a date can be written for, in microseconds."""
Name = Annotated[str, Field(max_length=64)]


class KeyIn(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    team: Name = "default"
    role: Role = "viewer"
    endpoints: list[Name] = Field(default_factory=list, max_length=1000)
    scopes: list[Name] = Field(default_factory=list, max_length=100)
    expires_at: int | None = Field(None, ge=0, le=YEAR_9999)
    owner: Annotated[str, Field(max_length=80)] = ""
    """`person/NAME` or `service/NAME`."""
    reach: Reach = "organisation"
    rights: list[Right] = Field(default_factory=list, max_length=10)
    kinds: list[EndpointKind] = Field(default_factory=list, max_length=10)
    models: list[Annotated[str, Field(max_length=200)]] = Field(default_factory=list, max_length=100)
    networks: list[Annotated[str, Field(max_length=64)]] = Field(default_factory=list, max_length=100)
    content: bool = True


class RotateIn(BaseModel):
    """How a token is changed."""

    model_config = ConfigDict(extra="forbid")
    overlap: int = Field(0, ge=0, le=OVERLAP_SECONDS)
    """Seconds for which the token before is good beside the new one."""


def routes(keys: Keys, requests: Requests) -> APIRouter:
    """The routes of Principal."""
    router = APIRouter(tags=["principals"])

    @router.get("/whoami")
    def whoami(by: Caller) -> Response:
        """Who this key is and what it may."""
        return answer(asdict(by))

    @router.post("/keys", status_code=201, responses=WAITING)
    def create(body: KeyIn, by: Caller) -> Response:
        """Makes a key; it is shown in this answer and never again.

        Where a rule asks for people, it is refused until they approved: 202, with the request that waits for them.
        """
        draft = keys.draft(
            body.name,
            team=body.team,
            role=body.role,
            endpoints=tuple(body.endpoints),
            scopes=tuple(body.scopes),
            expires_at=body.expires_at,
            terms=Terms(
                owner=body.owner,
                reach=body.reach,
                rights=tuple(body.rights),
                kinds=tuple(body.kinds),
                models=tuple(body.models),
                networks=tuple(body.networks),
                content=body.content,
            ),
            by=by,
        )
        shown = {"key": draft.secret.reveal(), "principal": asdict(draft.principal)}
        if (waiting := ask_key(requests, draft, by=by)) is not None:
            return waits(waiting, shown)
        keys.add(draft, by=by)
        return answer(shown, 201)

    @router.post("/keys/{name}/rotate")
    def rotate(name: Name, body: RotateIn, by: Caller) -> Response:
        """Gives a key a new token, which is shown in this answer and never again; the one before ends after the overlap."""
        principal, secret = keys.rotate(name, overlap=body.overlap, by=by)
        return answer({"key": secret.reveal(), "principal": asdict(principal)})

    @router.get("/keys")
    def list_keys(by: Caller) -> Response:
        """Keys, oldest first, the revoked ones too; never their secrets."""
        rows = [
            {**asdict(key.principal), "created_at": key.created_at, "created_by": key.created_by, "revoked_at": key.revoked_at}
            for key in keys.list(by)
        ]
        return answer(rows)

    @router.delete("/keys/{name}")
    def revoke(name: Name, by: Caller) -> Response:
        """Ends a key for good, on every worker within a second."""
        return answer(asdict(keys.revoke(name, by)))

    return router
