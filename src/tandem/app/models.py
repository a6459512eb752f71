"""Models made, scored, brought in, tried and watched."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tandem.app.ground import Ground
from tandem.app.judging import Judging
from tandem.app.labour import Labour
from tandem.app.law import Law
from tandem.app.money import Money
from tandem.app.pipes import Pipes
from tandem.app.records import Records
from tandem.decisions.union import composer
from tandem.evaluation.about.card import Cards
from tandem.monitoring.canary import AT_ONCE as CANARIES_AT_ONCE
from tandem.monitoring.canary import KIND as CANARY
from tandem.monitoring.canary import Canaries, make_canary
from tandem.monitoring.canary import Stores as Trying
from tandem.monitoring.counts import Counting
from tandem.monitoring.online.online import AT_ONCE as LEARNERS_AT_ONCE
from tandem.monitoring.online.online import KIND as ONLINE
from tandem.monitoring.online.online import Online, make_online
from tandem.monitoring.outcomes import PURPOSE as LABELS
from tandem.monitoring.outcomes import Outcomes
from tandem.monitoring.retrain import Retraining, make_retrain
from tandem.monitoring.shadowed import Shadowing
from tandem.monitoring.watch import Watch
from tandem.serving.offline.tasks import KIND as SCORE
from tandem.serving.offline.tasks import Outside, Places, make_predict
from tandem.training.imports.tasks import KIND as IMPORT
from tandem.training.imports.tasks import Stores as Importing
from tandem.training.imports.tasks import make_import
from tandem.training.tasks import make_train

VERSIONS = 1_000
"""Whose tasks are remembered: a version never changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """The life of models after they were asked for."""

    outside: Outside
    """Where answers of scoring may go."""
    outcomes: Outcomes
    canaries: Canaries
    shadowing: Shadowing
    learning: Online
    watch: Watch
    counting: Counting
    cards: Cards


def make(ground: Ground, records: Records, money: Money, labour: Labour, judging: Judging, law: Law, pipes: Pipes) -> Models:
    """Builds them, and registers their kinds of Run."""
    g, jobs, options = ground, labour.jobs, ground.settings
    retraining = Retraining(g.registry, g.runs, jobs)
    outcomes = Outcomes(
        records.traces,
        records.subjects,
        g.clock,
        g.vault.derive(LABELS),
        came=pipes.triggering.labels_came,
        does=lru_cache(VERSIONS)(retraining.does),
    )
    trying = Trying(
        sql=g.sql,
        audit=g.audit,
        table=g.table,
        traces=records.traces,
        registry=g.registry,
        runs=g.runs,
        clock=g.clock,
        current=money.compiler.current,
        subjects=records.subjects,
        outcomes=outcomes,
    )
    canaries = Canaries(trying, jobs)
    train = make_train(
        g.registry, g.clock, labour.meter, lake=g.lake, work=g.work, trust=options.serving.trust, compute=options.compute
    )
    jobs.register("train", train)
    jobs.register("retrain", make_retrain(train, judging.promotions, law.moves, canaries))
    jobs.register(CANARY, make_canary(trying, judging.promotions, law.moves), at_once=CANARIES_AT_ONCE)
    learns = make_online(trying, jobs, judging.promotions, law.moves, judging.holdouts, folder=g.shared / ONLINE)
    jobs.register(ONLINE, learns, at_once=LEARNERS_AT_ONCE)
    jobs.register(IMPORT, make_import(_importing(g, judging, law)))
    watch = Watch(
        law.monitors,
        retraining,
        traces=records.traces,
        subjects=records.subjects,
        current=money.compiler.current,
        clock=g.clock,
        lake=str(g.lake),
        sample=judging.queue.sample,
        outcomes=outcomes,
    )
    return Models(
        outside=_scoring(g, labour),
        outcomes=outcomes,
        canaries=canaries,
        shadowing=Shadowing(trying),
        learning=Online(trying, jobs),
        watch=watch,
        counting=Counting(watch.hours.plans, g.clock),
        cards=Cards(g.registry, judging.holdouts.kept, watch.watching),
    )


def _importing(ground: Ground, judging: Judging, law: Law) -> Importing:
    g = ground
    return Importing(
        registry=g.registry,
        promotions=judging.promotions,
        moves=law.moves,
        sql=g.sql,
        audit=g.audit,
        compose=composer(g.registry),
        trust=g.settings.serving.trust,
        work=g.work,
    )


def _scoring(ground: Ground, labour: Labour) -> Outside:
    g, data = ground, ground.settings.data
    outside = Outside(
        databases=data.databases,
        writable_databases=data.writable_databases,
        writable_places=data.writable_places,
    )
    places = Places(lake=g.lake, work=g.work, outside=outside, compute=g.settings.compute)
    labour.jobs.register(SCORE, make_predict(g.registry, g.clock, places, labour.meter, trust=g.settings.serving.trust))
    return outside
