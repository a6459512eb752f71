"""What was done and said: traces, content under its keys, the journal on its way to both, and what erasing reaches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tandem.app import CACHE
from tandem.app.ground import Ground, machine
from tandem.core.trace import Trace
from tandem.gateway.cache import Cache
from tandem.governance.erase import Elsewhere, Erasures
from tandem.governance.machines import Machines
from tandem.observability.content import Subjects
from tandem.observability.counts import Cell, Counts
from tandem.observability.move import Mover, Rule
from tandem.observability.traces import Traces
from tandem.observability.usage import Usages


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The recorded past."""

    subjects: Subjects
    traces: Traces
    usages: Usages
    mover: Mover
    machines: Machines
    remembered: Cache
    """Answers that may be given again."""
    erasures: Erasures
    elsewhere: Elsewhere
    """Erasures that another machine was asked for."""


def keep(
    ground: Ground,
    *,
    counting: Callable[[Trace, bytes], Sequence[tuple[Cell, Counts]]],
    naming: Callable[[Trace, bytes], str],
) -> Records:
    """Opens the records.

    Args:
        counting: counts each call for the monitors.
        naming: gives each call the names by which its outcome will come.
    """
    g, settings = ground, ground.settings
    subjects = Subjects(g.server or g.home / "subjects.db", g.vault)
    traces = Traces(g.server or g.home / "traces")
    traces.adopt(subjects)
    mover = Mover(
        g.home / "journal",
        traces=traces,
        subjects=subjects,
        books=g.ledger,
        vault=g.vault,
        clock=g.clock,
        retention_days=settings.traces.retention_days,
        rules=[Rule(days=rule.days, kind=rule.kind, team=rule.team) for rule in settings.retention.values()],
        machine="" if g.server is None else machine(g.home),
        counting=counting,
        naming=naming,
    )
    remembered = Cache(g.home / CACHE, g.vault, g.clock)
    return Records(
        subjects=subjects,
        traces=traces,
        usages=Usages(traces),
        mover=mover,
        machines=Machines(g.ledger, mover, g.sql, g.audit),
        remembered=remembered,
        erasures=Erasures(
            home=g.home,
            sql=g.sql,
            audit=g.audit,
            subjects=subjects,
            mover=mover,
            traces=traces,
            vault=g.vault,
            clock=g.clock,
            forget=remembered.erase,
            shared=None if g.server is None else g.shared,
        ),
        elsewhere=Elsewhere(subjects, mover, remembered.forget, g.clock),
    )
