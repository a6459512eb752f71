"""Projects as pages: what repositories declare, and what their applies came to. They are applied by command."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.governance.projects.projects import Projects


def routes(desk: Desk, projects: Projects) -> APIRouter:
    """The pages of projects, a part of Policy."""
    router = desk.router()

    @router.get("/projects")
    def rows(request: Request) -> Response:
        by = desk.enter(request)
        return desk.page(request, "projects.html", "Projects", {"projects": projects.list(by)}, by=by)

    @router.get("/projects/{name}")
    def show(request: Request, name: str) -> Response:
        by = desk.enter(request)
        project, things, applies = projects.find(name, by)
        values = {"project": project, "things": things, "applies": applies}
        return desk.page(request, "project.html", project.name, values, by=by)

    return router
