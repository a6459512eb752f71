"""Pipelines of the users' own, and what begins them."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.app.ground import Ground
from tandem.app.labour import Labour
from tandem.app.law import Law
from tandem.governance import lend
from tandem.pipelines.pipelines import KIND, Pipelines
from tandem.pipelines.repo import Steps, Triggers
from tandem.pipelines.tasks import Stores, make_pipeline
from tandem.pipelines.triggers import Triggering
from tandem.store.blobs import Blobs


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipes:
    """Pipelines, triggers, and what steps returned."""

    pipelines: Pipelines
    triggering: Triggering
    steps: Steps
    results: Blobs

    def forget(self, most: int, days: float) -> None:
        """Lets go of results above so many bytes, or older."""
        self.results.sweep(self.steps.sweep(most, days))


def connect(ground: Ground, labour: Labour, law: Law) -> Pipes:
    """Builds them, and registers their kind of Run."""
    g, options = ground, ground.settings.pipelines
    steps, results = Steps(g.sql, g.clock), Blobs(g.shared / "steps")
    stores = Stores(
        registry=g.registry,
        runs=g.runs,
        jobs=labour.jobs,
        steps=steps,
        results=results,
        clock=g.clock,
        secret=g.vault.derive(lend.PURPOSE),
        holds=g.keys.holds,
        url=g.settings.server.inside,
        lake=g.lake,
        work=g.work,
        options=options,
    )
    labour.jobs.register(KIND, make_pipeline(stores), at_once=options.at_once)
    pipelines = Pipelines(g.registry, g.runs, labour.jobs, steps, g.sql, g.audit)
    triggering = Triggering(
        Triggers(g.sql, g.audit, g.clock),
        pipelines,
        registry=g.registry,
        runs=g.runs,
        monitors=law.monitors,
        clock=g.clock,
        holds=g.keys.holds,
    )
    return Pipes(pipelines=pipelines, triggering=triggering, steps=steps, results=results)
