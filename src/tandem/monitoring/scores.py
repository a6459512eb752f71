"""Does a chat endpoint still answer as it did? Rates of refusals, errors and ungrounded answers, money and time. Pure.

The reference is the first window that held enough calls; it stays until the Monitor is made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tandem.core.monitor import Finding
from tandem.monitoring.findings import control
from tandem.monitoring.window import Reply
from tandem.scorers.answers import refuses
from tandem.scorers.twosample import Amounts, Rate, amounts, difference, fisher, ratio, welch

RATIO = 1.25
"""The growth, or its inverse, of money or time that matters."""
REFUSED = "refused"
ERRORS = "errors"
UNGROUNDED = "ungrounded"
COST = "cost per call"
PACE = "ms per output token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A window in numbers: all that a later one is compared with."""

    calls: int
    rates: Mapping[str, Rate] = field(default_factory=dict)
    amounts: Mapping[str, Amounts] = field(default_factory=dict)
    """Cost in dollars, pace in milliseconds."""


def measure(replies: Sequence[Reply]) -> Scores:
    """The scores of a window of chat calls."""
    readable = [reply for reply in replies if reply.outcome == "blocked" or (reply.outcome == "ok" and reply.text is not None)]
    declined = sum(reply.outcome == "blocked" or refuses(reply.text or "") for reply in readable)
    answered = [reply for reply in replies if reply.outcome == "ok"]
    failed = sum(reply.outcome not in ("ok", "blocked") for reply in replies)
    looked_up = [reply.grounded for reply in answered if reply.grounded is not None]
    return Scores(
        calls=len(replies),
        rates={
            REFUSED: Rate(hits=declined, n=len(readable)),
            ERRORS: Rate(hits=failed, n=len(replies)),
            UNGROUNDED: Rate(hits=looked_up.count(False), n=len(looked_up)),
        },
        amounts={
            COST: amounts([reply.nano / 1e9 for reply in answered if reply.nano is not None]),
            PACE: amounts([reply.milliseconds / reply.tokens for reply in answered if reply.tokens]),
        },
    )


def compare(now: Scores, before: Scores, *, minimum: int, threshold: float, level: float) -> tuple[Finding, ...]:
    """Every finding of one window against the reference, for the scores that it holds.

    Args:
        minimum: calls below which a score has no verdict.
        threshold: the difference of rates that matters; of money and time it is a ratio of `RATIO`.
        level: the chance of any false finding in this check.
    """
    found = [
        _rate(name, rate, before.rates[name], minimum, threshold) for name, rate in now.rates.items() if name in before.rates
    ]
    found += [_amount(name, each, before.amounts[name], minimum) for name, each in now.amounts.items()]
    return control(found, level=level)


def _rate(name: str, now: Rate, before: Rate, minimum: int, threshold: float) -> Finding:
    enough = min(now.n, before.n) >= minimum
    return Finding(
        subject=name,
        what="score",
        verdict="not-enough-data",
        n=now.n,
        reference_n=before.n,
        measure="difference of rates",
        threshold=threshold,
        effect=difference(now, before) if enough else None,
        p=fisher(now, before) if enough else None,
        now=now.estimate,
        before=before.estimate,
    )


def _amount(name: str, now: Amounts, before: Amounts, minimum: int) -> Finding:
    enough = min(now.n, before.n) >= max(2, minimum)
    return Finding(
        subject=name,
        what="score",
        verdict="not-enough-data",
        n=now.n,
        reference_n=before.n,
        measure="ratio",
        threshold=RATIO,
        effect=ratio(now, before) if enough else None,
        p=welch(now, before) if enough else None,
        now=now.estimate if now.n > 1 else None,
        before=before.estimate if before.n > 1 else None,
    )
