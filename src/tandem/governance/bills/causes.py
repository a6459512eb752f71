"""Why a bill and the books differ, in nano-dollars: by request where both sides name it, else by sums. Pure.

By request the two counts are laid side by side. By sums the difference is taken apart in a fixed order:
first what the tokens that only one side counted are worth at our prices, then what is left, which must be
the price. The parts of a line always add up to its difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from tandem.core.money import PICO_PER_NANO, Price, Usage
from tandem.governance.bills.export import Billed
from tandem.observability.attempts import Tried

Why = Literal[
    "price", "cached", "tokens", "estimated", "failed", "retries", "unrecorded", "unbilled", "rounding", "unpriced", "unexplained"
]

TOLD: dict[Why, str] = {
    "price": "the price differs",
    "cached": "cached tokens are priced or counted differently",
    "tokens": "the provider counted other tokens",
    "estimated": "no count came (lost stream, timeout, crash), so the reservation was booked",
    "failed": "the attempt failed here with nothing used, and is billed",
    "retries": "an attempt is billed more than once, or a retry that is not known here",
    "unrecorded": "billed, and not recorded here",
    "unbilled": "recorded, and not billed",
    "rounding": "the export's rounding",
    "unpriced": "no price is known here",
    "unexplained": "neither counts nor identities tell",
}
"""Each cause as people are told it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A part of a difference."""

    why: Why
    amount: int
    """Nano-dollars that the bill is higher because of it."""
    count: int
    """Attempts or billed requests that it concerns."""
    tokens: int = 0
    """Tokens that it concerns, where they tell more than the count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What is recorded of one model on one day."""

    attempts: int = 0
    booked: int = 0
    counted: Usage = field(default_factory=Usage)
    """Over attempts whose count the provider gave."""
    estimated: int = 0
    """Attempts booked at their reservation."""
    reserved: int = 0
    """Nano-dollars booked for them."""
    failed: int = 0
    """Attempts that used nothing."""
    unpriced: int = 0


def because(row: Billed, tried: Tried, price: Price | None) -> Why | None:
    """Why the bill of one attempt is another than what is booked; None where they agree.

    Args:
        price: the row that the attempt was priced by, or would be now.
    """
    used = tried.attempt.usage
    if row.cost is None or row.cost == tried.cost:
        return None
    if used.source == "estimated":
        return "estimated"
    if tried.cost is None:
        return "unpriced"
    if used.source == "none":
        return "failed"
    if row.output is not None and _counts(row) != _used(used):
        mine, theirs = _used(used), _counts(row)
        same = sum(mine[:3]) == sum(theirs[:3]) and mine[3] == theirs[3]
        return "cached" if same else "tokens"
    if abs(row.cost - tried.cost) <= 1:
        return "rounding"
    if price is not None and used.cache_read:
        plain = price.cost(replace(used, input=used.input + used.cache_read, cache_read=0))
        if abs(plain - row.cost) <= 1:
            return "cached"
    return "price"


def _counts(row: Billed) -> tuple[int, int, int, int]:
    return row.input or 0, row.cached or 0, row.written or 0, row.output or 0


def _used(used: Usage) -> tuple[int, int, int, int]:
    read = used.cache_read + used.cache_read_audio
    return used.input + used.input_audio + used.input_image, read, used.cache_write + used.cache_write_1h, used.total_output


def apart(billed: Billed, counted: bool, slack: int, sums: Sums, price: Price | None) -> tuple[Cause, ...]:
    """Takes the difference of one model on one day apart.

    Args:
        billed: the sums of the bill's rows.
        counted: whether the bill counts tokens.
        slack: nano-dollars that the export's rounding can make.
        price: our row of the model on that day.
    """
    difference = (billed.cost or 0) - sums.booked
    if not difference:
        return ()
    if not sums.attempts:
        return (Cause(why="unrecorded", amount=difference, count=billed.requests or 0),)
    if not counted or price is None:
        return (_uncounted(difference, slack, sums, price),)
    theirs, mine = _counts(billed), _used(sums.counted)
    over = tuple(there - here for there, here in zip(theirs, mine, strict=True))
    worth = _worth(price, over)
    causes: list[Cause] = []
    more = sum(over)
    if sums.estimated:
        causes.append(Cause(why="estimated", amount=worth - sums.reserved, count=sums.estimated, tokens=more))
    elif any(over):
        requests = (billed.requests or 0) - sums.attempts + sums.failed
        causes.append(Cause(why=_over(over, sums, requests), amount=worth, count=max(0, abs(requests)), tokens=more))
    rest = difference - sum(cause.amount for cause in causes)
    if rest:
        why: Why = "unpriced" if sums.unpriced else "rounding" if abs(rest) <= slack + sums.attempts else "price"
        causes.append(Cause(why=why, amount=rest, count=sums.unpriced or sums.attempts))
    return tuple(cause for cause in causes if cause.amount)


def _over(over: Sequence[int], sums: Sums, requests: int) -> Why:
    """Why one side counted tokens that the other did not."""
    if not over[3] and not sum(over[:3]):
        return "cached"
    if sum(over) < 0:
        return "unbilled"
    return "retries" if sums.failed and 0 < requests <= sums.failed else "unrecorded" if requests != 0 else "tokens"


def _uncounted(difference: int, slack: int, sums: Sums, price: Price | None) -> Cause:
    if abs(difference) <= slack:
        return Cause(why="rounding", amount=difference, count=sums.attempts)
    if sums.unpriced and price is None:
        return Cause(why="unpriced", amount=difference, count=sums.unpriced)
    if sums.estimated and -sums.reserved <= difference < 0:
        return Cause(why="estimated", amount=difference, count=sums.estimated)
    return Cause(why="unexplained", amount=difference, count=sums.attempts)


def _worth(price: Price, tokens: Sequence[int]) -> int:
    """Nano-dollars of tokens at a row's plain rates; they may be fewer than none."""
    read = price.input if price.cache_read is None else price.cache_read
    write = price.input if price.cache_write is None else price.cache_write
    rates = (price.input, read, write, price.output)
    return sum(rate * count for rate, count in zip(rates, tokens, strict=True)) // PICO_PER_NANO
