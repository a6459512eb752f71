"""How long a session lasts, and whether a password opens one. Pure, and light: settings and the door import it."""

from __future__ import annotations

from dataclasses import dataclass

SESSION_SECONDS = 12 * 3600
IDLE_SECONDS = 2 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """How long sessions last, and whether a password opens one."""

    idle_seconds: int = IDLE_SECONDS
    """Without use for this long, it ends."""
    seconds: int = SESSION_SECONDS
    """However busy it is, it ends after this long."""
    passwords: bool = True


LASTING = Lasting()
