"""What binds a key beyond its role: whether terms make sense, fit into what somebody may give, and hold for a call. Pure.

The door imports this; it knows no table and no wire.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import get_args

from tandem.core.endpoint import EndpointKind
from tandem.core.errors import Forbidden, Invalid
from tandem.core.principal import RIGHTS, WIDE, Person, Principal, Reach, Role, Terms

KINDS: tuple[EndpointKind, ...] = get_args(EndpointKind)
MOST = 100
"""Models, networks or the like of one key."""
_GLOB = re.compile(r"[^\s,]{1,200}")


def check_terms(terms: Terms, role: Role) -> Terms:
    """The terms in their usual form: each once, networks as they are written.

    Raises:
        Invalid: a kind, right, glob or network is none; `field` names it.
    """
    for field, values, known in (("kinds", terms.kinds, KINDS), ("rights", terms.rights, sorted(RIGHTS[role]))):
        for value in values:
            if value not in known:
                raise Invalid(f"'{value}' is none of the {field} of this key.", hint=f"Say {', '.join(known)}.", field=field)
    if terms.reach not in get_args(Reach):
        raise Invalid(f"'{terms.reach}' is no reach.", hint="Say organisation or team.", field="reach")
    for glob in terms.models:
        if not _GLOB.fullmatch(glob) or "/" not in glob:
            raise Invalid(
                f"'{glob[:200]}' is no glob of models.",
                hint="Write PROVIDER/MODEL, such as openai/gpt-* or mock/*.",
                field="models",
            )
    for field, values in (("models", terms.models), ("networks", terms.networks)):
        if len(values) > MOST:
            raise Invalid(f"{len(values)} {field} are more than {MOST}.", hint="Use wider ones.", field=field)
    return replace(
        terms,
        kinds=tuple(dict.fromkeys(terms.kinds)),
        rights=tuple(dict.fromkeys(terms.rights)),
        models=tuple(dict.fromkeys(terms.models)),
        networks=tuple(dict.fromkeys(_network(text) for text in terms.networks)),
    )


def _network(text: str) -> str:
    try:
        return str(ip_network(text.strip(), strict=False))
    except ValueError:
        raise Invalid(
            f"'{text[:60]}' is no IP range.", hint="Write CIDR, such as 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32.", field="networks"
        ) from None


def within(key: Principal, owner: Person) -> bool:
    """Whether a key gives no more than its owner has: neither another team, nor more rights, nor a wider reach.

    An admin or auditor of the whole organisation may own a key of any team.
    """
    wide = owner.acting("")
    if wide is not None and rights_of(key) <= rights_of(wide):
        return True
    there = owner.acting(key.team)
    return there is not None and rights_of(key) <= rights_of(there) and not (key.reach != "team" and rights_of(key) & WIDE)


def rights_of(principal: Principal) -> frozenset[str]:
    """The rights that a principal really has."""
    rights = RIGHTS[principal.role]
    return rights & frozenset(principal.rights) if principal.rights else rights


def check_address(principal: Principal, address: str) -> None:
    """Lets pass a caller whose address is in the networks of its key.

    Args:
        address: the caller's, as trusted proxies tell it; not an IP address for callers on a Unix socket.

    Raises:
        Forbidden: it is in none of them.
    """
    if not principal.networks:
        return
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        found = None
    if found is not None:
        found = getattr(found, "ipv4_mapped", None) or found
        if any(found in network for network in _parsed(principal.networks)):
            return
    raise Forbidden(
        f"The key '{principal.name}' may not be used from {address or 'an unknown address'}.",
        hint="Call from one of its networks, or ask for a key with this one. Behind a proxy, see server.trusted_proxies.",
        code="wrong_network",
    )


@lru_cache(maxsize=1024)
def _parsed(networks: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(text) for text in networks)


def check_kind(principal: Principal, kind: EndpointKind) -> None:
    """Lets pass a call of a kind that the key may make.

    Raises:
        Forbidden: it may not.
    """
    if principal.kinds and kind not in principal.kinds:
        raise Forbidden(
            f"The key '{principal.name}' may make {' and '.join(principal.kinds)} calls, not {kind}.",
            hint=f"Ask for a key whose kinds include {kind}.",
            code="wrong_kind",
        )


def permits_model(principal: Principal, target: str) -> bool:
    """Whether a model at a provider, `provider/model`, may answer this key."""
    return not principal.models or any(fnmatchcase(target, glob) for glob in principal.models)
