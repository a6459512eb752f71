"""The machines that share the platform's stores."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One machine that answers calls."""

    name: str
    seen: int
    """When it was heard of last, UTC microseconds."""
    attempts: int = 0
    """Begun there and not ended, as far as is known."""
    holds: bool = False
    """Whether it holds parts of caps, or runs attempts."""
    away: bool = False
    """Whether it has been silent for more than a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """What came of letting go of a machine."""

    machine: str
    booked: int
    """Attempts that were booked at their reservations."""


class Machines:
    """`client.machines`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Machine, ...]:
        """Every machine; a platform of one machine knows none.

        Raises:
            Forbidden: the key may not audit.
        """
        return read_replies(Machine, self._wire.get(f"{API}/machines"))

    def let_go(self, name: str) -> LetGo:
        """Books what a machine that does not come back had under way, and frees what it held.

        Raises:
            Forbidden: the key is no admin's.
            NotFound: no such machine is known.
            Conflict: it was heard of within the last minute.
        """
        return read_reply(LetGo, self._wire.send("DELETE", f"{API}/machines/{segment(name)}"))
