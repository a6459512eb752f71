"""Whether a canary does harm, judged from the calls that it and the champion answered. Pure; may be asked at any time.

Three questions, each answered by a test that holds at every look (`tandem.scorers.sequential`): does it fail more often, is it
slow more often, is it scored badly more often. The chance of a false alarm over all looks and all questions is `ALPHA`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tandem.core.score import Estimate
from tandem.scorers.sequential import LEAST, Rate, Rates

Hit = Callable[["Call"], bool]
ALPHA = 0.05
LEARNED = 100
"""Calls of the champion from which is learned what slow means; they are not judged."""
SLOW = 0.95
"""The share of the champion's calls that are not slow."""
BAD = 0.5
"""Scores below it are bad."""
GONE = frozenset({"gone", "cancelled"})
"""Ends that are nobody's fault but the caller's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call, as far as harm is concerned."""

    canary: bool
    outcome: str
    milliseconds: float
    score: float | None = None
    """In [0, 1]; None where nobody judged it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Margins:
    """By how much a canary's rate may lie above the champion's before it counts as harm."""

    errors: float = 0.01
    slow: float = 0.05
    bad: float = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one question, with all that it rests on."""

    question: str
    """`errors`, `slow` or `bad`."""
    canary: float
    """The rate, 0 to 1."""
    champion: float
    canary_calls: int
    champion_calls: int
    more: Estimate
    """By how much the canary's rate is higher, with an interval that holds at every look."""
    margin: float
    harm: bool
    """Whether the whole interval lies above the margin."""
    detail: str = ""
    """What slow or bad means here."""

    @property
    def words(self) -> str:
        """For people."""
        low, high = f"{self.more.low:+.1%}", f"{self.more.high:+.1%}"
        verdict = "harm" if self.harm else "no harm shown"
        return (
            f"{self.question}{f' ({self.detail})' if self.detail else ''}: {self.canary:.1%} of {self.canary_calls} against "
            f"{self.champion:.1%} of {self.champion_calls}, {self.more.value:+.1%} [{low}, {high}]: {verdict}"
        )


def judge(calls: Sequence[Call], margins: Margins) -> tuple[Finding, ...]:
    """What the calls say, in the order in which they began; nothing about a question that there are too few calls for."""
    counted = [call for call in calls if call.outcome not in GONE]
    findings = [_finding("errors", counted, lambda call: call.outcome != "ok", margins.errors)]
    answered = [call for call in counted if call.outcome == "ok"]
    learned, rest = _learned(answered)
    if learned:
        limit = sorted(learned)[min(len(learned) - 1, int(SLOW * len(learned)))]
        told = f"above {limit:.0f} ms" if limit >= 10 else f"above {limit:.2f} ms"
        findings.append(_finding("slow", rest, lambda call: call.milliseconds > limit, margins.slow, told))
    scored = [call for call in answered if call.score is not None]
    findings.append(
        _finding("bad", scored, lambda call: call.score is not None and call.score < BAD, margins.bad, f"below {BAD}")
    )
    return tuple(finding for finding in findings if finding is not None)


def _is_bad(call: Call) -> bool:
    return call.score is not None and call.score < BAD


def _learned(calls: Iterable[Call]) -> tuple[list[float], list[Call]]:
    """The champion's first times, and the calls from which on it is judged; no times while there are too few."""
    times: list[float] = []
    rest: list[Call] = []
    for call in calls:
        if len(times) == LEARNED:
            rest.append(call)
        elif not call.canary:
            times.append(call.milliseconds)
    return (times, rest) if len(times) == LEARNED else ([], [])


def _finding(question: str, calls: Sequence[Call], hit: Hit, margin: float, detail: str = "") -> Finding | None:
    ours = Rate().with_batch(hit(call) for call in calls if call.canary)
    theirs = Rate().with_batch(hit(call) for call in calls if not call.canary)
    if min(ours.n, theirs.n) < LEAST:
        return None
    fewer = Rates(candidate=ours, champion=theirs).interval(ALPHA / 3)
    more = Estimate(value=-fewer.value, low=-fewer.high, high=-fewer.low, n=fewer.n, level=fewer.level)
    return Finding(
        question=question,
        canary=ours.hits / ours.n,
        champion=theirs.hits / theirs.n,
        canary_calls=ours.n,
        champion_calls=theirs.n,
        more=more,
        margin=margin,
        harm=more.low > margin,
        detail=detail,
    )
