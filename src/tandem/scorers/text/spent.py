"""Was it fast enough, was it cheap enough? Read from the call itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tandem.core.errors import Invalid
from tandem.core.money import NANO
from tandem.scorers.text.base import Case, Grade, known, option


@dataclass(frozen=True, slots=True)
class _Within:
    name: str
    limit: float

    def grade(self, case: Case, answer: str) -> Grade:
        spent = case.seconds if self.name == "seconds" else None if case.cost is None else case.cost / NANO
        held = spent is not None and spent <= self.limit
        return Grade(value=float(held), detail={self.name: spent}, label="" if spent is not None else "unpriced")


def latency(options: Mapping[str, object]) -> _Within:
    """1 where the whole answer was there within `seconds`."""
    return _within(options, "latency", "seconds")


def cost(options: Mapping[str, object]) -> _Within:
    """1 where the call cost at most `usd` dollars; a call without a known price did not."""
    return _within(options, "cost", "usd")


def _within(options: Mapping[str, object], scorer: str, name: str) -> _Within:
    known(options, name)
    limit = option(options, name, float)
    if not isinstance(limit, float) or not 0 < limit < float("inf"):
        raise Invalid(f"The scorer '{scorer}' needs a limit.", hint=f"Give {name} as a number.", field=f"scorers.options.{name}")
    return _Within(name, limit)
