"""The mock's prompt cache: which beginnings of prompts it still knows, and what a request reads and writes.

A prompt is cut at the ends of its blocks (tools, system, messages). What stands before the last marked end is kept for as
long as the mark says; the longest known beginning up to there is read, the rest of it written. Unlike the real cache it has
no least size. Source: https://platform.claude.com/docs/en/build-with-claude/prompt-caching
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from tandem.mock.anthropic_reply import Prompted
from tandem.mock.anthropic_wire import Border

MICROS = {"5m": 300_000_000, "1h": 3_600_000_000}
MOST = 100_000
"""Beginnings that are remembered."""


class PromptCache:
    """Beginnings of prompts, by model and key."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, bytes], tuple[int, str]] = OrderedDict()
        """→ when it is forgotten (UTC microseconds), and how long it is kept."""

    def take(self, model: str, key: str, borders: Sequence[Border], total: int, now: int) -> Prompted:
        """What a prompt reads and writes; it is remembered from then on."""
        marked = [at for at, border in enumerate(borders) if border.keep]
        if not marked:
            return Prompted(tokens=total)
        last = marked[-1]
        read = 0
        for border in reversed(borders[: last + 1]):
            place = (model, key, border.digest)
            until, keep = self._known.get(place, (0, ""))
            if until > now:
                read = border.tokens
                self._keep(place, now, keep)
                break
        hour = max([borders[at].tokens for at in marked if borders[at].keep == "1h"], default=0)
        written_hour = max(0, hour - read)
        written = max(0, borders[last].tokens - read - written_hour)
        for at in marked:
            self._keep((model, key, borders[at].digest), now, borders[at].keep)
        return Prompted(tokens=total, read=read, written=written, written_hour=written_hour)

    def _keep(self, place: tuple[str, str, bytes], now: int, keep: str) -> None:
        self._known[place] = (now + MICROS.get(keep, MICROS["5m"]), keep)
        self._known.move_to_end(place)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
