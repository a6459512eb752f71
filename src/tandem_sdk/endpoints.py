"""Endpoints: addresses that answer, and how they are routed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tandem_sdk.assets import Version
from tandem_sdk.learning import Learning
from tandem_sdk.runs import Run
from tandem_sdk.shape import plain
from tandem_sdk.verdicts import Estimate
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
class Shadow:
    """What one shadow said in a window, beside what the callers were answered."""

    target: str
    share: float | None
    """Of the calls, that it hears now; None where it hears none any more."""
    calls: int
    """That it heard."""
    failed: Estimate
    """The share of them that it did not answer."""
    rows: int
    """That both answered."""
    same: Estimate | None
    """The share of rows with the same label; None where the answers are numbers, or there are none."""
    apart: float | None
    """By how much the probability of the positive class, or the number, differs in the mean; None without rows."""
    farthest: float | None
    """The largest such difference."""
    milliseconds: tuple[float, float] | None
    """Median and 95th percentile of its answers."""
    answered_milliseconds: tuple[float, float] | None
    """The same of what the callers were answered."""
    labelled: int
    """Rows whose label has come."""
    better: Estimate | None
    """How much more often it is right; of numbers, by how much nearer it is in the mean. None below 30 labelled rows."""
    verdict: str
    """`improved`, `regressed`, `inconclusive` or `not-enough-data`."""


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

    def list(self, *, declared: bool = False) -> tuple[Endpoint, ...]:
        """Every endpoint the key may call, with the versions that their aliases mean now.

        Args:
            declared: only those that were set, as they were set; not what a promotion made.
        """
        return read_replies(Endpoint, self._wire.get(f"{API}/endpoints", {"declared": "true" if declared else None}))

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
        return self.put(name, {field: value for field, value in told.items() if value is not None})

    def put(self, name: str, endpoint: Mapping[str, object]) -> Endpoint:
        """Makes or replaces an endpoint that is written as the API takes it.

        Raises:
            Conflict, Invalid: as `set`.
        """
        return read_reply(Endpoint, self._wire.send("PUT", f"{API}/endpoints/{segment(name)}", dict(endpoint)))

    def drop(self, name: str) -> None:
        """Removes an endpoint; calls to it are refused from then on.

        Raises:
            NotFound, Conflict: there is none, or `tandem.toml` declares it.
        """
        self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}")

    def start_canary(
        self,
        name: str,
        target: str,
        *,
        share: float = 0.05,
        seconds: float = 86_400,
        at_end: str = "ask",
        scorer: str = "",
        margins: Mapping[str, float] | None = None,
    ) -> Run:
        """Gives a target a share of an endpoint's calls; it loses it by itself when it does harm.

        Args:
            share: of the calls, above 0 and below 1.
            seconds: how long it is watched.
            at_end: without harm, `ask` for the promotion, `promote`, or `nothing`.
            scorer: whose scores of traces are compared; empty: none.
            margins: by how much its rate of `errors`, of `slow` answers and of `bad` scores may be higher.

        Raises:
            NotFound, Conflict: there is no such endpoint, or it has a canary already.
        """
        body = {"target": target, "share": share, "seconds": seconds, "at_end": at_end, "scorer": scorer, **(margins or {})}
        return read_reply(Run, self._wire.send("POST", f"{API}/endpoints/{segment(name)}/canary", body, once=True))

    def canary(self, name: str) -> Run:
        """The newest canary of an endpoint: how it stands, or what came of it.

        Raises:
            NotFound: it never had one.
        """
        return read_reply(Run, self._wire.get(f"{API}/endpoints/{segment(name)}/canary"))

    def stop_canary(self, name: str) -> Run:
        """Takes the share back.

        Raises:
            NotFound: no canary is under way.
        """
        return read_reply(Run, self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}/canary"))

    def start_online(
        self,
        name: str,
        *,
        every: int = 200,
        seconds: float | None = None,
        need: str = "improved",
        margin: float = 0.01,
        confirm: int = 400,
        rate: float = 0.3,
    ) -> Learning:
        """Has the linear model of a predict endpoint learn from labels as they come, behind a gate.

        Args:
            every: labelled rows of a step, 10 to 5,000.
            seconds: after which a step takes what labels there are; None waits for all.
            need: what a candidate must be to be promoted, `improved` or `non-inferior`.
            margin: a loss that is non-inferior, as a share of rows.
            confirm: rows, learned by neither, that a candidate is judged on at least.
            rate: how much one row moves the model, above 0 and at most 1.

        Raises:
            NotFound, Conflict, Invalid: there is no such endpoint, it learns already, or its model cannot.
        """
        body = {"every": every, "seconds": seconds, "need": need, "margin": margin, "confirm": confirm, "rate": rate}
        return read_reply(Learning, self._wire.send("POST", f"{API}/endpoints/{segment(name)}/online", body, once=True))

    def online(self, name: str) -> Learning:
        """How the model of an endpoint learns, with its newest steps.

        Raises:
            NotFound: it never did.
        """
        return read_reply(Learning, self._wire.get(f"{API}/endpoints/{segment(name)}/online"))

    def learning(self) -> tuple[Learning, ...]:
        """The endpoints whose model learns now, without their steps."""
        return read_replies(Learning, self._wire.get(f"{API}/online"))

    def stop_online(self, name: str) -> Learning:
        """Ends learning; the champion goes on answering.

        Raises:
            NotFound: it does not learn now.
        """
        return read_reply(Learning, self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}/online"))

    def start_shadow(self, name: str, target: str, *, share: float = 1.0) -> Endpoint:
        """Has a model hear a share of the calls of a predict endpoint; nobody hears what it says.

        Args:
            target: `model/NAME@VERSION` or `model/NAME@ALIAS`.
            share: of the calls, above 0.

        Raises:
            NotFound, Conflict, Invalid: there is no such endpoint, it leads there already, or answers something else.
        """
        body = {"target": target, "share": share}
        return read_reply(Endpoint, self._wire.send("PUT", f"{API}/endpoints/{segment(name)}/shadow", body))

    def shadows(self, name: str, *, seconds: float = 86_400) -> tuple[Shadow, ...]:
        """What each shadow of an endpoint said within the last seconds, beside what was answered."""
        return read_replies(Shadow, self._wire.get(f"{API}/endpoints/{segment(name)}/shadow", {"seconds": str(seconds)}))

    def stop_shadow(self, name: str, target: str | None = None) -> Endpoint:
        """Has one shadow, or all, hear no more calls.

        Raises:
            NotFound: there is none.
        """
        which = {} if target is None else {"target": target}
        return read_reply(Endpoint, self._wire.send("DELETE", f"{API}/endpoints/{segment(name)}/shadow", query=which))

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
