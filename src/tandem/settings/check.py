"""What the sections say, checked and made into what the platform knows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tandem.core.approval import Approval
from tandem.core.asset import check_name
from tandem.core.endpoint import Endpoint, Provider
from tandem.core.errors import Invalid
from tandem.core.policy import Alert
from tandem.gateway.providers.compatible import complete
from tandem.governance.alerts.base import kind_of
from tandem.governance.alerts.check import check_alert
from tandem.governance.approvals.check import check_approval
from tandem.governance.people.issuer import Issuer, check_issuer
from tandem.jobs.pieces import Compute
from tandem.settings.lines import in_table, managed
from tandem.settings.options import (
    AlertOptions,
    ApprovalOptions,
    DataOptions,
    EndpointOptions,
    OidcOptions,
    ProviderOptions,
    RetentionOptions,
    ServerOptions,
    SignInOptions,
    StoreOptions,
    TraceOptions,
)
from tandem.settings.tree import DATABASES, REDISES


def provider(name: str, options: ProviderOptions, text: str, path: Path) -> Provider:
    check_name(name)
    with in_table(path, f"providers.{name}"):
        provider = complete(name, protocol=options.protocol, base_url=options.base_url, keys=options.keys, prices=options.prices)
    if not provider.base_url.startswith(("http://", "https://")):
        raise Invalid(
            f"{path}: the base_url of provider '{name}' must begin with http:// or https://.", field=f"providers.{name}.base_url"
        )
    return replace(
        provider,
        hour_price=options.hour_price,
        tokens_per_second=options.tokens_per_second,
        region=options.region,
        collects=options.collects,
        managed=managed(text, path, f"providers.{name}"),
    )


def server(options: ServerOptions, path: Path) -> ServerOptions:
    for name, url in (("public_url", options.public_url), ("inside_url", options.inside_url)):
        if url is not None and not url.startswith(("http://", "https://")):
            raise Invalid(f"{path}: server.{name} must begin with http:// or https://.", field=f"server.{name}")
    return options


def store(options: StoreOptions, path: Path) -> StoreOptions:
    for name, url, schemes in (("url", options.url, DATABASES), ("redis", options.redis, REDISES)):
        if url and not url.startswith(("env:", "file:", *schemes)):
            raise Invalid(
                f"{path}: store.{name} is no address that can be used.",
                hint=f"Write env:NAME, file:PATH or {schemes[0]}….",
                field=f"store.{name}",
            )
    return options if options.folder is None else replace(options, folder=path.parent / options.folder)


def data(options: DataOptions, path: Path) -> DataOptions:
    for name in ("databases", "writable_databases"):
        if not all(reference.startswith(("env:", "file:")) for reference in getattr(options, name)):
            raise Invalid(
                f"{path}: data.{name} names an address itself.", hint="Write env:NAME or file:PATH.", field=f"data.{name}"
            )
    return options


def compute(options: Compute, path: Path) -> Compute:
    if options.processes < 1:
        raise Invalid(f"{path}: compute.processes is one or more.", field="compute.processes")
    if not re.fullmatch(r"(|auto|(ray://)?[^\s/@]+:\d+)", options.ray):
        raise Invalid(
            f"{path}: compute.ray is no address of a Ray cluster.",
            hint="Write auto, HOST:PORT or ray://HOST:PORT.",
            field="compute.ray",
        )
    return options


def sign_in(options: SignInOptions, path: Path) -> SignInOptions:
    for name, value in (("idle_minutes", options.idle_minutes), ("session_hours", options.session_hours)):
        if value < 1:
            raise Invalid(f"{path}: sign_in.{name} is one or more.", field=f"sign_in.{name}")
    return options


def oidc(name: str, options: OidcOptions, path: Path) -> Issuer:
    issuer = Issuer(
        name=name,
        issuer=options.issuer,
        client_id=options.client_id,
        client_secret=options.client_secret,
        scopes=options.scopes,
        claim=options.claim,
        teams=options.teams,
        domains=options.domains,
        join=options.join,
    )
    with in_table(path, f"oidc.{name}"):
        check_issuer(issuer)
    return issuer


def alert(name: str, options: AlertOptions, text: str, path: Path) -> Alert:
    alert = Alert(
        name=name,
        kind=options.kind,
        url=options.url,
        on=options.on,
        team=options.team,
        secret=options.secret,
        user=options.user,
        sender=options.sender,
        to=options.to,
        managed=managed(text, path, f"alerts.{name}"),
    )
    with in_table(path, f"alerts.{name}"):
        check_alert(alert)
    if kind_of(alert.kind).signs and not alert.secret:
        raise Invalid(
            f"{path}: the webhook '{name}' has no secret to be signed with.",
            hint='Write secret = "env:NAME", and whsec_ and 24 to 64 bytes in base64 there.',
            field=f"alerts.{name}.secret",
        )
    return alert


def approvals(rows: Mapping[str, ApprovalOptions], text: str, path: Path) -> dict[str, Approval]:
    rules: dict[str, Approval] = {}
    for name, options in rows.items():
        rule = Approval(
            action=options.action,
            people=options.people,
            role=options.role,
            team=options.team,
            hours=options.hours,
            managed=managed(text, path, f"approvals.{name}"),
        )
        with in_table(path, f"approvals.{name}"):
            check_approval(rule)
        twin = next((other for other, each in rules.items() if (each.action, each.team) == (rule.action, rule.team)), None)
        if twin is not None:
            raise Invalid(
                f"{path}: [approvals.{name}] and [approvals.{twin}] are about the same deed and team.",
                hint="Keep one of them.",
                field=f"approvals.{name}",
            )
        rules[name] = rule
    return rules


def retention(name: str, rule: RetentionOptions, traces: TraceOptions, path: Path) -> RetentionOptions:
    check_name(name)
    if not 0 < rule.days < traces.retention_days:
        raise Invalid(
            f"{path}: the rule '{name}' keeps calls for {rule.days} days, and all others are kept for {traces.retention_days}.",
            hint="A rule can only shorten: give it fewer days than traces.retention_days, and at least one.",
            field=f"retention.{name}.days",
        )
    return rule


def endpoint(name: str, options: EndpointOptions, text: str, path: Path) -> Endpoint:
    check_name(name)
    if not options.route:
        raise Invalid(
            f"{path}: the endpoint '{name}' has no route.", field=f"endpoints.{name}.route", hint="Name at least one target."
        )
    for target in options.route:
        if target.weight < 0 or "/" not in target.target:
            raise Invalid(
                f"{path}: '{target.target}' with weight {target.weight:g} is no target of '{name}'.",
                field=f"endpoints.{name}.route",
                hint="A target is PROVIDER/MODEL or model/NAME@ALIAS; a weight is zero or more.",
            )
    if not any(target.weight > 0 for target in options.route):
        raise Invalid(f"{path}: every weight of the endpoint '{name}' is zero.", field=f"endpoints.{name}.route")
    return Endpoint(
        name=name,
        kind=options.kind,
        team=options.team,
        strategy=options.strategy,
        router=options.router,
        tolerance=options.tolerance,
        sticky=options.sticky,
        regions=options.regions,
        max_cost=options.max_cost,
        past_refusals=options.past_refusals,
        retries=options.retries,
        max_output_tokens=options.max_output_tokens,
        hour_price=options.hour_price,
        timeouts=options.timeouts,
        cache_seconds=options.cache_seconds,
        record_content=options.record_content,
        guards=options.guards,
        model=options.model,
        managed=managed(text, path, f"endpoints.{name}"),
        route=options.route,
    )
