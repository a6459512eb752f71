"""The master key over HTTP: which one there is, and its replacement. The key itself is in no answer."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from fastapi.responses import Response

from tandem.api.wire import Caller, answer
from tandem.governance.rotation import Rotation


def routes(rotation: Rotation) -> APIRouter:
    """The routes of the master key, a part of Policy."""
    router = APIRouter(tags=["policy"])

    @router.get("/vault")
    def show(by: Caller) -> Response:
        """The fingerprint of the master key, and what is still sealed under an earlier one."""
        return answer(asdict(rotation.standing(by)))

    @router.post("/vault/rotate", status_code=202)
    def begin(by: Caller) -> Response:
        """Makes a new master key. What is sealed under the old one is sealed anew in the background; doors go on."""
        return answer(asdict(rotation.begin(by)), 202)

    return router
