"""Sends a call to language-model hosts, attempt by attempt: who is asked, and what is tried when one fails.

plan -> admit -> attempt, and again as the fault's row in the canon says, until somebody has answered
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import msgspec

from tandem.core.canon import Fault, classed
from tandem.core.clock import MICROS
from tandem.core.endpoint import Endpoint, Target
from tandem.core.errors import TandemError, Upstream
from tandem.gateway.asked import Prompted, Reply
from tandem.gateway.call import FIRST_WORD, Call
from tandem.gateway.guard import Guarding, guarding
from tandem.gateway.routing import shadow
from tandem.gateway.routing.order import Tries, pause
from tandem.gateway.routing.plan import Plan, plan
from tandem.gateway.snapshot import Host
from tandem.gateway.tied import FOLLOWS, lost
from tandem.gateway.upstream import Hosts, attempt
from tandem.governance.admit import FREE


async def forward(hosts: Hosts, call: Call, asked: Prompted, reply: Reply, guards: Guarding | None = None) -> None:
    """Runs a call against its route and answers it.

    Raises:
        TandemError: nothing was sent to the caller yet; the wire turns it into a refusal.
    """
    asked = _followed(hosts, call, asked, guards)
    made = plan(hosts.memory, call, asked)
    owed = call.admit(asked.tokens_in, asked.tokens_out, made.candidates)
    if owed:
        try:
            await call.reserve()
        finally:
            call.spans[-1].end = call.door.clock.now()
    await _Sending(hosts, call, asked, made, reply, guards).send()
    if made.shadows and call.attempts[-1].outcome == "ok":  # what was not answered is nothing to compare with
        for target in made.shadows:
            shadow.begin(hosts.shadows, call, target, _as_shadow(hosts, asked, target))


def _followed(hosts: Hosts, call: Call, asked: Prompted, guards: Guarding | None) -> Prompted:
    """The request with the provider's own id of the answer it goes on from, if it goes on from one.

    Raises:
        Invalid: it names an answer that cannot be gone on from here. Another account does not know it, so nobody else is asked.
    """
    if not asked.follows:
        return asked
    assert call.endpoint is not None
    assert call.principal is not None
    kept = hosts.names.find(call.principal.team, asked.follows)
    if kept is None:
        raise lost("It is no id of an answer that a provider has kept for a caller of this team.")
    if guards is not None:
        raise lost("Under guards each request is read whole, and answers are not kept.")
    host = call.snapshot.hosts.get(kept.account)
    routed = any(target.target.partition("/")[0] == kept.account for target in call.endpoint.route)
    if host is None or not routed or hosts.wire(host).dialect != asked.dialect:
        raise lost("The provider that has kept it is not on the route of this endpoint.")
    hosts.place_of(host, kept.key)
    edits = {**asked.edits, FOLLOWS: msgspec.json.encode(kept.id)}
    return msgspec.structs.replace(asked, kept=kept, edits=edits)


@dataclass(slots=True)
class _Sending:
    """The attempts of one call."""

    hosts: Hosts
    call: Call
    asked: Prompted
    made: Plan
    reply: Reply
    guards: Guarding | None
    used: dict[str, list[int]] = field(default_factory=dict)
    """Keys that this call has tried in this round, by provider."""
    tried: dict[str, set[int]] = field(default_factory=dict)
    """Keys that it has tried at all: each is tried once for free."""

    async def send(self) -> None:
        call = self.call
        assert call.endpoint is not None
        tries = Tries.of(call.endpoint, self.made.candidates)
        target, number, first = tries.target, 0, None
        while True:
            try:
                await self._tried(target)
                return
            except TandemError as error:
                if call.closed:
                    raise
                first = first or error
                fault = self._fault(error)
                number += 1
                another_key = self._another_key(target)
                following = tries.after(fault, another_key=another_key)
                # another key is asked as soon as another target
                same = following is target and not (another_key and "rotate_key" in fault.steps)
                wait = pause(error, number, same, call.door.dice)
                if following is None or wait is None:
                    raise (first if error.code == "not_carried" else error) from None
                if wait:
                    await asyncio.sleep(wait)
                if call.reservation is FREE:  # spent by the attempt; one that could not be asked spends nothing
                    await call.reserve()
                target = following

    def _fault(self, error: TandemError) -> Fault:
        fault = classed(error)
        assert self.call.endpoint is not None
        if fault.code == "content_policy" and self.call.endpoint.past_refusals:
            return replace(fault, steps=("fail_over",))
        return fault

    def _another_key(self, target: Target) -> bool:
        if self.asked.kept is not None:  # another key may be another account's
            return False
        name = target.target.partition("/")[0]
        host = self.call.snapshot.hosts.get(name)
        return host is not None and len(self.tried.get(name, ())) < len(host.keys)

    async def _tried(self, target: Target) -> None:
        """An attempt, after which it is known how its target is doing."""
        hosts, call = self.hosts, self.call
        name = target.target.partition("/")[0]
        host = call.snapshot.hosts.get(name)
        if host is None:
            raise Upstream(f"The provider '{name}' of {target.target} is not set up.", hint="`tandem doctor` checks every route.")
        key = self._key(host, target)
        before, asks_for = len(call.attempts), None
        hosts.memory.paces.begin(target.target)
        try:
            await attempt(hosts, call, self.asked, target, host, key, self.reply, self.guards)
        except TandemError as error:
            asks_for = error.retry_after
            raise
        finally:
            hosts.memory.paces.end(target.target)
            if len(call.attempts) > before:
                self._learn(call.attempts[-1].outcome, target, host, key, asks_for)

    def _key(self, host: Host, target: Target) -> int:
        if self.asked.kept is not None:
            return self.hosts.place_of(host, self.asked.kept.key)
        used = self.used.setdefault(host.name, [])
        now = self.call.door.clock.now()
        key = self.hosts.memory.health.key(target.target, len(host.keys), now, used)
        if key is None:  # all were tried: the next round begins
            used.clear()
            key = self.hosts.memory.health.key(target.target, len(host.keys), now) or 0
        used.append(key)
        self.tried.setdefault(host.name, set()).add(key)
        return key

    def _learn(self, outcome: str, target: Target, host: Host, key: int, asks_for: float | None) -> None:
        memory, call, now = self.hosts.memory, self.call, self.call.door.clock.now()
        endpoint = call.endpoint
        assert endpoint is not None
        memory.health.note(target.target, outcome, now, asks_for, key=key, keys=max(1, len(host.keys)))
        if outcome != "ok" or (endpoint.strategy == "weighted" and not endpoint.max_cost):
            return
        _measure(self.hosts, call, endpoint, streamed=self.asked.stream)
        if "prefixes" in vars(self.made.seen):  # somebody has asked what is cached where
            memory.warm.note(target.target, self.made.seen.prefixes, call.attempts[-1].usage.cache_read, now)


def _measure(hosts: Hosts, call: Call, endpoint: Endpoint, *, streamed: bool) -> None:
    """Takes from an attempt that went well how fast it was, and how long its answer."""
    attempt, paces = call.attempts[-1], hosts.memory.paces
    tokens = attempt.usage.total_output
    paces.said(endpoint.name, tokens)
    if streamed:
        seconds = next((span.attributes.get(FIRST_WORD) for span in reversed(call.spans) if span.start == attempt.start), None)
    else:
        seconds = (attempt.end - attempt.start) / MICROS / max(1, tokens)
    if isinstance(seconds, float):
        paces.note(attempt.target, seconds, attempt.end, streamed=streamed)


def _as_shadow(hosts: Hosts, asked: Prompted, target: Target) -> shadow.Ask:
    """Asks a target in a call of its own, whose answer goes nowhere."""

    async def ask(call: Call) -> None:
        call.request = asked.body  # as it was let in: what the caller's guards have masked stays masked
        guards = guarding(call)
        candidates: Sequence[Target] = [target]
        owed = call.admit(asked.tokens_in, asked.tokens_out, candidates)
        if owed:
            await call.reserve()
        name = target.target.partition("/")[0]
        host = call.snapshot.hosts.get(name)
        if host is None:
            raise Upstream(f"The provider '{name}' of {target.target} is not set up.", hint="`tandem doctor` checks every route.")
        key = hosts.memory.health.key(target.target, len(host.keys), call.door.clock.now()) or 0
        await attempt(hosts, call, asked, target, host, key, shadow.Nowhere(), guards)

    return ask
