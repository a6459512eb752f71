"""What targets still have in their prompt caches, as this worker may guess it: a digest of what was sent, for five minutes.

A guess is weighed by how often the target's own count of cached tokens bore it out, so that a provider that caches nothing
is soon not credited with it.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from tandem.core.clock import MICROS
from tandem.core.endpoint import Target
from tandem.gateway.routing.seen import BLOCK, BYTES_A_TOKEN

KEPT = 5 * 60 * MICROS
MOST = 65_536
"""Prefixes that are remembered, over all targets."""
TRUST = 0.5
"""How much a target nobody has checked is believed to cache."""


class Warm:
    """The memory of one worker."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[str, bytes], int] = OrderedDict()
        self._trust: dict[str, float] = {}

    def tokens(self, target: str, prefixes: Sequence[bytes], now: int) -> int:
        """Of a prompt, the tokens that the target is expected to read from its cache."""
        return int(self._known(target, prefixes, now) * self._trust.get(target, TRUST))

    def note(self, target: str, prefixes: Sequence[bytes], cached: int, now: int) -> None:
        """The target has answered this prompt, and says that it read so many tokens of it from its cache."""
        known = self._known(target, prefixes, now)
        if known:
            trust = self._trust.get(target, TRUST)
            self._trust[target] = trust + (min(1.0, cached / known) - trust) / 8
            while len(self._trust) > MOST:
                self._trust.pop(next(iter(self._trust)))
        for prefix in prefixes:
            self._sent[target, prefix] = now
            self._sent.move_to_end((target, prefix))
        while len(self._sent) > MOST:
            self._sent.popitem(last=False)

    def _known(self, target: str, prefixes: Sequence[bytes], now: int) -> int:
        """Tokens of the longest prefix that was sent there of late."""
        for count in range(len(prefixes), 0, -1):
            sent = self._sent.get((target, prefixes[count - 1]))
            if sent is not None and now - sent < KEPT:
                return count * BLOCK // BYTES_A_TOKEN
        return 0


def draw(key: bytes, name: str) -> float:
    """A number in (0, 1) that is always the same for the same key and name, whichever worker asks."""
    return (int.from_bytes(blake2b(name.encode(), key=key[:64], digest_size=8).digest()) + 1) / (2**64 + 1)


def settled(group: Sequence[Target], key: bytes) -> list[Target]:
    """Targets in the order in which a conversation asks them: the same in every worker, by the weights over many.

    Weighted rendezvous hashing (Thaler and Ravishankar 1998; weights as Schindelhauer and Schomaker 2005): where a target
    goes or comes, only the conversations that it had or gets move.
    """
    return sorted(group, key=lambda target: target.weight / math.log(draw(key, target.target)))
