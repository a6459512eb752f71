"""The audit: who did what to what, in a chain that cannot be changed unnoticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

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


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditKey:
    """The public key that exports are verified with."""

    key: str
    """`ed25519:` and 32 bytes in base64."""
    fingerprint: str = ""


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

    def key(self) -> AuditKey:
        """The public key that exports of this home are verified with. Keep it apart from them."""
        return read_reply(AuditKey, self._wire.get(f"{API}/audit/key"))

    def export(self, into: IO[bytes], *, since: int | None = None, until: int | None = None) -> int:
        """Writes the audit as JSON lines that `tandem audit check` verifies without a platform; returns the bytes.

        Args:
            since: UTC microseconds; None begins with the first row.
            until: UTC microseconds; None ends with the last row, the one that tells of this export.

        Raises:
            Forbidden: the key may not audit.
        """
        count = 0
        with self._wire.download(f"{API}/audit/export", {"since": since, "until": until}) as pieces:
            for piece in pieces:
                count += into.write(piece)
        return count
