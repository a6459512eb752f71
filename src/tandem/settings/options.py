"""The sections of `tandem.toml`, one class each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tandem.core.approval import HOURS, Action, ApproverRole
from tandem.core.endpoint import EndpointKind, Strategy, Target, Timeouts
from tandem.governance.alerts.deeds import DEFAULT
from tandem.governance.people.lasting import Lasting
from tandem.serving.base import Trust


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
    """US dollars that an hour of the platform's own work costs, for budgets, Runs and bills; empty: nothing."""
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
    """A directory that every machine sees, for model files, datasets and uploads. Unset: the home."""
    redis: str = ""
    """`env:NAME`, `file:PATH` or `redis://HOST:PORT/0`, where limits are counted and features are read.
    Empty: in the ledger, and in the feature store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataOptions:
    """Where datasets may come from, beside files that are sent."""

    databases: tuple[str, ...] = ()
    """`env:NAME` or `file:PATH`, each an address `sqlite:///PATH` or `postgresql://…`, which whoever may write may query."""
    places: tuple[str, ...] = ()
    """Directories and prefixes of object storage, such as `/srv/lake` or `s3://bucket/lake`, whose tables may be linked."""
    writable_databases: tuple[str, ...] = ()
    """References as in `databases`, into whose tables whoever may write may have scored rows put."""
    writable_places: tuple[str, ...] = ()
    """As `places`: where scored rows may be put as Parquet files."""


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
class PipelineOptions:
    """Runs of users' pipelines, and what is kept of their steps."""

    at_once: int = 4
    """Pipelines that run at the same time; the others wait in order."""
    deadline_seconds: float = 21_600.0
    """How long one may run."""
    memory_bytes: int = 0
    """The most memory that the process of one may ask for; 0: no bound."""
    cache_bytes: int = 10 * 1024**3
    """What results of steps may take on the disk; those used last are kept."""
    cache_days: float = 30.0
    """How long a result is kept that nobody uses, and what is known of the step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingOptions:
    """Models, and what they may do when they are loaded."""

    trust: tuple[Trust, ...] = ()
    """What may be executed of the files of models that are imported: `pickle`, `torch`, `mlflow`, `python`."""
    host_mib: int = 1024
    """Memory of a model host, above which the models unused longest leave it. Each door worker has one."""
    door_mib: int = 256
    """What the small models that the door answers itself may take in each worker."""


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
