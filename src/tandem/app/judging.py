"""What is measured of models and prompts, and who may promote them on it."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.app.ground import Ground
from tandem.app.labour import Labour
from tandem.app.money import Money
from tandem.app.records import Records
from tandem.evaluation.held.evidence import Holdouts
from tandem.evaluation.held.repo import HeldEvidence
from tandem.evaluation.look import Look
from tandem.evaluation.promote import Promotions
from tandem.evaluation.replay import Replay
from tandem.evaluation.repo import Evaluations
from tandem.evaluation.reviews.queue import Queue
from tandem.evaluation.reviews.repo import Reviews
from tandem.evaluation.suite import KIND as EVALUATE
from tandem.evaluation.suite import Stores, make_evaluate


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Evidence, gates, people's reviews."""

    look: Look
    holdouts: Holdouts
    promotions: Promotions
    queue: Queue
    """Reviews."""


def judge(ground: Ground, records: Records, money: Money, labour: Labour) -> Judging:
    """Builds them, and registers their kind of Run."""
    g, trust = ground, ground.settings.serving.trust
    evaluations = Evaluations(g.sql, g.clock)
    stores = Stores(
        registry=g.registry,
        evaluations=evaluations,
        subjects=records.subjects,
        traces=records.traces,
        calls=labour.inside,
        records=money.compiler.records,
        now=g.clock.now,
        lake=g.lake,
    )
    labour.jobs.register(EVALUATE, make_evaluate(stores))
    holdouts = Holdouts(g.registry, HeldEvidence(g.sql, g.audit, g.clock), lake=g.lake, trust=trust)
    return Judging(
        look=Look(g.registry, evaluations, records.subjects),
        holdouts=holdouts,
        promotions=Promotions(g.registry, evaluations, g.clock, Replay(g.registry, lake=g.lake, trust=trust), holdouts),
        queue=Queue(
            Reviews(g.sql, g.audit, g.clock),
            traces=records.traces,
            subjects=records.subjects,
            clock=g.clock,
            retention_days=g.settings.traces.retention_days,
        ),
    )
