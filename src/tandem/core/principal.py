"""Principal: who calls. A person, a service or a key, in a team."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from tandem.core.endpoint import EndpointKind

Role = Literal["viewer", "editor", "approver", "admin", "auditor"]
Reach = Literal["organisation", "team"]
Right = Literal["read", "call", "write", "approve", "audit", "admin"]

ROLES: tuple[Role, ...] = get_args(Role)
RIGHTS: dict[Role, frozenset[str]] = {
    "viewer": frozenset({"read", "call"}),
    "editor": frozenset({"read", "call", "write"}),
    "approver": frozenset({"read", "call", "write", "approve"}),
    "auditor": frozenset({"read", "audit"}),
    "admin": frozenset({"read", "call", "write", "approve", "audit", "admin"}),
}
"""What each role may do; a route names the right it needs."""
WIDE = frozenset({"admin", "audit"})
"""Rights that hold in every team, where they do not end with the team."""
WIDE_ROLES: tuple[Role, ...] = ("admin", "auditor")
"""Those that somebody may have in the whole organisation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What binds a key beyond its role. Left as they are, they bind nothing."""

    owner: str = ""
    """`person/NAME` or `service/NAME`: whose key it is, and what it may never exceed; empty: nobody's."""
    reach: Reach = "organisation"
    """How far the rights to admin and to audit go: `team` ends them with the team."""
    rights: tuple[str, ...] = ()
    """The only rights of its role that it has; empty means all."""
    kinds: tuple[EndpointKind, ...] = ()
    """The only kinds of calls it may make; empty means all."""
    models: tuple[str, ...] = ()
    """Globs of `provider/model`: the only models at providers that may answer it; empty means all."""
    networks: tuple[str, ...] = ()
    """IP ranges (CIDR) that it may be used from; empty means anywhere."""
    content: bool = True
    """Whether its prompts and answers may be kept; False wins over what an endpoint says."""


UNBOUND = Terms()


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who is calling, as the door and the control plane know them."""

    id: str
    """`key_…`, `per_…` for a person who is signed in, or `local` for the operator at the machine itself."""
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
    owner: str = ""
    """This and what follows as in `Terms`."""
    reach: Reach = "organisation"
    rights: tuple[str, ...] = ()
    kinds: tuple[EndpointKind, ...] = ()
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    content: bool = True
    run: str = ""
    """The Run in which it asks; only keys that the platform lends say one."""
    budget_scopes: tuple[str, ...] = field(init=False, repr=False, compare=False, default=())
    """The scopes whose budgets every call of this principal counts against, widest first; made once, not at each call."""

    def __post_init__(self) -> None:
        scopes = ["org", f"team/{self.team}"]
        if self.owner.startswith("person/"):
            scopes.append(self.owner)
        if self.kind != "person":
            scopes.append(f"key/{self.name}")
        object.__setattr__(self, "budget_scopes", tuple(scopes))

    def may(self, right: str, team: str | None = None) -> bool:
        """Whether the role gives this right, and the key keeps it.

        Args:
            right: one of `RIGHTS`.
            team: whose thing it is about. Without one, an admin or auditor of a single team has no such right.
        """
        if right not in RIGHTS[self.role] or (self.rights and right not in self.rights):
            return False
        return right not in WIDE or self.reach == "organisation" or team == self.team


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person, or a service: somebody who is in teams, with a role in each, and owns keys."""

    id: str
    """`per_…` or `svc_…`."""
    name: str
    kind: Literal["person", "service"] = "person"
    email: str | None = None
    role: Role | None = None
    """In the whole organisation: `admin` or `auditor`; None: only in teams."""
    teams: Mapping[str, Role] = field(default_factory=dict)
    """Team → the role there."""
    disabled_at: int | None = None
    """UTC microseconds, like all times here; since then there is no way in."""
    has_password: bool = False
    sso: str | None = None
    """The provider that vouches for this person, by its name in the settings."""
    created_at: int = 0
    created_by: str = ""

    @property
    def owner(self) -> str:
        """How keys name their owner."""
        return f"{self.kind}/{self.name}"

    def acting(self, team: str) -> Principal | None:
        """This person as a member of a team, or with an empty `team` as the organisation's; None where there is no such role."""
        role = self.teams.get(team) if team else self.role
        if role is None or self.disabled_at is not None:
            return None
        return Principal(
            id=self.id,
            name=self.name,
            team=team or "default",
            kind=self.kind,
            role=role,
            owner=self.owner,
            reach="team" if team else "organisation",
        )

    @property
    def hats(self) -> tuple[str, ...]:
        """Every team this person can act in, the whole organisation (empty) first."""
        return (*([""] if self.role is not None else []), *sorted(self.teams))


LOCAL = Principal(id="local", name="local", team="default", kind="service", role="admin")
"""The platform itself: what it does without being asked by a caller."""
