"""A promotion that nobody asked for by hand: made where that is allowed and its gate lets it, else put before a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tandem.core.asset import Ref
from tandem.core.errors import Blocked, Invalid
from tandem.core.principal import Principal
from tandem.evaluation.approved import PRODUCTION, Moves
from tandem.evaluation.promote import Promotions
from tandem.jobs.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What became of it."""

    promoted: bool
    request: str | None = None
    reasons: tuple[str, ...] = ()
    """What the gate said."""


def promote_or_ask(job: Job, ref: Ref, why: str, *, by: Principal, at_once: bool, promotions: Promotions, moves: Moves) -> Moved:
    """Moves production to a version; where a rule asks for people, or the gate does not let it, a request is opened.

    The same Run opens the same request, and moves an alias once.

    Args:
        at_once: whether it may be done without a person.

    Raises:
        Forbidden, NotFound, Conflict: as `Promotions.promote`.
    """
    rule, reasons, passed = moves.requests.rule("promote", by.team), tuple[str, ...](), True
    if at_once and rule is None:
        try:
            return Moved(promoted=True, reasons=tuple(promotions.promote(ref, PRODUCTION, by=by)["reasons"]))
        except (Blocked, Invalid) as refused:  # the gate says no, or cannot judge
            reasons, passed = (refused.message,), False
    asked = moves.wish(ref, PRODUCTION, " ".join((why, *reasons)), by=by, passed=passed)
    made = replace(moves.requests.made(asked, rule, by=by), id=f"req_{job.run_id.partition('_')[2]}", run=job.run_id)
    return Moved(promoted=False, request=moves.requests.open(made).id, reasons=reasons)
