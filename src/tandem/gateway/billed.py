"""What a caller names for its bill: tags, and the run that a call belongs to, with what that run may spend. No I/O.

x-tandem-tags: search, autumn            spend and caps of `tag/search` and `tag/autumn`
x-tandem-run: nightly-17                 spend of `run/TEAM/nightly-17`
x-tandem-run-cap: 0.50                   US dollars that the whole run may spend; its first call brings it
x-tandem-run-seconds: 600                when the run is over at the latest; an hour unless told
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from tandem.core.clock import MICROS
from tandem.core.errors import Invalid
from tandem.core.money import nano
from tandem.core.policy import Budget
from tandem.core.principal import Principal

TAGS, RUN, CAP, SECONDS = b"x-tandem-tags", b"x-tandem-run", b"x-tandem-run-cap", b"x-tandem-run-seconds"
MOST_TAGS = 8
RUN_SECONDS, LONGEST_RUN = 3600, 7 * 86_400
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class Billed(msgspec.Struct, frozen=True):
    """What the headers of one request name, as it came."""

    tags: str
    run: str
    cap: str
    seconds: str

    def scopes(self, principal: Principal) -> tuple[str, ...]:
        """The scopes that the call is also paid by.

        Raises:
            Invalid: a tag or the run is no name, or there are too many tags.
        """
        named = [tag.strip() for tag in self.tags.split(",") if tag.strip()]
        if len(named) > MOST_TAGS:
            raise Invalid(f"A call has at most {MOST_TAGS} tags.", field=TAGS.decode(), hint="Leave some out.")
        scopes = [f"tag/{_checked(tag, TAGS)}" for tag in named]
        if self.run:
            scopes.append(run_scope(principal.team, _checked(self.run, RUN)))
        elif self.cap or self.seconds:
            raise Invalid("A cap for a run needs the run's name.", field=RUN.decode(), hint="Send x-tandem-run too.")
        return tuple(dict.fromkeys(scopes))

    def budget(self, principal: Principal, now: int) -> Budget | None:
        """What the run may spend, where the caller says so.

        Raises:
            Invalid: the cap is no amount, or the time no number of seconds.
        """
        if not self.cap:
            return None
        try:
            seconds = int(self.seconds or RUN_SECONDS)
        except ValueError:
            seconds = 0
        if not 1 <= seconds <= LONGEST_RUN:
            raise Invalid(f"A run lasts from 1 to {LONGEST_RUN} seconds.", field=SECONDS.decode(), hint="Send 600, for example.")
        return Budget(
            scope=run_scope(principal.team, self.run), cap=nano(self.cap), window="total", alerts=(), ends=now + seconds * MICROS
        )


def billed(fields: Mapping[bytes, bytes]) -> Billed | None:
    """What the headers of a request name; None when they name nothing."""
    if TAGS not in fields and RUN not in fields and CAP not in fields:
        return None
    return Billed(*[fields.get(name, b"").decode("latin-1").strip() for name in (TAGS, RUN, CAP, SECONDS)])


def run_scope(team: str, name: str) -> str:
    """The scope of a run: no team can spend or end what another one began."""
    return f"run/{team}/{name}"


def _checked(name: str, header: bytes) -> str:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"The header {header.decode()} holds what is no name.",
            words=f"It is '{name[:80]}'.",
            field=header.decode(),
            hint="Names have lower-case letters, digits, dots, dashes and underscores, at most 63.",
        )
    return name
