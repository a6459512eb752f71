"""What is done again and again beside the answering of calls, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tandem.app import log
from tandem.app.parts import Parts
from tandem.batches.files import UPKEEP_SECONDS
from tandem.core.errors import TandemError
from tandem.data.features.redis import ROUND_SECONDS
from tandem.jobs import staging
from tandem.jobs.rounds import Rounds

AFTER_JOBS = frozenset({"features", "monitors", "triggers", "files", "batches"})
"""Rounds that wait for the Runs: a check may begin one, and which have ended is known only then."""


def background(parts: Parts, *, doors: bool) -> tuple[dict[str, Callable[[], object]], Callable[[], None]]:
    """Thread name → work that goes on, and what ends it all.

    Args:
        doors: whether this home has some, with journals to move and policy to be kept fresh.
    """
    launched, rounds = threading.Event(), _rounds(parts)
    mover, compiler = parts.records.mover, parts.money.compiler

    def begin_jobs() -> None:
        _sweep(parts)
        parts.labour.jobs.launch()
        launched.set()
        rounds["jobs"].stop()

    rounds["jobs"] = Rounds(begin_jobs, 1.0, at_once=True)

    def going_round(name: str) -> Callable[[], object]:
        def run() -> None:
            if name in AFTER_JOBS:
                launched.wait()
            rounds[name].run(log.control)

        return run

    def close() -> None:
        for each in rounds.values():
            each.stop()
        _close(parts)

    work: dict[str, Callable[[], object]] = {name: going_round(name) for name in rounds}
    if doors:
        work |= {"mover": lambda: mover.run(log.control), "compiler": lambda: compiler.run(log.control)}
    return work, close


def _rounds(parts: Parts) -> dict[str, Rounds]:
    """All but the launch of the jobs."""
    ground, law, material, pipes = parts.ground, parts.law, parts.material, parts.pipes
    mine, options = ground.mine, ground.settings.pipelines
    rounds = {
        "monitors": Rounds(parts.models.watch.step, 2.0, mine=mine),
        "features": Rounds(material.freshening.step, 2.0, mine=mine),
        "triggers": Rounds(pipes.triggering.step, 2.0, mine=mine),
        "steps": Rounds(lambda: pipes.forget(options.cache_bytes, options.cache_days), 600.0, mine=mine, at_once=True),
        "reviews": Rounds(parts.judging.queue.look, 1.0, mine=mine, at_once=True),
        "alerts": Rounds(law.courier.step, 0.5, mine=mine),
        "requests": Rounds(law.requests.sweep, 2.0, mine=mine),
        "vault": Rounds(law.rotation.step, 0.5),
        "files": Rounds(material.files.sweep, UPKEEP_SECONDS, mine=mine, at_once=True),
        "batches": Rounds(material.batches.settle, UPKEEP_SECONDS, mine=mine, at_once=True),
        "caps": Rounds(law.caps.look, 1.0),
        "meters": Rounds(parts.money.meters.step, 30.0, mine=mine),
        "forecasts": Rounds(parts.money.forecasts.warn, 600.0, mine=mine),
    }
    if ground.server is not None:
        rounds["erasures"] = Rounds(parts.records.elsewhere.step, 0.5)
    if material.mirror is not None:
        rounds["mirror"] = Rounds(material.mirror.step, ROUND_SECONDS, mine=mine, at_once=True)
    return rounds


def _sweep(parts: Parts) -> None:
    """Removes what dead processes left, where that is this process's to do."""
    ground = parts.ground
    if ground.mine():
        parts.material.datasets.sweep()
        staging.sweep(ground.work, ground.runs, ground.clock)


def _close(parts: Parts) -> None:
    for end in (parts.law.courier.stop, parts.records.mover.stop, parts.money.compiler.stop):
        end()
    if parts.ground.duty is not None:
        parts.ground.duty.close()
    for last in (parts.labour.jobs.close, parts.records.mover.drain):
        try:
            last()
        except (TandemError, OSError) as error:  # what is left, the next start does
            log.control(error)
    parts.labour.inside.close()
    parts.material.shelf.close()
    parts.records.remembered.close()
