"""Endpoints: addresses that answer, and how they are routed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tandem_sdk.assets import Version
from tandem_sdk.shape import plain
from tandem_sdk.wire import API, Wire, read_replies, read_reply, segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One place an endpoint can send a call to."""

    target: str
    """`provider/model`, `model/tumor@2` or `decision/second-opinion@1` or `index/policies@3`."""
    weight: float = 1.0
    """Share of the traffic among targets of the same priority; 0 means only as a fallback."""
    priority: int = 0
    """Lower is asked first; the next priority is the fallback."""
    when: Mapping[str, Any] = field(default_factory=dict)
    """What a call must be like to come here."""
    role: str = "serve"
    """`serve`, `canary` or `shadow`."""
    share: float = 0.0
    """Of the calls, 0 to 1, that a canary answers or a shadow hears."""
    context: int | None = None
    """Tokens that fit into the model; None: as the price list says."""
    lacks: tuple[str, ...] = ()
    """`vision`, `tools`, `json`: what the model cannot do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds a call may wait, stage by stage."""

    connect: float = 5.0
    first_byte: float = 60.0
    idle: float = 30.0
    total: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that answers, and how it is routed and bounded."""

    name: str
    kind: str
    """`chat`, `embed`, `predict` or `decide`."""
    route: tuple[Target, ...] = ()
    team: str = "default"
    strategy: str = "weighted"
    """`weighted`, `cheapest`, `fastest`, `least_busy` or `good_enough`: which target of the same priority is asked first."""
    router: str = ""
    """Of `good_enough`: `router/NAME@ALIAS`."""
    tolerance: float = 0.05
    """Of `good_enough`: the chance of a good answer that may be given up for a lower cost."""
    sticky: bool = False
    """Whether a conversation stays with the target that had it."""
    regions: tuple[str, ...] = ()
    """Where content may go; empty: anywhere."""
    max_cost: str = ""
    """US dollars that a call may be expected to cost at a target; empty: no bound."""
    past_refusals: bool = False
    """Whether the next target is asked when one refused for the sake of safety."""
    retries: int = 1
    max_output_tokens: int = 4096
    hour_price: str = ""
    """US dollars that an hour of a prediction's or decision's own work costs; empty: the platform's price."""
    timeouts: Timeouts = Timeouts()
    cache_seconds: int = 0
    """How long an answer may be given again to the same question of the same team; 0: never."""
    record_content: bool = True
    guards: str | None = None
    """The policy that looks at what comes in and goes out, as `policy/NAME@ALIAS`."""
    model: str = ""
    """Of a route into an index: who writes the answers; empty: the built-in `extractive` model."""
    managed: str | None = None
    """Where `tandem.toml` declares it; then it is read-only here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choosing:
    """How an endpoint chooses among its targets; what is None takes the platform's default. See `Endpoint` for each."""

    strategy: str | None = None
    router: str | None = None
    tolerance: float | None = None
    sticky: bool | None = None
    regions: Sequence[str] | None = None
    max_cost: str | None = None
    past_refusals: bool | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resting:
    """A target or a key that stands behind the others, as one door worker saw it."""

    name: str
    """`provider/model`, `provider#1` (a key) or `provider/model#1` (a key at one model)."""
    worker: str = ""
    outcome: str = ""
    """What happened last."""
    failures: int = 0
    since: int = 0
    until: int = 0
    """Unix microseconds; then one call tries it."""


class Endpoints:
    """`client.endpoints`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def list(self) -> tuple[Endpoint, ...]:
        """Every endpoint the key may call."""
        return read_replies(Endpoint, self._wire.get(f"{API}/endpoints"))

    def set(
        self,
        name: str,
        *,
        kind: str,
        route: Sequence[Target],
        team: str | None = None,
        choosing: Choosing | None = None,
        max_output_tokens: int | None = None,
        hour_price: str | None = None,
        timeouts: Timeouts | None = None,
        cache_seconds: int | None = None,
        record_content: bool | None = None,
        guards: str | None = None,
        model: str | None = None,
    ) -> Endpoint:
        """Makes or replaces an endpoint; what is None takes the platform's default.

        Raises:
            Conflict: `tandem.toml` declares it.
            Invalid: a target does not exist.
        """
        told = {
            "kind": kind, "route": [plain(target) for target in route], "team": team,
            **asdict(choosing or Choosing()),
            "max_output_tokens": max_output_tokens, "hour_price": hour_price,
            "timeouts": plain(timeouts), "cache_seconds": cache_seconds,
            "record_content": record_content,
            "guards": guards,
            "model": model,
        }  # fmt: skip
        body = {field: value for field, value in told.items() if value is not None}
        return read_reply(Endpoint, self._wire.send("PUT", f"{API}/endpoints/{segment(name)}", body))

    def drop(self, name: str) -> None:
        """Removes an endpoint; calls to it are refused from then on.

        Raises:
            NotFound, Conflict: there is none, or `tandem.toml` declares it.
        """
        self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}")

    def publish_router(self, name: str, file: str) -> Version:
        """Publishes a learned router's next version.

        Args:
            file: the text of the file that `tandem route train` wrote.

        Raises:
            Invalid: it is none.
        """
        return read_reply(Version, self._wire.send("POST", f"{API}/routers/{segment(name)}", {"file": file}))

    def resting(self) -> tuple[Resting, ...]:
        """Targets and keys that stand behind the others now."""
        return read_replies(Resting, self._wire.get(f"{API}/targets/resting"))

    def wake(self, name: str | None = None) -> None:
        """Ends the rest of a target, a provider or a key, or (None) of all of them."""
        self._wire.send("POST", f"{API}/targets/wake", {"name": name})
