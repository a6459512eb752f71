"""What a step of learning online decides: wait, promote, throw away or roll back. Pure; it knows no model and no Run.

A candidate is a copy of the learner that learns no more, so all rows that come after it were learned by neither it nor the
champion. Their losses on these rows are pairs, and are looked at after each step by a test that holds at every moment at once
(`scorers.sequential`). All candidates between two promotions share one chance of error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tandem.scorers.sequential import ALPHA, Paired

Need = Literal["improved", "non-inferior"]
Outcome = Literal["started", "waits", "renewed", "thrown-away", "promote", "roll-back"]
Losses = Mapping[str, Sequence[float]]
"""Of `champion`, and where there are such of `candidate` and `former`; others are not looked at. Row by row, in the order in
which they came: of classes 1 where the answer was wrong, of numbers the absolute error."""
PATIENCE = 10
"""A candidate without a verdict after so many times `confirm` rows gives way to what has been learned since."""
GUARD = 10
"""After a promotion the former champion is compared in so many windows of `confirm` rows. Each begins anew, so that wrong labels
which a promotion rested on do not outweigh right ones that come after; they share one chance of error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a candidate is promoted."""

    need: Need = "improved"
    margin: float = 0.01
    """By how much more rarely it may be right and still be non-inferior: a share of rows."""
    confirm: int = 400
    """Rows that it must have been judged on at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the comparisons are."""

    candidate: bool = False
    """Whether there is one."""
    tally: Paired = field(default_factory=Paired)
    """Candidate against champion."""
    tried: int = 1
    """Candidates since the last promotion, this one included."""
    windows: int = 0
    """In which the former champion is still compared, this one included."""
    guard: Paired = field(default_factory=Paired)
    """Champion against former champion, in this window."""


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Losses on the same rows as pairs: won where ours is the smaller one.

    >>> paired([0, 1, 0], [1, 1, 0])
    Paired(won=1, lost=0, n=3)
    """
    return Paired().with_batch(
        [mine < other for mine, other in zip(ours, theirs, strict=True)],
        [other < mine for mine, other in zip(ours, theirs, strict=True)],
    )


def level(tried: int) -> float:
    """The chance of error of the candidate of that number; over all of them they sum to `ALPHA`."""
    return ALPHA / (tried * (tried + 1))


def decide(rule: Rule, before: Standing, losses: Losses) -> tuple[Outcome, Standing]:
    """What follows from the rows of one step, and where the comparisons are then.

    A promotion or a rollback that is decided here still has to be made; `promoted` and `discarded` tell what follows from it.
    """
    now = before
    if now.windows:
        now = replace(now, guard=now.guard + paired(losses["champion"], losses["former"]))
        if now.guard.verdict(rule.margin, ALPHA / GUARD) == "regressed":
            return "roll-back", now
        if now.guard.n >= rule.confirm:
            now = replace(now, guard=Paired(), windows=now.windows - 1)
    if not now.candidate:
        return "started", replace(now, candidate=True, tally=Paired())
    now = replace(now, tally=now.tally + paired(losses["candidate"], losses["champion"]))
    verdict = now.tally.verdict(rule.margin, level(now.tried))
    if verdict == "regressed":
        return "thrown-away", _next(now, candidate=False)
    if now.tally.n >= rule.confirm and (verdict == "improved" or verdict == rule.need):
        return "promote", now
    if now.tally.n >= PATIENCE * rule.confirm:
        return "renewed", _next(now, candidate=True)
    return "waits", now


def promoted() -> Standing:
    """After a promotion: the former champion is compared, and the next candidate is what has been learned by the next step."""
    return Standing(windows=GUARD)


def discarded(before: Standing) -> Standing:
    """After a rollback, or where people declined: learning begins again from the champion."""
    return replace(_next(before, candidate=False), windows=0, guard=Paired())


def _next(before: Standing, *, candidate: bool) -> Standing:
    return replace(before, candidate=candidate, tally=Paired(), tried=before.tried + 1)
