"""Which target is asked first, which next, and after what. Pure but for the random source it is given."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Rejected, TandemError, TimedOut, Unreachable, Upstream

STOP: frozenset[str] = frozenset({"bad_request", "content_policy", "context_exceeded", "not_found"})
"""Faults that another attempt cannot or must not mend; a safety refusal is never routed around."""
PATIENCE_SECONDS = 5.0
"""The longest `Retry-After` that is waited for inside a call."""


def order(
    endpoint: Endpoint, dice: random.Random, arrange: Callable[[Sequence[Target]], Sequence[Target]] | None = None
) -> list[Target]:
    """All targets in the order they are tried: priorities ascending, inside each a weighted draw without replacement.

    Args:
        arrange: orders the targets of one priority instead; those of weight 0 apart, after the others.
    """
    if len(endpoint.route) == 1:
        return list(endpoint.route)
    ordered: list[Target] = []
    for priority in sorted({target.priority for target in endpoint.route}):
        group = [target for target in endpoint.route if target.priority == priority]
        spare = [target for target in group if target.weight <= 0]
        group = [target for target in group if target.weight > 0]
        if arrange is not None:
            ordered += [*(arrange(group) if group else ()), *(arrange(spare) if spare else ())]
            continue
        while group:
            pick = dice.choices(group, [target.weight for target in group])[0]
            group.remove(pick)
            ordered.append(pick)
        ordered += spare
    return ordered


def attempts(endpoint: Endpoint, candidates: Sequence[Target]) -> list[Target]:
    """The tries a call may make: every candidate once, and again from the first while `retries` last."""
    total = max(1 + endpoint.retries, len(candidates))
    return [candidates[index % len(candidates)] for index in range(total)]


def may_retry(error: TandemError) -> bool:
    """Whether another attempt makes sense before anything was sent to the caller."""
    if isinstance(error, Rejected):
        return error.code not in STOP
    return isinstance(error, Unreachable | TimedOut | Upstream)


def pause(error: TandemError, again: int, same: bool, dice: random.Random) -> float | None:
    """Seconds to wait before attempt number `again` (from 1); None when the wait would be too long.

    Another target is tried at once; the same one after its `Retry-After`, else after a jittered
    exponential delay from 0.1 s.
    """
    if not same:
        return 0.0
    if error.retry_after is not None:
        return error.retry_after if error.retry_after <= PATIENCE_SECONDS else None
    return min(2.0, float(0.1 * 2 ** (again - 1))) * dice.uniform(0.8, 1.2)
