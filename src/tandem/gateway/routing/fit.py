"""Which targets of a route can take a call at all, and why the others cannot. Pure; what is not known is no reason.

Sizes are estimates, so they never take the last target: a provider's own word is better than our guess.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tandem.core.endpoint import Ability, Endpoint, Target
from tandem.core.money import dollars, nano
from tandem.gateway.routing.order import Dropped
from tandem.gateway.routing.seen import Seen
from tandem.gateway.routing.when import unmet
from tandem.gateway.snapshot import Host

NEEDS: Mapping[Ability, Callable[[Seen], bool]] = {
    "vision": lambda seen: seen.images > 0,
    "tools": lambda seen: seen.tools,
    "json": lambda seen: seen.json,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the snapshot knows about targets."""

    hosts: Mapping[str, Host]
    contexts: Mapping[str, int]


def fitting(
    endpoint: Endpoint,
    route: Sequence[Target],
    seen: Seen,
    known: Known,
    find: Callable[[str], object],
    expected: Callable[[Target], int | None],
) -> tuple[list[Target], list[Dropped]]:
    """The targets that can take the call, in the route's order, and the others with their reasons.

    Args:
        find: what the call has under a condition's name.
        expected: nano-dollars that it is expected to cost at a target; None where there is no price.
    """
    fit: list[Target] = []
    dropped: list[Dropped] = []
    for target in route:
        why = _why(endpoint, target, seen, known, find) or _dear(endpoint, target, expected)
        if why is not None:
            dropped.append(Dropped(target=target, why=why))
        elif (why := _narrow(target, seen, known)) is not None:
            dropped.append(Dropped(target=target, why=why, guessed=True))
        else:
            fit.append(target)
    if not fit:
        tight = [each for each in dropped if each.guessed]
        if tight:
            widest = max(tight, key=lambda each: _context(each.target, known) or 0)
            return [widest.target], [each for each in dropped if each is not widest]
    return fit, dropped


def _why(endpoint: Endpoint, target: Target, seen: Seen, known: Known, find: Callable[[str], object]) -> str | None:
    if target.when and (name := unmet(target.when, find)) is not None:
        return f"its condition on {name} is not met"
    if endpoint.regions:
        host = known.hosts.get(target.target.partition("/")[0])
        if host is None or host.region not in endpoint.regions:
            return f"content may go to {', '.join(endpoint.regions)} only"
    for ability in target.lacks:
        if NEEDS[ability](seen):
            return f"it lacks {ability}"
    return None


def _dear(endpoint: Endpoint, target: Target, expected: Callable[[Target], int | None]) -> str | None:
    if not endpoint.max_cost:
        return None
    cost = expected(target)
    if cost is None:
        return f"its price is not known, and a call may cost {endpoint.max_cost} USD"
    bound = nano(endpoint.max_cost)
    return f"it is expected to cost {dollars(cost)} USD, and a call may cost {endpoint.max_cost}" if cost > bound else None


def _context(target: Target, known: Known) -> int | None:
    return target.context or known.contexts.get(target.target)


def _narrow(target: Target, seen: Seen, known: Known) -> str | None:
    room = _context(target, known)
    if room is None or len(seen.asked.body) + seen.asked.tokens_out <= room:  # a token has a byte at least
        return None
    tokens = seen.tokens
    return f"about {tokens:,} tokens do not fit into {room:,}" if tokens > room else None
