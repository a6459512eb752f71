"""Sign-ins that fail are slowed down: by name and by address, after a few that are free. It knows no password.

An attempt is counted before its password is looked at, so that many at once are no way around it; one that goes well gives
its count back. What is kept of a name or an address is a keyed digest.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from sqlalchemy import Connection

from tandem.core.clock import MICROS
from tandem.core.errors import RateLimited
from tandem.governance.people.repo import AttemptRows, Attempts
from tandem.store.vault import Vault, mac

FORGOTTEN_SECONDS = 24 * 3600
"""After which failures count no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a sign-in may fail before the next has to wait, and how long that becomes."""

    free: int
    longest: int
    """Seconds."""

    def wait(self, failures: int) -> int:
        """Seconds until the next attempt, after so many failures: doubled each time.

        >>> Pace(free=5, longest=60).wait(5), Pace(free=5, longest=60).wait(7), Pace(free=5, longest=60).wait(99)
        (0, 2, 60)
        """
        over = failures - self.free
        return 0 if over <= 0 else min(self.longest, 1 << min(over - 1, 20))


NAME = Pace(free=5, longest=60)
"""At most one guess a minute of one name, from however many addresses."""
ADDRESS = Pace(free=20, longest=900)


class Slowing:
    """Counts attempts to sign in."""

    def __init__(self, vault: Vault) -> None:
        self._pepper = vault.derive("sign-in-attempts")
        self._rows = AttemptRows()

    def begin(self, conn: Connection, name: str, address: str, now: int) -> bool:
        """Counts an attempt as failed until it has gone well.

        Args:
            name: who signs in: the person's own name where there is one, else what was written.

        Returns:
            Whether this is the first one after which the next has to wait: then it is worth a row in the audit.

        Raises:
            RateLimited: it is too early; nothing is counted.
        """
        self.look(conn, name, address, now)
        self._rows.sweep(conn, now - FORGOTTEN_SECONDS * MICROS)
        slowed = False
        for digest, pace in self._subjects(name, address):
            known = self._rows.find(conn, digest)
            failures = 1 if known is None else known.failures + 1
            slowed = slowed or failures == pace.free + 1
            self._rows.put(conn, digest, Attempts(failures=failures, until=now + pace.wait(failures) * MICROS, last_at=now))
        return slowed

    def look(self, conn: Connection, name: str, address: str, now: int) -> None:
        """Lets pass an attempt that is not too early; a flood of others costs one read each.

        Raises:
            RateLimited: it is too early.
        """
        noted = [self._rows.find(conn, digest) for digest, _ in self._subjects(name, address)]
        until = max((known.until for known in noted if known is not None), default=0)
        if until > now:
            seconds = (until - now) / MICROS
            raise RateLimited("Too many sign-ins failed.", hint=f"Try again in {seconds:.0f} s.", retry_after=seconds)

    def well(self, conn: Connection, name: str, address: str) -> None:
        """Takes an attempt back that went well: the name's failures are forgotten, the address's are not."""
        (by_name, _), (by_address, _) = self._subjects(name, address)
        self._rows.forget(conn, by_name)
        known = self._rows.find(conn, by_address)
        if known is not None:
            failures = max(0, known.failures - 1)  # so an account of one's own buys no guesses of others
            until = known.last_at + ADDRESS.wait(failures) * MICROS
            self._rows.put(conn, by_address, Attempts(failures=failures, until=until, last_at=known.last_at))

    def _subjects(self, name: str, address: str) -> tuple[tuple[bytes, Pace], tuple[bytes, Pace]]:
        return (
            (mac(self._pepper, b"name/" + name.encode(errors="replace")), NAME),
            (mac(self._pepper, b"address/" + _block(address).encode(errors="replace")), ADDRESS),
        )


def _block(address: str) -> str:
    """The address, of version 6 the 64 bits that name its network: the others are its holder's to choose."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found) if found.version == 4 else str(ip_network((found, 64), strict=False))
