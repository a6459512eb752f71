"""What a caller hears when a cap has no room: which one, whose, how much is left, and when there is room again."""

from __future__ import annotations

from tandem.core.clock import MICROS, iso
from tandem.core.errors import Forbidden, OverBudget, RateLimited, TandemError, Unavailable
from tandem.core.money import dollars
from tandem.core.policy import unit_of, window_in
from tandem.core.window import NEVER, Window, rolling
from tandem.governance.ledger import NoRoom
from tandem.governance.standing import MEMBER

SOON_SECONDS = 1.0
"""When to try again where a place is free as soon as another call ends."""


def refused(room: NoRoom, need: int, own: int, now: int) -> TandemError:
    """The error for a call that needed `need` of a cap's unit.

    Args:
        own: what the worker itself still holds free of it.
        now: UTC microseconds.
    """
    scope, _, member = room.scope.partition(MEMBER)
    unit, window = unit_of(room.meter), window_in(room.meter)
    if room.over:
        return Forbidden(
            f"{scope} is over.", code="run_over", hint="Begin another one: give `x-tandem-run` a new name.", field=room.scope
        )
    left = max(0, room.cap - room.settled - room.leased + own)
    whose = scope if not member else f"{scope}, of which {member} has its fair share,"
    limit = f"{scope}:{room.meter}"
    if unit == "calls":
        return RateLimited(
            f"{whose} may have {room.cap} calls at once, and has them.",
            hint="Try again when one has ended, or raise it with `tandem limit set`.",
            retry_after=SOON_SECONDS,
            code="over_limit",
            field=limit,
        )
    resets = ""
    if room.end < NEVER:
        resets = f" There is room again at {iso(room.end)}." if rolling(window) else f" It resets at {iso(room.end)}."
    wait = None if room.end >= NEVER else max(0.0, (room.end - now) / MICROS)
    if unit == "usd":
        return OverBudget(
            f"The budget of {whose} ({dollars(room.cap)} USD {_per(window)}) has {dollars(left)} USD left;"
            f" this call may cost up to {dollars(need)} USD.{resets}",
            hint="Ask for a smaller max_tokens, or raise the cap with `tandem budget set`.",
            retry_after=wait,
            field=limit,
        )
    asked = f"; this call may use up to {need}" if unit == "tokens" else ""
    return RateLimited(
        f"The limit of {whose} ({room.cap} {unit} {_per(window)}) has {left} left{asked}.{resets}",
        hint="Wait, or raise it with `tandem limit set`.",
        code="over_limit",
        retry_after=wait,
        field=limit,
    )


def _per(window: Window) -> str:
    name, _, zone = window.partition("@")
    if name == "total":
        return "in total"
    return (
        f"a {name}" if not zone else f"a {name} in {zone}" if rolling(window) is None else f"in {name.removeprefix('rolling-')}"
    )


def unpriced(target: str, scope: str) -> Unavailable:
    """The refusal of a call whose cost cannot be bounded under a hard cap."""
    return Unavailable(
        f"No price is known for {target}, so the hard cap of {scope} cannot be kept; the call was not sent.",
        hint="Name its price source in the provider's settings, or call an endpoint with a priced model.",
        status=403,
        code="unpriced_under_cap",
    )
