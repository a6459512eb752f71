"""What people and programs see of the control process: the routes of the API and the pages of the console."""

from __future__ import annotations

from fastapi import APIRouter

from tandem.api import (
    alerts,
    approvals,
    assets,
    audit,
    batches,
    budgets,
    canaries,
    costs,
    datasets,
    doctor,
    endpoints,
    features,
    files,
    guards,
    hot,
    imports,
    indexes,
    machines,
    makers,
    monitors,
    online,
    outcomes,
    persons,
    pipelines,
    policy,
    prices,
    principals,
    projects,
    reviews,
    runs,
    shadows,
    subjects,
    traces,
    usage,
    vault,
)
from tandem.api.server import Face
from tandem.app import BOARD, log
from tandem.app.parts import Parts
from tandem.console import pages
from tandem.evaluation.reviews.export import Exports
from tandem.gateway.routing import board


def face(parts: Parts) -> Face:
    """Everything that is answered."""
    return Face(
        sessions=parts.law.sessions,
        projects=parts.law.projects,
        routers=[*_people(parts), *_making(parts), *_running(parts), *_money(parts)],
        openai=[files.routes(parts.material.files), batches.routes(parts.material.batches)],
        pages=[pages.routes(_pages(parts))],
        log=log.control,
        hot=hot.PATHS,
    )


def _people(parts: Parts) -> list[APIRouter]:
    """Who may, and what they did."""
    g, law, records = parts.ground, parts.law, parts.records
    return [
        principals.routes(g.keys, law.requests),
        persons.routes(law.persons, law.invitations, law.sessions, g.keys, g.settings.server.console),
        policy.routes(g.registry, g.audit),
        approvals.routes(law.rules, law.requests),
        projects.routes(law.projects),
        audit.routes(g.audit, g.sql, g.clock),
        usage.routes(records.usages, g.audit, g.sql),
        vault.routes(law.rotation),
        subjects.routes(records.erasures),
        alerts.routes(law.alerts),
    ]


def _making(parts: Parts) -> list[APIRouter]:
    """Assets, and the Runs that make them."""
    g, material, judging, models = parts.ground, parts.material, parts.judging, parts.models
    registry, jobs = g.registry, parts.labour.jobs
    return [
        assets.routes(registry, judging.promotions, parts.law.moves, judging.holdouts, models.cards),
        makers.routes(registry),
        imports.routes(g.runs, jobs, g.work, g.settings.serving.trust),
        guards.routes(registry),
        datasets.routes(registry, material.datasets, material.reader, g.work),
        indexes.routes(registry, g.runs, jobs, material.indexes, g.work),
        features.routes(registry, g.runs, jobs, material.features),
        runs.routes(g.runs, jobs, registry, judging.look, models.outside),
        pipelines.routes(parts.pipes.pipelines, parts.pipes.triggering),
    ]


def _running(parts: Parts) -> list[APIRouter]:
    """What answers calls, and how it is watched."""
    g, records, compiler = parts.ground, parts.records, parts.money.compiler
    queue, models = parts.judging.queue, parts.models
    return [
        canaries.routes(models.canaries),
        shadows.routes(models.shadowing),
        online.routes(models.learning),
        endpoints.routes(
            g.table, g.vault, compiler.current, g.settings.server.address, g.clock, g.home / BOARD, parts.law.requests
        ),
        traces.routes(records.traces, records.subjects, compiler.price),
        monitors.routes(models.watch),
        outcomes.routes(models.outcomes),
        reviews.routes(queue, Exports(queue, g.registry, parts.material.datasets, g.work)),
        doctor.routes(g.home, compiler, g.table, g.audit, g.ledger, parts.law.alerts, records.machines, parts.money.mispriced),
        machines.routes(records.machines),
    ]


def _money(parts: Parts) -> list[APIRouter]:
    """What it costs."""
    g, money = parts.ground, parts.money
    sources = costs.Sources(
        bills=money.bills,
        repricing=money.repricing,
        forecasts=money.forecasts,
        audits=money.audits,
        ledger=g.ledger,
        traces=parts.records.traces,
        table=g.table,
        clock=g.clock,
        staging=g.home / "work",
    )
    return [
        budgets.routes(parts.law.caps, g.ledger, g.clock, parts.law.raises),
        prices.routes(money.prices, money.compiler.book, money.compiler.current, g.clock),
        costs.routes(sources),
    ]


def _pages(parts: Parts) -> pages.Sources:
    """What the console asks."""
    g, records, law, material, models = parts.ground, parts.records, parts.law, parts.material, parts.models
    return pages.Sources(
        registry=g.registry,
        cards=models.cards,
        indexes=material.indexes,
        features=material.features,
        reader=material.reader,
        runs=g.runs,
        pipelines=parts.pipes.pipelines,
        triggering=parts.pipes.triggering,
        look=parts.judging.look,
        traces=records.traces,
        subjects=records.subjects,
        erasures=records.erasures,
        ledger=g.ledger,
        machines=records.machines,
        bills=parts.money.bills,
        forecasts=parts.money.forecasts,
        audit=g.audit,
        sql=g.sql,
        keys=g.keys,
        persons=law.persons,
        invitations=law.invitations,
        oidc=law.oidc,
        newcomers=law.newcomers,
        sessions=law.sessions,
        address=g.settings.server.console,
        current=parts.money.compiler.current,
        monitors=models.watch.monitors,
        requests=law.requests,
        rules=law.rules,
        projects=law.projects,
        queue=parts.judging.queue,
        alerts=law.alerts,
        price=parts.money.compiler.price,
        usages=records.usages,
        rotation=law.rotation,
        resting=lambda: board.read(g.home / BOARD, g.clock.now()),
        canaries=models.canaries,
        shadowing=models.shadowing,
        learning=models.learning,
        clock=g.clock,
    )
