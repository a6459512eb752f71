"""The console's pages, put together: what they ask, and in which order they are found."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter

from tandem.console import (
    alerts,
    approvals,
    assets,
    costs,
    datasets,
    endpoints,
    entry,
    files,
    home,
    monitors,
    online,
    people,
    pipelines,
    policy,
    principals,
    projects,
    reviews,
    runs,
    traces,
    usage,
)
from tandem.console.desk import Desk
from tandem.console.endpoints import Current, Seen
from tandem.console.traces import Pricing
from tandem.core.clock import Clock
from tandem.data.corpus.indexes import Indexes
from tandem.data.features.features import Features
from tandem.data.reader import Reader
from tandem.evaluation.about.card import Cards
from tandem.evaluation.look import Look
from tandem.evaluation.reviews.queue import Queue
from tandem.governance.alerts.alerts import Alerts
from tandem.governance.approvals.requests import Requests
from tandem.governance.approvals.rules import Rules
from tandem.governance.audit import Audit
from tandem.governance.bills.forecast import Forecasts
from tandem.governance.bills.reconcile import Bills
from tandem.governance.erase import Erasures
from tandem.governance.keys import Keys
from tandem.governance.ledger import Ledger
from tandem.governance.machines import Machines
from tandem.governance.people.invitations import Invitations
from tandem.governance.people.oidc import Oidc
from tandem.governance.people.persons import Persons
from tandem.governance.people.vouched import Newcomers
from tandem.governance.projects.projects import Projects
from tandem.governance.rotation import Rotation
from tandem.governance.sessions import Sessions
from tandem.jobs.repo import Runs
from tandem.monitoring.canary import Canaries
from tandem.monitoring.online.online import Online
from tandem.monitoring.repo import Monitors
from tandem.monitoring.shadowed import Shadowing
from tandem.observability.content import Subjects
from tandem.observability.traces import Traces
from tandem.observability.usage import Usages
from tandem.pipelines.pipelines import Pipelines
from tandem.pipelines.triggers import Triggering
from tandem.registry.registry import Registry
from tandem.store.sql import Sql


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What the pages ask."""

    registry: Registry
    cards: Cards
    """Of model versions."""
    indexes: Indexes
    features: Features
    reader: Reader
    """Of datasets."""
    runs: Runs
    pipelines: Pipelines
    triggering: Triggering
    look: Look
    """Shows evaluations."""
    traces: Traces
    subjects: Subjects
    erasures: Erasures
    ledger: Ledger
    machines: Machines
    bills: Bills
    forecasts: Forecasts
    audit: Audit
    sql: Sql
    keys: Keys
    persons: Persons
    invitations: Invitations
    oidc: Oidc
    newcomers: Newcomers
    sessions: Sessions
    address: str
    """Of the console, for links."""
    current: Current
    """Gives the compiled snapshot."""
    monitors: Monitors
    requests: Requests
    rules: Rules
    projects: Projects
    queue: Queue
    """Reviews."""
    alerts: Alerts
    usages: Usages
    rotation: Rotation
    price: Pricing
    """The price row of a target at a time for a team."""
    resting: Seen
    """What door workers tell of targets that rest."""
    canaries: Canaries
    shadowing: Shadowing
    learning: Online
    clock: Clock


def routes(sources: Sources) -> APIRouter:
    """Every page, under `/`. An address of one word that nothing else answers is a page that says so."""
    s = sources
    desk = Desk(s.sessions, s.clock, providers=s.oidc.names)
    router = APIRouter()
    for part in (
        entry.routes(desk, s.invitations, s.oidc, s.newcomers),
        home.routes(desk, s.traces, s.runs, s.ledger, s.audit, s.current),
        endpoints.routes(desk, s.current, s.resting, s.canaries, s.shadowing, s.learning, s.projects),
        online.routes(desk, s.learning),
        datasets.routes(desk, s.registry, s.reader),
        assets.routes(desk, s.registry, s.look, s.indexes, s.features, s.projects, s.cards),
        traces.routes(desk, s.traces, s.subjects, s.current, s.price),
        runs.routes(desk, s.runs, s.registry, s.look, s.pipelines),
        pipelines.routes(desk, s.pipelines, s.triggering),
        monitors.routes(desk, s.monitors),
        approvals.routes(desk, s.requests, s.rules),
        reviews.routes(desk, s.queue),
        projects.routes(desk, s.projects),
        alerts.routes(desk, s.alerts),
        people.routes(desk, s.persons, s.invitations, s.keys, s.address),
        principals.routes(desk, s.keys, s.requests),
        costs.routes(desk, s.bills, s.forecasts, s.ledger, s.traces),
        policy.routes(desk, s.ledger, s.machines, s.audit, s.sql, s.erasures, s.rotation),
        usage.routes(desk, s.usages),
        files.routes(desk),
        home.nothing(desk),
    ):
        router.include_router(part)
    return router
