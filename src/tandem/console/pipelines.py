"""One pipeline as a page: its steps drawn, its Runs, what came from the cache, and what begins it by itself."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console.desk import Desk
from tandem.console.graph import Graph, layout
from tandem.pipelines.pipelines import Pipelines
from tandem.pipelines.repo import Step
from tandem.pipelines.triggers import Triggering

DRAWN = 60
"""Steps that a drawing holds; the first come first."""


def routes(desk: Desk, pipelines: Pipelines, triggering: Triggering) -> APIRouter:
    """The page of a pipeline."""
    router = desk.router()

    @router.get("/pipelines/{name}")
    def show(request: Request, name: str) -> Response:
        by = desk.enter(request)
        runs = pipelines.runs(name, by=by)
        values = {
            "published": pipelines.version(name, by=by),
            "runs": runs,
            "newest": runs[0] if runs else None,
            "graph": drawing(runs[0].steps) if runs else None,
            "triggers": triggering.list(name, by=by),
        }
        return desk.page(request, "pipeline.html", f"Pipeline {name}", values, by=by)

    return router


def drawing(steps: Sequence[Step]) -> Graph | None:
    """Every step right of those whose results it was given; boxes are named by position."""
    shown = steps[:DRAWN]
    edges = [(str(before), str(step.position)) for step in shown for before in step.after]
    return layout([str(step.position) for step in shown], edges) if shown else None
