"""Subjects over HTTP: erasing one, and checking the report of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from fastapi.responses import Response

from tandem.api.wire import Caller, answer
from tandem.governance.authorise import authorise
from tandem.governance.erase import Erasures


def routes(erasures: Erasures) -> APIRouter:
    """The routes of the subjects of calls."""
    router = APIRouter(tags=["principals"])

    @router.post("/subjects/{subject:path}/erase")
    def erase(subject: Annotated[str, Path(max_length=4096)], by: Caller) -> Response:
        """Destroys the key and the name of a person; everything kept of them is unreadable from then on, backups included."""
        return answer(asdict(erasures.erase(subject, by)))

    @router.post("/erasures/verify")
    def verify(report: Annotated[dict[str, Any], Body()], by: Caller) -> Response:
        """Whether this platform wrote the report of an erasure as it stands."""
        authorise(by, "audit")
        return answer({"ok": erasures.verify(report)})

    return router
