"""One frozen tree of every package's options, read once: `tandem.toml`, then the environment over it.

Every key can be set as `TANDEM_A__B__C`. Unknown keys are errors that name the file's line. What the
file declares is marked `managed: file:LINE` and is read-only elsewhere.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from tandem.core.approval import HOURS, Action, Approval, ApproverRole
from tandem.core.asset import check_name
from tandem.core.endpoint import Endpoint, EndpointKind, Provider, Strategy, Target, Timeouts
from tandem.core.errors import Invalid
from tandem.core.policy import Alert
from tandem.core.secret import Secret
from tandem.gateway.providers.compatible import complete
from tandem.governance.alerts.base import kind_of
from tandem.governance.alerts.check import check_alert
from tandem.governance.alerts.deeds import DEFAULT
from tandem.governance.approvals.check import check_approval
from tandem.governance.people.issuer import Issuer, check_issuer
from tandem.governance.people.lasting import Lasting

PREFIX = "TANDEM_"
LISTS = frozenset({"keys", "trusted_proxies", "on", "to", "scopes", "domains"})
"""Keys whose values are separated by commas in the environment."""
DATABASES, REDISES = ("postgresql://", "postgres://"), ("redis://", "rediss://", "unix://")
RESERVED = frozenset(
    {
        "TANDEM_ADMIN_KEY",
        "TANDEM_MASTER_KEY",
        "TANDEM_MASTER_KEY_BEFORE",
        "TANDEM_URL",
        "TANDEM_KEY",
        "TANDEM_HOME",
        "TANDEM_CONFIG",
    }
)
"""Environment names that are not settings."""
SECTIONS = (
    "server",
    "store",
    "sign_in",
    "oidc",
    "decisions",
    "traces",
    "retention",
    "prices",
    "providers",
    "endpoints",
    "alerts",
    "approvals",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The one port and the processes behind it."""

    host: str = "127.0.0.1"
    port: int = 8400
    workers: int = 1
    """Door worker processes; they share the port."""
    cert: str | None = None
    """PEM file; with `key` the port speaks TLS."""
    key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose X-Forwarded-For is believed."""
    drain_seconds: float = 20.0
    """How long running streams may go on after SIGTERM."""
    max_snapshot_age: float | None = None
    """Seconds after which a door that cannot reach control refuses; unset: never."""
    hour_price: str = ""
    """US dollars that an hour of a prediction's or decision's own work costs, for budgets and bills; empty: nothing."""
    public_url: str | None = None
    """Where people find the console, for links in alerts; unset: this machine's own address."""
    inside_url: str | None = None
    """Where judges, embeddings and batches of the platform's own find a door; unset: this machine's own port."""

    @property
    def inside(self) -> str:
        """How the platform's own calls reach a door."""
        return self.address if self.inside_url is None else self.inside_url.rstrip("/")

    @property
    def address(self) -> str:
        """How this machine reaches its own port."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)
        return f"{'https' if self.cert else 'http'}://{host}:{self.port}"

    @property
    def console(self) -> str:
        """How a message to somebody outside names the console."""
        return self.address if self.public_url is None else self.public_url.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where that lies what must last. Unset, everything is in the home, and no server is needed."""

    url: str = ""
    """`env:NAME`, `file:PATH` or the address itself: `postgresql://USER:PASSWORD@HOST/DATABASE`. Empty: files in the home."""
    folder: Path | None = None
    """A directory that every machine sees, for model files, datasets, indexes and uploads. Unset: the home."""
    redis: str = ""
    """`env:NAME`, `file:PATH` or `redis://HOST:PORT/0`, where limits are counted. Empty: in the ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInOptions:
    """How persons sign in, and for how long that holds."""

    passwords: bool = True
    """Whether a password signs a person in; without, a provider of `[oidc.NAME]` or a key does."""
    idle_minutes: int = 120
    """Without use for this long, a session ends."""
    session_hours: int = 12
    """However busy it is, a session ends after this long."""

    @property
    def lasting(self) -> Lasting:
        """The same, as sessions want it."""
        return Lasting(idle_seconds=self.idle_minutes * 60, seconds=self.session_hours * 3600, passwords=self.passwords)


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcOptions:
    """One provider that vouches for persons by OpenID Connect."""

    issuer: str
    """Its address, as its tokens name it."""
    client_id: str
    client_secret: str = ""
    """`env:NAME` or `file:PATH`; unset for a client without one."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    claim: str = "groups"
    """Which claim says what a person is a member of."""
    teams: Mapping[str, str] = field(default_factory=dict)
    """Value of the claim → `TEAM=ROLE`, or `admin` or `auditor` for the whole organisation."""
    domains: tuple[str, ...] = ()
    """Of e-mail addresses that are let in; empty: any."""
    join: bool = True
    """Whether the first sign-in makes the person; else they must have been invited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionOptions:
    """Worker processes for users' code."""

    workers: int = 2
    """Per door worker."""
    deadline_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceOptions:
    """What is kept of calls, and for how long."""

    retention_days: int = 90
    """Traces and their content are deleted by whole days after this many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionOptions:
    """Some calls that are kept for a shorter time than others. A call goes when the first rule that fits it says so."""

    days: int
    """How long they are kept; less than `traces.retention_days`."""
    kind: EndpointKind | None = None
    """Calls of this kind; unset: of every kind."""
    team: str | None = None
    """Calls of this team; unset: of every team."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceOptions:
    """Prices of your own, beside the packaged catalogue."""

    file: Path | None = None
    """JSON with price rows; a relative path begins at this file. Unset: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """One host of language models."""

    protocol: str | None = None
    """Unset: that of the known host of this name, else `openai`."""
    base_url: str | None = None
    """Unset: that of the known host of this name."""
    keys: tuple[str, ...] | None = None
    """`env:NAME`, `file:PATH` or a literal; several are rotated. Unset: the variable of the known host, at its own address."""
    prices: str | None = None
    """Whose price list applies. Unset: that of the known host of this name, else the protocol's own vendor's."""
    hour_price: str = ""
    """US dollars an hour, of a machine of your own: tokens are priced by it."""
    tokens_per_second: float = 0.0
    """Input and output tokens that the machine does in a second when it is busy. 0: as it is measured."""
    region: str = ""
    """Where it keeps and processes what it is sent, in your own words."""
    collects: bool = True
    """Whether it may keep what it is sent, or learn from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """One address that answers."""

    kind: EndpointKind
    route: tuple[Target, ...]
    team: str = "default"
    strategy: Strategy = "weighted"
    router: str = ""
    """Of `good_enough`: `router/NAME@ALIAS`."""
    tolerance: float = 0.05
    sticky: bool = False
    regions: tuple[str, ...] = ()
    max_cost: str = ""
    """US dollars that a call may be expected to cost at a target."""
    past_refusals: bool = False
    retries: int = 1
    max_output_tokens: int = 4096
    hour_price: str = ""
    """Of predictions and decisions: US dollars an hour, instead of the platform's."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    cache_seconds: int = 0
    record_content: bool = True
    guards: str | None = None
    """`policy/NAME@ALIAS` that looks at what comes in and goes out."""
    model: str = ""
    """Of a route into an index: who writes the answers, `provider/model` or a chat endpoint; empty: `extractive`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertOptions:
    """One destination outside, and which deeds it is told of."""

    url: str
    """`env:NAME`, `file:PATH` or the address itself."""
    kind: str = "webhook"
    on: tuple[str, ...] = DEFAULT
    team: str | None = None
    """Whose deeds; unset: every team's."""
    secret: str = ""
    """`env:NAME`, `file:PATH` or a literal: what a webhook is signed with, or the password at a mail server."""
    user: str = ""
    sender: str = ""
    to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalOptions:
    """How many people a deed needs; its author is none of them."""

    action: Action
    people: int = 1
    role: ApproverRole = "approver"
    team: str | None = None
    """Whose things; unset: every team's that has no rule of its own."""
    hours: int = HOURS
    """How long a request waits for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that is set, and nothing that is computed."""

    home: Path
    server: ServerOptions = ServerOptions()
    store: StoreOptions = StoreOptions()
    sign_in: SignInOptions = SignInOptions()
    oidc: Mapping[str, Issuer] = field(default_factory=dict)
    decisions: DecisionOptions = DecisionOptions()
    traces: TraceOptions = TraceOptions()
    retention: Mapping[str, RetentionOptions] = field(default_factory=dict)
    prices: PriceOptions = PriceOptions()
    providers: Mapping[str, Provider] = field(default_factory=dict)
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    approvals: Mapping[str, Approval] = field(default_factory=dict)
    source: Path | None = None
    """The file that was read."""

    @property
    def shared(self) -> Path:
        """What every machine sees; of one machine its home."""
        return self.home if self.store.folder is None else self.store.folder

    def database(self) -> Secret | None:
        """The address of the PostgreSQL server; None where everything is in files.

        Raises:
            Invalid: what `store.url` names is not there, or is no such address.
        """
        return _named(self.store.url, "store.url", DATABASES)

    def counters(self) -> Secret | None:
        """The address of the Redis server that counts limits; None where the ledger does.

        Raises:
            Invalid: what `store.redis` names is not there, or is no such address.
        """
        return _named(self.store.redis, "store.redis", REDISES)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    server: ServerOptions = ServerOptions()
    store: StoreOptions = StoreOptions()
    sign_in: SignInOptions = SignInOptions()
    oidc: dict[str, OidcOptions] = {}
    decisions: DecisionOptions = DecisionOptions()
    traces: TraceOptions = TraceOptions()
    retention: dict[str, RetentionOptions] = {}
    prices: PriceOptions = PriceOptions()
    providers: dict[str, ProviderOptions] = {}
    endpoints: dict[str, EndpointOptions] = {}
    alerts: dict[str, AlertOptions] = {}
    approvals: dict[str, ApprovalOptions] = {}


