"""Endpoint: an address that answers. It names targets; the route decides which of them is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

EndpointKind = Literal["chat", "embed", "rerank", "predict", "decide"]
HOSTED: frozenset[EndpointKind] = frozenset({"chat", "embed", "rerank"})
"""What models at providers answer: what is routed, priced per token and booked."""
Strategy = Literal["weighted", "cheapest", "fastest", "least_busy", "good_enough"]
Role = Literal["serve", "canary", "shadow"]
Ability = Literal["vision", "tools", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place an Endpoint can send a call to."""

    target: str
    """`provider/model`, `model/tumor@2`, `decision/second-opinion@1` or `index/policies@3`."""
    weight: float = 1.0
    """Share of the traffic among targets of the same priority; 0 means only as a fallback."""
    priority: int = 0
    """Lower is asked first; the next priority is the fallback."""
    when: Mapping[str, object] = field(default_factory=dict)
    """What a call must be like to come here, such as `{"principal.team": "research"}`; see `gateway.routing.when`."""
    role: Role = "serve"
    """A canary answers a share of the calls, a shadow hears them too and nobody hears it."""
    share: float = 0.0
    """Of the calls, 0 to 1, that a canary answers or a shadow hears."""
    context: int | None = None
    """Tokens that fit into the model; None: as the price list says, where it does."""
    lacks: tuple[Ability, ...] = ()
    """What the model cannot do; calls that need it pass by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds a call may wait, stage by stage."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    """Between two pieces of a stream."""
    total: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that answers, and how it is routed and bounded."""

    name: str
    kind: EndpointKind
    route: tuple[Target, ...]
    team: str = "default"
    strategy: Strategy = "weighted"
    """Which target of the same priority is asked first; one of weight 0 only after the others."""
    router: str = ""
    """Of the strategy `good_enough`: `router/NAME@ALIAS`, which says how well each target will answer a prompt."""
    tolerance: float = 0.05
    """Of the strategy `good_enough`: the chance of a good answer, 0 to 1, that may be given up for a lower cost."""
    sticky: bool = False
    """Whether a conversation stays with the target that had it, as long as that one is well."""
    regions: tuple[str, ...] = ()
    """Where content may go: only targets whose provider says one of these regions are asked. Empty: anywhere."""
    max_cost: str = ""
    """US dollars, as a decimal: targets of which a call is expected to cost more are not asked. Empty: no bound."""
    past_refusals: bool = False
    """Whether another target is asked when one refused for the sake of safety."""
    retries: int = 1
    """Further attempts after the first, over all targets."""
    max_output_tokens: int = 4096
    """Written into a request that declares no bound of its own."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    cache_seconds: int = 0
    """How long an answer may be given again to the same question of the same team; 0: never."""
    record_content: bool = True
    """Whether prompts and answers are kept (encrypted) for the trace."""
    guards: str | None = None
    """`policy/NAME@ALIAS` that looks at what comes in and goes out; None: `policy/default@production`, where there is one."""
    hour_price: str = ""
    """US dollars, as a decimal, that an hour of a prediction's or decision's own work costs; empty: the platform's price."""
    model: str = ""
    """Of a route into an index: who writes the answers, `provider/model` or a chat endpoint; empty: `extractive`."""
    managed: str | None = None
    """`file:LINE` when `tandem.toml` declares it; then it is read-only elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A host of language models: its protocol, address and keys."""

    name: str
    protocol: str
    base_url: str
    keys: tuple[str, ...] = ()
    """References, never clear text once stored: `env:NAME`, `file:PATH`, `sealed:…`; several are rotated."""
    prices: str | None = None
    """Whose price list applies, by its name in the catalogue; None: the vendor of the protocol."""
    hour_price: str = ""
    """US dollars an hour, as a decimal, of a machine of one's own; then a token's price follows from what it does in a second."""
    tokens_per_second: float = 0.0
    """Input and output tokens that the machine does in a second when it is busy; 0: as it is measured."""
    region: str = ""
    """Where it keeps and processes what it is sent, in the owner's own words, such as `eu`; empty: not known."""
    collects: bool = True
    """Whether it may keep what it is sent, or learn from it."""
    managed: str | None = None
    """`file:NAME:LINE` when `tandem.toml` declares it; then it is read-only elsewhere."""
