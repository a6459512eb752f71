"""A channel for tests and demonstrations: it keeps what it is given, and fails when told to."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem.core.errors import Unreachable
from tandem.governance.alerts.base import Destination, Message


@dataclass(slots=True)
class Fake:
    """Delivers into a list."""

    told: list[tuple[Message, Destination]] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    """Addresses where nobody answers."""
    tries: int = 0

    def send(self, message: Message, destination: Destination, now: int) -> str:
        self.tries += 1
        if destination.url.reveal() in self.down:
            raise Unreachable("The receiver cannot be reached: nobody is there.")
        self.told.append((message, destination))
        return ""
