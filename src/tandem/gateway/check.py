"""What a Provider or an Endpoint must be like before it is kept. Pure; it knows no table and no caller."""

from __future__ import annotations

import math
import re
from typing import get_args
from urllib.parse import urlsplit

from tandem.core.asset import KINDS as ASSETS
from tandem.core.asset import Ref, check_name
from tandem.core.endpoint import HOSTED, Ability, Endpoint, EndpointKind, Provider, Role, Strategy, Target
from tandem.core.errors import Invalid
from tandem.core.money import nano
from tandem.gateway.providers.base import PROTOCOLS, QUERIES
from tandem.gateway.routing.when import check as check_when
from tandem.gateway.snapshot import INDEX

REFERENCES = ("env:", "file:", "sealed:")
KINDS: tuple[EndpointKind, ...] = get_args(EndpointKind)


def check_provider(provider: Provider) -> None:
    """Looks at a Provider before it is kept.

    Raises:
        Invalid: the name, the protocol, the address or a key reference is wrong.
    """
    check_name(provider.name)
    if provider.protocol not in PROTOCOLS:
        raise Invalid(
            f"Nobody speaks the protocol '{provider.protocol}' of the provider '{provider.name}'."
            if provider.protocol
            else f"The provider '{provider.name}' names no protocol.",
            hint=f"Say one of {', '.join(sorted(PROTOCOLS))}; every compatible server speaks openai.",
            field="protocol",
        )
    asked = QUERIES.get(provider.protocol)
    try:
        address = urlsplit(provider.base_url)
        sound = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        sound = sound and address.username is None and address.password is None and not address.fragment
        fits = not address.query or (asked is not None and re.fullmatch(rf"{asked}=[A-Za-z0-9.-]+", address.query))
    except ValueError:
        sound = fits = False
    if not sound or not fits:
        # The address is not repeated: a password may stand in it.
        but = "a query" if asked is None else f"a query but ?{asked}=…"
        raise Invalid(
            f"The address of the provider '{provider.name}' is no plain http(s) URL.",
            hint=f"Write https://HOST/PATH, without a user, {but} or a fragment; keys go into keys.",
            field="base_url",
        )
    if provider.hour_price and not 0 < nano(provider.hour_price) <= 10**15:
        raise Invalid(
            f"The provider '{provider.name}' costs {provider.hour_price} dollars an hour.",
            hint="Give more than nothing and at most a million; leave it out where tokens are billed.",
            field="hour_price",
        )
    if not (math.isfinite(provider.tokens_per_second) and 0 <= provider.tokens_per_second <= 10**9):
        raise Invalid(
            f"The provider '{provider.name}' does {provider.tokens_per_second} tokens a second.",
            hint="Give zero (it is measured) or more.",
            field="tokens_per_second",
        )
    for place, key in enumerate(provider.keys):
        if not key.startswith(REFERENCES) or key in REFERENCES:
            raise Invalid(
                f"Key {place} of the provider '{provider.name}' is no reference.",
                hint="Write env:NAME or file:PATH; a literal key is sealed before it is kept.",
                field=f"keys[{place}]",
            )


def check_endpoint(endpoint: Endpoint, *, watched: bool = False) -> None:
    """Looks at an Endpoint before it is kept.

    Args:
        watched: whether somebody takes a canary away when it does harm; only then may it be a version without an alias.

    Raises:
        Invalid: the name, the kind, the route or a bound is wrong.
    """
    check_name(endpoint.name)
    check_name(endpoint.team)
    who = f"The endpoint '{endpoint.name}'"
    if endpoint.kind not in KINDS:
        raise Invalid(f"{who} is of no known kind.", hint=f"Kinds are {', '.join(KINDS)}.", field="kind")
    if not endpoint.route:
        raise Invalid(f"{who} leads nowhere.", hint='Give a route, such as [{ target = "provider/model" }].', field="route")
    for place, target in enumerate(endpoint.route):
        if not all(target.target.partition("/")) or any(letter.isspace() for letter in target.target):
            raise Invalid(
                f"{who} has a target that names nothing.",
                hint="Write provider/model or KIND/NAME@ALIAS.",
                field=f"route[{place}].target",
            )
        free = (watched and target.role == "canary") or target.role == "shadow"  # nobody hears what a shadow says
        if not free and target.target.partition("/")[0] in ASSETS and Ref.parse(target.target).alias is None:
            # A version gets an alias through its gate; an endpoint that names the version itself would go round it.
            raise Invalid(
                f"{who} names {target.target}, which is no alias.",
                hint="Write KIND/NAME@ALIAS, such as model/tumor@production; `tandem promote` moves the alias.",
                field=f"route[{place}].target",
            )
        if not (math.isfinite(target.weight) and target.weight >= 0):
            raise Invalid(f"{who} has a weight of {target.weight}.", hint="Use zero or more.", field=f"route[{place}].weight")
        _check_target(endpoint, target, f"route[{place}]")
    _check_answering(endpoint, who)
    _check_routing(endpoint, who)
    if endpoint.guards is not None:
        policy = Ref.parse(endpoint.guards)
        if policy.kind != "policy" or policy.alias is None:
            raise Invalid(f"{who} has guards that are no policy's alias.", hint="Write policy/NAME@ALIAS.", field="guards")
    if endpoint.strategy not in get_args(Strategy) or (endpoint.strategy != "weighted" and endpoint.kind not in HOSTED):
        raise Invalid(
            f"{who} has the strategy '{endpoint.strategy}'.",
            hint=f"Say one of {', '.join(get_args(Strategy))}; predict and decide know weighted alone.",
            field="strategy",
        )
    if endpoint.retries < 0:
        raise Invalid(f"{who} has {endpoint.retries} retries.", hint="Use zero or more.", field="retries")
    if endpoint.cache_seconds < 0 or (endpoint.cache_seconds and not endpoint.record_content):
        raise Invalid(
            f"{who} keeps answers for {endpoint.cache_seconds} seconds.",
            hint="Use zero or more, and only where record_content is on: what must not be kept is not given again either.",
            field="cache_seconds",
        )
    if endpoint.max_output_tokens < 1:
        raise Invalid(f"{who} lets nothing be answered.", hint="Use one token or more.", field="max_output_tokens")
    times = endpoint.timeouts
    for name, seconds in (
        ("connect", times.connect),
        ("first_byte", times.first_byte),
        ("idle", times.idle),
        ("total", times.total),
    ):
        if not (math.isfinite(seconds) and seconds > 0):
            raise Invalid(f"{who} has a {name} timeout of {seconds} s.", hint="Use more than zero.", field=f"timeouts.{name}")


