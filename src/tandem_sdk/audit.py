"""The audit: who did what to what, in a chain that cannot be changed unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tandem_sdk.wire import API, Wire, read_replies, read_reply


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One deed."""

    seq: int
    at: int
    """UTC microseconds."""
    actor: str = ""
    team: str = ""
    action: str = ""
    """Such as `key.create`."""
    subject: str = ""
    """Such as `key/ci`."""
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a verification of the whole chain found."""

    ok: bool
    count: int
    """Rows that are there."""
    problems: tuple[str, ...] = ()
    """What is wrong, each naming its row."""


class AuditLog:
    """`client.audit`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self, *, limit: int = 50, before: int | None = None) -> tuple[AuditRow, ...]:
        """The newest deeds first; `before` (a `seq`) continues an earlier list."""
        return read_replies(AuditRow, self._wire.get(f"{API}/audit", {"limit": limit, "before": before}))

    def verify(self) -> AuditReport:
        """Recomputes the whole chain."""
        return read_reply(AuditReport, self._wire.send("POST", f"{API}/audit/verify", patient=True))
