"""Principal: who calls. A person, a service or a key, in a team."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["viewer", "editor", "approver", "admin", "auditor"]

RIGHTS: dict[Role, frozenset[str]] = {
    "viewer": frozenset({"read", "call"}),
    "editor": frozenset({"read", "call", "write"}),
    "approver": frozenset({"read", "call", "write", "approve"}),
    "auditor": frozenset({"read", "audit"}),
    "admin": frozenset({"read", "call", "write", "approve", "audit", "admin"}),
}
"""What each role may do; a route names the right it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling, as the door and the control plane know them."""

    id: str
    """`key_…`, or `local` for the operator at the machine itself."""
    name: str
    team: str
    org: str = "default"
    kind: Literal["person", "service", "key"] = "key"
    role: Role = "viewer"
    endpoints: tuple[str, ...] = ()
    """Endpoint names this principal may call; empty means all."""
    scopes: tuple[str, ...] = ()
    """Extra rights, such as `any-version`."""
    expires_at: int | None = None
    """UTC microseconds after which the key is refused."""

    def may(self, right: str) -> bool:
        return right in RIGHTS[self.role]

    @property
    def budget_scopes(self) -> tuple[str, str, str]:
        """The scopes whose budgets every call of this principal counts against, widest first."""
        return ("org", f"team/{self.team}", f"key/{self.name}")


LOCAL = Principal(id="local", name="local", team="default", kind="service", role="admin")
"""The platform itself: what it does without being asked by a caller."""
