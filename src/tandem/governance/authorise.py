"""Who may do what, and whose rows they see. Pure: it knows no table and no wire."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.core.errors import Forbidden
from tandem.core.principal import RIGHTS, WIDE, Principal

ROLE_RIGHTS = frozenset[str]().union(*RIGHTS.values())
"""The rights that come with a role alone; everything else can be given to a key as a scope."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which teams' rows a query may return. Every query of every repo takes one.

    >>> Scope("risk").admits("risk"), Scope("risk").admits("sales"), Scope(None).admits("sales")
    (True, False, True)
    """

    team: str | None
    """The one team, or None for all of them."""

    def admits(self, team: str) -> bool:
        return self.team is None or self.team == team


ALL = Scope(None)
"""For the platform's own work; never for an answer to a caller."""


def scope_of(principal: Principal) -> Scope:
    """What this principal sees: the organisation's admins and auditors every team, all others their own."""
    return ALL if principal.may("audit") else Scope(principal.team)


def authorise(principal: Principal, right: str, team: str | None = None) -> None:
    """Lets pass whoever has the right, in the team whose thing it is.

    Args:
        principal: who asks.
        right: `read`, `call`, `write`, `approve`, `audit`, `admin`, or a scope such as `any-version`.
        team: whose thing it is; None when it belongs to no team.

    Raises:
        Forbidden: the right is missing, or the thing is another team's; the hint says who can help.
    """
    who = f"{_called(principal)} (role {principal.role}, team {principal.team})"
    if not _has(principal, right, team):
        if right in WIDE and principal.may(right, principal.team):
            raise Forbidden(
                f"{who} has the right to {right} in the team '{principal.team}' alone.",
                hint=f"Ask somebody whose role as {principal.role} holds in the whole organisation.",
            )
        roles = [role for role, rights in RIGHTS.items() if right in rights]
        wanted = f"a key with the role {' or '.join(roles)}" if roles else f"a key with the scope {right}"
        raise Forbidden(f"{who} has no right to {right}.", hint=f"Ask an admin for {wanted} (`tandem key create`).")
    if team is not None and team != principal.team and not _crosses(principal, right):
        raise Forbidden(f"{who} has no rights in the team '{team}'.", hint=f"Ask an admin for a key of the team {team}.")


def _called(principal: Principal) -> str:
    return f"The {'person' if principal.kind == 'person' else 'key'} '{principal.name}'"


def _has(principal: Principal, right: str, team: str | None) -> bool:
    if right in ROLE_RIGHTS:
        return principal.may(right, team)  # a scope named `admin` makes nobody an admin
    return right in principal.scopes or principal.may("admin")


def _crosses(principal: Principal, right: str) -> bool:
    return principal.may("admin") or (right in ("read", "audit") and principal.may("audit"))