def _check_target(endpoint: Endpoint, target: Target, field: str) -> None:
    """What a target says of the calls that come to it."""
    check_when(target.when, f"{field}.when")
    if not (0 <= target.share <= 1) or (target.role == "serve") != (target.share == 0):
        raise Invalid(
            f"The target {target.target} is a '{target.role}' with a share of {target.share:g}.",
            hint="A canary or a shadow takes a share between 0 and 1, and nobody else does.",
            field=f"{field}.share",
        )
    if target.role not in get_args(Role):
        raise Invalid(f"'{target.role}' is no role of a target.", hint=f"Say {', '.join(get_args(Role))}.", field=f"{field}.role")
    wrong = [ability for ability in target.lacks if ability not in get_args(Ability)]
    if wrong:
        raise Invalid(
            f"'{wrong[0]}' is nothing a model may lack.", hint=f"Say {', '.join(get_args(Ability))}.", field=f"{field}.lacks"
        )
    if target.context is not None and target.context < 1:
        raise Invalid(f"Nothing fits into {target.context} tokens.", field=f"{field}.context")
    roles = {"predict": ("serve", "canary", "shadow"), "decide": ("serve", "canary")}.get(endpoint.kind, ("serve",))
    plain = not (target.when or target.lacks or target.context) and target.role in roles
    if not plain and (endpoint.kind not in HOSTED or target.target.startswith(INDEX)):
        raise Invalid(
            f"The target {target.target} has conditions or a role, and answers {endpoint.kind} calls.",
            hint="when, lacks and context are for endpoints that lead to language models; shadows for those and for predictions.",
            field=field,
        )


def _check_routing(endpoint: Endpoint, who: str) -> None:
    """How the targets of an endpoint are chosen."""
    if not any(target.weight > 0 and target.role == "serve" for target in endpoint.route):
        raise Invalid(
            f"{who} has no target with a weight that serves.",
            hint="Give one a weight above 0 and the role serve.",
            field="route",
        )
    if endpoint.sticky and endpoint.strategy != "weighted":
        raise Invalid(
            f"{who} is sticky and goes by '{endpoint.strategy}'.",
            hint="sticky goes with weighted; cheapest knows by itself what is still cached where.",
            field="sticky",
        )
    _check_router(endpoint, who)
    if endpoint.max_cost:
        try:
            bound = nano(endpoint.max_cost)
        except Invalid:
            bound = 0
        if bound <= 0:
            raise Invalid(f"{who} may cost '{endpoint.max_cost}'.", hint="Write US dollars, such as 0.05.", field="max_cost")
    if endpoint.hour_price:
        nano(endpoint.hour_price)
        if endpoint.kind in HOSTED:
            raise Invalid(f"{who} answers {endpoint.kind} calls, which are paid for by the token.", field="hour_price")
    asks = [
        name
        for name, said in (
            ("regions", endpoint.regions),
            ("max_cost", endpoint.max_cost),
            ("sticky", endpoint.sticky),
            ("cache_seconds", endpoint.cache_seconds),
        )
        if said
    ]
    if asks and (endpoint.kind not in HOSTED or endpoint.route[0].target.startswith(INDEX)):
        raise Invalid(f"{who} answers {endpoint.kind} calls, which know no {asks[0]}.", field=asks[0])


def _check_router(endpoint: Endpoint, who: str) -> None:
    if (endpoint.strategy == "good_enough") != bool(endpoint.router):
        raise Invalid(
            f"{who} goes by '{endpoint.strategy}' and names {endpoint.router or 'no router'}.",
            hint="good_enough takes a router, and nothing else does.",
            field="router",
        )
    if endpoint.router and ((ref := Ref.parse(endpoint.router)).kind != "router" or ref.alias is None):
        raise Invalid(f"{who} has a router that is no router's alias.", hint="Write router/NAME@ALIAS.", field="router")
    if not 0 <= endpoint.tolerance <= 1:
        raise Invalid(f"{who} has a tolerance of {endpoint.tolerance}.", hint="Use 0 to 1.", field="tolerance")


def _check_answering(endpoint: Endpoint, who: str) -> None:
    """A route into indexes answers chats and leads nowhere else; a model that writes belongs to such a route."""
    inward = [target.target.startswith(INDEX) for target in endpoint.route]
    if any(inward) and (endpoint.kind != "chat" or not all(inward)):
        raise Invalid(
            f"{who} leads into an index and elsewhere, or answers {endpoint.kind} calls.",
            hint="A route into index/NAME@ALIAS is of the kind chat and has no other targets.",
            field="route",
        )
    if endpoint.model and (not all(inward) or endpoint.model.startswith(INDEX) or any(map(str.isspace, endpoint.model))):
        raise Invalid(
            f"{who} names a model that cannot write its answers.",
            hint="Only for a route into index/NAME@ALIAS: provider/model, or the name of a chat endpoint.",
            field="model",
        )
