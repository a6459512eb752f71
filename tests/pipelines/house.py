"""A home with pipelines, whose Runs are done in the caller's thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tandem.core.clock import Clock, SystemClock
from tandem.core.principal import Principal, Role
from tandem.core.run import Run
from tandem.governance.audit import Audit
from tandem.governance.authorise import ALL
from tandem.jobs.fake import InlineJobs
from tandem.jobs.repo import Runs
from tandem.monitoring.repo import Monitors
from tandem.pipelines.pipelines import KIND, Pipelines
from tandem.pipelines.repo import Step, Steps, Triggers
from tandem.pipelines.tasks import Stores, make_pipeline
from tandem.pipelines.triggers import Triggering
from tandem.registry.registry import Registry
from tandem.settings.options import PipelineOptions
from tandem.store.blobs import Blobs
from tandem.store.sql import Sql
from tandem.store.vault import Vault
from tests.migrated import migrated

HEAD = """
import os, sys, time
import polars as pl
from tandem_sdk.pipeline import Context, pipeline, step
"""


def person(role: Role = "editor", team: str = "risk") -> Principal:
    return Principal(id=f"key_{role}", name=f"{team}-{role}", team=team, role=role)


@dataclass
class House:
    home: Path
    clock: Clock = field(default_factory=SystemClock)
    options: PipelineOptions = field(default_factory=PipelineOptions)
    carried: bool = True
    """Whether Runs are done; else they are only noted."""

    def __post_init__(self) -> None:
        url = f"sqlite:///{self.home / 'control.db'}"
        migrated(url)
        self.sql = Sql(url)
        self.audit = Audit(self.sql, Vault(bytes(range(32))), self.clock, self.home / "audit.head")
        self.registry = Registry(self.sql, Blobs(self.home / "blobs"), self.audit, self.clock)
        self.runs = Runs(self.sql, self.clock)
        self.jobs = InlineJobs(self.runs, self.clock)
        self.steps = Steps(self.sql, self.clock)
        self.results = Blobs(self.home / "steps")
        self.revoked: set[str] = set()
        self.begun: list[str] = []
        self.monitors = Monitors(self.sql, self.audit, self.clock)
        self.triggers = Triggers(self.sql, self.audit, self.clock)
        self.pipelines = Pipelines(self.registry, self.runs, self.jobs, self.steps, self.sql, self.audit)
        self.triggering = self.another()
        work = make_pipeline(self.stores())
        self.jobs.register(KIND, work if self.carried else lambda job: self.begun.append(job.run_id) or {})

    def stores(self) -> Stores:
        return Stores(
            registry=self.registry,
            runs=self.runs,
            jobs=self.jobs,
            steps=self.steps,
            results=self.results,
            clock=self.clock,
            secret=bytes(32),
            holds=self.holds,
            url="http://127.0.0.1:9",
            lake=self.home / "lake",
            work=self.home / "work",
            options=self.options,
        )

    def another(self) -> Triggering:
        """What a second control process would have."""
        return Triggering(
            self.triggers,
            self.pipelines,
            registry=self.registry,
            runs=self.runs,
            monitors=self.monitors,
            clock=self.clock,
            holds=self.holds,
        )

    def holds(self, principal: Principal) -> bool:
        return principal.name not in self.revoked

    def add(self, body: str, name: str = "nightly", **more: str) -> str:
        return str(self.pipelines.publish(name, HEAD + body, entry="", git=None, by=person(**more)).ref)  # type: ignore[arg-type]

    def run(self, name: str = "nightly", *, cache: bool = True, by: Principal | None = None, **given: object) -> Run:
        return self.pipelines.start(name, given=given, cache=cache, by=by or person())

    def states(self, run: Run) -> dict[str, str]:
        return {step.name: step.state for step in self.steps.of(run.id)}

    def step(self, run: Run, name: str) -> Step:
        return next(step for step in self.steps.of(run.id) if step.name == name)

    def rows(self, name: str, *, run: str | None = None) -> int:
        """One more version of a dataset that holds nothing."""
        known = self.registry.versions("dataset", name, ALL)
        newest = known[0].version if known else 0
        meta: Mapping[str, object] = {"contract": {"columns": ["a"]}, "rows": newest + 1}
        made = self.registry.publish("dataset", name, members={"a.csv": str(newest).encode()}, meta=meta, run=run, by=person())
        return made.version


def bounded(**more: float) -> PipelineOptions:
    return replace(PipelineOptions(), **more)  # type: ignore[arg-type]  # by name
