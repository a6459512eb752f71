"""Runs as pages: the list, and one run with its progress and what it made."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from tandem.console import facts
from tandem.console.assets import pictures
from tandem.console.desk import Desk
from tandem.core.asset import Ref, Version
from tandem.core.errors import Invalid, NotFound
from tandem.core.principal import Principal
from tandem.core.run import ENDED, Run
from tandem.evaluation.look import Lines, Look
from tandem.evaluation.suite import KIND as EVALUATE
from tandem.governance.authorise import Scope, scope_of
from tandem.jobs.repo import Runs
from tandem.pipelines.pipelines import KIND as PIPELINE
from tandem.pipelines.pipelines import Pipelines
from tandem.registry.registry import Registry
from tandem.training.imports.tasks import KIND as IMPORT

PAGE = 100
WORST = 10
"""Rows of an evaluation that its page shows."""
ASIDE = frozenset({"asset", "metrics", "environment", "comparison", "asked", "models", "cost"})
"""Outputs that have a place of their own on the page."""


def routes(desk: Desk, runs: Runs, registry: Registry, look: Look, pipelines: Pipelines) -> APIRouter:
    """The pages of Run."""
    router = desk.router()

    @router.get("/runs")
    def rows(request: Request) -> Response:
        by = desk.enter(request)
        found = runs.list(scope_of(by), limit=PAGE)
        values = {"runs": found, "busy": any(run.state not in ENDED for run in found), "now": desk.clock.now()}
        return desk.page(request, "runs.html", "Runs", values, by=by)

    @router.get("/runs/{identifier}")
    def show(request: Request, identifier: str) -> Response:
        by = desk.enter(request)
        run = runs.find(identifier, scope_of(by))
        made = _made(registry, run, scope_of(by))
        values = {
            "run": run,
            "busy": run.state not in ENDED,
            "now": desk.clock.now(),
            "made": made,
            "pictures": () if made is None else pictures(made),
            "comparison": facts.report(run.outputs.get("comparison")),
            "asked": facts.asked(run.outputs.get("asked")) if run.kind == EVALUATE else None,
            "lines": _lines(look, run, by),
            "steps": pipelines.steps(run.id, by=by) if run.kind == PIPELINE else (),
            "nested": runs.list(scope_of(by), parent=run.id, limit=PAGE) if run.kind == PIPELINE else (),
            "imported": facts.imported(run.outputs.get("models")) if run.kind == IMPORT else (),
            "metrics": facts.metrics(run.outputs.get("metrics")),
            "outputs": {name: value for name, value in run.outputs.items() if name not in ASIDE},
        }
        return desk.page(request, "run.html", f"Run {run.name}", values, by=by)

    return router


def _lines(look: Look, run: Run, by: Principal) -> Lines | None:
    """The worst rows of an evaluation, with what was answered."""
    if run.kind != EVALUATE:
        return None
    try:
        found = look(run, by, metric=None, limit=WORST, content=True)
    except (Invalid, NotFound):  # nothing was asked yet
        return None
    return found if found.lines else None


def _made(registry: Registry, run: Run, scope: Scope) -> Version | None:
    """The version that the run made, as far as the scope sees it."""
    try:
        return registry.find(Ref.parse(str(run.outputs.get("asset"))), scope)
    except (Invalid, NotFound):  # it made none, or it is another team's
        return None
