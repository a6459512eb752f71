"""The console's own files: its style, its script, its mark. Nothing comes from another host."""

from __future__ import annotations

from pathlib import PurePath

from fastapi import APIRouter
from fastapi.responses import Response

from tandem.console.desk import TYPES, Desk
from tandem.core.errors import NotFound

SECONDS = 365 * 24 * 3600
"""For which a browser keeps a file; its address changes with its content."""


def routes(desk: Desk) -> APIRouter:
    """The routes of the static files."""
    router = desk.router()

    @router.get("/console/static/{name}")
    def file(name: str) -> Response:
        if name not in desk.files:
            raise NotFound(f"There is no file '{name}'.")
        headers = {"cache-control": f"public, max-age={SECONDS}, immutable", "x-content-type-options": "nosniff"}
        return Response(desk.files[name], 200, headers, TYPES[PurePath(name).suffix])

    return router
