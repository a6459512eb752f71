"""What is set of a provider of sign-ins, and what its claims mean for teams and roles. Pure: it asks nobody."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tandem.core.asset import check_name
from tandem.core.errors import Invalid
from tandem.core.principal import ROLES, WIDE_ROLES, Role

RANK: tuple[Role, ...] = ("viewer", "auditor", "editor", "approver", "admin")
"""Of two roles that claims give in one team, the later one here is had."""
REFERENCES = ("env:", "file:")
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A provider that vouches for persons by OpenID Connect."""

    name: str
    issuer: str
    """Its address, as its tokens name it."""
    client_id: str
    client_secret: str = ""
    """`env:NAME` or `file:PATH`; empty for a client without one."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    claim: str = "groups"
    """Which claim says what a person is a member of."""
    teams: Mapping[str, str] = field(default_factory=dict)
    """Value of the claim → `TEAM=ROLE`, several joined by commas; `admin` or `auditor` alone is the whole organisation."""
    domains: tuple[str, ...] = ()
    """Of e-mail addresses that are let in; empty means any."""
    join: bool = True
    """Whether the first sign-in makes the person; else they must have been invited, or made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What claims give: a role in the whole organisation, and roles in teams."""

    role: Role | None = None
    teams: Mapping[str, Role] = field(default_factory=dict)


def check_issuer(issuer: Issuer) -> None:
    """Looks at what is set of a provider.

    Raises:
        Invalid: an address without TLS, a secret that is no reference, a team or role that cannot be; `field` names which.
    """
    check_name(issuer.name)
    parts = urlsplit(issuer.issuer)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in HERE):
        raise Invalid(
            "The issuer's address must begin with https://.", hint="Only on this machine itself http:// will do.", field="issuer"
        )
    if parts.query or parts.fragment or not parts.hostname:
        raise Invalid("The issuer's address is none.", hint="Write it as its tokens name it: https://HOST/PATH.", field="issuer")
    if not issuer.client_id:
        raise Invalid(
            "The provider knows us by a client_id.", hint="It gives one when we are registered there.", field="client_id"
        )
    if issuer.client_secret and not issuer.client_secret.startswith(REFERENCES):
        raise Invalid("The client_secret is no reference.", hint="Write env:NAME or file:PATH.", field="client_secret")
    if "openid" not in issuer.scopes:
        raise Invalid("Without the scope openid nobody is vouched for.", hint='Write scopes = ["openid", …].', field="scopes")
    for domain in issuer.domains:
        if not _DOMAIN.fullmatch(domain):
            raise Invalid(f"'{domain[:60]}' is no domain.", hint="Write it in small letters, without @.", field="domains")
    for value in issuer.teams.values():
        meaning(value)


def meaning(text: str) -> Given:
    """What a value of the claim gives.

    Raises:
        Invalid: it is neither `TEAM=ROLE` nor a role in the whole organisation.

    >>> meaning("red=editor, blue=viewer").teams
    {'red': 'editor', 'blue': 'viewer'}
    """
    wide: Role | None = None
    teams: dict[str, Role] = {}
    for part in text.split(","):
        team, equals, word = part.strip().rpartition("=")
        role = next((role for role in (ROLES if equals else WIDE_ROLES) if role == word.strip()), None)
        if role is None:
            raise Invalid(
                f"'{part.strip()[:80]}' gives no role.",
                hint="Write TEAM=ROLE, or admin or auditor for the organisation.",
                field="teams",
            )
        if equals:
            teams[check_name(team.strip())] = role
        else:
            wide = role
    return Given(role=wide, teams=teams)


def given(issuer: Issuer, values: object) -> Given:
    """What the values of the claim give together; a value that is not mapped gives nothing."""
    listed = values if isinstance(values, list) else [values]
    wide: list[Role] = []
    teams: dict[str, Role] = {}
    for value in listed:
        told = issuer.teams.get(value) if isinstance(value, str) else None
        if told is None:
            continue
        found = meaning(told)
        if found.role is not None:
            wide.append(found.role)
        for team, role in found.teams.items():
            teams[team] = max((role, teams.get(team, role)), key=RANK.index)
    return Given(role=max(wide, key=RANK.index, default=None), teams=teams)


def decided(issuer: Issuer) -> tuple[bool, frozenset[str]]:
    """What the mapping decides about: whether roles in the organisation, and in which teams. All else is set by hand."""
    meanings = [meaning(text) for text in issuer.teams.values()]
    return any(each.role for each in meanings), frozenset(team for each in meanings for team in each.teams)
