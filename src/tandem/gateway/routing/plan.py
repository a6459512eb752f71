"""Whom a call asks, in which order, and why nobody else: the plan of one call. Sends nothing.

route -> who can take it -> canary or not -> by priority and strategy -> who rests comes last
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import Invalid
from tandem.core.money import Usage, dollars
from tandem.gateway.asked import Prompted
from tandem.gateway.call import Call
from tandem.gateway.routing.fit import Known, fitting
from tandem.gateway.routing.health import Health
from tandem.gateway.routing.learned import Candidate, decide
from tandem.gateway.routing.order import Dropped, order
from tandem.gateway.routing.rank import Paces, cheapest, fastest, least_busy
from tandem.gateway.routing.seen import Seen
from tandem.gateway.routing.shelf import Shelf
from tandem.gateway.routing.warm import Warm, draw, settled
from tandem.gateway.routing.wishes import preferred, sieve
from tandem.gateway.tied import Kept


@dataclass(slots=True)
class Memory:
    """What one worker remembers of targets."""

    health: Health = field(default_factory=Health)
    paces: Paces = field(default_factory=Paces)
    warm: Warm = field(default_factory=Warm)
    shelf: Shelf = field(default_factory=Shelf)


@dataclass(slots=True, kw_only=True)
class Plan:
    """Where one call goes."""

    candidates: list[Target]
    """In the order they are asked; at least one."""
    shadows: list[Target] = field(default_factory=list)
    seen: Seen


def plan(memory: Memory, call: Call, asked: Prompted) -> Plan:
    """The plan of a call; what it weighed goes into the call's trace.

    Raises:
        Invalid: no target of the route takes the call (`no_target`), with the reasons.
    """
    endpoint, seen = call.endpoint, Seen(asked)
    assert endpoint is not None
    if asked.kept is not None:
        return _Planning(memory, call, endpoint, seen).follow(asked.kept)
    free = not (endpoint.regions or endpoint.max_cost or endpoint.route[0].when or asked.wishes)
    if free and len(endpoint.route) == 1:
        return Plan(candidates=[endpoint.route[0]], seen=seen)
    return _Planning(memory, call, endpoint, seen).plan()


class _Planning:
    """One plan in the making."""

    def __init__(self, memory: Memory, call: Call, endpoint: Endpoint, seen: Seen) -> None:
        self._memory, self._call, self._endpoint, self._seen = memory, call, endpoint, seen
        self._now = call.door.clock.now()
        self._expected: dict[str, str] = {}
        """Target → what was expected of it, for people."""

    def plan(self) -> Plan:
        call, endpoint, seen, wishes = self._call, self._endpoint, self._seen, self._seen.asked.wishes
        fit, dropped = self._fit(endpoint.route)
        shadows = [target for target in fit if target.role == "shadow"]
        canaries, fit = self._drawn([target for target in fit if target.role != "shadow"], dropped)
        shadows = [target for target in shadows if call.door.dice.random() < target.share]
        ordered = [*canaries, *order(fit, call.door.dice, self._arrange())]
        if not ordered:
            raise _nobody(endpoint, dropped)
        if wishes is not None:
            ordered = preferred(wishes, ordered)
        candidates = self._memory.health.order(ordered, self._now)
        self._explain(candidates, ordered, dropped, shadows, canaries)
        return Plan(candidates=candidates, shadows=shadows, seen=seen)

    def follow(self, kept: Kept) -> Plan:
        """The targets that lead to where an answer is kept, its own first; no draw, and no shadow, which would not know it."""
        endpoint = self._endpoint
        there = [target for target in endpoint.route if target.target.partition("/")[0] == kept.account]
        fit, dropped = self._fit([target for target in there if target.role != "shadow"])
        if not fit:
            raise _nobody(endpoint, dropped)
        fit.sort(key=lambda target: (target.target != kept.target, target.priority))
        self._explain(fit, fit, dropped, [], [])
        self._call.attributes["tandem.route.follows"] = kept.target
        return Plan(candidates=fit, seen=self._seen)

    def _fit(self, route: Sequence[Target]) -> tuple[list[Target], list[Dropped]]:
        """The targets that can take the call and that the caller wishes, and the others with their reasons."""
        snapshot, wishes = self._call.snapshot, self._seen.asked.wishes
        known = Known(hosts=snapshot.hosts, contexts=snapshot.contexts)
        fit, dropped = fitting(self._endpoint, route, self._seen, known, self._find, self._cost)
        if wishes is not None:
            fit, unwished = sieve(wishes, fit, known.hosts, self._call.price)
            dropped += unwished
        return fit, dropped

    # --- what a condition asks

    def _find(self, name: str) -> object:
        of, _, key = name.partition(".")
        if of == "principal":
            assert self._call.principal is not None
            return getattr(self._call.principal, key)
        return self._seen.find(name)

    # --- who is asked first

    def _drawn(self, fit: Sequence[Target], dropped: list[Dropped]) -> tuple[list[Target], list[Target]]:
        """The canary that answers this conversation, if one does, and all targets that are none."""
        drawn: list[Target] = []
        point = None
        for target in fit:
            if target.role != "canary":
                continue
            point = draw(self._key, f"canary {self._endpoint.name}") if point is None else point
            if not drawn and point < target.share:
                drawn.append(target)
            else:
                point -= target.share
                dropped.append(Dropped(target=target, why=f"a canary for {target.share:.3g} of the calls, and not for this one"))
        return drawn, [target for target in fit if target.role != "canary"]

    @property
    def _key(self) -> bytes:
        assert self._call.principal is not None
        return self._seen.conversation + self._call.principal.team.encode()

    def _arrange(self) -> Callable[[Sequence[Target]], Sequence[Target]] | None:
        """How targets of one priority are ordered; None: by a weighted draw."""
        endpoint, dice = self._endpoint, self._call.door.dice

        def by_cost(group: Sequence[Target]) -> list[Target]:
            return [target for target, _ in cheapest(group, self._cost, dice)]

        def by_pace(group: Sequence[Target]) -> list[Target]:
            found = fastest(group, self._memory.paces, self._now, dice, streamed=self._seen.asked.stream)
            self._expected.update((target.target, f"{seconds * 1000:.3g} ms") for target, seconds in found)
            return [target for target, _ in found]

        def by_load(group: Sequence[Target]) -> list[Target]:
            found = least_busy(group, self._memory.paces, dice)
            self._expected.update((target.target, f"{count} under way") for target, count in found)
            return [target for target, _ in found]

        match endpoint.strategy:
            case "cheapest":
                return by_cost
            case "fastest":
                return by_pace
            case "least_busy":
                return by_load
            case "good_enough":
                return self._by_chance()
            case "weighted":
                return (lambda group: settled(group, self._key)) if endpoint.sticky else None

    def _by_chance(self) -> Callable[[Sequence[Target]], list[Target]]:
        """The cheapest that is good enough; where nothing was learned, the cheapest."""
        endpoint, dice = self._endpoint, self._call.door.dice
        served = self._call.snapshot.routers.get(endpoint.router)
        router = self._memory.shelf.find(served)
        if isinstance(router, str) or served is None:
            self._call.attributes["tandem.route.router"] = str(router)
            return lambda group: [target for target, _ in cheapest(group, self._cost, dice)]
        look = router.look(self._seen.question)
        self._call.attributes["tandem.route.router"] = {"ref": served.ref, "trust": round(look.trust, 3)}
        known = dict(zip(router.models, look.chances, strict=True))

        def arrange(group: Sequence[Target]) -> list[Target]:
            by_name = {target.target: target for target in group}
            chances = {
                name: chance for name in by_name if (chance := known.get(name, known.get(name.partition("/")[2]))) is not None
            }
            candidates = [Candidate(model=name, cost=self._cost(target)) for name, target in by_name.items()]
            chosen = decide(chances, candidates, endpoint.tolerance)
            for each in chosen:
                name = each.candidate.model
                hope = "nothing learned" if each.chance is None else f"good with {each.chance:.2f}"
                self._expected[name] = f"{hope}, {self._expected[name]}"
            return [by_name[each.candidate.model] for each in chosen]

        return arrange

    def _cost(self, target: Target) -> int | None:
        """Nano-dollars that the call is expected to cost there: its prompt, what of it is still cached there, a usual answer."""
        price = self._call.price(target.target)
        if price is None:
            self._expected[target.target] = "no price"
            return None
        asked, seen = self._seen.asked, self._seen
        cached = min(seen.tokens, self._memory.warm.tokens(target.target, seen.prefixes, self._now))
        usage = Usage(
            input=seen.tokens - cached,
            cache_read=cached,
            output=self._memory.paces.guess(self._endpoint.name, asked.tokens_out),
        )
        cost = price.cost(usage)
        self._expected[target.target] = f"${dollars(cost)}" + (f", {cached} tokens of it cached" if cached else "")
        return cost

    # --- why

    def _explain(
        self,
        candidates: Sequence[Target],
        ordered: Sequence[Target],
        dropped: Sequence[Dropped],
        shadows: Sequence[Target],
        canaries: Sequence[Target],
    ) -> None:
        """Writes into the trace who was weighed, how, and with which result."""
        resting = {each.name: each for each in self._memory.health.resting(self._now)} if candidates != ordered else {}
        rows: list[dict[str, object]] = []
        for place, target in enumerate(candidates):
            row: dict[str, object] = {"target": target.target, "place": place + 1}
            if target in canaries:
                row["role"] = "canary"
            if target.target in resting:
                row["rests"] = resting[target.target].outcome
            rows.append(row)
        rows += [{"target": each.target.target, "dropped": each.why} for each in dropped]
        rows += [{"target": target.target, "role": "shadow"} for target in shadows]
        for row in rows:
            told = self._expected.get(str(row["target"]))
            if told is not None:
                row["expected"] = told
        self._call.attributes["tandem.route"] = rows
        if self._endpoint.strategy != "weighted" or self._endpoint.sticky:
            self._call.attributes["tandem.route.strategy"] = self._endpoint.strategy + (
                ", sticky" if self._endpoint.sticky else ""
            )


def _nobody(endpoint: Endpoint, dropped: Sequence[Dropped]) -> Invalid:
    reasons = "; ".join(f"{each.target.target}: {each.why}" for each in dropped[:8]) or "it has shadows only"
    return Invalid(
        f"No target of the endpoint '{endpoint.name}' takes this call. {reasons}.",
        code="no_target",
        hint="Change the request, or give the route a target without such a bound.",
    )


def narrowed(endpoint: Endpoint, target: Target) -> Endpoint:
    """The endpoint as a shadow of it is asked: that target alone, once."""
    return replace(endpoint, route=(replace(target, role="serve", when={}, priority=0, weight=1.0),), retries=0)
