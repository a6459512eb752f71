"""The control process's HTTP application: every route of ours, the console's pages, and what only the door may ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from tandem import __version__
from tandem.api.docs import page
from tandem.api.threshold import Threshold
from tandem.api.wire import Caller, Fault, FaultOpenAI, answer, install_faults
from tandem.core.errors import NotFound
from tandem.governance.projects.projects import Projects
from tandem.governance.sessions import Sessions

DESCRIPTION = """
One control plane for predictive and generative AI. The hot routes (`/v1`, `/v2`, decide) are answered by the door
itself and are described here too; all others by the control process.
"""

FAULTS: dict[int | str, dict[str, Any]] = {"4XX": {"model": Fault, "description": "Refused; `hint` says what to do next"}}

FAULTS_OPENAI: dict[int | str, dict[str, Any]] = {"4XX": {"model": FaultOpenAI, "description": "Refused, as OpenAI tells it"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What the application is made of."""

    sessions: Sessions
    projects: Projects
    routers: Sequence[APIRouter]
    """Mounted under /api/v1."""
    openai: Sequence[APIRouter]
    """Mounted under /v1: what OpenAI's clients ask beside calls."""
    pages: Sequence[APIRouter]
    """Mounted at the root: the console, foreign protocols."""
    log: Callable[[BaseException], None]
    hot: dict[str, Any]
    """OpenAPI paths of the routes that the door answers."""


def build(face: Face) -> FastAPI:
    """The application."""
    app = FastAPI(
        title="Tandem",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        openapi_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.sessions = face.sessions
    app.state.projects = face.projects
    app.add_middleware(Threshold)
    install_faults(app, face.log)
    for router in face.routers:
        app.include_router(router, prefix="/api/v1", responses=FAULTS)
    for router in face.openai:
        app.include_router(router, prefix="/v1", responses=FAULTS_OPENAI)
    for router in face.pages:
        app.include_router(router)

    @app.get("/internal/health", include_in_schema=False)
    def health() -> Response:
        return answer({"status": "ok"})

    @app.get("/api/openapi.json", include_in_schema=False)
    def openapi(by: Caller) -> Response:
        return answer(app.openapi())

    @app.get("/api/docs", include_in_schema=False)
    def docs(by: Caller) -> Response:
        return Response(page(app.openapi()), media_type="text/html", headers={"content-security-policy": "default-src 'self'"})

    @app.api_route("/api/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    def nothing(path: str) -> Response:
        raise NotFound(f"/api/{path} is nothing here.", hint="GET /api/docs lists the routes.")

    plain = app.openapi

    def described() -> dict[str, Any]:
        schema = plain()
        schema["paths"] = {**schema["paths"], **face.hot}
        return schema

    app.openapi = described  # type: ignore[method-assign]  # FastAPI's own way to extend its schema
    return app