def load(home: Path, *, config: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Reads `tandem.toml` in the home (or `config`) and the environment.

    Raises:
        Invalid: the file is missing when named, is no TOML, or holds a key or a value that means nothing.
    """
    path = config or home / "tandem.toml"
    tree: dict[str, Any] = {}
    text = ""
    if config is not None and not path.exists():
        raise Invalid(f"The settings file {path} does not exist.", hint="Leave --config away to use the home's tandem.toml.")
    if path.exists():
        text = path.read_text("utf-8")
        try:
            tree = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise Invalid(f"{path} is not valid TOML: {error}.", hint="https://toml.io describes the format.") from None
    _overlay(tree, environment)
    _check_keys(tree, text, path)
    try:
        file = msgspec.convert(tree, _File, strict=False, dec_hook=_decoded)
    except msgspec.ValidationError as error:
        raise Invalid(f"{path}: {_where(str(error), text)}", hint="docs/settings.md lists every key.") from None
    return Settings(
        home=home,
        server=_server(file.server, path),
        store=_store(file.store, path),
        sign_in=_sign_in(file.sign_in, path),
        oidc={name: _oidc(name, options, path) for name, options in file.oidc.items()},
        decisions=file.decisions,
        traces=file.traces,
        retention={name: _retention(name, rule, file.traces, path) for name, rule in file.retention.items()},
        prices=PriceOptions(file=None if file.prices.file is None else path.parent / file.prices.file),
        providers={name: _provider(name, options, text, path) for name, options in file.providers.items()},
        endpoints={name: _endpoint(name, options, text, path) for name, options in file.endpoints.items()},
        alerts={name: _alert(name, options, text, path) for name, options in file.alerts.items()},
        approvals=_approvals(file.approvals, text, path),
        source=path if text else None,
    )


@contextmanager
def _in_table(path: Path, table: str) -> Iterator[None]:
    """What is wrong with a table's values, told with the file and the table."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{path}: [{table}]: {error.message}", hint=error.hint, field=f"{table}.{error.field}") from None


def _decoded(wanted: type, value: object) -> object:
    """What msgspec does not know itself: paths, of text that can be one, and what may be anything."""
    if wanted is object:
        return value
    if wanted is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise TypeError(f"Expected a path, got {value!r}")


def _overlay(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name in RESERVED or "__" not in name:
            continue
        *parents, leaf = name[len(PREFIX) :].lower().split("__")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value.split(",") if leaf in LISTS else value


_TABLES: dict[str, Any] = {
    "server": ServerOptions,
    "store": StoreOptions,
    "sign_in": SignInOptions,
    "oidc.*": OidcOptions,
    "decisions": DecisionOptions,
    "traces": TraceOptions,
    "retention.*": RetentionOptions,
    "prices": PriceOptions,
    "providers.*": ProviderOptions,
    "endpoints.*": EndpointOptions,
    "endpoints.*.timeouts": Timeouts,
    "endpoints.*.route": Target,
    "alerts.*": AlertOptions,
    "approvals.*": ApprovalOptions,
}


def _check_keys(tree: Mapping[str, Any], text: str, path: Path) -> None:
    """Names the first unknown key with its line; msgspec checks the values afterwards."""
    for key in tree:
        if key not in SECTIONS:
            raise _unknown(key, "", SECTIONS, text, path)
    for pattern, options in _TABLES.items():
        for place, table in _matches(tree, pattern.split("."), ""):
            known = tuple(option.name for option in fields(options))
            for row in table if isinstance(table, list) else [table]:
                for key in row if isinstance(row, dict) else ():
                    if key not in known:
                        raise _unknown(key, place, known, text, path)


def _matches(tree: Any, parts: list[str], place: str) -> list[tuple[str, Any]]:
    if not parts:
        return [(place, tree)]
    if not isinstance(tree, dict):
        return []
    names = list(tree) if parts[0] == "*" else [parts[0]] if parts[0] in tree else []
    return [found for name in names for found in _matches(tree[name], parts[1:], f"{place}.{name}".lstrip("."))]


def _unknown(key: str, place: str, known: tuple[str, ...], text: str, path: Path) -> Invalid:
    line = line_of(text, place, key)
    where = f"{path}:{line}" if line else "The environment"
    table = f" in [{place}]" if place else ""
    return Invalid(
        f"{where}: '{key}' is not a setting{table}.", hint=f"Known there: {', '.join(known)}.", field=f"{place}.{key}".lstrip(".")
    )


def line_of(text: str, table: str, key: str | None = None) -> int | None:
    """1-based line of a table's header or of a key inside it; None when the text does not hold it."""
    current = ""
    found: int | None = None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.fullmatch(r"\s*\[+\s*(.+?)\s*\]+\s*(?:#.*)?", line)
        if header:
            current = header[1].replace('"', "")
            if key is not None and current == f"{table}.{key}":
                return number
            if current == table and found is None:
                found = number
                if key is None:
                    return number
            if key is not None and not table and current.split(".")[0] == key:
                return number
        elif key is not None and current == table and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number
        elif key is not None and f"{current}." == table[: len(current) + 1] and re.search(rf"\b{re.escape(key)}\s*=", line):
            found = found or number
    return found


def _where(message: str, text: str) -> str:
    match = re.search(r"`\$\.([^`]+)`", message)
    if match is None:
        return message
    *table, key = match[1].replace("[...]", "").split(".")
    line = line_of(text, ".".join(table), key)
    return f"line {line}: {message}" if line else message


def _provider(name: str, options: ProviderOptions, text: str, path: Path) -> Provider:
    check_name(name)
    with _in_table(path, f"providers.{name}"):
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
        managed=_managed(text, path, f"providers.{name}"),
    )


def _server(options: ServerOptions, path: Path) -> ServerOptions:
    for name, url in (("public_url", options.public_url), ("inside_url", options.inside_url)):
        if url is not None and not url.startswith(("http://", "https://")):
            raise Invalid(f"{path}: server.{name} must begin with http:// or https://.", field=f"server.{name}")
    return options


def _named(reference: str, field: str, schemes: tuple[str, ...]) -> Secret | None:
    """The address that `env:NAME` or `file:PATH` means, or that stands there itself."""
    scheme, _, rest = reference.partition(":")
    try:
        found = os.environ[rest] if scheme == "env" else Path(rest).read_text("utf-8") if scheme == "file" else reference
    except (KeyError, OSError, ValueError):
        raise Invalid(
            f"{field} names {reference}, which is not there.", hint="Set it where the platform runs.", field=field
        ) from None
    if not found.strip():
        return None
    if not found.strip().startswith(schemes):
        raise Invalid(f"{field} is no address that can be used.", hint=f"It begins with {schemes[0]}.", field=field)
    return Secret(found.strip())


def _store(options: StoreOptions, path: Path) -> StoreOptions:
    for name, url, schemes in (("url", options.url, DATABASES), ("redis", options.redis, REDISES)):
        if url and not url.startswith(("env:", "file:", *schemes)):
            raise Invalid(
                f"{path}: store.{name} is no address that can be used.",
                hint=f"Write env:NAME, file:PATH or {schemes[0]}….",
                field=f"store.{name}",
            )
    return options if options.folder is None else replace(options, folder=path.parent / options.folder)


def _sign_in(options: SignInOptions, path: Path) -> SignInOptions:
    for name, value in (("idle_minutes", options.idle_minutes), ("session_hours", options.session_hours)):
        if value < 1:
            raise Invalid(f"{path}: sign_in.{name} is one or more.", field=f"sign_in.{name}")
    return options


def _oidc(name: str, options: OidcOptions, path: Path) -> Issuer:
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
    with _in_table(path, f"oidc.{name}"):
        check_issuer(issuer)
    return issuer


def _alert(name: str, options: AlertOptions, text: str, path: Path) -> Alert:
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
        managed=_managed(text, path, f"alerts.{name}"),
    )
    with _in_table(path, f"alerts.{name}"):
        check_alert(alert)
    if kind_of(alert.kind).signs and not alert.secret:
        raise Invalid(
            f"{path}: the webhook '{name}' has no secret to be signed with.",
            hint='Write secret = "env:NAME", and whsec_ and 24 to 64 bytes in base64 there.',
            field=f"alerts.{name}.secret",
        )
    return alert


def _approvals(rows: Mapping[str, ApprovalOptions], text: str, path: Path) -> dict[str, Approval]:
    rules: dict[str, Approval] = {}
    for name, options in rows.items():
        rule = Approval(
            action=options.action,
            people=options.people,
            role=options.role,
            team=options.team,
            hours=options.hours,
            managed=_managed(text, path, f"approvals.{name}"),
        )
        with _in_table(path, f"approvals.{name}"):
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


def _retention(name: str, rule: RetentionOptions, traces: TraceOptions, path: Path) -> RetentionOptions:
    check_name(name)
    if not 0 < rule.days < traces.retention_days:
        raise Invalid(
            f"{path}: the rule '{name}' keeps calls for {rule.days} days, and all others are kept for {traces.retention_days}.",
            hint="A rule can only shorten: give it fewer days than traces.retention_days, and at least one.",
            field=f"retention.{name}.days",
        )
    return rule


def _endpoint(name: str, options: EndpointOptions, text: str, path: Path) -> Endpoint:
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
        managed=_managed(text, path, f"endpoints.{name}"),
        route=options.route,
    )


def _managed(text: str, path: Path, table: str) -> str:
    line = line_of(text, table)
    return f"file:{path.name}:{line}" if line else "environment"
